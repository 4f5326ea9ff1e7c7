"""The other processes of a run that Lightning starts: they end with it, from the moment they are there."""

from lightning.fabric.strategies.launchers.subprocess_script import (
    _SubprocessScriptLauncher as FabricLauncher,
)
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from ptycho_torch.stopping import starting_processes, take_signals


def end_together(launcher: object) -> None:
    """Have the processes that a launcher starts end by our rules (`take_signals`), before any signal can end this one.

    Args:
        launcher: of a strategy, before it has started any; None, and one that copies this process, stay as they are:
            the system ends such copies with this process.
    """
    if not isinstance(launcher, _SubprocessScriptLauncher | FabricLauncher):
        return
    start = launcher._call_children_scripts

    def start_and_take() -> None:
        with starting_processes():
            start()
            take_signals(launcher.procs)

    launcher._call_children_scripts = start_and_take
