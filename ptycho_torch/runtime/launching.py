"""The other processes of a run that Lightning starts: they end with it, from the moment they are there."""

import contextlib
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from lightning.fabric.strategies.launchers.subprocess_script import (
    _SubprocessScriptLauncher as FabricLauncher,
)
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from ptycho_torch.stopping import end_with_the_run, starting_processes, take_others


class _Multiprocessing(_MultiProcessingLauncher):
    """Starts the processes of a run by multiprocessing: no signal ends this one, or them, in the middle of that."""

    _starting = contextlib.ExitStack()

    def launch(self, function: Callable[..., Any], *args: Any, **settings: Any) -> Any:
        """Start them, and wait for their end."""
        with contextlib.ExitStack() as self._starting:
            self._starting.enter_context(starting_processes(deaf=True))
            return super().launch(function, *args, **settings)

    @property
    def procs(self) -> list[BaseProcess]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The processes; set by Lightning as soon as they are started."""
        return self._processes

    @procs.setter
    def procs(self, processes: list[BaseProcess]) -> None:
        self._processes = processes
        self._starting.close()

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_starting"}


class Ddp(DDPStrategy):
    """Distributed training whose processes end by our rules, also those that multiprocessing starts."""

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if isinstance(self._launcher, _MultiProcessingLauncher):
            self._launcher = _Multiprocessing(self, self._start_method)

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
