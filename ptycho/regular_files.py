"""Reading files that anybody may have put there: no pipe, device or file without an end makes a reader wait."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be read, or is a pipe, a device or a folder.
    """
    _refuse_odd(path.stat().st_mode, path)  # opening a device may already act on it
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = os.fdopen(handle, "rb")
    try:
        _refuse_odd(os.fstat(handle).st_mode, path)
    except OSError:
        file.close()
        raise
    return file


def size_of(file: BinaryIO) -> int:
    """The bytes of an open file; 0 of one that the system makes up while it is read, and which may have no end."""
    return os.fstat(file.fileno()).st_size


def first_bytes(path: Path, n_bytes: int) -> bytes:
    """What a file begins with: as many bytes, or fewer where it has no more.

    Raises:
        FileNotFoundError, OSError: as `open_regular`.
    """
    with open_regular(path) as file:
        return file.read(min(n_bytes, size_of(file)))


def read_regular(path: Path, largest: int | None = None) -> bytes:
    """The content of a file.

    Args:
        path: the file.
        largest: the most bytes that it may have; None: any number.

    Raises:
        FileNotFoundError, OSError: as `open_regular`.
        ValueError: it has more bytes.
    """
    with open_regular(path) as file:
        n_bytes = size_of(file)
        if largest is not None and n_bytes > largest:
            raise ValueError(f"more than {largest} bytes")
        return file.read(n_bytes)


def _refuse_odd(mode: int, path: Path) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "expected a regular file; got a pipe, a device or a folder", str(path))
