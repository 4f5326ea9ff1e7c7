"""What cheap statistics say of a scan whose arrays are sound one by one: warnings in words that can be read aloud.

A warning is said where a picture may still come out; what cannot give one is refused in `ptycho.scan_checks`.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from ptycho.pattern_statistics import Mask, Summary, brightest_neighbor, sample_of, shares
from ptycho.stored_array import Array, Stack

IN_FFT_ORDER: Final = (0.4, 2.0, 0.02)
"""A pattern or probe whose central half, taken in FFT order, holds at least this share of it, and at least this many
times as much as its own central half and as that of any other order, is in FFT order, where each of the parts that are
put together there holds at least this share of it."""

ORDERS: Final = {
    (-2, -1): "around the corners",
    (-2,): "at both ends of the columns",
    (-1,): "at both ends of the rows",
}
"""Axes that may be in FFT order, and where the light is then."""

LIT: Final = 0.1
"""Part of its peak intensity from which on a pixel belongs to a probe."""

FEWEST_POSITIONS: Final = 10
"""With fewer positions nothing is said of how they lie."""

SMALLEST_EXTENT: Final = 0.1
"""Extent of most of a scan over the diameter of its probe, below which positions are too close to tell anything."""

MOST: Final = (0.1, 0.9)
"""Quantiles of the coordinates, between which most positions lie."""

HOT: Final = (0.01, 20.0)
"""A pixel outside the central half that holds this share of all light, and so many times as much as any neighbour, is
taken to be hot."""

FEWEST_PATTERNS: Final = 5
"""With fewer patterns single pixels are not judged."""

SMALLEST_RATIO: Final = 0.02
"""Extent of most of a scan along one axis over that along the other, below which they are not in one unit."""

FAR_OFF: Final = 20.0
"""A position is far off from the others at this many times their spread and a pattern's side."""


class FFTOrder(NamedTuple):
    """An image of which some axes are in FFT order."""

    got: str
    """What is seen."""
    axes: str
    """The argument of `np.fft.fftshift` that mends it."""


def fft_order(image: Array) -> FFTOrder | None:
    """Which axes of an image (N, N) >= 0 are in FFT order; None for none.

    A pixel that is brighter than all its neighbours counts as the brightest of them: one hot pixel is no order.
    """
    image = np.minimum(image, brightest_neighbor(image))
    centred, *others = shares(image)
    least, times, part = IN_FFT_ORDER
    share = max(others)
    axes = tuple(ORDERS)[others.index(share)]
    rest = [centred, *(other for other in others if other is not share)]
    if share < least or share < times * max(rest):
        return None
    half = image.shape[-1] // 2
    ends = [(slice(None, half), slice(half, None)) if axis in axes else (slice(None),) for axis in (-2, -1)]
    if min(float(image[rows, columns].sum()) for rows in ends[0] for columns in ends[1]) < part * image.sum():
        return None
    order = "" if len(axes) == 2 else " along one axis"
    got = f"{share:.0%} of the light {ORDERS[axes]} and {centred:.0%} around the centre (FFT order{order})"
    return FFTOrder(got, "(-2, -1)" if len(axes) == 2 else str(axes[0]))


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
        values = " or ".join(f"{value:.0f}" for value in summary.flags)
        yield (
            f"{np.count_nonzero(summary.flagged)} pixels hold {values}, which detectors write where they measure "
            "nothing: they are taken as not measured, and masked. Mark them in bad_pixels to keep this quiet"
        )
    if summary.n_saturated:
        yield (
            f"{summary.n_saturated} values are {summary.saturated:.0f}, the largest value there is ({dtype}): the "
            "detector saturates. Mark these pixels in bad_pixels"
        )
    if mean_counts < 1:
        yield (
            f"a pattern holds {mean_counts:.2g} photons on average: these values are no photon counts, and the noise "
            "is not what the training assumes. Multiply the patterns by the counts of one unit"
        )
    yield from _of_positions(positions, probe)


def warnings_of_pixels(patterns: Stack, domain: str, stated: Mask | None, bad: Mask | None) -> Iterator[str]:
    """What is to be said of single pixels, from a sample of the patterns.

    Args:
        patterns: (n, N, N).
        domain: how they are read.
        stated: bool, (N, N) or (n, N, N), the bad pixels as they were given; None: none.
        bad: the bad pixels in force.
    """
    if len(patterns) < FEWEST_PATTERNS:
        return
    power = 2.0 if domain == "amplitude" else 1.0
    light = np.mean(sample_of(patterns, bad) ** power, axis=0)
    if stated is not None:
        masked = sample_of(patterns, ~stated) ** power
        lost = np.where(np.ptp(masked, axis=0) > 0, masked.mean(axis=0), 0)  # what never changes is a flag
        lost = np.minimum(lost, brightest_neighbor(lost))
        share = float(lost.sum() / max(lost.sum() + light.sum(), np.finfo(float).tiny))
        if share > 0.5:
            yield (
                f"bad_pixels leave out {share:.0%} of the light, and {np.mean(stated):.0%} of the pixels: True marks a "
                "pixel that was NOT measured. Invert the mask if it is the other way round"
            )
    least, times = HOT
    hot = (light > least * light.sum()) & (light > times * brightest_neighbor(light))
    quarter = light.shape[-1] // 4
    hot[quarter : light.shape[-1] - quarter, quarter : light.shape[-1] - quarter] = False
    if hot.any():
        row, column = np.argwhere(hot)[0]
        share = float(light[hot].sum() / light.sum())
        yield (
            f"{np.count_nonzero(hot)} pixels, the first in row {row}, column {column}, hold {share:.0%} "
            "of the light, and those beside them next to nothing: they must be hot. Mark them in bad_pixels"
        )


def _of_positions(positions: Array, probe: Array) -> Iterator[str]:
    for row in far_off_positions(positions, probe.shape[-1])[:1]:
        others = np.median(positions, axis=0)
        yield (
            f"position {row} (y {positions[row, 0]:g}, x {positions[row, 1]:g}) is far off from the others, which lie "
            f"around y {others[0]:g}, x {others[1]:g}. Leave it out, or correct it"
        )
    if len(positions) < FEWEST_POSITIONS:
        return
    within = np.quantile(positions, MOST, axis=0, method="nearest")
    extents, diameter = np.ptp(within, axis=0), probe_diameter_px(probe)
    extent = float(extents.max())
    if extent == 0:
        yield "most positions are equal: nothing tells object and probe apart. Check how the positions were written"
    elif extent < SMALLEST_EXTENT * diameter:
        yield (
            f"most positions lie within {extent:.2g} pixels, and the probe is {diameter:.0f} pixels wide: these "
            "patterns show one place. If they are in micrometres or another unit, divide them by the object pixel size"
        )
    elif extents.min() < max(SMALLEST_EXTENT * diameter, SMALLEST_RATIO * extent):
        small, large = ("x", "y") if extents[1] < extents[0] else ("y", "x")
        yield (
            f"most positions lie within {extents.min():.2g} pixels along {small}, and {extent:.2g} along {large}: "
            f"a scan along one line hardly tells object and probe apart. Check the unit of {small}coords"
        )
