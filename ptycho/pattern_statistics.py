"""What is found in a stack of patterns: in one pass over all of them, block by block, and in a sample of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ptycho.stored_array import Array, Stack, StoredArray

Mask = npt.NDArray[np.bool_]

BLOCK_BYTES = 16 * 2**20
"""Size of the blocks in which large arrays are read."""

SAMPLE: Final = 64
"""Patterns of a scan that are looked at together."""

LARGEST_INTEGERS: Final = (2**16 - 1, 2**31 - 1, 2**32 - 1)
"""Values that whole numbers stored as floats have where an integer was the largest of its kind."""

ISOLATED: Final = 0.5
"""Where nothing between this part of the largest value and that value occurs, it is a flag and no measurement."""

FEWEST_TRIPLES: Final = 500
"""Neighbouring pixels with light in them, from which their noise is told."""

MEDIAN_OF_SQUARE: Final = 0.4549
"""Median of the square of a normal number."""


@dataclass
class Summary:
    """Statistics of a stack of images over its finite blocks (rows: index along the first axis).

    Attributes:
        n_not_finite, first_not_finite_row: NaN and infinite values.
        minimum, minimum_row, maximum: of the values that are no flags.
        total, total_square: sums over all values that are no flags.
        whole: whether all values outside the ignored pixels are whole numbers.
        flag: the largest value that the dtype has, where it occurs; else None.
        flagged: bool (N, N), pixels that hold the flag instead of a measurement; None: none.
        n_saturated: values at the flag that are measurements, as far as the values tell.
    """

    n_not_finite: int = 0
    first_not_finite_row: int = -1
    minimum: float = np.inf
    minimum_row: int = -1
    maximum: float = -np.inf
    total: float = 0.0
    total_square: float = 0.0
    whole: bool = True
    flag: float | None = None
    flagged: Mask | None = None
    n_saturated: int = 0


def blocks(array: Stack) -> Iterator[tuple[int, Array]]:
    """Yield (first row, block) along the first axis, about `BLOCK_BYTES` each.

    Raises:
        DataError: at the end, where the array is in a file whose bytes are damaged.
    """
    n_rows = max(1, BLOCK_BYTES // max(1, array.nbytes // max(1, len(array))))
    if isinstance(array, StoredArray):
        yield from array.verified_blocks(n_rows)
        return
    for start in range(0, len(array), n_rows):
        yield start, np.asarray(array[start : start + n_rows])


def summarize(array: Stack, ignored: Mask | None = None) -> Summary:
    """Reduce a real stack of rank >= 1 to its `Summary`, block by block, in float64.

    Args:
        array: real (n, ...).
        ignored: bool, a pattern's shape or all of it: pixels whose values mean nothing.

    Raises:
        DataError: the array is in a file whose bytes are damaged.
    """
    summary = Summary()
    hits = np.zeros(array.shape[1:], dtype=np.int64)
    for start, block in blocks(array):
        if block.size == 0 or _not_finite(summary, start, block):
            continue
        meant = block
        if ignored is not None:
            meant = np.where(
                ignored if ignored.ndim < block.ndim else ignored[start:][: len(block)], 0, block
            )
        summary.whole = summary.whole and _is_whole(meant)
        flag = _largest_of_its_kind(meant, summary.whole)
        if flag is not None:
            summary.flag = flag
            hit = meant == flag
            hits += hit.sum(axis=0)
            block = np.where(hit, 0, block)
        _add(summary, start, block)
    return _judge_flags(summary, hits, len(array))


def sample_of(array: Stack, ignored: Mask | None = None) -> Array:
    """Up to `SAMPLE` evenly spaced patterns, float64 (k, N, N); pixels that are ignored are 0."""
    rows = np.unique(np.linspace(0, len(array) - 1, SAMPLE).astype(np.int64))
    sample: Array = np.asarray(array[rows]).astype(np.float64)
    if ignored is not None:
        sample[np.broadcast_to(ignored if ignored.ndim == 2 else ignored[rows], sample.shape)] = 0
    return sample


def noise_over_mean(sample: Array) -> float | None:
    """Variance of the noise over the mean, from how much pixels differ from both their neighbours.

    Counts have 1 or more, whatever the pattern; rounded square roots of counts much less. The differences of three
    pixels in a row hold the noise and what the pattern has of curvature, so the value is an upper bound.

    Args:
        sample: (k, N, N).

    Returns:
        None where too few pixels hold enough light to tell.
    """
    found: list[Array] = []
    for axis in (1, 2):
        lines = np.moveaxis(sample, axis, 2)
        before, here, after = lines[..., :-2], lines[..., 1:-1], lines[..., 2:]
        mean = (before + here + after) / 3
        lit = mean >= 2
        found.append(((before - 2 * here + after)[lit] ** 2 / 6) / mean[lit])
    ratios = np.concatenate(found)
    return float(np.median(ratios)) / MEDIAN_OF_SQUARE if len(ratios) >= FEWEST_TRIPLES else None


def shares(image: Array) -> tuple[float, float]:
    """Which parts of an image (N, N) >= 0 lie in its central half, and in that of the image in FFT order."""
    total = float(image.sum()) or 1.0
    quarter = image.shape[-1] // 4
    inner = slice(quarter, image.shape[-1] - quarter)
    return float(image[inner, inner].sum()) / total, float(np.fft.fftshift(image)[inner, inner].sum()) / total


def _not_finite(summary: Summary, start: int, block: Array) -> bool:
    """Count what is not finite in a block; whether there is anything."""
    if block.dtype.kind != "f":
        return False
    finite = np.isfinite(block.reshape(len(block), -1))
    n_bad = int(finite.size - np.count_nonzero(finite))
    if n_bad and not summary.n_not_finite:
        summary.first_not_finite_row = start + int(np.argmin(finite.all(axis=1)))
    summary.n_not_finite += n_bad
    return n_bad > 0


def _is_whole(block: Array) -> bool:
    if block.dtype.kind != "f":
        return True
    first = block[0]  # most stacks that are not whole show it at once
    return bool((first == np.rint(first)).all()) and bool((block == np.rint(block)).all())


def _largest_of_its_kind(block: Array, whole: bool) -> float | None:
    """The largest value that the dtype has, where it occurs in a block."""
    largest = float(block.max())
    if block.dtype.kind in "iu":
        return largest if largest == float(np.iinfo(block.dtype).max) else None
    known = [float(block.dtype.type(value)) for value in LARGEST_INTEGERS]
    return largest if whole and largest in known else None


def _add(summary: Summary, start: int, block: Array) -> None:
    rows = block.reshape(len(block), -1)
    smallest = float(rows.min())
    if smallest < summary.minimum:
        summary.minimum, summary.minimum_row = smallest, start + int(np.argmin(rows.min(axis=1)))
    summary.maximum = max(summary.maximum, float(rows.max()))
    summary.total += float(rows.sum(dtype=np.float64))
    summary.total_square += float(np.einsum("ij,ij->", rows, rows, dtype=np.float64, casting="unsafe"))


def _judge_flags(summary: Summary, hits: Array, n: int) -> Summary:
    """Tell flags, which hold no measurement, from pixels that saturate now and then."""
    if summary.flag is None:
        return summary
    isolated = summary.maximum < ISOLATED * summary.flag
    flagged = (hits > 0) if isolated and n > 2 else (hits == n) & (n > 2)
    summary.n_saturated = int(hits[~flagged].sum())
    summary.flagged = flagged if flagged.any() else None
    summary.total += summary.n_saturated * summary.flag
    summary.total_square += summary.n_saturated * summary.flag**2
    if summary.n_saturated:
        summary.maximum = summary.flag
    return summary
