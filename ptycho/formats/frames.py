"""The part of a detector's images that is used: cropped around a centre, binned and padded as they are read."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ptycho.data_error import DataError, problem
from ptycho.detector_gaps import may_be_flags
from ptycho.formats.background import unmeasured_in, without_background
from ptycho.formats.trees import Stored, open_tree
from ptycho.memory import available_bytes
from ptycho.pattern_statistics import BLOCK_BYTES
from ptycho.stored_array import Array, Identity, Stack, StoredArray

Mask = npt.NDArray[np.bool_]

IN_MEMORY: Final = (0.25, 8 * 2**30)
"""Patterns that need less than this part of the available memory, and so many bytes, are read once; larger ones stay in
their file."""


class Window(NamedTuple):
    """Which pixels of an image of H x W become which pixels of a square."""

    shape: tuple[int, int]
    """H and W."""
    side: int
    """Of the square that is cut out, before binning."""
    first: tuple[int, int]
    """Row and column of its first pixel; some of it may be outside."""
    wraps: bool = False
    """Whether what is outside is on the other side, as in FFT order; else it was not measured."""
    bin: int = 1
    pad: int = 0
    """Side of what comes out; 0: no padding."""

    @property
    def n_pixels(self) -> int:
        """Side of what comes out."""
        return self.pad or self.side // self.bin

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns that have to be read."""
        if self.wraps:
            return slice(0, self.shape[0]), slice(0, self.shape[1])
        ends = [
            (max(0, first), max(0, min(length, first + self.side)))
            for first, length in zip(self.first, self.shape, strict=True)
        ]
        return slice(*ends[0]), slice(*ends[1])

    def cut(self, block: Array, outside: float | bool) -> Array:
        """The square of images (..., h, w) that were read within `box`, before binning."""
        if self.wraps:
            rows, columns = (
                (first + np.arange(self.side)) % n for first, n in zip(self.first, self.shape, strict=True)
            )
            return block[..., rows[:, None], columns]
        square = np.full((*block.shape[:-2], self.side, self.side), outside, block.dtype)
        top, left = (max(0, -first) for first in self.first)
        height, width = block.shape[-2:]
        square[..., top : top + height, left : left + width] = block
        return square

    def added_up(self, square: Array, *, squares: bool = False) -> Array:
        """Squares with `bin` x `bin` pixels added up, then padded with zeros.

        Args:
            square: from `cut`.
            squares: whether values are amplitudes: the root of the sum of the squares is taken.
        """
        if self.bin > 1:
            n = self.side // self.bin
            parts = square.reshape(*square.shape[:-2], n, self.bin, n, self.bin)
            wide = np.result_type(parts.dtype, np.float32) if parts.dtype.kind == "f" else None
            square = (
                np.sqrt((parts.astype(wide or np.float32) ** 2).sum((-3, -1)))
                if squares
                else parts.sum((-3, -1), dtype=wide)
            )
        return self._padded(square, 0)

    def any_of(self, square: Mask) -> Mask:
        """Squares of masks: pixels of which any part is masked, or that are padded, are masked."""
        if self.bin > 1:
            n = self.side // self.bin
            parts: Array = square.reshape(*square.shape[:-2], n, self.bin, n, self.bin)
            return self._padded(np.any(parts, axis=(-3, -1)), True)
        return self._padded(square, True)

    def _padded(self, square: Array, value: float | bool) -> Array:
        if not self.pad or self.pad == square.shape[-1]:
            return square
        n = square.shape[-1]
        first = self.pad // 2 - n // 2
        padded = np.full((*square.shape[:-2], self.pad, self.pad), value, square.dtype)
        padded[..., first : first + n, first : first + n] = square
        return padded


class Images:
    """A stack of images in a file, in whatever order its axes are; read along the first axis.

    Args:
        stored: where it is.
        axes: a letter for each of its axes: n, or y and x; H; W.
        rows: which of them, in which order; None: all.
    """

    def __init__(self, stored: Stored, axes: str, rows: npt.NDArray[np.int64] | None = None) -> None:
        self.stored, self.axes, self.rows = stored, axes, rows
        lengths = dict(zip(axes, stored.shape, strict=True))
        self.shape = (lengths["H"], lengths["W"])
        self.grid = (lengths["y"], lengths["x"]) if "y" in lengths else (lengths["n"],)
        self.n_stored = int(np.prod(self.grid))

    def __len__(self) -> int:
        return self.n_stored if self.rows is None else len(self.rows)

    @property
    def row_bytes(self) -> int:
        """Bytes of one image."""
        return self.shape[0] * self.shape[1] * self.stored.dtype.itemsize

    @property
    def n_at_once(self) -> int:
        """Images, one after the other, that the file holds in one piece."""
        chunks = getattr(self.stored.parts[0], "chunks", None)
        if not chunks:
            return 1
        lengths = dict(zip(self.axes, chunks[-len(self.axes) :], strict=True))
        return lengths["y"] * self.grid[-1] if "y" in lengths else lengths["n"]

    def taken(self, rows: npt.NDArray[np.int64]) -> "Images":
        """Some of the images, int64 (k,)."""
        return Images(self.stored, self.axes, rows if self.rows is None else self.rows[rows])

    def read(self, which: npt.NDArray[np.int64], box: tuple[slice, slice]) -> Array:
        """Some images, within a box of pixels: (k, h, w)."""
        places = which if self.rows is None else self.rows[which]
        heights = [part.stop - part.start for part in box]
        found = np.empty((len(places), *heights), self.stored.dtype)
        ends = [*(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
        start = 0
        for end in ends if len(places) else ():
            for first, last in self._pieces(int(places[start]), int(places[end - 1]) + 1):
                to = start + first - int(places[start])
                found[to : to + last - first] = self._piece(first, last, box)
            start = end
        return found

    def _pieces(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Runs of images that one slice along each axis of a grid can give."""
        if len(self.grid) == 1:
            yield first, last
            return
        n_columns = self.grid[1]
        while first < last:
            row, column = divmod(first, n_columns)
            if column == 0 and last - first >= n_columns:
                end = first + (last - first) // n_columns * n_columns
            else:
                end = min(last, (row + 1) * n_columns)
            yield first, end
            first = end

    def _piece(self, first: int, last: int, box: tuple[slice, slice]) -> Array:
        if len(self.grid) == 1:
            along = {"n": slice(first, last)}
        else:
            row, column = divmod(first, self.grid[1])
            n_rows = max(1, (last - first) // self.grid[1])
            whole = column == 0 and last - first == n_rows * self.grid[1]
            columns = slice(0, self.grid[1]) if whole else slice(column, column + last - first)
            along = {"y": slice(row, row + n_rows), "x": columns}
        along |= {"H": box[0], "W": box[1]}
        read = self.stored.read(*(along[letter] for letter in self.axes))
        order = [self.axes.index(letter) for letter in ("n" if "n" in self.axes else "yx") + "HW"]
        return read.transpose(order).reshape(last - first, *read.transpose(order).shape[-2:])


class Reading(NamedTuple):
    """How images become patterns."""

    window: Window
    dead: float | None = None
    saturation: float | None = None
    squares: bool = False
    """Whether binning adds up squares."""
    bad: Mask | None = None
    """(H, W), pixels whose values mean nothing, before cropping."""
    flags: tuple[float, ...] = ()
    """Values that are no measurement: a sum of pixels, one of which holds one, becomes the largest flag."""
    lowest: float = 0.0
    """Values from this one up to 0 are counts of 0, see `ptycho.formats.background`."""

    @property
    def marks_single_values(self) -> bool:
        """Whether values tell of pixels that mean nothing."""
        return self.dead is not None or self.saturation is not None

    def dtype(self, stored: np.dtype[Any]) -> np.dtype[Any]:
        """What patterns of such images are held in."""
        if self.window.bin > 1 and stored.itemsize <= 2:  # a sum may be larger than what such a dtype holds
            small = {"i": np.int32, "u": np.uint32}.get(stored.kind, np.float32)
            return np.dtype(np.float32 if self.squares else small)
        if self.window.bin > 1 and stored.kind in "iu":
            return np.dtype(np.float32 if self.squares else np.int64)
        return stored.newbyteorder("=")

    def patterns(self, block: Array) -> tuple[Array, Mask | None]:
        """Patterns of images read within the window's box, and what of each means nothing; None: nothing more."""
        marked: Mask = np.zeros(block.shape if self.marks_single_values else block.shape[-2:], bool)
        if self.dead is not None:
            marked |= block == self.dead
        if self.saturation is not None:
            marked |= block >= self.saturation
        silent = marked if self.bad is None else marked | self.bad[self.window.box]
        if self.lowest < 0:
            block = without_background(block, self.lowest, silent)
        lost = unmeasured_in(block, self.bad, self.window.box) if self.window.bin > 1 else {}
        if self.marks_single_values and lost:
            marked[[*lost]] = False
        hit = np.isin(block, self.flags) & ~silent
        hit[[*lost]] = False
        if silent.any() or hit.any():
            silent = silent | hit
            block = np.where(silent, np.zeros((), block.dtype), block)
        found = self.window.added_up(self.window.cut(block, 0), squares=self.squares)
        found = found.astype(self.dtype(block.dtype), copy=False)
        if hit.any():
            found[self.window.any_of(self.window.cut(hit, False))] = max(may_be_flags(found.dtype))
        for row, flag in lost.items():
            found[row] = flag if flag in may_be_flags(found.dtype) or not flag > 0 else _largest(found.dtype)
        return found, self.window.any_of(self.window.cut(marked, True)) if self.marks_single_values else None


def _largest(dtype: np.dtype[Any]) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else np.nan


class StoredFrames(StoredArray):
    """Patterns that stay in an HDF5 file of another layout; see `StoredArray`.

    Args:
        path: the file.
        identity: the state it must be in.
        images: where they are in it.
        reading: how they are read.
        silent: bool (N, N) or (n, N, N), pixels that are read as 0; None: none.
    """

    def __init__(
        self, path: Path, identity: Identity, images: Images, reading: Reading, silent: Mask | None = None
    ) -> None:
        n = reading.window.n_pixels
        self.dtype = reading.dtype(images.stored.dtype)
        self.shape = (len(images), n, n)
        self._path, self._identity, self._images, self._reading = path, identity, images, reading
        self._silent = silent
        self._process = os.getpid()

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        return f"StoredFrames({shape} {self.dtype}, {self._images.stored.name} in {self._path})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        images = (self._images.stored.name, self._images.axes, self._images.rows)
        return _reopened, (self._path, self._identity, *images, self._reading, self._silent)

    def silenced(self, pixels: Mask) -> "StoredFrames":
        """The same patterns with these pixels, bool (N, N) or (n, N, N), read as 0."""
        return StoredFrames(self._path, self._identity, self._images, self._reading, pixels)

    def taken(self, rows: npt.NDArray[np.int64]) -> "StoredFrames":
        """The patterns of some rows, int64 (k,), increasing."""
        own = self._images.taken(rows)
        return StoredFrames(self._path, self._identity, own, self._reading, self._silent_of(rows))

    def verified_blocks(self, n_rows: int) -> Iterator[tuple[int, Array]]:
        """Yield (first row, block) along the first axis; HDF5 itself compares the checksums that a file has."""
        for start in range(0, len(self), n_rows):
            yield start, self._read(np.arange(start, min(start + n_rows, len(self))))

    def _raw(self, rows: npt.NDArray[np.int64]) -> Array:
        if self._process != os.getpid():  # HDF5 is not to be shared with a forked process
            self._images = _images_in(
                self._path, self._images.stored.name, self._images.axes, self._images.rows
            )
            self._process = os.getpid()
        if Identity.of(self._path) != self._identity:
            expected, got = "the file as it was when it was opened", "one that has changed since then"
            advice = "Write a new scan under another name. Start again."
            raise DataError(problem("scan file", expected, got, self._path, advice))
        try:
            block = self._images.read(rows, self._reading.window.box)
        except (OSError, RuntimeError, ValueError) as error:
            raise unreadable(self._images.stored.name, error, self._path) from error
        return self._reading.patterns(block)[0]


def load(path: Path, images: Images, reading: Reading) -> tuple[Stack, Mask | None]:
    """Patterns, in memory where they fit well into it, and what of each means nothing by its values.

    Returns:
        Patterns (n, N, N), and a mask bool (n, N, N), or (N, N) where it is the same for all; None: nothing.

    Raises:
        DataError: they cannot be read.
    """
    n, side = len(images), reading.window.n_pixels
    dtype = reading.dtype(images.stored.dtype)
    n_bytes = n * side * side * dtype.itemsize
    most = min(IN_MEMORY[0] * available_bytes(), IN_MEMORY[1])
    fits = n_bytes < most or isinstance(images.stored.parts[0], np.ndarray)
    if not fits and not reading.marks_single_values:
        return _left_there(path, images, reading), None
    patterns = np.empty((n, side, side), dtype) if fits else None
    marks = np.zeros((n, side, side), bool) if reading.marks_single_values else None
    for start, block in blocks_of(path, images, reading.window.box, at_least=side**2):
        found, marked = reading.patterns(block)
        if patterns is not None:
            patterns[start : start + len(block)] = found
        if marks is not None and marked is not None:
            marks[start : start + len(block)] = marked
    if marks is not None and n and all((one == marks[0]).all() for one in marks):
        marks = marks[0] if marks[0].any() else None
    return _left_there(path, images, reading) if patterns is None else patterns, marks


def blocks_of(
    path: Path,
    images: Images,
    box: tuple[slice, slice],
    which: npt.NDArray[np.int64] | None = None,
    at_least: int = 1,
) -> Iterator[tuple[int, Array]]:
    """Yield (first, block) of images within a box, about `BLOCK_BYTES` each where an image comes to `at_least` pixels.

    Raises:
        DataError: they cannot be read.
    """
    which = np.arange(len(images)) if which is None else which
    pixels = (box[0].stop - box[0].start) * (box[1].stop - box[1].start)
    n_rows = max(1, BLOCK_BYTES // (max(pixels, at_least, 1) * images.stored.dtype.itemsize))
    for start in range(0, len(which), n_rows):
        try:
            yield start, images.read(which[start : start + n_rows], box)
        except (OSError, RuntimeError, ValueError) as error:
            raise unreadable(images.stored.name, error, path) from error


def unreadable(name: str, error: Exception, path: Path) -> DataError:
    """The error of values that HDF5 cannot read."""
    advice = "Copy the file again from where it was written, or install the HDF5 filter it needs."
    return DataError(problem(name, "a readable dataset", f"'{error}'", path, advice))


def _left_there(path: Path, images: Images, reading: Reading) -> StoredFrames:
    own = _images_in(path, images.stored.name, images.axes, images.rows)
    return StoredFrames(path, Identity.of(path), own, reading)


def _images_in(path: Path, name: str, axes: str, rows: npt.NDArray[np.int64] | None) -> Images:
    return Images(open_tree(path).stored(name), axes, rows)


def _reopened(
    path: Path,
    identity: Identity,
    name: str,
    axes: str,
    rows: npt.NDArray[np.int64] | None,
    reading: Reading,
    silent: Mask | None,
) -> StoredFrames:
    return StoredFrames(path, identity, _images_in(path, name, axes, rows), reading, silent)
