"""What a person at a terminal sees: plain log lines, one line for a warning, one message for wrong input."""

import contextlib
import errno
import logging
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ptycho.config.errors import ConfigError, printable, spelled_out
from ptycho.data_error import DataError
from ptycho.escaped import LineFormatter
from ptycho.version import installed_version
from ptycho_torch.stopping import INTERRUPTED, TERMINATED, Terminated

PACKAGES = ("ptycho", "ptycho_torch")
LIGHTNING = "lightning.pytorch.utilities.rank_zero"

log = logging.getLogger(__name__)

_WORDS = {
    errno.EEXIST: "expected a new place or a folder; got an existing file. Name another place",
    errno.ENOTDIR: "expected a folder in this path; got a file. Correct the path",
    errno.EISDIR: "expected a file; got a folder. Name a file",
    errno.ELOOP: "expected a file or a folder; got a circle of links. Correct the path",
    errno.ENOSPC: "expected enough space; got a full disk (No space left on device). Free some, or name another place",
    errno.EDQUOT: "expected enough space; got a full quota (Disk quota exceeded). Free some, or name another place",
    errno.EFBIG: "expected a file as large as it needs to be; got a limit (File too large). Raise it (ulimit -f)",
    errno.EROFS: "expected a writable place; got a read-only file system. Name another place",
    errno.EACCES: "expected permission to use it; got none (Permission denied). Change its mode, or name another place",
    errno.ENAMETOOLONG: "expected a name that the file system accepts; got one that is too long. Shorten it",
}
"""In place of what the system says, which names neither rule nor way on."""

UNLEARNED = 3
"""Exit code of a training that diverged or did not learn, and of a picture that is not that of the object."""


class Refusal(Exception):
    """Wrong input, in the words a person reads, one problem on a line."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Interruption(Exception):
    """A run was stopped from outside, or came to nothing; the message says what is kept."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def refuse_unlearned(problem: str | None) -> None:
    """End a command whose training or reconstruction came to nothing.

    Raises:
        Interruption: it did; the files are written all the same.
    """
    if problem is not None:
        raise Interruption(problem, UNLEARNED)


@contextlib.contextmanager
def watching_for_interrupt(run_dir: Path) -> Iterator[None]:
    """Say what a run leaves behind when it is interrupted or asked to end.

    Raises:
        Interruption: an interrupt from the keyboard or a request to end; Lightning turns both into an exit.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interruption(f"interrupted; {_kept(run_dir)}", INTERRUPTED) from None
    except Terminated:
        raise Interruption(f"ended by SIGTERM; {_kept(run_dir)}", TERMINATED) from None
    except SystemExit as leaving:
        if isinstance(leaving.__context__, KeyboardInterrupt):
            raise Interruption(f"interrupted; {_kept(run_dir)}", INTERRUPTED) from None
        raise


def _kept(run_dir: Path) -> str:
    from ptycho.run_files import CHECKPOINTS, OF_RECONSTRUCTION, STATE, holds_training

    if states := [*run_dir.glob(STATE), *run_dir.glob(f"*/{STATE}")]:
        images = [state.with_name(OF_RECONSTRUCTION[1]) for state in sorted(states)]
        # several processes keep what they go on from, and no picture of it
        kept = ", ".join(relative(path if path.is_file() else path.with_name(STATE)) for path in images)
        return f"kept so far: {kept}. Continue with ptycho reconstruct --resume {relative(run_dir)}."
    checkpoints = sorted((run_dir / CHECKPOINTS).glob("*.ckpt"))
    if not checkpoints and holds_training(run_dir):
        return "no checkpoint has been written yet."
    if not checkpoints:
        done = ", ".join(relative(path.parent) for path in sorted(run_dir.glob("*/metrics.json")))
        return f"complete: {done}." if done else "nothing was kept."
    names = ", ".join(path.name for path in checkpoints)
    place = relative(run_dir / CHECKPOINTS)
    return f"kept in {place}: {names}. Continue with ptycho train --resume {relative(run_dir)}."


@contextlib.contextmanager
def refusing(*errors: type[Exception]) -> Iterator[None]:
    """Turn errors that tell of wrong input into refusals."""
    try:
        yield
    except errors as error:
        raise Refusal(*_problems(error)) from error


def lines_of(error: Exception) -> str:
    """What an error says, one problem on a line; nothing in it steers a terminal or begins a line of its own."""
    return "\n".join(map(spelled_out, _problems(error)))


def _problems(error: Exception) -> Sequence[str]:
    if isinstance(error, ConfigError):
        return error.messages
    return error.problems if isinstance(error, DataError | Refusal) else [str(error)]


def worded(error: OSError) -> str:
    """Word an error of the operating system: the file, then what is wrong with it."""
    if not error.filename or not error.strerror:
        return printable(str(error))
    bare = error.errno in _WORDS and error.strerror == os.strerror(error.errno)
    return printable(f"{error.filename}: {_WORDS[error.errno] if bare else error.strerror}.")


def open_streams() -> None:
    """Let the standard streams that were closed (`>&-`) lead nowhere, so that no file takes their place."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def flush_streams() -> OSError | None:
    """Write out what the streams hold; one that cannot leads nowhere from then on, and its error is returned."""
    failed = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            failed = failed or error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    return failed


def memory_failure(error: MemoryError | RuntimeError) -> str | None:
    """Word an error of a run that asked for more memory than there is, on one line; None for another error."""
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said:
        return (
            f"not enough memory{f': {said:.300}' if said else ''}. Use smaller batches, or a larger machine."
        )
    return None


def tell_loading() -> None:
    """Say that the command is at work before PyTorch loads, which takes seconds."""
    if "torch" not in sys.modules:
        log.info("ptychopinn %s: loading PyTorch", installed_version())


def tell_next(*words: str | os.PathLike[str], otherwise: str = "") -> None:
    """Say which command comes next, one that can be copied into a shell.

    Args:
        *words: the command and its arguments, without the program; a path is written as short as from here.
        otherwise: ends the line.
    """
    written = shlex.join([word if isinstance(word, str) else relative(word) for word in words])
    log.info("next: ptycho %s%s", written, otherwise)


def tell_next_with(scan: Path, side: int) -> None:
    """Say which commands take a scan that was just written, by the side of its patterns in pixels."""
    from ptycho.config.field_types import is_pattern_size  # with pydantic, which --help does not wait for

    tell_next("reconstruct", scan)
    if is_pattern_size(side):
        tell_next("train", scan)
        return
    log.warning(
        "%s: patterns of %d x %d pixels are reconstructed without a model; a network takes multiples of 16 from 32 up, "
        "see --crop and --pad",
        relative(scan), side, side,
    )  # fmt: skip


def tell_report(path: Path) -> None:
    """Say how to look at the report of a run."""
    from ptycho.recorded import run_dir_of

    tell_next(
        "report", run_dir_of(path.parent), "--watch", otherwise=f"  (or open {relative(path)} in a browser)"
    )


def tell_page(path: Path) -> None:
    """Say which page to open."""
    log.info("next: open %s in a browser", relative(path))


def is_first_process() -> bool:
    """Whether this process speaks: the first that torchrun, SLURM or Lightning started, or the only one."""
    names = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in names)


def is_watched() -> bool:
    """Whether a person is watching: the error stream is a terminal."""
    return sys.stderr.isatty()


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Show Python's warnings once and on one line each meanwhile, ours in any case."""
    heard: set[str] = set()

    def show_once(message: Warning | str, *place: object, **options: object) -> None:
        line = printable(" ".join(str(message).split()))
        if line not in heard:
            heard.add(line)
            # the reader may have gone; the run goes on
            with contextlib.suppress(BrokenPipeError), _beside_bars():
                print(f"warning: {line}", file=sys.stderr)

    with warnings.catch_warnings():
        # Python hides deprecations by default; ours are meant for whoever typed the name. And ours are no errors,
        # whatever Python was told to do with warnings.
        for category in (DeprecationWarning, UserWarning):
            warnings.filterwarnings("always", category=category, module="ptycho")
        warnings.showwarning = show_once
        yield


@contextlib.contextmanager
def plain_log(*, quiet: bool) -> Iterator[None]:
    """Write the packages' log to the error stream meanwhile, from INFO up; if quiet, from WARNING up."""
    handler = _Handler(sys.stderr)
    handler.setLevel(logging.INFO if is_first_process() and not quiet else logging.WARNING)
    handler.setFormatter(_MessageFormatter())
    loggers = [logging.getLogger(name) for name in PACKAGES]
    levels, foreign = [logger.level for logger in loggers], logging.getLogger(LIGHTNING)
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    foreign.addFilter(_is_warning)
    try:
        yield
    finally:
        foreign.removeFilter(_is_warning)
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


@contextlib.contextmanager
def _beside_bars() -> Iterator[None]:
    """Take progress bars away meanwhile, so that a line does not run into one."""
    loaded: Any = sys.modules.get("tqdm")
    with contextlib.nullcontext() if loaded is None else loaded.tqdm.external_write_mode(file=sys.stderr):
        yield


class _Handler(logging.StreamHandler[Any]):
    def emit(self, record: logging.LogRecord) -> None:
        with _beside_bars():
            super().emit(record)


class _MessageFormatter(LineFormatter):
    """The message, behind its level from a warning up."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def relative(path: str | os.PathLike[str]) -> str:
    """A path as short as it can be named from here, for a person to read."""
    absolute = os.path.abspath(path)
    here = os.getcwd() + os.sep
    return printable(absolute.removeprefix(here))
