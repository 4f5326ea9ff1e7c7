"""Values that detectors mark pixels with: numbers below 0, NaN, infinite ones, and the largest of an integer."""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ptycho.logarithms import logarithm_of, undone
from ptycho.stored_array import Array

FLAGS: Final = (-2.0, -1.0, math.nan)
"""What detectors write where they measure nothing; the last stands for all that is not finite."""

LARGEST_INTEGERS: Final = (2**16 - 1, 2**31 - 1, 2**32 - 1)
"""Largest integers of a kind, in whatever type they are stored now: detectors mark a pixel with one of them, and with
one less."""

FEWEST: Final = 3
"""With fewer images a pixel that has such a value in all of them is not told from one that has it by chance."""


SCATTERED: Final = (2, 0.05, 0.7)
"""Number and share of the images in which a pixel is below 0, as half of those that ever are, from which on such values
may be a background; and the share of them beside which the next pixel is below 0 as well, up to which they are: flags
form blocks."""


def advice_on(value: float | None) -> str:
    """What to do about values below 0 that are no gap of the detector.

    Args:
        value: that all of them have, and a detector may write; None: there is none.
    """
    if value is None or value != round(value):
        return (
            "If a background was taken off counts, set measurement_domain to intensity, or these values to 0. "
            "Mark pixels without a measurement (mask_file)."
        )
    return (
        f"If it marks pixels without a measurement, set dead_value to {value:g}, or name a mask (mask_file)."
    )


def advice_on_not_finite(values: Array) -> str:
    """What to do about values that are not finite and no gap of the detector.

    Args:
        values: (k, ...), some images.
    """
    if np.isneginf(values).any() and (name := logarithm_of(values)):
        return f"These are logarithms of counts ({name}), of which those of 0 are infinite. {undone(name)}."
    return "Mark such pixels as bad (mask_file), or leave the patterns out."


def may_be_flags(dtype: np.dtype[Any]) -> dict[float, bool]:
    """Large values that may be flags in this dtype, and whether an integer of some kind has no larger one."""
    known: dict[float, bool] = {value - less: not less for less in (1, 0) for value in LARGEST_INTEGERS}
    if dtype.kind == "f":
        return {
            float(dtype.type(value)): top
            for value, top in known.items()
            if value <= float(np.finfo(dtype).max)
        }
    most = int(np.iinfo(dtype).max)
    return {value: top for value, top in known.items() if value <= most} | {most: True}


def is_sound(block: Array) -> bool:
    """Whether every value is finite and 0 or more."""
    return not block.size or (float(block.min()) >= 0 and float(block.max()) < np.inf)


class Gaps:
    """Looks for such values in images, block by block, and tells the gaps of a detector from what is wrong.

    Args:
        shape: of one image.
        n: number of images.

    Attributes:
        n_flags: how many of the flags each image has, int64 (n,).
    """

    def __init__(self, shape: tuple[int, ...], n: int) -> None:
        self._shape = shape
        self.n_flags = np.zeros(n, dtype=np.int64)
        self._hits = np.zeros((len(FLAGS), 0), np.int32)  # in how many images each pixel has each flag
        self._beside = np.zeros(0)  # of each pixel, in how many images it and the next one are below 0
        self._lowest = self._row = np.zeros(0)  # of each pixel, and the first image that has it
        self._highest = np.zeros(0)  # of each pixel, of its values below 0; -inf where it has none
        self._first = np.zeros(0)  # of each pixel, the first image in which it is not finite

    def taken_out(self, first_row: int, block: Array) -> Array:
        """A block of images with 0 in place of these values, which are counted."""
        if is_sound(block):
            return block
        if not self._hits.size:
            self._hits = np.zeros((len(FLAGS), *self._shape), np.int32)
            self._beside = np.zeros(self._shape, np.int32)
            self._lowest, self._row = np.zeros(self._shape), np.zeros(self._shape, np.int64)
            self._highest = np.full(self._shape, -np.inf)
            self._first = np.full(self._shape, np.iinfo(np.int64).max)
        finite, zero = np.isfinite(block), np.zeros((), block.dtype)
        low = np.where(finite & (block < 0), block, zero)
        for hits, flag in zip(self._hits, FLAGS, strict=True):
            hit = ~finite if math.isnan(flag) else low == flag
            hits += np.count_nonzero(hit, axis=0)
            self.n_flags[first_row : first_row + len(block)] += np.count_nonzero(
                hit.reshape(len(block), -1), axis=1
            )
        self._beside[..., :-1] += np.count_nonzero((low[..., :-1] < 0) & (low[..., 1:] < 0), axis=0)
        lower = low.min(axis=0) < self._lowest
        self._lowest = np.where(lower, low.min(axis=0), self._lowest)
        self._row = np.where(lower, first_row + low.argmin(axis=0), self._row)
        self._highest = np.maximum(self._highest, np.where(low < 0, low, -np.inf).max(axis=0))
        self._first = np.where(
            finite.all(axis=0), self._first, np.minimum(self._first, first_row + finite.argmin(axis=0))
        )
        return np.where(finite & (block >= 0), block, zero)

    def found(self, n: int) -> tuple[npt.NDArray[np.bool_], tuple[float, ...]]:
        """Pixels that hold a flag in all of `n` images, bool of the shape of one (or none at all), and the flags."""
        gap = (self._hits.sum(axis=0) == n) & (n >= FEWEST)
        return gap, tuple(flag for flag, hits in zip(FLAGS, self._hits, strict=True) if hits[gap].any())

    def not_finite(self, gap: npt.NDArray[np.bool_]) -> tuple[int, int]:
        """How many values outside of gaps are not finite, and the first image that has one, or -1."""
        n_bad = int(self._hits[-1][~gap].sum())
        return n_bad, int(self._first[~gap].min()) if n_bad else -1

    def lowest(self, gap: npt.NDArray[np.bool_]) -> tuple[float, int]:
        """The lowest value outside of gaps, at most 0, and the first image that has it."""
        outside = np.where(gap, 0, self._lowest)
        at = np.unravel_index(outside.argmin(), outside.shape) if outside.size else None
        return (0.0, -1) if at is None else (float(outside[at]), int(self._row[at]))

    def only(self, gap: npt.NDArray[np.bool_]) -> float | None:
        """The value that all values below 0 outside of gaps have; None: none, others, or it may be a background."""
        low = ~gap & (self._lowest < 0)
        lowest, highest = self._lowest[low].min(initial=0), self._highest[low].max(initial=-np.inf)
        if lowest != highest or self._is_scattered(low):
            return None
        return float(lowest)

    def _is_scattered(self, low: npt.NDArray[np.bool_]) -> bool:
        """Whether flags below 0 of these pixels come and go from image to image and from pixel to pixel."""
        n_least, part, most = SCATTERED
        hits = self._hits[:-1].sum(axis=0)[low]
        if not hits.any() or np.median(hits) < max(n_least, part * len(self.n_flags)):
            return False
        return bool(self._beside[low].sum() <= most * hits.sum())
