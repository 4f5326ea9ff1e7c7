"""Single bright pixels that are no light: hot ones, in all patterns, and cosmic hits, in one."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from ptycho.pattern_statistics import Mask, Summary, brightest_neighbor
from ptycho.pixel_verdicts import BRIGHT, HOT, around_blocks, middle_of
from ptycho.stored_array import Array, Stack
from ptycho.verdict import Verdict

ISOLATED: Final = 20.0
"""One or two pixels of a pattern are no measurement if they have this many times the light of each neighbour."""

SHARP: Final = 4.0
"""Where the far field of the probe alone has a pixel so many times as bright as its neighbours, patterns may have such
pixels as well."""

DIMMEST: Final = 1e-6
"""Part of the brightest light of a probe's far field below which it tells nothing."""

BEAM_PX: Final = 2.0
"""Distance from the middle of the other light within which a single bright pixel may be the beam."""

BLOCK: Final = 9
"""Hot pixels of a block of 3 x 3, which are compared with what is around it."""

SPOTS: Final = (1, 4, BLOCK)
"""Hot pixels side by side that are looked for: a pixel is compared with the neighbour of this rank in brightness, since
others may be hot as well; of lines each pixel has two such neighbours."""

PAIR: Final = 2
"""Pixels side by side that a cosmic ray hits."""

HOT_SHARE: Final = 1e-3
"""Share of all light below which a pixel does not count as hot."""

MOST_SILENT: Final = 5
"""Neighbours without a measurement from which on those of a pixel tell nothing."""

LEAST_PERCENT: Final = 0.005
"""Share of all light that rounds to one percent."""

FEWEST_COUNTS: Final = 20.0
"""Photons below which a single pixel may be bright by chance."""

MOST_HITS: Final = 1.0
"""Cosmic hits in a pattern, on average, beyond which single bright pixels may be photons, unless they are brighter."""

SURELY: Final = 5.0
"""How many times as bright they must be then, beside their neighbours and in photons."""

MOST_HIT: Final = 0.5
"""Part of the pixels that are hit in some pattern, beyond which they must be photons."""


def is_sharp(meant: Array, rank: int) -> bool:
    """Whether so many pixels of a pattern may outshine those around, by the light of the probe's far field (N, N)."""
    lit = meant >= BRIGHT * meant.max()
    return bool((_sharpness(meant, rank) > SHARP)[lit].any())


def has_sharp_beam(usual: Array, rank: int) -> bool:
    """Whether the beam may be so few pixels, as that of a probe as wide as the patterns' field is.

    Args:
        usual: (N, N), the median of the patterns, where the probe is not known.
        rank: number of these pixels.
    """
    around = _beside(usual, rank)
    rest = np.minimum(usual, around)
    sharp = np.argwhere((usual > SHARP * around) & (usual >= BRIGHT * rest.max()))
    middles = [middle_of(rest)]
    if rank == BLOCK:  # of several, as those of a crystal are, the one in the middle is the beam
        middles.append((len(usual) / 2, len(usual) / 2))
    return any(bool((np.hypot(*(sharp - np.array(one)).T) <= BEAM_PX).any()) for one in middles)


def hot_pixels(
    counts: Array,
    *,
    everywhere: bool,
    rank: int = 1,
    bad: Mask | None = None,
    meant: Array | None = None,
) -> Mask:
    """Pixels that outshine those around in the mean of patterns, even without the one in which they are brightest.

    Args:
        counts: (k, N, N), some patterns.
        everywhere: False leaves the central half alone, where patterns may have such pixels, and all blocks.
        rank: pixels that may be hot side by side; several may also be the beam.
        bad: bool, (N, N) or (n, N, N), pixels that were not measured.
        meant: (N, N), light of the probe's far field; where it outshines what is around, a pixel must do so the more.
    """
    light = (counts.sum(axis=0, dtype=np.float64) - counts.max(axis=0)) / max(1, len(counts) - 1)
    least = max(HOT_SHARE * light.sum(), FEWEST_COUNTS * photon_unit(counts, light) / len(counts))
    silent: Mask | None = bad if bad is None or bad.ndim == 2 else np.asarray(bad.any(axis=0))
    around = _around(light, rank, silent)
    times = HOT if meant is None else HOT * _sharpness(meant, rank)
    hot: Mask = (light > least) & (light > times * around)
    while rank > 1 and (edge := hot & (light <= HOT * brightest_neighbor(np.where(hot, 0, light)))).any():
        hot &= ~edge  # beside light that is not hot, as the corner of an aperture is
    if rank > 1 and hot.any():
        row, column = middle_of(np.minimum(light, around))
        rows, columns = np.ogrid[: len(light), : len(light)]
        hot &= np.hypot(rows - row, columns - column) > BEAM_PX
    if not everywhere and rank == BLOCK:
        hot[:] = False
    elif not everywhere:
        quarter = light.shape[-1] // 4
        hot[quarter : light.shape[-1] - quarter, quarter : light.shape[-1] - quarter] = False
    return hot


def _sharpness(light: Array, rank: int) -> Array:
    """How many times as bright each pixel of light (N, N) is as those around, at least 1."""
    least = DIMMEST * light.max()
    return np.maximum(1, np.where(light > least, light / np.maximum(_beside(light, rank), least), 1))


def _beside(image: Array, rank: int) -> Array:
    """The light beside so many pixels of an image (N, N) that may be as bright as each other."""
    return around_blocks(image) if rank == BLOCK else brightest_neighbor(image, rank)


def _around(image: Array, rank: int, silent: Mask | None) -> Array:
    """The light around each pixel of an image (N, N) beside which others may be as bright, so many in all.

    Neighbours that were not measured, bool (N, N), may be bright as well; where most are, the light is infinite.
    """
    if silent is None:
        return _beside(image, rank)
    beside, filled = brightest_neighbor(image), np.where(silent, np.inf, image)
    beside = np.where(np.isfinite(brightest_neighbor(filled, MOST_SILENT)), beside, np.inf)
    found = _beside(filled, rank) if rank > 1 else beside
    return np.where(np.isfinite(found), found, beside)


def of_hot_pixels(hot: Mask, light: Array) -> Iterator[Verdict]:
    """The verdict on `hot_pixels`."""
    if not hot.any():
        return
    row, column = np.argwhere(hot)[0]
    part, n_hot = float(light[hot].sum() / light.sum()), int(np.count_nonzero(hot))
    share = f"{part:.0%}" if part >= LEAST_PERCENT else "less than 1%"
    place = f"row {row}, column {column}"
    found = (
        f"1 pixel, in {place}, holds {share} of the light, and its neighbours almost none: it is"
        if n_hot == 1
        else f"{n_hot} pixels, the first in {place}, hold {share} of the light, and their neighbours almost "
        "none: they are"
    )
    remedy = "Mark such pixels as bad (mask_file) to silence this warning."
    yield Verdict("hot_pixels", "warning", n_hot, "pixels", f"{found} taken as hot and masked", remedy)


def photon_unit(counts: Array, light: Array) -> float:
    """What a photon counts for, at least 1: the usual value > 0 in the dim half of the patterns.

    Where that half holds nothing, the smallest value, or the smallest difference between two.

    Args:
        counts: (k, N, N), some patterns.
        light: (N, N), their mean.
    """
    dim = counts[:, light <= np.median(light)]
    dim = dim[dim > 0]
    if len(dim):
        return max(1.0, float(np.median(dim)))
    values = np.unique(counts[counts > 0])
    apart = np.diff(values)
    return max(1.0, float(min(values[0], apart.min()))) if len(apart) else 1.0


def cosmic_hits(
    patterns: Stack, summary: Summary, counts: Array, light: Array, known: Mask | None, power: float
) -> Array:
    """One or two pixels of single patterns that outshine those around and their own usual value.

    Args:
        patterns: (n, N, N), as they are stored.
        summary: of them; of each pixel, its largest value is looked at.
        counts: (k, N, N), counts of some patterns.
        light: (N, N), mean of these.
        known: bool, (N, N) or (n, N, N), pixels that are masked.
        power: of a stored value that is a count.

    Returns:
        int64 (k, 3): pattern, row, column.
    """
    least = FEWEST_COUNTS * photon_unit(counts, light)
    largest = np.maximum(summary.top, 0) ** power
    candidate = (largest >= least) & (largest > ISOLATED * np.median(counts, axis=0))
    if known is not None and known.ndim == 2:
        candidate &= ~known
    places, rows = np.argwhere(candidate), summary.top_row[candidate]
    found: list[tuple[int, int, int, float]] = []
    for row in np.unique(rows):
        pattern = np.asarray(patterns[int(row)]).astype(np.float64) ** power
        silent = known if known is None or known.ndim == 2 else known[row]
        around = _around(pattern, PAIR, silent)  # a masked one, which may be saturated, too
        if silent is not None:
            pattern[silent] = 0
        for y, x in places[rows == row]:
            times = float(pattern[y, x]) / max(least, ISOLATED * float(around[y, x]))
            if times >= 1:
                found.append((int(row), int(y), int(x), times))
    if len(found) > MOST_HITS * len(patterns):
        found = [one for one in found if one[-1] > SURELY]
    found = found if len(found) <= MOST_HIT * largest.size else []
    return np.array([one[:3] for one in found], dtype=np.int64).reshape(-1, 3)


def of_cosmic_hits(hits: Array) -> Iterator[Verdict]:
    """The verdict on `cosmic_hits`."""
    if not len(hits):
        return
    row, y, x = hits[0]
    place = f"pattern {row}, row {y}, column {x}"
    found = (
        f"1 pixel, in {place}, is much brighter than its neighbours in that pattern only: it is taken as a cosmic hit"
        if len(hits) == 1
        else f"{len(hits)} pixels, the first in {place}, are much brighter than their neighbours in one pattern "
        "only: they are taken as cosmic hits"
    )
    remedy = "Mark them as bad pixels of these patterns to silence this warning."
    yield Verdict("cosmic_hits", "warning", len(hits), "pixels", f"{found}, and masked there", remedy)
