"""The other processes of a run on several devices, for a caller that goes on in its own process."""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port

from ptycho_torch.runtime.environment import variables
from ptycho_torch.stopping import starting_processes

POLL_S = 0.1


class Ranks:
    """The processes of a run, the first of which is this one.

    Lightning starts a program again for them, or moves the whole run into new processes. A caller whose callbacks keep
    what they see needs the first one here: so this starts the others, and tells all of them what torchrun would.

    Args:
        n_processes: how many there are; 1 is this one alone, to which nothing is told.
    """

    def __init__(self, n_processes: int) -> None:
        self.n_processes = n_processes
        self._port = find_free_network_port() if n_processes > 1 else 0

    def _told(self, rank: int) -> dict[str, str]:
        """The variables of torchrun for a process."""
        if self.n_processes == 1:
            return {}
        size, place = str(self.n_processes), str(rank)
        return {
            "RANK": place,
            "LOCAL_RANK": place,
            "GROUP_RANK": "0",
            "WORLD_SIZE": size,
            "LOCAL_WORLD_SIZE": size,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self._port),
            "TORCHELASTIC_RUN_ID": "ptycho",
        }

    @contextlib.contextmanager
    def first(self) -> Iterator[None]:
        """Be the first process meanwhile."""
        with variables(self._told(0), "OMP_NUM_THREADS"):  # the last one Lightning sets
            yield

    @contextlib.contextmanager
    def beside(self, work: Callable[..., None], *arguments: Any) -> Iterator[None]:
        """Run `work(*arguments, ready)` in each other process meanwhile, and be the first one.

        Args:
            work: of a module, so that a new process finds it; it calls `ready.set()` where it meets the others.
            arguments: what can be pickled.

        Raises:
            RuntimeError: one of them has failed.
        """
        others: list[BaseProcess] = []
        threads = torch.get_num_threads()
        try:
            self._start(others, work, arguments)
            with self.first():
                yield
            for process in others:
                process.join()
            _require_sound(others)
        except RuntimeError:
            # what a collective operation says here where another process has ended: tell that instead
            for process in others:
                process.join(POLL_S)
            _require_sound(others)
            raise
        finally:
            for process in others:
                process.kill()  # one that waits for the others in a collective operation hears of nothing else
                process.join()
            if others and torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()
            torch.set_num_threads(threads)  # Lightning shares the processors among the processes

    def _start(
        self, others: list[BaseProcess], work: Callable[..., None], arguments: tuple[Any, ...]
    ) -> None:
        """Start the others, and wait until each is ready."""
        context = multiprocessing.get_context("spawn")
        signs = [context.Event() for _ in range(1, self.n_processes)]
        for rank, ready in enumerate(signs, 1):
            process = context.Process(target=work, args=(*arguments, ready))
            with variables(self._told(rank)), starting_processes():
                process.start()
                others.append(process)
        while not all(sign.wait(POLL_S) for sign in signs):
            _require_sound(others)


def _require_sound(others: list[BaseProcess]) -> None:
    for number, process in enumerate(others, 2):
        if process.exitcode:
            raise RuntimeError(
                f"n_devices: process {number} of {len(others) + 1} ended with exit code {process.exitcode}; its "
                "messages are on the error stream. Set n_devices to 1 to train in one process."
            )
