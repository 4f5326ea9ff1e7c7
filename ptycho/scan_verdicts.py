"""What cheap statistics say of a scan whose arrays are sound one by one: warnings in words that can be read aloud.

A warning is said where a picture may still come out; what cannot give one is refused in `ptycho.scan_checks`.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from ptycho.pattern_statistics import Summary
from ptycho.stored_array import Array

IN_THE_CORNER: Final = (0.4, 2.0)
"""A pattern or probe whose central half, taken in FFT order, holds at least this share of it, and at least this many
times as much as its own central half, is in FFT order."""

LIT: Final = 0.1
"""Part of its peak intensity from which on a pixel belongs to a probe."""

FEWEST_POSITIONS: Final = 10
"""With fewer positions nothing is said of how they lie."""

SMALLEST_EXTENT: Final = 0.1
"""Extent of a scan over the diameter of its probe, below which positions are too close together to tell anything."""

FAR_OFF: Final = 20.0
"""A position is far off from the others at this many times their spread and a pattern's side."""


def is_in_the_corner(centred: float, cornered: float) -> bool:
    """Whether these shares (`pattern_statistics.shares`) tell of an image in FFT order."""
    least, times = IN_THE_CORNER
    return cornered >= least and cornered >= times * centred


def probe_diameter_px(probe: Array) -> float:
    """Diameter of the circle of the area that a probe (modes, N, N) lights."""
    light = np.square(np.abs(probe), dtype=np.float64).sum(axis=0)
    return 2.0 * float(np.sqrt(np.count_nonzero(light >= LIT * light.max()) / np.pi))


def far_off_positions(positions: Array, size: int) -> Array:
    """Rows of positions (n, 2) that are far off from all others, by the medians of both coordinates."""
    if len(positions) < FEWEST_POSITIONS:
        return np.empty(0, dtype=np.int64)
    distance = np.abs(positions - np.median(positions, axis=0)).max(axis=1)
    return np.flatnonzero(distance > FAR_OFF * (np.quantile(distance, 0.9) + size))


def warnings_of(
    summary: Summary, dtype: str, mean_counts: float, positions: Array, probe: Array
) -> Iterator[str]:
    """Everything that is to be said of a scan.

    Args:
        summary: of its patterns.
        dtype: the name of their dtype.
        mean_counts: photons of a pattern, as they are read.
        positions: (n, 2), rows (y, x), object pixels.
        probe: complex (modes, N, N).
    """
    if summary.flagged is not None:
        yield (
            f"{np.count_nonzero(summary.flagged)} pixels hold {summary.flag:.0f}, the largest value there is: they are "
            "taken as not measured, and masked. Mark them in bad_pixels to keep this quiet"
        )
    if summary.n_saturated:
        yield (
            f"{summary.n_saturated} values are {summary.flag:.0f}, the largest value there is ({dtype}): the detector "
            "saturates. Mark these pixels in bad_pixels"
        )
    if mean_counts < 1:
        yield (
            f"a pattern holds {mean_counts:.2g} photons on average: these values are no photon counts, and the noise "
            "is not what the training assumes. Multiply the patterns by the counts of one unit"
        )
    yield from _of_positions(positions, probe)


def _of_positions(positions: Array, probe: Array) -> Iterator[str]:
    for row in far_off_positions(positions, probe.shape[-1])[:1]:
        others = np.median(positions, axis=0)
        yield (
            f"position {row} (y {positions[row, 0]:g}, x {positions[row, 1]:g}) is far off from the others, which lie "
            f"around y {others[0]:g}, x {others[1]:g}. Leave it out, or correct it"
        )
    if len(positions) < FEWEST_POSITIONS:
        return
    extent, diameter = float(np.ptp(positions, axis=0).max()), probe_diameter_px(probe)
    if extent == 0:
        yield "all positions are equal: nothing tells object and probe apart. Check how the positions were written"
    elif extent < SMALLEST_EXTENT * diameter:
        yield (
            f"all positions lie within {extent:.2g} pixels, and the probe is {diameter:.0f} pixels wide: every pattern "
            "is of the same place. If they are in micrometres or another unit, divide them by the object pixel size"
        )
