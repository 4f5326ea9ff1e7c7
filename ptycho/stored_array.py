"""A stack of images that stays in its file: read as it is indexed, and refused where the file changes meanwhile."""

import os
import threading
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt

from ptycho.data_error import DataError, problem

Array = npt.NDArray[Any]

LARGEST_READ: Final = 2**30
"""Bytes asked of the system at once; it gives less than 2 GiB."""


class Identity(NamedTuple):
    """What tells one state of a file from another."""

    device: int
    number: int
    size: int
    changed_ns: int

    @classmethod
    def of(cls, file: int | Path) -> Self:
        """That of a path, or of an open file by its descriptor."""
        found = os.stat(file)
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class OpenFile:
    """A file held open for reading at any place, as it was when it was opened.

    Replacing it by another under its name does no harm: this one is read on. Writing into it is found at the next
    read, and refused.

    Args:
        path: the file.
        identity: the state it must be in; None: any.

    Raises:
        DataError: it is in another state.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, identity: Identity | None = None) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._descriptor)
        self._lock = threading.Lock()
        self.identity = Identity.of(self._descriptor) if identity is None else identity
        self.check()

    def check(self) -> None:
        """Refuse a file that was written to since it was opened.

        Raises:
            DataError: it was.
        """
        if Identity.of(self._descriptor) != self.identity:
            expected = "the file as it was when it was opened"
            advice = "Write a new scan under another name, or rename it into place when it is complete. Start again."
            raise DataError(
                problem("scan file", expected, "one that has changed since then", self.path, advice)
            )

    def is_in_place(self) -> bool:
        """Whether the path still names this file in this state."""
        try:
            return Identity.of(self.path) == self.identity
        except OSError:
            return False

    def read_into(self, target: memoryview, offset: int) -> None:
        """Fill a buffer of bytes from a place in the file.

        Raises:
            DataError: the file ends before it, or is no longer as it was.
        """
        done = 0
        while done < len(target):
            part = target[done : done + LARGEST_READ]
            n_read = self._read_at(part, offset + done)
            if not n_read:
                break
            done += n_read
        self.check()
        if done < len(target):
            got = f"{len(target) - done} bytes less"
            raise DataError(problem("scan file", "a whole file", got, self.path, "Write it again."))

    def _read_at(self, target: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [target], offset)
        with self._lock:  # elsewhere threads share the place in the file
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            read = os.read(self._descriptor, len(target))
            target[: len(read)] = read
            return len(read)


class Place(NamedTuple):
    """Where in a file the numbers of a stack lie, and what they add up to."""

    member: str
    """What the file calls them."""
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    """First byte."""
    crc_before: int
    """CRC-32 of what the checksum covers before the first byte."""
    crc: int
    """CRC-32 up to the last byte."""


class StoredArray(np.lib.mixins.NDArrayOperatorsMixin):
    """A stack (n, N, N) in a file, of which only the rows that are asked for are read.

    It is indexed like an array. `numpy.asarray`, arithmetic, and whatever else an array offers read it whole. A pickle
    holds its place in the file, so that no process copies the patterns; or the numbers, where another file has taken
    that place.

    Args:
        file: the open file.
        place: where it lies.
        silent: bool (N, N) or (n, N, N), pixels that are read as 0; None: none.
        rows: int64 (k,), increasing, the images that the stack consists of; None: all in the file.
    """

    def __init__(
        self,
        file: OpenFile,
        place: Place,
        silent: npt.NDArray[np.bool_] | None = None,
        rows: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.dtype = place.dtype
        self.shape = place.shape if rows is None else (len(rows), *place.shape[1:])
        self._file, self._place, self._silent, self._rows = file, place, silent, rows

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of numbers."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        first, *rest = cast(tuple[Any, ...], key if isinstance(key, tuple) and key else (key,))
        if any(not isinstance(one, int | np.integer | slice) for one in rest) or np.ndim(first) > 1:
            return np.asarray(self)[key]
        if first is None or first is Ellipsis or isinstance(first, tuple):
            return np.asarray(self)[key]
        rows: Any = np.arange(len(self))[first]  # numpy's rules for what an index may be
        read = self._read(np.atleast_1d(rows))
        return read[(0, *rest)] if np.ndim(rows) == 0 else read[(slice(None), *rest)]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("patterns in a file are read, which makes a copy")
        whole = self._read(np.arange(len(self)))
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        read = (np.asarray(one) if isinstance(one, StoredArray) else one for one in inputs)
        return getattr(ufunc, method)(*read, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(np.asarray(self), name)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        return f"StoredArray({shape} {self.dtype}, {self._place.member} in {self._file.path})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        if not self._file.is_in_place():
            return np.asarray(self).__reduce_ex__(protocol)
        return _reopened, (self._file.path, self._file.identity, self._place, self._silent, self._rows)

    def silenced(self, pixels: npt.NDArray[np.bool_]) -> "StoredArray":
        """The same stack with these pixels, bool (N, N) or (n, N, N), read as 0."""
        return StoredArray(self._file, self._place, pixels, self._rows)

    def taken(self, rows: npt.NDArray[np.int64]) -> "StoredArray":
        """The stack of some of the images, int64 (k,), increasing."""
        own = rows if self._rows is None else self._rows[rows]
        return StoredArray(self._file, self._place, self._silent_of(rows), own)

    def verified_blocks(self, n_rows: int) -> Iterator[tuple[int, Array]]:
        """Yield (first row, block) along the first axis, and compare the checksum at the end of a whole array.

        Raises:
            DataError: the file is damaged.
        """
        crc = self._place.crc_before
        for start in range(0, len(self), n_rows):
            rows = np.arange(start, min(start + n_rows, len(self)))
            block = self._raw(rows)
            crc = zlib.crc32(_bytes_of(block), crc)
            yield start, self._without_silent(block, rows)
        if self._rows is None and crc != self._place.crc:
            raise DataError(
                problem(
                    self._place.member,
                    "the bytes that were written",
                    "damaged ones (the checksum differs)",
                    self._file.path,
                    "Copy the file again from where it was written.",
                )
            )

    def _read(self, rows: npt.NDArray[np.int64]) -> Array:
        return self._without_silent(self._raw(rows), rows)

    def _silent_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """The silent pixels of some of the images."""
        silent = self._silent
        return silent if silent is None or silent.ndim == 2 else silent[rows]

    def _without_silent(self, block: Array, rows: npt.NDArray[np.int64]) -> Array:
        silent = self._silent_of(rows)
        if silent is not None:
            block[np.broadcast_to(silent, block.shape)] = 0
        return block

    def _raw(self, rows: npt.NDArray[np.int64]) -> Array:
        """The rows as stored; those that follow each other are read in one go."""
        rows = rows if self._rows is None else self._rows[rows]
        read = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        n_bytes = read[:1].nbytes
        ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        start = 0
        for end in ends if len(rows) else ():
            part = _bytes_of(read)[start * n_bytes : end * n_bytes]
            self._file.read_into(part, self._place.offset + int(rows[start]) * n_bytes)
            start = end
        return read


Stack = Array | StoredArray
"""Images (n, N, N), in memory or in a file."""


def silenced(stack: Stack, pixels: npt.NDArray[np.bool_]) -> Stack:
    """A stack in which these pixels, bool (N, N) or (n, N, N), are 0; one in memory is copied."""
    if isinstance(stack, StoredArray):
        return stack.silenced(pixels)
    copied = np.array(stack)
    copied[np.broadcast_to(pixels, copied.shape)] = 0
    return copied


def taken(stack: Stack, rows: npt.NDArray[np.int64]) -> Stack:
    """Some images of a stack, int64 (k,), increasing; the stack itself where these are all."""
    if len(rows) == len(stack):
        return stack
    return stack.taken(rows) if isinstance(stack, StoredArray) else stack[rows]


def _bytes_of(block: Array) -> memoryview:
    """The bytes of an array that lies in one piece."""
    return memoryview(cast(Any, block.reshape(-1).view(np.uint8)))


def _reopened(
    path: Path,
    identity: Identity,
    place: Place,
    silent: npt.NDArray[np.bool_] | None,
    rows: npt.NDArray[np.int64] | None,
) -> StoredArray:
    return StoredArray(OpenFile(path, identity), place, silent, rows)
