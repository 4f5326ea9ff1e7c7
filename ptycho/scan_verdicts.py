"""What cheap statistics say of a scan whose arrays are sound one by one: all verdicts, and the pixels to mask.

After an error nothing sensible can follow, and reading is refused; a warning is logged where a picture may still come
out. The statistics are in `ptycho.pixel_verdicts`, `spot_verdicts`, `frame_verdicts` and `position_verdicts`.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np

from ptycho import frame_verdicts, pixel_verdicts, position_verdicts, spot_verdicts
from ptycho.geometry import Geometry
from ptycho.pattern_statistics import Mask, Summary, sample_of, summarize
from ptycho.probe import far_field_light, probe_diameter_px
from ptycho.scan_checks import LARGEST_POSITION_PX
from ptycho.scan_domain import SET, Decision, Sample
from ptycho.scan_masks import joined
from ptycho.stored_array import Array, Stack, silenced, taken
from ptycho.verdict import Verdict

logger = logging.getLogger(__name__)

FEWEST_PATTERNS: Final = 5
"""With fewer patterns single pixels are not judged."""


@dataclass(frozen=True)
class Seen:
    """A scan as it was read; None where something is missing, or was reported before.

    Attributes:
        patterns: (n, N, N), as they are stored.
        summary: of the patterns.
        bad: bool, (N, N) or (n, N, N), bad pixels as the file has them; or None.
        positions: (m, 2), rows (y, x), object pixels, of all patterns of the scan; or None.
        probe: complex (modes, N, N); or None.
        geometry: lengths of the experiment.
        rows: int64 (n,), the positions that the patterns are at; None: those of the same number.
        verdicts: what was noticed before.
        objects: int64 (n,), which object a pattern is of; None: all of one.
        dtype: of the patterns in their file; None: as they are here.
    """

    patterns: Stack
    summary: Summary
    bad: Mask | None
    positions: Array | None
    probe: Array | None
    geometry: Geometry
    rows: Array | None = None
    verdicts: tuple[Verdict, ...] = ()
    objects: Array | None = None
    dtype: np.dtype[Any] | None = None


class Examined(NamedTuple):
    """What was found; patterns that are left out are still among the patterns and the bad pixels."""

    decision: Decision
    """How the patterns are read."""
    verdicts: list[Verdict]
    """All of them, those from before first."""
    patterns: Stack
    """(n, N, N), with flags of the detector as 0."""
    bad_pixels: Mask | None
    """bool (N, N) or (n, N, N): those that were known, flags, hot pixels and cosmic hits; None: none."""
    rows: Array
    """int64 (k,), patterns that were measured, are neither empty, far brighter than those around nor repeated, and not
    far away from the others."""
    mean_counts: float
    """Photons of one of these, without the hot pixels."""

    @property
    def bad_pixels_of_rows(self) -> Mask | None:
        """The bad pixels of these patterns."""
        bad = self.bad_pixels
        return bad if bad is None or bad.ndim == 2 else bad[self.rows]


class _Frames(NamedTuple):
    """Rows of patterns, int64 (k,): those that are used, and those that are left out for each reason."""

    used: Array
    empty: Array
    far: Array
    """Numbers of all positions of the scan that are far off."""
    bright: Array
    repeated: Array


def examine(scan: Seen, decide: Callable[[Stack, Sample], Decision]) -> Examined:
    """All verdicts on a scan.

    Args:
        scan: as it was read.
        decide: tells from patterns, and some of them in memory, how the patterns are read.
    """
    n, size = len(scan.patterns), scan.patterns.shape[-1]
    where = scan.positions if scan.positions is None or scan.rows is None else scan.positions[scan.rows]
    frames = _frames_of(scan, where)
    rows, summary = frames.used, _of_used(scan.summary, frames.used)
    scan = replace(scan, summary=summary)
    patterns, bad = _without_flags(scan)
    measured, are_all = taken(patterns, rows), len(rows) == n
    bad_of_rows = bad if bad is None or bad.ndim == 2 or are_all else bad[rows]
    looked_at = Sample(sample_of(measured, bad_of_rows))
    decision, sample = decide(measured, looked_at), looked_at.values
    totals = summary.frame_square if decision.domain == "amplitude" else summary.frame_total
    power = 2.0 if decision.domain == "amplitude" else 1.0
    found = [
        *scan.verdicts,
        *pixel_verdicts.of_logarithm(sample),
        *_of_mask(scan, patterns, sample, power),
    ]
    is_inverted = any(one.name == "mask" for one in found)
    of_order = [*pixel_verdicts.of_order(None if is_inverted else sample.mean(axis=0), scan.probe)]
    is_in_order, hot_counts = not of_order, 0.0
    as_in_file = partial(pixel_verdicts.as_in_file, dtype=patterns.dtype, in_file=scan.dtype)
    found += [*of_order, *pixel_verdicts.of_flags(summary, str(patterns.dtype), named=as_in_file)]
    if n >= FEWEST_PATTERNS and is_in_order and not is_inverted:
        tops = _of_others(summary, measured, bad_of_rows, rows) if len(frames.bright) else summary
        used = replace(scan, patterns=patterns, bad=bad, summary=tops)
        of_pixels, bad, hot_counts = _of_pixels(used, rows, sample, power)
        found += of_pixels
    totals = totals[rows] - hot_counts
    mean_counts = max(float(totals.mean()), 0.0)
    step = None if decision.domain == "amplitude" else looked_at.step
    found += [
        *frame_verdicts.of_unmeasured(
            summary, _numbers(scan, summary.unmeasured), patterns.dtype, scan.dtype
        ),
        *frame_verdicts.of_photons(mean_counts, step),
    ]
    kept = bool(np.isin(frames.repeated, rows).any())
    found += frame_verdicts.of_repeated_frames(_numbers(scan, frames.repeated), n, kept=kept)
    if not is_inverted:
        found += frame_verdicts.of_bright_frames(_numbers(scan, frames.bright), n)
        found += frame_verdicts.of_empty_frames(_numbers(scan, frames.empty), n)
    if where is not None and scan.positions is not None:
        found += position_verdicts.of_far_off(frames.far, scan.positions)
        if is_in_order:
            found += _of_positions(scan, scan.positions, where, rows, totals)
    found += position_verdicts.of_field(
        scan.geometry, None if where is None else where[rows], size, scan.probe
    )
    return Examined(decision, found, patterns, bad, rows, mean_counts)


def _of_used(summary: Summary, rows: Array) -> Summary:
    """The same, without pixels that are flagged in patterns alone that are not among those used, int64 (m,)."""
    if summary.flagged is None or summary.partly is None or len(np.intersect1d(summary.partly_rows, rows)):
        return summary
    flagged = summary.flagged & ~summary.partly
    return replace(summary, flagged=flagged if flagged.any() else None, partly=None)


def _of_others(summary: Summary, measured: Stack, bad: Mask | None, rows: Array) -> Summary:
    """The same, with the largest values of pixels in the patterns that are used: (m, N, N), of these rows."""
    rest = summarize(measured, bad)
    return replace(summary, top=rest.top, top_row=rows[rest.top_row])


def _frames_of(scan: Seen, where: Array | None) -> _Frames:
    """Which patterns are used, and which are left out.

    Args:
        scan: as it was read.
        where: (n, 2), positions of its patterns; None: they are not known.
    """
    n, size, unmeasured = len(scan.patterns), scan.patterns.shape[-1], scan.summary.unmeasured
    dark = frame_verdicts.empty_frames(scan.summary)
    far = np.empty(0, np.int64)
    if scan.positions is not None:
        far = position_verdicts.far_off_positions(scan.positions, size)
    far_rows = far if scan.rows is None else np.flatnonzero(np.isin(scan.rows, far))
    rows = np.delete(np.arange(n), np.union1d(np.union1d(dark, unmeasured), far_rows))
    bright, repeated = _wrong_frames(scan, where, rows)
    used = np.setdiff1d(rows, bright)
    if not frame_verdicts.are_equal(repeated, len(used)):
        used = np.setdiff1d(used, repeated)
    return _Frames(used, np.setdiff1d(dark, unmeasured), far, bright, repeated)


def _numbers(scan: Seen, rows: Array) -> Array:
    """Rows of the patterns that were read, as numbers of the scan."""
    return rows if scan.rows is None else scan.rows[rows]


def _wrong_frames(scan: Seen, where: Array | None, rows: Array) -> tuple[Array, Array]:
    """Rows of patterns that are far brighter than those around, and of those that repeat the one before.

    Args:
        scan: as it was read.
        where: (n, 2), positions of its patterns; None: they are not known.
        rows: int64 (m,), patterns that are looked at.
    """
    is_known = where is not None and np.abs(where).max(initial=0) <= LARGEST_POSITION_PX  # others are refused
    if where is None or not is_known or len(where) < FEWEST_PATTERNS:
        return rows[:0], rows[:0]
    diameter = np.inf if scan.probe is None else probe_diameter_px(scan.probe)
    labels = np.zeros(len(rows)) if scan.objects is None else scan.objects[rows]
    if len(np.unique(labels)) == len(labels):  # these are numbers of patterns
        labels = np.zeros(len(rows))
    of_each = [
        frame_verdicts.bright_frames(scan.summary, where, rows[labels == label], diameter)
        for label in np.unique(labels)
    ]
    bright = np.sort(np.concatenate([rows[:0], *of_each]))
    return bright, frame_verdicts.repeated_frames(scan.patterns, scan.summary, where, rows)


def _without_flags(scan: Seen) -> tuple[Stack, Mask | None]:
    """The patterns with flags of the detector as 0, and the bad pixels with them."""
    patterns, summary, bad = scan.patterns, scan.summary, scan.bad
    if summary.flagged is not None:
        bad = joined(bad, summary.flagged)
    silent = bad if summary.hides else summary.flagged
    if summary.stray is not None:
        strays = pixel_verdicts.at_least(patterns, summary.stray)
        is_same = silent is bad
        bad = joined(bad, strays)
        silent = bad if is_same else joined(silent, strays)
    return patterns if silent is None else silenced(patterns, silent), bad


def _of_positions(scan: Seen, positions: Array, where: Array, rows: Array, totals: Array) -> list[Verdict]:
    """Verdicts of the arrangement of a scan, or else of a beam that fades along it.

    Args:
        scan: as it was read.
        positions: (m, 2), of all its patterns.
        where: (n, 2), of those that were read.
        rows: int64 (k,), those of them that are used.
        totals: float64 (k,), their counts.
    """
    near, size, times = where[rows], scan.patterns.shape[-1], rows
    if scan.rows is not None:  # the positions of all patterns tell more
        near = np.delete(positions, position_verdicts.far_off_positions(positions, size), axis=0)
        times = scan.rows[rows]
    found = [*position_verdicts.of_positions(near, scan.probe, size)]
    return found or [*frame_verdicts.of_drift(totals, where[rows], times / max(1, len(positions) - 1))]


def _of_mask(scan: Seen, patterns: Stack, sample: Array, power: float) -> list[Verdict]:
    """Whether the bad pixels of the file are the measured ones, unless that was noticed before.

    Args:
        scan: as it was read.
        patterns: without flags.
        sample: (k, N, N), some of them, without bad pixels.
        power: of a stored value that is a count.
    """
    if (
        scan.bad is None
        or len(patterns) < FEWEST_PATTERNS
        or any(one.name == "mask" for one in scan.verdicts)
    ):
        return []
    masked = sample_of(patterns, ~scan.bad) ** power
    return [*pixel_verdicts.of_mask((sample**power).mean(axis=0), masked, scan.bad)]


def _of_pixels(
    scan: Seen, rows: Array, sample: Array, power: float
) -> tuple[list[Verdict], Mask | None, float]:
    """Verdicts of single pixels, the bad pixels with those that are hot or hit, and the counts of the hot ones.

    Args:
        scan: as it was read, without flags.
        rows: int64 (m,), patterns that are used.
        sample: (k, N, N), some of its patterns.
        power: of a stored value that is a count.
    """
    counts = sample**power
    light, bad = counts.mean(axis=0), scan.bad
    meant = None if scan.probe is None else far_field_light(scan.probe)
    usual = np.median(counts, axis=0) if meant is None else meant

    def may_be_light(rank: int) -> bool:
        if meant is None:
            return spot_verdicts.has_sharp_beam(usual, rank)
        return spot_verdicts.is_sharp(meant, rank)

    hot = np.zeros(light.shape, dtype=bool)
    for rank in spot_verdicts.SPOTS:
        everywhere = not may_be_light(rank)
        hot |= spot_verdicts.hot_pixels(counts, everywhere=everywhere, rank=rank, bad=bad, meant=meant)
    found = [*spot_verdicts.of_hot_pixels(hot, light)]
    bad = joined(bad, hot) if hot.any() else bad
    hits = np.empty((0, 3), dtype=np.int64)
    if not may_be_light(spot_verdicts.PAIR):
        hits = spot_verdicts.cosmic_hits(scan.patterns, scan.summary, counts, light, bad, power)
        hits = hits[np.isin(hits[:, 0], rows)]
        found += spot_verdicts.of_cosmic_hits(np.column_stack([_numbers(scan, hits[:, 0]), hits[:, 1:]]))
        bad = _with_hits(bad, hits, scan.patterns.shape)
    top = np.where(hot, 0, scan.summary.top)
    top[tuple(hits[:, 1:].T)] = 0
    level, bound = float(top.max()), scan.summary.saturated
    if bound is None and (said := pixel_verdicts.of_saturation(np.where(hot, 0, sample), level, power)):
        found.append(said)
        bound = level
    if bound is not None:
        bad = joined(bad, pixel_verdicts.at_least(scan.patterns, bound))
    found += pixel_verdicts.of_background(counts, bad)
    found += pixel_verdicts.of_centre(np.where(hot, 0, light), scan.probe, scan.bad)
    return found, bad, float(light[hot].sum())


def _with_hits(bad: Mask | None, hits: Array, shape: tuple[int, ...]) -> Mask | None:
    """Bad pixels with single ones of single patterns, (n, N, N) where there are any."""
    if not len(hits):
        return bad
    each = np.zeros(shape, dtype=bool)
    each[tuple(hits.T)] = True
    return joined(bad, each)


def problems_of(
    verdicts: Iterable[Verdict], wrong: Set[str], geometry: Geometry, origin: str, names: Mapping[str, str]
) -> list[str]:
    """Errors among verdicts, in the house format.

    Args:
        verdicts: all of them.
        wrong: keys of arrays that were reported; lengths tell nothing of wrong positions.
        geometry: the lengths.
        origin: the file.
        names: key of the data contract -> what the file calls it.
    """
    errors = [one for one in verdicts if one.severity == "error"]
    if wrong & {"xcoords", "ycoords"} and geometry.far_field is not False:
        errors = [one for one in errors if one.name != "far_field"]
    return [one.problem(origin, names) for one in errors]


def tell(found: Examined, origin: str) -> None:
    """Log how patterns are read, unless it was set, and the verdicts; where nobody stated it, as a warning."""
    decision = found.decision
    if decision.reason != SET:
        logger.log(
            logging.INFO if decision.is_stated else logging.WARNING,
            "%s: patterns are read as %s (%s).%s",
            origin,
            decision.domain,
            decision.reason,
            decision.way_out,
        )
    tell_each(found.verdicts, origin)


def tell_each(verdicts: Iterable[Verdict], origin: str) -> None:
    """Log verdicts on the file `origin`: notes as information, others as warnings."""
    for verdict in verdicts:
        level = logging.INFO if verdict.severity == "note" else logging.WARNING
        logger.log(level, "%s: %s", origin, verdict.text)
