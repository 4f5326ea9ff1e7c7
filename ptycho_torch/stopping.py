"""Ending a run by a signal: with every process of it, and within seconds even where a process hangs."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

from ptycho.config.errors import ConfigError

log = logging.getLogger(__name__)

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes of a run that was stopped: 128 and the number of the signal."""
GRACE_S = 5.0
"""Time for a run to end by itself after a signal, or the loss of one of its processes; and, before that, for a training
to come to the end of the step it is in."""
WRITE_S = 15.0
"""Time for the checkpoint of that step. Together this is less than the 30 s after which most schedulers kill."""
START_S = 60.0
"""Time for processes to start, of which a spawned one takes some 5 s: it loads torch before it has read what to do."""
POLL_S = 0.1
LAST_WORDS_S = 1.0
_OF_RANKS = (signal.SIGINT, signal.SIGTERM)


class RunError(RuntimeError):
    """A run failed for a reason outside the package; the message tells how to continue."""


class DivergedError(ConfigError):
    """A training has no sound weights left; the message names the setting to change."""


class Terminated(SystemExit):
    """A run was asked to end by SIGTERM (`kill`, scancel, a time limit)."""

    def __init__(self) -> None:
        super().__init__(TERMINATED)


class _Stop:
    """Turns the first signal into an exception in the main thread, and ends the process where that has no effect."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
        self.others: Sequence[subprocess.Popen[Any]] = ()
        self.received: int | None = None
        self.n_interrupts = 0
        self.pid = os.getpid()
        self.waits = False
        self.raises = False
        self.deadline = 0.0
        self.of_children: Any = None
        # Python ignores what is raised within a destructor or beside a fork, and tells this alone of it
        self.ignored, sys.unraisablehook = sys.unraisablehook, self._take_ignored
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        # the system writes there even while the main thread waits for another process in foreign code
        self.woken = signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
        self.ended = threading.Event()
        threading.Thread(target=self._watch, name="ptycho-signals", daemon=True).start()

    def arm(self) -> None:
        for number in self.before:
            signal.signal(number, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Stop the run in the main thread, or have it stop after its step.

        Later signals change nothing, unless the first had no effect; a second interrupt ends the wait for the step.
        """
        if os.getpid() != self.pid:
            _leave(number, frame)  # a process that is just being forked
        self.n_interrupts += number == signal.SIGINT
        if self.received is None:
            self.received = number
            if hasattr(
                signal, "SIGCHLD"
            ):  # torch raises an error there where a loading process ends with its run
                self.of_children = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.tell_others(signal.SIGTERM)
            before = self.before[number]
            if callable(before) and before is not signal.default_int_handler:
                before(number, frame)
            self.raises = not self.waits
        elif self.n_interrupts > 1 and self.waits:
            self.raises = True
        if self.raises:
            self.stop()

    def stop(self) -> NoReturn:
        """Raise what ends the run."""
        self.waits = self.raises = False
        self.deadline = time.monotonic() + GRACE_S
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated

    def _take_ignored(self, what: "sys.UnraisableHookArgs") -> None:
        """Note that the run has not been stopped; what else fails while it ends is of no interest.

        Nor is what torch meets where loading processes did not start or have ended: the run ends with the reason.
        """
        place = getattr(what.object, "__qualname__", "")
        of_loading = place.startswith("_MultiProcessingDataLoaderIter.") or "DataLoader worker" in str(
            what.exc_value
        )
        if self.received is None and not of_loading:
            self.ignored(what)
        elif isinstance(what.exc_value, KeyboardInterrupt | Terminated):
            self.raises = True

    def tell_others(self, number: int) -> None:
        """Send a signal to the other processes of the run on this machine."""
        for process in self.others:
            with contextlib.suppress(OSError):
                process.send_signal(number)
        from multiprocessing import active_children  # whoever has any has loaded it

        for child in active_children():
            if not child.daemon and child.pid is not None:
                with contextlib.suppress(OSError):
                    os.kill(child.pid, number)

    def failed(self) -> int | None:
        """The exit code of the first other process that failed."""
        return next((code for process in self.others if (code := process.poll())), None)

    def watch_others(self) -> None:
        """End this process where another one has failed, and a collective operation waits for it in vain."""
        while not self.ended.wait(POLL_S):
            if (code := self.failed()) is None:
                continue
            if not self.ended.wait(GRACE_S):
                self.end(
                    1,
                    f"another process of the run is gone: {describe_end(code)}; this one cannot go on and ends. "
                    "Continue from the latest checkpoint with --resume",
                )
            return

    def _watch(self) -> None:
        while True:
            numbers = os.read(self.reader, 1)
            if not numbers:
                os.close(self.reader)
                return
            if numbers[0] not in self.before:
                continue
            self.deadline = max(self.deadline, time.monotonic() + GRACE_S)
            while not self.ended.wait(POLL_S):
                if time.monotonic() > self.deadline:
                    if not self.waits:
                        self.end(128 + numbers[0], "the run did not end in time and was killed")
                    self.waits, self.raises = False, True
                    self.deadline += GRACE_S
                if self.raises:
                    signal.pthread_kill(threading.main_thread().ident or 0, numbers[0])

    def end(self, code: int, why: str) -> None:
        """End this process and the others, whatever the main thread does."""
        # the main thread may hold what a message needs, as where nobody reads the stream that it writes to
        telling = threading.Thread(target=log.error, args=(why,), daemon=True)
        telling.start()
        telling.join(LAST_WORDS_S)
        self.tell_others(signal.SIGKILL)
        os._exit(code)

    def disarm(self) -> None:
        self.ended.set()
        sys.unraisablehook = self.ignored
        signal.set_wakeup_fd(self.woken)
        os.close(self.writer)
        if self.of_children is not None:
            signal.signal(signal.SIGCHLD, self.of_children)
        for number, handler in self.before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


_active: list[_Stop] = []
"""The one in force; none outside a run."""


@contextlib.contextmanager
def stoppable(*numbers: int) -> Iterator[None]:
    """Let a signal end what runs meanwhile: the first one raises in the main thread, later ones change nothing.

    A training can have the first one wait for the end of its step (`wait_for_step`). A process that has not ended
    `GRACE_S` seconds later is ended by force, with the other processes of its run. In another thread than the main one,
    and within another `stoppable`, nothing changes.

    Args:
        numbers: the signals; none: SIGTERM, as befits code that runs in the process of somebody else.

    Raises:
        Terminated: SIGTERM.
        KeyboardInterrupt: SIGINT.
    """
    if _active or threading.current_thread() is not threading.main_thread():
        yield
        return
    stop = _Stop(numbers or (signal.SIGTERM,))
    _active.append(stop)
    stop.arm()
    try:
        yield
    finally:
        _active.clear()
        stop.disarm()


def take_others(others: list[subprocess.Popen[Any]]) -> None:
    """Take the other processes of the run from a library that started them.

    Args:
        others: they end with this one, and this one ends where one of them fails. The list is emptied, so that nobody
            else watches them.
    """
    for stop in _active if others else ():
        stop.others = tuple(others)
        others.clear()
        threading.Thread(target=stop.watch_others, name="ptycho-processes", daemon=True).start()


def end_with_the_run() -> None:
    """Let a signal end this process at once, where multiprocessing started it as one of a run.

    No other process of a run is without a `stoppable` here. The one that started it hears of the signal as well, or of
    the end of this one, and tells how to go on. A handler would not be called while torch waits for the others.
    """
    if not _active and threading.current_thread() is threading.main_thread():
        for number in _OF_RANKS:
            signal.signal(number, signal.SIG_DFL)
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_RANKS)


@contextlib.contextmanager
def starting_processes(*, deaf: bool = False) -> Iterator[None]:
    """Let a signal wait until the processes that are started meanwhile can hear of it, and stop the run then.

    Args:
        deaf: they hear of signals from `end_with_the_run` on, so that none ends them in the middle of their start.

    Raises:
        KeyboardInterrupt, Terminated: a signal has come meanwhile, and the run does not wait for the end of a step.
    """
    with contextlib.ExitStack() as after:
        for stop in _here():
            after.callback(_tell_of_signal, stop)
            after.callback(setattr, stop, "waits", stop.waits)
            stop.waits, stop.deadline = True, time.monotonic() + START_S
            if deaf and sys.platform != "win32":
                from multiprocessing import resource_tracker  # not at the start of every command

                # they inherit what this thread blocks; this process hears of signals in the thread that watches
                resource_tracker.ensure_running()  # whose start lets these signals through again
                before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_RANKS)
                after.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        yield
    stop_if_asked()


def _tell_of_signal(stop: _Stop) -> None:
    """Tell the processes that have just been started of a signal that came before."""
    stop.deadline = 0.0
    if stop.received is not None:
        stop.tell_others(signal.SIGTERM)


def lost_process(wait_s: float = 2.0) -> str | None:
    """What ended another process of the run, in words, where one fails within a time; None where none does."""
    for stop in _active:
        for _ in range(round(wait_s / POLL_S)):
            if (code := stop.failed()) is not None:
                return describe_end(code)
            time.sleep(POLL_S)
    return None


def describe_end(code: int) -> str:
    """Word the exit code of a process."""
    if code >= 0:
        return f"it ended with exit code {code}"
    usual = ", usually because memory ran out" if -code == signal.SIGKILL else ""
    return f"it was killed by {signal.Signals(-code).name}{usual}"


def stop_if_asked() -> None:
    """Stop where a signal has come, and what it raised was lost on the way, or another error took its place.

    Raises:
        KeyboardInterrupt, Terminated: it has, and the run does not wait for the end of a step.
    """
    for stop in _here():
        if stop.received is not None and not stop.waits:
            stop.stop()


def can_wait() -> bool:
    """Whether signals to this process are ours to take, so that `wait_for_step` has an effect."""
    return bool(_here())


def wait_for_step(waits: bool = True) -> None:
    """Let a signal raise nothing from now on, for a run that asks for it (`is_asked`) and ends itself (`stop_now`).

    A run that has not done so `GRACE_S` seconds after the signal, or by a second interrupt, is stopped as any other.

    Args:
        waits: False: signals raise again.
    """
    for stop in _here():
        stop.waits = waits


def is_asked() -> bool:
    """Whether a signal has come."""
    return any(stop.received is not None for stop in _here())


def stop_now(write: Callable[[], None]) -> NoReturn:
    """End a run that waited for the end of its step, this process or another one of it having been asked to.

    Args:
        write: what is done before; it may take `WRITE_S` seconds.

    Raises:
        KeyboardInterrupt, Terminated: always.
    """
    if not is_asked():
        signal.raise_signal(signal.SIGTERM)
    for stop in _here():
        stop.deadline = time.monotonic() + WRITE_S
        write()
        stop.stop()
    raise Terminated


def _here() -> Sequence[_Stop]:
    """The one in force, in the thread that signals come to."""
    return _active if threading.current_thread() is threading.main_thread() else ()


def _forget() -> None:
    """In a forked process: its signals are its own."""
    for stop in _active:
        signal.set_wakeup_fd(-1)
        for number in stop.before:
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else _leave)
    _active.clear()


def _leave(number: int, frame: FrameType | None) -> None:
    """End a forked process; a loading process that ends with its run is no failure to tell of."""
    from multiprocessing import current_process

    os._exit(0 if current_process().daemon else 128 + number)


def serve_the_last_step() -> None:
    """Let a loading process that gets SIGTERM, as the whole group of a run does, serve the step that the run is in.

    It ends with the run, at a second signal, or after the time that a step has. Without this torch ends it at once.
    """

    def end_later(number: int, frame: FrameType | None) -> None:
        for last in (number, signal.SIGALRM):
            signal.signal(last, _leave)
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)

    if sys.platform != "win32":
        signal.signal(signal.SIGTERM, end_later)


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget)
