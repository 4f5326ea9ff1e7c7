"""One writer at a time in a folder, by a lock of the operating system, which a kill releases."""

import contextlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

from ptycho.atomic import atomic_write
from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.json_files import read_json

LOCK: Final = ".ptycho-lock"
"""The file that a writer holds."""
WRITER: Final = ".ptycho-lock.json"
"""Beside it, who that is."""
_PATIENCE_S: Final = 0.2
"""For a lock file that its owner is just removing."""
_LONGEST_COMMAND: Final = 200


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Be the one writer of a folder meanwhile; it is made where it is missing, and removed again where it is empty.

    Raises:
        ConfigError: another process or thread writes into it; or it is no folder, or cannot be one.
    """
    from filelock import FileLock, Timeout  # loads with the first writer

    made = make_folder(path)
    for name in (LOCK, WRITER):
        refuse_others(path / name, Path.is_file)
    lock = FileLock(path / LOCK, thread_local=False)
    try:
        try:
            lock.acquire(timeout=_PATIENCE_S)
        except FileNotFoundError:  # another process has just removed the folder that it had made
            made = make_folder(path)
            lock.acquire(timeout=_PATIENCE_S)
        with atomic_write(path / WRITER) as file:
            file.write(json.dumps(_this_process()).encode())
        yield
    except Timeout:
        raise ConfigError([_busy(path)]) from None
    finally:
        if lock.is_locked:
            (path / WRITER).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # Windows removes no open file
                (path / LOCK).unlink()
            lock.release()
            for folder in made:
                with contextlib.suppress(OSError):  # it is not empty
                    folder.rmdir()


def make_folder(path: Path) -> list[Path]:
    """Make a folder; gives those that were missing, the innermost first.

    Raises:
        ConfigError: a file is in the way.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        places = (path, *path.parents)
        taken = next((place for place in places if place.exists() or place.is_symlink()), path)
        message = f"{path}: expected a folder or a new name; got the file {taken}. Name another folder."
        raise ConfigError([Failure("output_dir", message)]) from None
    return missing


def in_use(path: Path) -> Failure | None:
    """Why nobody else may write into a folder now: another process or thread does."""
    if not (path / LOCK).is_file():
        return None
    from filelock import FileLock, Timeout

    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=_PATIENCE_S)
        lock.release()
    except Timeout:
        return _busy(path)
    return None


def refuse_others(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Refuse what is in the way under a name that belongs to the writers of a folder.

    Args:
        path: with that name.
        is_ours: whether a file or folder there is of the kind that a writer leaves.

    Raises:
        ConfigError: it is another one, or a link.
    """
    if os.path.lexists(path) and (path.is_symlink() or not is_ours(path)):
        message = (
            f"{path}: expected no file of this name, which runs use themselves; got one that is not of a run."
        )
        raise ConfigError([Failure(str(path), f"{message} Move it away, or name another folder.")])


def linked_failure(path: Path) -> Failure:
    """Why nothing is written through a link out of the folder of a run."""
    message = f"{path}: expected a file or folder of the run itself; got a link, which is not followed."
    return Failure(str(path), f"{message} Replace it by the file or folder that it points to.")


def _this_process() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": shlex.join(sys.argv)[:_LONGEST_COMMAND],
    }


def _busy(path: Path) -> Failure:
    try:
        told: Any = read_json(path / WRITER)
        writer = "process {pid} on {host} since {since} ({command})".format_map(told)
    except (OSError, ValueError, KeyError, TypeError):
        writer = "another process"
    message = f"{path}: expected a folder that no other run uses; got one in use by {printable(writer)}."
    return Failure("output_dir", f"{message} Wait until it ends, or name another folder.")
