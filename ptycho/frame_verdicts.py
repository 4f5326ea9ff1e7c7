"""What the totals of the patterns tell: photons, patterns without light, a beam that fades."""

import math
from collections.abc import Iterator
from typing import Any, Final, cast

import numpy as np
from scipy import spatial  # pyright: ignore[reportMissingTypeStubs]

from ptycho.pattern_statistics import Summary
from ptycho.pixel_verdicts import as_in_file
from ptycho.stored_array import Array, Stack
from ptycho.verdict import Verdict

FEWEST: Final = 5
"""With fewer patterns single ones are not judged."""

EMPTY: Final = (0.75, 0.03)
"""Quantile of the light of lit patterns, and the share of it below which a pattern is empty."""

SPREAD: Final = 10
"""Pixels that share the light of a pattern, at least, before it counts as lit, where most of those with counts are
so: a hit of a cosmic ray is no light."""

BRIGHT: Final = (6.0, 8, (2, 4))
"""How many times the light of a pattern is that of the one with such a rank among so many neighbours in space, from
which on it was not measured as they were: a pinhole gives 5 where half of a beam overlaps, at the first rank; the last
one is for what is left where there are such patterns. Light is the root of the sum of squares of what is stored."""

NEAR: Final = (0.55, 3)
"""Part of the probe's diameter within which a pattern must have so many others to be judged by them: farther ones need
not see what it sees."""

FEWEST_EQUAL: Final = (30.0, 0.1)
"""Counts from which on two patterns are not equal by chance, and pixels between them from which on they differ."""

FEWEST_DRIFTING: Final = 20
"""With fewer patterns a drift is not judged."""

DRIFT: Final = (0.25, 16.0, 0.45, 0.8)
"""Relative change over a scan, the same over its standard error, part of the variance that a straight line explains,
and the part that suffices alone: the beam is taken to drift from the first on, with the next two or the last. That
cannot be told from an object that absorbs more at one end of the scan, so it decides only where `LOCALLY` cannot."""

LOCALLY: Final = (14, 5.5)
"""Neighbours in space, through whose totals a curved surface is laid, and how many times its standard error the change
must be that what remains shows: of 340 simulated scans of objects that absorb unevenly none has more than 4.2."""

NEIGHBORS: Final = 6
"""Neighbours in space of each pattern, whose totals an object makes nearly equal."""

FLAT: Final = 1e-8
"""Part of the strongest direction of a surface below which positions do not determine it."""

EQUAL: Final = 5e-5
"""R factor of the mean pattern below which patterns are the same."""
NEARLY_ALL: Final = 0.9
"""Share of the patterns from which on those that repeat the one before are all kept, as patterns that are equal."""
OF_EQUAL: Final = (
    "patterns: expected patterns that differ; got equal ones",
    "They show no object: look for the right array, or for a beam that missed the object.",
)
"""The sentence on these, and the remedy."""

ONE: Final = 0.01
"""Distance of a step between counts from 1 that is rounding."""

TINY: Final = float(np.finfo(float).tiny)
SAME: Final = 1e-12
"""Differences that are rounding."""

LISTED: Final = 5
"""Number of patterns that a message names."""


def empty_frames(summary: Summary) -> Array:
    """Rows of patterns that hold next to nothing, whether they are counts or square roots: int64 (k,)."""
    n = len(summary.frame_total)
    if n < FEWEST:
        return np.zeros(0, dtype=np.int64)
    quantile, part = EMPTY
    is_lit, dark = _may_be_lit(summary), np.ones(n, dtype=bool)
    for totals in (summary.frame_total, summary.frame_square):
        spread = totals[is_lit]
        least = part * np.sort(spread)[-FEWEST:][0]  # of the brightest, where most patterns are empty
        dark &= totals < part * np.quantile(spread[spread >= least], quantile)
    return np.flatnonzero(dark)


def _may_be_lit(summary: Summary) -> Array:
    """Patterns whose light is no hit of a cosmic ray; all of them where it is mostly as narrow: bool (n,)."""
    is_spread = summary.frame_total**2 > SPREAD * summary.frame_square
    is_usual = 2 * np.count_nonzero(is_spread) > np.count_nonzero(summary.frame_total)
    return is_spread if is_usual else np.ones_like(is_spread)


def of_empty_frames(rows: Array, n: int) -> Iterator[Verdict]:
    """The verdict on `empty_frames` of a scan of `n` patterns."""
    if len(rows):
        held = _left_out(rows, n, "next to no light")
        remedy = "Look for a closed shutter or a lost beam there."
        yield Verdict("empty_frames", "warning", len(rows), "patterns", held, remedy)


def of_unmeasured(
    summary: Summary, rows: Array, dtype: np.dtype[Any], in_file: np.dtype[Any] | None = None
) -> Iterator[Verdict]:
    """The verdict on patterns that were not measured.

    Args:
        summary: of the patterns.
        rows: int64 (k,), numbers of those that were not measured.
        dtype: of the patterns.
        in_file: of those in their file, whose largest integer becomes that of this dtype, or NaN; None: the same.
    """
    held = as_in_file(summary.unmeasured_value, dtype, in_file)
    if len(rows):
        value = "no number" if np.isnan(held) else f"{held:.0f}"
        what = f"{value} in most pixels, which detectors write without a measurement"
        held = _left_out(rows, len(summary.frame_total), what)
        remedy = "Leave such patterns out of the file to silence this warning."
        yield Verdict("unmeasured_frames", "warning", len(rows), "patterns", held, remedy)


def bright_frames(summary: Summary, positions: Array, rows: Array, diameter: float = np.inf) -> Array:
    """Rows of patterns that are far brighter than those around them, which overlap: int64 (k,).

    Of several side by side, those at the border are found first; then what is left is looked at again.

    Args:
        summary: of the patterns.
        positions: float64 (n, 2), object pixels.
        rows: int64 (m,), patterns that are looked at.
        diameter: of the probe, object pixels; infinite where it is not known.
    """
    (times, n_around, (rank, next_rank)), (part, n_near) = BRIGHT, NEAR
    is_lit = _may_be_lit(summary)
    left, found = rows, rows
    while len(found) and len(left) > n_around:
        light, (steps, near) = np.sqrt(summary.frame_square[left]), _neighbors(positions[left], n_around)
        is_bright = light >= times * np.sort(light[near[:, 1:]], axis=1)[:, -rank]
        overlaps = np.hypot(*steps[:, n_near].T) <= part * diameter
        found = left[is_bright & overlaps & is_lit[left]]
        left, rank = np.setdiff1d(left, found), next_rank
    return np.setdiff1d(rows, left)


def of_bright_frames(rows: Array, n: int) -> Iterator[Verdict]:
    """The verdict on `bright_frames` of a scan of `n` patterns."""
    if len(rows):
        held = _left_out(rows, n, "many times the light of the patterns around them")
        remedy = "Look for a wrong exposure there, or for counts that were not reset."
        yield Verdict("bright_frames", "warning", len(rows), "patterns", held, remedy)


def repeated_frames(patterns: Stack, summary: Summary, positions: Array, rows: Array) -> Array:
    """Rows of patterns that equal the one before in every count, although the scan has moved: int64 (k,).

    Patterns that are all equal are left to `of_equal`.

    Args:
        patterns: (n, N, N).
        summary: of them; those that are no whole numbers may have no noise, and are not judged.
        positions: float64 (n, 2), object pixels.
        rows: int64 (m,), patterns that are looked at.
    """
    least, moved = FEWEST_EQUAL
    totals, squares = summary.frame_total, summary.frame_square
    may_be = (np.diff(totals) == 0) & (np.diff(squares) == 0) & (totals[1:] >= least) & summary.whole
    may_be &= (np.hypot(*np.diff(positions, axis=0).T) >= moved) & _may_be_lit(summary)[1:]
    found = np.intersect1d(1 + np.flatnonzero(may_be), rows)
    nan = patterns.dtype.kind == "f"
    equal = [np.array_equal(patterns[int(row)], patterns[int(row) - 1], equal_nan=nan) for row in found]
    found = found[np.array(equal, dtype=bool)]
    return found if len(found) < len(rows) - 1 else found[:0]


def are_equal(repeated: Array, n: int) -> bool:
    """Whether so many of `n` patterns repeat the one before that the scan shows no object."""
    return len(repeated) > NEARLY_ALL * n


def of_repeated_frames(rows: Array, n: int, *, kept: bool) -> Iterator[Verdict]:
    """The verdict on `repeated_frames` of a scan of `n` patterns, and whether they are kept as `are_equal`."""
    if len(rows) and kept:
        share = (
            f"{len(rows)} of {n} patterns hold exactly the counts of the pattern before, at another position"
        )
        yield Verdict("equal_patterns", "warning", len(rows), "patterns", share, OF_EQUAL[1])
    elif len(rows):
        held = _left_out(rows, n, "exactly the counts of the pattern before, at another position")
        remedy = "Look for a detector that sent its last image again."
        yield Verdict("repeated_frames", "warning", len(rows), "patterns", held, remedy)


def _left_out(rows: Array, n: int, what: str) -> str:
    """A sentence on patterns that are left out of `n`, and what they hold."""
    named = ", ".join(str(row) for row in rows[:LISTED]) + (" ..." if len(rows) > LISTED else "")
    held, are = ("hold", "they are") if len(rows) > 1 else ("holds", "it is")
    return f"{len(rows)} of {n} patterns ({named}) {held} {what}: {are} left out"


def of_photons(mean_counts: float, step: float | None) -> Iterator[Verdict]:
    """Whether the patterns are in photons.

    Args:
        mean_counts: of a pattern.
        step: number that all values are whole multiples of; None: there is none, or they are not counts.
    """
    if step is not None and abs(step - 1) > ONE:
        yield Verdict(
            "photons", "warning", step, "for a count",
            f"all values are whole multiples of {step:.4g}: these are counts times a gain, and their noise is not the "
            "one that a reconstruction assumes",
            f"Divide the patterns by {step:.4g}.",
        )  # fmt: skip
    elif mean_counts < 1:
        yield Verdict(
            "photons", "warning", mean_counts, "photons",
            f"a pattern holds {mean_counts:.2g} photons on average: these values are not photon counts, and their "
            "noise is not the one that a reconstruction assumes",
            "Multiply the patterns by the number of counts of one unit.",
        )  # fmt: skip


def of_equal(sample: Array) -> Iterator[Verdict]:
    """Whether patterns are all equal.

    Args:
        sample: float64 (k, N, N) >= 0, counts of some patterns.
    """
    amplitudes = np.sqrt(sample)
    r_factor = float(np.abs(amplitudes - amplitudes.mean(axis=0)).sum()) / max(float(amplitudes.sum()), TINY)
    if len(sample) < 2 or r_factor >= EQUAL:
        return
    yield Verdict("equal_patterns", "warning", r_factor, "of the amplitudes", *OF_EQUAL)


def of_drift(totals: Array, positions: Array, times: Array | None = None) -> Iterator[Verdict]:
    """Whether the beam fades or grows from the first pattern to the last.

    Args:
        totals: float64 (n,), counts of each pattern, in the order of the measurement.
        positions: float64 (n, 2).
        times: float64 (n,), of each pattern, 0 of the first of the scan and 1 of the last; None: evenly spread.
    """
    n = len(totals)
    if n < FEWEST_DRIFTING or not (totals > 0).all():
        return
    values, time = np.log(totals), np.linspace(0, 1, n) if times is None else times
    if np.ptp(values) <= SAME:
        return
    change, error = _beside_the_object(values, time, positions)
    least, errors = DRIFT[0], LOCALLY[1]
    is_seen = abs(change) >= errors * error and abs(np.expm1(change)) >= least
    if not is_seen and errors * error > least:
        change, is_seen = _with_the_object(values, time, positions)
    if not is_seen:
        return
    relative = float(np.expm1(change))
    yield Verdict(
        "drift", "warning", relative, "of the first pattern",
        f"the counts of a pattern {'grow' if relative > 0 else 'fall'} by {abs(relative):.0%} from the first to the "
        "last: the beam drifts, unless the object absorbs more at one end of the scan",
        "Set refine_intensities in a reconstruction without a model.",
    )  # fmt: skip


def _beside_the_object(values: Array, time: Array, positions: Array) -> tuple[float, float]:
    """The change of values over time that is no curved surface of the position around each, and its standard error."""
    steps, near = _neighbors(positions, LOCALLY[0])
    steps /= max(float(np.sqrt(np.square(steps).mean())), TINY)
    y, x = steps[..., 0], steps[..., 1]
    surface = np.stack([np.ones_like(y), y, x, y * y, y * x, x * x], axis=-1)
    basis, strength, _ = np.linalg.svd(surface, full_matrices=False)
    basis *= (strength > FLAT * strength[:, :1])[:, None]

    def remaining(of: Array) -> Array:
        return of - np.einsum("nj,nkj,nk->n", basis[:, 0], basis, of[near])

    rest = remaining(time)
    if np.square(rest).sum() <= SAME * np.square(time).sum():  # of a raster, time is such a surface itself
        return 0.0, math.inf
    return _slope(rest, remaining(values))


def _with_the_object(values: Array, time: Array, positions: Array) -> tuple[float, bool]:
    """The change of values over time between neighbours in space, and whether it goes on through most of the scan."""
    near = _neighbors(positions, NEIGHBORS)[1]
    here, there = np.repeat(np.arange(len(values)), NEIGHBORS), near[:, 1:].ravel()
    change, error = _slope(time[here] - time[there], values[here] - values[there])
    error *= np.sqrt(2)  # each pair is there twice
    time, values = time - time.mean(), values - values.mean()
    line, _ = _slope(time, values)
    of_line, of_all = (float(np.square(one).sum()) for one in (line * time, values))
    explained = of_line / max(of_all, TINY)
    least, errors, part, most = DRIFT
    is_steady = explained >= part and abs(change) >= errors * error
    is_straight = explained >= most and abs(np.expm1(line)) >= least
    return change, abs(np.expm1(change)) >= least and (is_steady or is_straight)


def _neighbors(positions: Array, n: int) -> tuple[Array, Array]:
    """Steps from each position to itself and its nearest ones, (m, n + 1, 2), and the rows of these."""
    near: Array = cast(Any, spatial).KDTree(positions).query(positions, n + 1)[1]
    return positions[near] - positions[:, None], near


def _slope(steps: Array, values: Array) -> tuple[float, float]:
    """Slope of the straight line through the origin that fits best, and its standard error."""
    squares = max(float(steps @ steps), TINY)
    slope = float(steps @ values) / squares
    return slope, float(np.sqrt(np.square(values - slope * steps).mean() / squares))
