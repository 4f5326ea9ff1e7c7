"""Writing a file so that a reader finds the old content or the new one, whole, whatever ends the writer."""

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

_PREFIX, _SUFFIX = ".ptycho-", ".partial"


@contextlib.contextmanager
def atomic_write(path: str | Path, *, replace: bool = True) -> Generator[BinaryIO]:
    """Open a file for writing; it takes its place when it is complete and on the disk.

    The content goes to a temporary file beside the target, which is flushed to the disk and then renamed. An error or a
    kill on the way leaves the target as it was. Temporary files of writers that were killed are removed. A link in
    place of the target is replaced, not followed.

    Args:
        path: the target, in a folder that exists.
        replace: whether a file that is there is replaced. Otherwise one of two writers of the same name is refused.

    Yields:
        A binary file that can also be read and positioned.

    Raises:
        OSError: the file cannot be written; the error names the target.
        FileExistsError: a folder or a device is in place of the target, or anything where nothing is replaced.
    """
    target = Path(path)
    refuse_special(target)
    remove_leftovers(target.parent)
    try:
        file, temporary = _open_beside(target)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if not replace:
                    _claim(temporary, target)
                os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        _flush_folder(target.parent)
    except OSError as error:
        if error.filename is None or Path(str(error.filename)).name.endswith(_SUFFIX):
            raise OSError(error.errno, error.strerror or str(error), str(target)) from error
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed left in a folder; the file of a writer at work is locked, and stays."""
    if sys.platform == "win32":
        return
    for leftover in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            handle = os.open(leftover, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()
            finally:
                os.close(handle)


def refuse_special(target: Path) -> None:
    """Refuse to replace a folder, a pipe or a device by a file.

    Raises:
        FileExistsError: a folder, a pipe or a device is there.
    """
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        got = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        advice = "Move it away, or name another place"
        raise FileExistsError(
            errno.EEXIST, f"expected a file or a new name; got {got}. {advice}", str(target)
        )


def _open_beside(target: Path) -> tuple[BinaryIO, Path]:
    while True:
        temporary = target.parent / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if sys.platform != "win32":
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not os.fstat(handle).st_nlink:  # taken for a leftover before it was locked
                os.close(handle)
                continue
        return os.fdopen(handle, "w+b"), temporary


def _claim(temporary: Path, target: Path) -> None:
    """Give the target to this writer alone: as a second name of its file, which renaming then leaves as it is.

    Where the file system knows no second names, an empty file holds the place for a moment.
    """
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
    except OSError:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))


def _flush_folder(folder: Path) -> None:
    """Make a renaming last; where a folder cannot be flushed, the system does it in its own time."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
