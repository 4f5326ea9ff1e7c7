"""Counts below 0, as they remain where a background was taken off, and the flags that detectors write."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from ptycho.detector_gaps import FLAGS, LARGEST_INTEGERS, may_be_flags
from ptycho.pattern_statistics import UNRELIABLE, Mask, Summary
from ptycho.pixel_verdicts import of_flags
from ptycho.stored_array import Array
from ptycho.verdict import Verdict

BELOW_ZERO: Final = Verdict(
    "below_zero", "warning", None, "",
    "patterns have values below 0, as where a background was taken off: 0 is taken for them",
    "Leave the background in counts for a better picture.",
)  # fmt: skip

MOST: Final = 0.9
"""Part of the images from which on a pixel holds a flag, and of the pixels from which on an image was not measured:
noise around 0 is less often one of the flags."""

SCATTERED: Final = (0.5, 0.05, 0.7)
"""Part of the dark pixels that the values of a background are in, when they are those of flags; the share of the images
in which it is below 0 in each, at least; and the share of such pixels beside which the next one is below 0 as well, at
most: flags are in fixed pixels, or in blocks of few images."""

LARGEST: Final = 0.5
"""Part of the largest count that no background exceeds, as integers that ran over and values that mark pixels do."""

MARGIN: Final = 2.0
"""Times that the lowest value of all images may be that of those that are looked at."""

_TOPS: Final = tuple(float(value - less) for value in LARGEST_INTEGERS for less in (0, 1))


class Background(NamedTuple):
    """What a background that was taken off leaves."""

    lowest: float
    """Values from this one up to 0 are counts of 0."""
    flagged: Mask | None
    """bool (H, W), pixels that hold a flag of the detector in most images; None: none."""
    flags: tuple[float, ...]
    """The values that are flags, ascending."""


def background_of(seen: Array, silent: Mask, *, are_counts: bool) -> Background | None:
    """Whether a background was taken off some images; None where nothing is below 0, or something else.

    Args:
        seen: real (k, H, W), as they are in a file.
        silent: bool (k, H, W), pixels without a measurement.
        are_counts: whether that is stated; otherwise whole numbers are.
    """
    if not (seen < 0).any():
        return None
    known = ~silent & np.isfinite(seen)
    hit = known & is_flag(seen)
    flagged = hit.mean(axis=0) > MOST
    hit &= ~flagged
    known &= ~flagged
    known &= ~_unmeasured(hit, known)
    counts = seen[known]
    low = counts[counts < 0]
    if not len(low) or not (are_counts or _is_whole(counts).all()):
        return None
    top = counts[~np.isin(counts, _TOPS)].max()
    bound, parts = -LARGEST * float(top), low[~_is_whole(low)]
    if not len(parts) and float(low.min()) < bound:
        return None
    if not len(parts) and (low.min() == low.max() or is_flag(low).all()) and not _is_scattered(seen, known):
        return None
    lowest = min(bound, MARGIN * float(parts.min(initial=0)))
    held = seen[:, flagged]
    flags = tuple(float(flag) for flag in np.unique(held[is_flag(held)]))
    return Background(lowest, flagged if flags else None, flags)


def without_background(block: Array, lowest: float, silent: Mask) -> Array:
    """Images (k, h, w) with 0 for values below 0, except in those that were not measured, which hold flags.

    Args:
        block: real (k, h, w).
        lowest: as of `Background`.
        silent: bool (k, h, w) or (h, w), pixels without a measurement.
    """
    low = (block < 0) & (block >= lowest)
    if low.any():
        low &= ~_unmeasured(is_flag(block) & ~silent, np.broadcast_to(~silent, block.shape))
    return np.where(low, np.zeros((), block.dtype), block)


def of_counts_below(found: Background, flagged: Mask | None, dtype: str) -> Iterator[Verdict]:
    """That a background was taken off, and the flags of the detector that stand beside its values.

    Args:
        found: what it leaves.
        flagged: bool, pixels that are used and hold such flags; None: none.
        dtype: the name of the dtype of the patterns.
    """
    yield BELOW_ZERO
    if flagged is not None and flagged.any():
        yield from of_flags(Summary(flagged=flagged, flags=found.flags), dtype)


def _unmeasured(hit: Mask, known: Mask) -> Mask:
    """Which images hold flags in most of the pixels that are known, bool (k, 1, 1)."""
    n_hit, n_known = (np.count_nonzero(one, axis=(1, 2), keepdims=True) for one in (hit, known))
    return np.asarray(n_hit > MOST * n_known)


def _is_scattered(seen: Array, known: Mask) -> bool:
    """Whether values below 0 are in most dark pixels, in some images each, and next to others."""
    part, least, most_beside = SCATTERED
    low, n_known = known & (seen < 0), known.sum(axis=0)
    dark = (known & (seen <= 0)).any(axis=0)
    share = low.sum(axis=0) / np.maximum(1, n_known)
    varies = (share >= least) & (share <= MOST)
    n_pairs = np.count_nonzero(low[..., :-1] & known[..., 1:])
    n_beside = np.count_nonzero(low[..., :-1] & low[..., 1:])
    return bool(varies.sum() > part * dark.sum() and n_beside <= most_beside * n_pairs)


def is_flag(values: Array) -> Mask:
    """Which values detectors write below 0 without a measurement."""
    return (values == FLAGS[0]) | (values == FLAGS[1])


def _is_whole(values: Array) -> Mask:
    return values == np.rint(values)


def unmeasured_in(block: Array, bad: Mask | None, box: tuple[slice, slice]) -> dict[int, float]:
    """Which of images (k, h, w) hold a flag of the detector in most pixels, and that flag; NaN: no number.

    Args:
        block: real, as they are in the file.
        bad: (H, W), pixels of the whole image that tell nothing; None: there are none.
        box: where the images are in it.
    """
    large = [*may_be_flags(block.dtype)]
    tops, lows = block.max(axis=(1, 2), initial=0), block.min(axis=(1, 2), initial=0)
    found: dict[int, float] = {}
    for row in np.flatnonzero(np.isin(tops, large) | ~(lows >= 0) | ~(tops < np.inf)):
        values = block[row] if bad is None else block[row][~bad[box]]
        hit = is_flag(values) | ~np.isfinite(values) | np.isin(values, large)
        if np.count_nonzero(hit) > UNRELIABLE * values.size:
            held = np.sort(values[hit])
            found[int(row)] = float(held[len(held) // 2])
    return found
