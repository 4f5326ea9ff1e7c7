"""Real commands in processes of their own, which are killed or starved where a test wants it.

A process is forked from one that has loaded torch already, so a case takes as long as its run. What befalls it comes
from Python's audit events (raised before a file is opened, renamed or removed) and from the limits of the operating
system; the code under test is as it is.
"""

import dataclasses
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, NamedTuple

LONGEST_S = 30.0
"""A call, or the end after a signal, that takes longer hangs."""
BUSY_S = 150.0
"""So long a training of these tests may take on a machine that does much else; alone it takes a second or two."""

_CHANGES = {
    *("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"),
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_fork = multiprocessing.get_context("forkserver")
_fork.set_forkserver_preload(
    [
        "ptycho_torch.cli.main",
        "ptycho_torch.runs.resuming",
        "ptycho_torch.runs.reconstruction",
        "tests.faults.children",
    ]
)


@dataclasses.dataclass(frozen=True)
class Trouble:
    """What befalls a process.

    Attributes:
        folder: steps on files count in this folder alone; None: in every folder.
        die_before: the number of the step before which the process is killed, from 0.
        note_in: file that gets one line for each step.
        largest_file: bytes that a file can grow to; None: no limit.
        at_limit: killed in the middle of the write that goes beyond, or told by the system (EFBIG).
    """

    folder: Path | None = None
    die_before: int | None = None
    note_in: Path | None = None
    largest_file: int | None = None
    at_limit: Literal["killed", "told"] = "told"

    def begin(self) -> None:
        """Let it befall this process from now on."""
        if self.largest_file is not None:
            action = signal.SIG_DFL if self.at_limit == "killed" else signal.SIG_IGN
            signal.signal(signal.SIGXFSZ, action)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.largest_file, resource.RLIM_INFINITY))
        if self.die_before is None and self.note_in is None:
            return
        steps = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        notes = None if self.note_in is None else os.open(self.note_in, flags)

        def step(event: str, where: tuple[Any, ...]) -> None:
            nonlocal steps
            if self.folder is not None and not any(_is_below(self.folder, path) for path in where):
                return
            if steps == self.die_before:
                os.kill(os.getpid(), signal.SIGKILL)
            steps += 1
            if notes is not None:
                os.write(notes, f"{event} {where}\n".encode())

        def hook(event: str, values: tuple[Any, ...]) -> None:
            if (event == "open" and (values[2] or 0) & _WRITES) or event in _CHANGES:
                step(event, values[:2])

        sys.addaudithook(hook)
        flush = os.fsync

        def told_flush(handle: Any) -> None:  # the one step without an audit event
            number = handle if isinstance(handle, int) else handle.fileno()
            step("fsync", (os.readlink(f"/proc/self/fd/{number}"),))
            flush(handle)

        os.fsync = told_flush


def _is_below(folder: Path, path: Any) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    absolute = os.path.abspath(os.fsdecode(path))
    return absolute == str(folder) or absolute.startswith(f"{folder}{os.sep}")


class Ended(NamedTuple):
    """A process that has ended: its exit code (below 0: the signal) and what it said."""

    code: int | None
    said: str

    @property
    def has_traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.said


class Child:
    """A function in a process of its own; it begins at once.

    Args:
        function: at the top level of a module.
        *values: its arguments.
        folder: its working folder, and where `said.txt` gets what it says.
        trouble: what befalls it.
        **environ: variables of its environment.
    """

    _number = 0

    def __init__(
        self,
        function: Callable[..., Any],
        *values: Any,
        folder: Path,
        trouble: Trouble | None = None,
        **environ: str,
    ) -> None:
        Child._number += 1
        self._said = folder / f".said-{os.getpid()}-{Child._number}.txt"
        given = (function, values, folder, self._said, trouble or Trouble(), environ)
        self.process: BaseProcess = _fork.Process(target=_run, args=given)
        self.process.start()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, number)

    def ended(self, longest_s: float = BUSY_S) -> Ended:
        """Wait for its end.

        Raises:
            TimeoutError: it hangs; it is killed first.
        """
        self.process.join(longest_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise TimeoutError(f"still running after {longest_s:.0f} s; it said: {self.said()}")
        return Ended(self.process.exitcode, self.said())

    def said(self) -> str:
        """What it said so far."""
        return self._said.read_text(errors="replace") if self._said.exists() else ""


def command(*words: Any, folder: Path, trouble: Trouble | None = None, **environ: str) -> Child:
    """The `ptycho` command with these words, in a process of its own."""
    return Child(_command, *map(str, words), folder=folder, trouble=trouble, **environ)


def steps_of(*words: Any, folder: Path, watched: Path, **environ: str) -> Iterator[str]:
    """Every step on the files of a folder that a command takes, in order."""
    notes = folder / "steps.txt"
    notes.unlink(missing_ok=True)
    done = command(*words, folder=folder, trouble=Trouble(watched, note_in=notes), **environ).ended()
    assert done.code == 0, done.said
    yield from notes.read_text().splitlines()


def _run(
    function: Callable[..., Any],
    values: tuple[Any, ...],
    folder: Path,
    said: Path,
    trouble: Trouble,
    environ: dict[str, str],
) -> None:
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(handle, number)
    os.close(handle)
    os.environ.update(environ)
    tempfile.tempdir = None
    os.chdir(folder)
    trouble.begin()
    sys.exit(function(*values))


def _command(*words: str) -> int:
    from ptycho_torch.cli.main import main

    sys.argv = ["ptycho", *words]
    return main(words)
