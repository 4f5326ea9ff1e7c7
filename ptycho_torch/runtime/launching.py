"""The other processes of a run that Lightning starts: they end with it, from the moment they are there."""

from lightning.fabric.strategies.launchers.subprocess_script import (
    _SubprocessScriptLauncher as FabricLauncher,
)
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from ptycho_torch.stopping import end_with_the_run, starting_processes, take_others


class Ddp(DDPStrategy):
    """Distributed training whose processes end by our rules, also those that multiprocessing starts."""

    def setup_environment(self) -> None:
        """Begin in a process of the run."""
        end_with_the_run()
        super().setup_environment()


def end_together(launcher: object) -> None:
    """Have the processes that a launcher starts as programs end with this one, before any signal can end this one.

    Args:
        launcher: of a strategy, before it has started any; others, and None, stay as they are.
    """
    if not isinstance(launcher, _SubprocessScriptLauncher | FabricLauncher):
        return
    start = launcher._call_children_scripts

    def start_and_take() -> None:
        with starting_processes():
            start()
            take_others(launcher.procs)

    launcher._call_children_scripts = start_and_take


def keep_signals(trainer: Trainer) -> None:
    """Have a Trainer leave the signals to `ptycho_torch.stopping`.

    Its own handler of SIGTERM waits for the other processes, which may be gone, or wait in it as well.
    """
    trainer._signal_connector.register_signal_handlers = _register_none


def _register_none() -> None:
    pass
