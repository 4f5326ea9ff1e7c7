"""What the scan positions tell, against each other, the probe, and the lengths of the experiment."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from ptycho.geometry import Geometry
from ptycho.probe import probe_diameter_px
from ptycho.stored_array import Array
from ptycho.verdict import Verdict, refusal

FEWEST_POSITIONS: Final = 10
"""With fewer positions their arrangement is not judged."""

SMALLEST_EXTENT: Final = 0.15
"""Extent of most of a scan over the diameter of its probe, below which positions are too close to tell anything."""

MOST: Final = (0.1, 0.9)
"""Quantiles of the coordinates, between which most positions lie."""

NARROWEST: Final = 0.125
"""Diameter over the side of the patterns of a probe that is not known, at least: a narrower one serves no scan."""

SMALLEST_RATIO: Final = 0.02
"""Extent of most of a scan along one axis over that along the other, below which they are not in one unit."""

FAR_OFF: Final = 20.0
"""A position is far off from the others at this many times their spread and a pattern's side."""

LEAST_OVERLAP: Final = 0.2
"""Part of the probe's diameter that neighbours should have in common at least."""

WIDEST_STEP: Final = 0.5
"""Step over the side of the field that patterns describe in the far field, beyond which that field cannot hold beams
that overlap."""

NEIGHBOR_SAMPLE: Final = 64
"""Positions of a scan whose nearest neighbours are looked for."""


def neighbor_distance(positions: Array) -> float:
    """Median distance from a position to its nearest neighbour, over a sample of the (n, 2) positions, n > 1."""
    sample = np.unique(np.linspace(0, len(positions) - 1, NEIGHBOR_SAMPLE).astype(np.int64))
    distances = (np.hypot(*(positions - positions[row]).T) for row in sample)
    return float(np.median([np.partition(distance, 1)[1] for distance in distances]))


def far_off_positions(positions: Array, size: int) -> Array:
    """Rows of positions (n, 2) that are far off from all others, by the medians of both coordinates."""
    if len(positions) < FEWEST_POSITIONS:
        return np.empty(0, dtype=np.int64)
    distance = np.abs(positions - np.median(positions, axis=0)).max(axis=1)
    return np.flatnonzero(distance > FAR_OFF * (np.quantile(distance, 0.9) + size))


def of_far_off(rows: Array, positions: Array) -> Iterator[Verdict]:
    """The verdict on `far_off_positions` among positions (n, 2)."""
    if not len(rows):
        return
    others, (y, x) = np.median(positions, axis=0), positions[rows[0]]
    named = f"position {rows[0]} (y {y:g}, x {x:g})"
    found = (
        f"{named} is far away from the others: its pattern is left out"
        if len(rows) == 1
        else f"{len(rows)} positions, the first {named}, are far away from the others: their patterns are left out"
    )
    yield Verdict(
        "far_off_position", "warning", float(np.abs(positions[rows] - others).max()), "px", found,
        f"The others lie around y {others[0]:g}, x {others[1]:g}. Correct the file to use what is left out.",
    )  # fmt: skip


def of_positions(positions: Array, probe: Array | None, size: int) -> Iterator[Verdict]:
    """Positions all in one place, or along a line; no overlap.

    Args:
        positions: (n, 2), rows (y, x), object pixels.
        probe: complex (modes, N, N); None where it is not known, and overlap is not judged.
        size: N.
    """
    if len(positions) < FEWEST_POSITIONS:
        return
    within = np.quantile(positions, MOST, axis=0, method="nearest")
    extents, diameter, width = np.ptp(within, axis=0), NARROWEST * size, ""
    if probe is not None:
        diameter = probe_diameter_px(probe)
        width = f", and the probe is {diameter:.0f} pixels wide"
    extent = float(extents.max())
    if extent == 0:
        found = "most positions are equal: object and probe cannot be separated"
        yield Verdict("extent", "warning", 0.0, "px", found, "Check the program that wrote the positions.")
    elif extent < SMALLEST_EXTENT * diameter:
        yield Verdict(
            "extent", "warning", extent, "px",
            f"most positions lie within {extent:.2g} pixels{width}: all patterns show the same place",
            "If they are in micrometres or another unit, set positions_unit, and object_pixel.",
        )  # fmt: skip
    elif extents.min() < max(SMALLEST_EXTENT * diameter, SMALLEST_RATIO * extent):
        small, large = ("x", "y") if extents[1] < extents[0] else ("y", "x")
        yield Verdict(
            "extent", "warning", float(extents.min()), "px",
            f"most positions lie within {extents.min():.2g} pixels along {small}, and {extent:.2g} along {large}: "
            "a scan along one line hardly separates object and probe",
            f"Check the unit of {small}coords.",
        )  # fmt: skip
    elif probe is not None:
        yield from _of_overlap(neighbor_distance(positions), diameter)


def _of_overlap(step: float, diameter: float) -> Iterator[Verdict]:
    overlap = 1 - step / diameter
    if overlap >= LEAST_OVERLAP:
        return
    yield Verdict(
        "overlap", "warning", max(0.0, overlap), "of the probe's diameter",
        f"steps of {step:.1f} pixels with a probe of {diameter:.1f} pixels: neighbouring patterns share "
        f"{max(0.0, overlap):.0%} of its diameter, which hardly determines an object",
        "Scan in smaller steps, or with a larger probe; check the unit of the positions and the probe.",
    )  # fmt: skip


NEAR_FIELD_SERVES: Final = (
    "This package models the far field only. Use a code that propagates over a finite distance (cdtools with "
    "near_field=True, PtyPy with propagation 'nearfield'); if these are far-field data, correct the distance, the "
    "energy or the pixel size"
)


def of_field(
    geometry: Geometry, positions: Array | None, n_pixels: int, probe: Array | None = None
) -> Iterator[Verdict]:
    """Whether the patterns can be far fields of beams that overlap.

    The far field on N pixels describes a field of side wavelength * distance / detector pixel; a beam wider than that,
    as in the near field, does not fit into it.

    Args:
        geometry: the lengths of the experiment.
        positions: (n, 2), rows (y, x), object pixels; or None.
        n_pixels: side of the patterns.
        probe: complex (modes, N, N); of one that is narrower than the steps, `of_positions` tells. None: not known.
    """
    if geometry.far_field is False:
        expected = "patterns in the far field"
        yield refusal(
            "far_field", "far_field", expected, "False, which means the near field", f"{NEAR_FIELD_SERVES}."
        )
        return
    pixel, known = geometry.object_pixel_m, geometry.distance_m is not None
    if pixel is None or not known or positions is None or len(positions) < FEWEST_POSITIONS:
        return
    step = neighbor_distance(positions)
    if step <= WIDEST_STEP * n_pixels:
        return
    step_m, field_m = step * max(pixel), n_pixels * max(pixel)
    fresnel = geometry.fresnel_number(2 * step_m)
    if probe is not None and probe_diameter_px(probe) < step and not (fresnel and fresnel > 1):
        return
    number = f" (Fresnel number {fresnel:.2g})" if fresnel is not None and fresnel > 1 else ""
    got = (
        f"steps of {step_m * 1e6:.3g} um, and beams that overlap at such steps are wider than the "
        f"{field_m * 1e6:.3g} um that the far field on these pixels describes: this is the near field{number}"
    )
    expected = "patterns in the far field"
    share = step / n_pixels
    yield refusal(
        "far_field", "distance", expected, got, f"{NEAR_FIELD_SERVES}.", statistic=share, unit="of the field"
    )
