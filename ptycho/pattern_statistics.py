"""What is found in a stack of patterns: in one pass over all of them, block by block, and in a sample of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ptycho.detector_gaps import Gaps, is_sound, may_be_flags
from ptycho.stored_array import Array, Stack, StoredArray, taken

Mask = npt.NDArray[np.bool_]

BLOCK_BYTES = 16 * 2**20
"""Size of the blocks in which large arrays are read."""

SAMPLE: Final = 64
"""Patterns of a scan that are looked at together."""

LOOKED_AT = 128 * 2**20
"""Bytes of patterns that are enough to tell of a scan, where not all of them are to be read."""

RUNS: Final = 32
"""Runs of neighbouring patterns that these consist of."""

N_CENTRAL: Final = 48
"""Patterns around the middle of a scan that are looked at together."""

ISOLATED: Final = 0.5
"""Where nothing between this part of the largest value and that value occurs, it is a flag and no measurement."""

UNRELIABLE: Final = 0.5
"""Share of the patterns from which on a pixel that holds a flag in them is not relied on in the others."""

FEW_STRAY: Final = 0.01
"""Share of the pixels, and of the light, up to which those that ever hold a flag are given up in all patterns: masks of
patterns take more memory than they are worth."""

FEWEST_IMAGES: Final = 5
"""With fewer images one of them is not told from the others."""

USUAL: Final = 0.1
"""Quantile of how much of an image is no measurement: as much is none in all, where so few images were measured."""

FEWEST_TRIPLES: Final = 500
"""Neighbouring pixels with light in them, from which their noise is told."""

MEDIAN_OF_SQUARE: Final = 0.4549
"""Median of the square of a normal number."""


@dataclass
class Summary:
    """Statistics of a stack of images outside its ignored pixels (rows: index along the first axis).

    Attributes:
        n_not_finite, first_not_finite_row: NaN and infinite values that are no flags.
        minimum, minimum_row: of the values that are no flags.
        negative: the value that all of these that are below 0 have; None: there are none, or others.
        maximum, total, total_square: of the values that are no flags and >= 0.
        whole: whether all these are whole numbers.
        hides: whether ignored pixels hold values below 0, or some that are not finite.
        frame_total, frame_square: of these values in each image, and of their squares, float64 (n,).
        top, top_row: the largest value of each pixel, float64 (N, N), and the first row that has it, int64.
        light: of each pixel, the sum of these values, float64 (N, N).
        hits: of each value that may be a flag, in how many patterns each pixel has it, int64 (N, N).
        frame_hits: of each such value, how many pixels of each image have it, int64 (n,).
        flags: the values that are flags, ascending.
        flagged: bool (N, N), pixels that hold a flag instead of a measurement, in all patterns or so often that they
            are not relied on; None: none.
        partly, partly_rows: those that do so in some patterns alone, bool (N, N) or None; these patterns, int64 (k,).
        stray, n_stray: the lowest flag that other pixels hold in some patterns, from which on nothing is a
            measurement, and how many values are such; None: there is none.
        saturated: the largest value of an integer, where it is a measurement as far as the values tell; else None.
        n_saturated: how many values are that.
        unmeasured: int64 (k,), images that hold such values in most pixels, as others do not: they enter nothing
            above, and their totals are 0.
        unmeasured_value: the one that most pixels of the first of them hold; NaN: no number, or there is none.
    """

    n_not_finite: int = 0
    first_not_finite_row: int = -1
    minimum: float = np.inf
    minimum_row: int = -1
    negative: float | None = None
    maximum: float = -np.inf
    total: float = 0.0
    total_square: float = 0.0
    whole: bool = True
    hides: bool = False
    frame_total: Array = field(default_factory=lambda: np.zeros(0))
    frame_square: Array = field(default_factory=lambda: np.zeros(0))
    top: Array = field(default_factory=lambda: np.zeros(0))
    top_row: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    light: Array = field(default_factory=lambda: np.zeros(0))
    hits: dict[float, Array] = field(default_factory=dict[float, Array])
    frame_hits: dict[float, Array] = field(default_factory=dict[float, Array])
    flags: tuple[float, ...] = ()
    flagged: Mask | None = None
    partly: Mask | None = None
    partly_rows: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    stray: float | None = None
    n_stray: int = 0
    saturated: float | None = None
    n_saturated: int = 0
    unmeasured: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    unmeasured_value: float = np.nan


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


def central_rows(positions_px: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The patterns nearest to the middle of a scan, at most `N_CENTRAL`: int64 (k,), increasing.

    Args:
        positions_px: float64 (n, 2).
    """
    distance = ((positions_px - np.median(positions_px, axis=0)) ** 2).sum(axis=1)
    return np.sort(np.argsort(distance, kind="stable")[:N_CENTRAL])


def some_rows(
    positions_px: npt.NDArray[np.float64], row_bytes: int, n_at_once: int = 1
) -> npt.NDArray[np.int64] | None:
    """Runs of patterns that are evenly spread over a scan, and those in its middle, unless they are too large.

    Args:
        positions_px: float64 (n, 2).
        row_bytes: bytes of a pattern.
        n_at_once: patterns that a file holds in one piece; whole pieces are taken.

    Returns:
        int64 (k,), increasing; None: all of them.
    """
    n = len(positions_px)
    if n * row_bytes <= LOOKED_AT:
        return None
    n_pieces = math.ceil(n / n_at_once)
    n_read = max(2, LOOKED_AT // (n_at_once * row_bytes))
    n_runs = min(RUNS, n_read)
    length = n_read // n_runs
    if n_runs * length >= n_pieces:
        return None
    firsts = np.linspace(0, n_pieces - length, n_runs).astype(np.int64)
    pieces = np.unique(firsts[:, None] + np.arange(length))
    central = np.unique(central_rows(positions_px) // n_at_once)
    if len(central) * n_at_once * row_bytes <= LOOKED_AT:
        pieces = np.union1d(pieces, central)
    rows = (pieces[:, None] * n_at_once + np.arange(n_at_once)).reshape(-1)
    return rows[rows < n]


def summarize(array: Stack, ignored: Mask | None = None, *, with_gaps: bool = True) -> Summary:
    """Reduce a real stack of rank >= 1 to its `Summary`, block by block, in float64.

    Args:
        array: real (n, ...).
        ignored: bool, a pattern's shape or all of it: pixels whose values mean nothing.
        with_gaps: whether pixels may hold what detectors write without a measurement, and whole images as well.

    Raises:
        DataError: the array is in a file whose bytes are damaged.
    """
    summary, n_silent = _read(array, ignored, with_gaps=with_gaps)
    lost = _unmeasured(n_silent / np.maximum(1, _n_used(array.shape, ignored)))
    if not with_gaps or not len(lost):
        return summary
    n, rows = len(array), np.delete(np.arange(len(array)), lost)
    first, of_first = np.asarray(array[int(lost[0])]), ignored
    if ignored is not None and ignored.ndim == len(array.shape):
        of_first, ignored = ignored[lost[0]], ignored[rows]
    held = np.sort(first if of_first is None else first[~of_first], axis=None)
    others, _ = _read(taken(array, rows), ignored)
    totals, squares = np.zeros(n), np.zeros(n)
    totals[rows], squares[rows] = others.frame_total, others.frame_square
    return replace(
        others,
        first_not_finite_row=_of_all(rows, others.first_not_finite_row),
        minimum_row=_of_all(rows, others.minimum_row),
        frame_total=totals,
        frame_square=squares,
        top_row=rows[others.top_row],
        partly_rows=rows[others.partly_rows],
        unmeasured=lost,
        unmeasured_value=float(held[len(held) // 2]),
    )


def _of_all(rows: Array, row: int) -> int:
    """A row among some, as one among all; -1 stays."""
    return row if row < 0 else int(rows[row])


def _n_used(shape: tuple[int, ...], ignored: Mask | None) -> int | Array:
    """How many values of each image, or of all, are not ignored."""
    n = int(np.prod(shape[1:]))
    if ignored is None:
        return n
    own = ignored.reshape(-1, n) if ignored.ndim == len(shape) else ignored.reshape(1, n)
    return n - np.count_nonzero(own, axis=1)


def _unmeasured(shares: Array) -> Array:
    """Images of which most values are no measurement while those of others are, by their share: int64 (k,)."""
    usual = np.quantile(shares, USUAL) if len(shares) >= FEWEST_IMAGES else 1.0
    return np.flatnonzero(shares - usual > 0.5)


def _read(array: Stack, ignored: Mask | None, *, with_gaps: bool = True) -> tuple[Summary, Array]:
    """The `Summary` of a stack, and how many values of each image may be no measurement, int64 (n,)."""
    n, shape = len(array), array.shape[1:]
    summary = Summary(
        frame_total=np.zeros(n),
        frame_square=np.zeros(n),
        top=np.full(shape, -np.inf),
        top_row=np.zeros(shape, dtype=np.int64),
        light=np.zeros(shape),
    )
    gaps = Gaps(shape, n)
    for start, block in blocks(array):
        if block.size == 0:
            continue
        meant = block
        if ignored is not None:
            meant = np.where(
                ignored if ignored.ndim < block.ndim else ignored[start:][: len(block)], 0, block
            )
            summary.hides = summary.hides or not is_sound(block)
        meant = gaps.taken_out(start, meant)
        summary.whole = summary.whole and _is_whole(meant)
        _add(summary, start, _without_flags(summary, start, meant))
    _judge_gaps(summary, gaps, n if with_gaps else 0)
    n_silent = sum(summary.frame_hits.values(), gaps.n_flags)
    return _judge_flags(summary, array), n_silent


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


def shares(image: Array) -> tuple[float, float, float, float]:
    """Which parts of an image (N, N) >= 0 lie in its central half, as it is and in FFT order of (rows, columns).

    Returns:
        As it is; with both axes, the rows alone, and the columns alone in FFT order. They add up to 1.
    """
    total = float(image.sum()) or 1.0
    quarter = image.shape[-1] // 4
    inner = np.zeros(image.shape[-1], dtype=bool)
    inner[quarter : image.shape[-1] - quarter] = True
    parts = ((inner, inner), (~inner, ~inner), (~inner, inner), (inner, ~inner))
    as_it_is, both, rows, columns = (float(image[np.ix_(*part)].sum()) / total for part in parts)
    return as_it_is, both, rows, columns


def brightest_neighbor(image: Array, rank: int = 1) -> Array:
    """The largest of the 8 neighbours of each pixel of an image (N, N), across its edges; or that of another rank."""
    steps = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]
    largest: list[Array] = []  # of each pixel, the first `rank`
    for step in steps:
        rest = np.roll(image, step, axis=(0, 1))
        for k, one in enumerate(largest):
            largest[k], rest = np.maximum(one, rest), np.minimum(one, rest)
        if len(largest) < rank:
            largest.append(rest)
    return largest[-1]


def _is_whole(block: Array) -> bool:
    if block.dtype.kind != "f":
        return True
    first = block[0]  # most stacks that are not whole show it at once
    return bool((first == np.rint(first)).all()) and bool((block == np.rint(block)).all())


def _without_flags(summary: Summary, start: int, block: Array) -> Array:
    """A block with 0 in place of what may be flags, which are counted: the largest, or most of an image."""
    n, of_image = len(block), tuple(range(1, block.ndim))
    tops = block.max(axis=of_image)
    for flag in sorted(may_be_flags(block.dtype), reverse=True):
        if not (tops == flag).any():
            continue
        hit = block == flag
        if flag < tops.max():
            hit[hit.mean(axis=of_image) <= UNRELIABLE] = False
        summary.hits[flag] = summary.hits.get(flag, 0) + hit.sum(axis=0)
        of_frames = summary.frame_hits.setdefault(flag, np.zeros(len(summary.frame_total), dtype=np.int64))
        of_frames[start : start + n] = hit.reshape(n, -1).sum(axis=1)
        block = np.where(hit, np.zeros((), block.dtype), block)
        tops = block.max(axis=of_image)
    return block


@np.errstate(over="ignore")  # the largest value tells
def _add(summary: Summary, start: int, meant: Array) -> None:
    summary.minimum = min(summary.minimum, float(meant.min()))
    rows = meant.reshape(len(meant), -1)
    summary.maximum = max(summary.maximum, float(rows.max()))
    here = slice(start, start + len(meant))
    summary.frame_total[here] = rows.sum(axis=1, dtype=np.float64)
    summary.frame_square[here] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64, casting="unsafe")
    summary.total += float(summary.frame_total[here].sum())
    summary.total_square += float(summary.frame_square[here].sum())
    summary.light += meant.sum(axis=0, dtype=np.float64)
    largest = meant.max(axis=0)
    higher = largest > summary.top
    summary.top = np.where(higher, largest, summary.top)
    summary.top_row = np.where(higher, start + meant.argmax(axis=0), summary.top_row)


def _judge_gaps(summary: Summary, gaps: Gaps, n: int) -> None:
    """Tell gaps of the detector from values that no measurement has."""
    gap, flags = gaps.found(n)
    if flags:
        summary.flagged, summary.flags = gap, flags
    summary.n_not_finite, summary.first_not_finite_row = gaps.not_finite(gap)
    lowest, row = gaps.lowest(gap)
    if lowest < 0:
        summary.minimum, summary.minimum_row, summary.negative = lowest, row, gaps.only(gap)


def _are_few(pixels: Mask, light: Array) -> bool:
    """Whether little is lost without these pixels, by the light of each."""
    return float(max(pixels.mean(), light[pixels].sum() / max(light.sum(), 1))) <= FEW_STRAY


def _judge_flags(summary: Summary, array: Stack) -> Summary:
    """Tell flags, which hold no measurement, from pixels that saturate now and then, and from counts by chance."""
    n, candidates = len(array), may_be_flags(array.dtype) if summary.hits else {}
    for flag, hits in sorted(summary.hits.items()):
        value = float(flag)  # squares of the largest integers are none of 64 bits
        isolated = n > 2 and summary.maximum < ISOLATED * value
        flagged, everywhere = (hits >= (UNRELIABLE * n if isolated else n)) & (n > 2), hits == n
        if isolated and _are_few(hits > 0, summary.light):
            flagged = hits > 0
        if (partly := flagged & ~everywhere).any():
            rows = np.flatnonzero(summary.frame_hits[flag] > np.count_nonzero(everywhere))
            summary.partly = partly if summary.partly is None else summary.partly | partly
            summary.partly_rows = np.union1d(summary.partly_rows, rows)
        n_others = int(hits[~flagged].sum())
        n_measured = 0 if isolated else n_others
        if flagged.any():
            summary.flagged = flagged if summary.flagged is None else summary.flagged | flagged
            summary.flags = (*summary.flags, flag)
        if isolated and n_others:
            summary.stray = value if summary.stray is None else summary.stray
            summary.n_stray += n_others
        if n_measured:
            of_frames = summary.frame_hits[flag] - int(np.count_nonzero(flagged))
            summary.frame_total += of_frames * value
            summary.frame_square += of_frames * value**2
            summary.total += n_measured * value
            summary.total_square += n_measured * value**2
            summary.maximum = max(summary.maximum, value)
        if n_measured and candidates[flag] and summary.whole and value == summary.maximum:
            summary.saturated, summary.n_saturated = flag, n_measured
    return summary
