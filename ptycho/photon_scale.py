"""The probe of a scan, and the object that goes with it, in the unit photon**0.5."""

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ptycho.data_error import DataError, problem
from ptycho.pattern_statistics import Mask, sample_of
from ptycho.probe import focus_of_light
from ptycho.stored_array import Stack

Array = npt.NDArray[Any]

PROBE_SCALE_RANGE: Final = (0.8, 5.0)
"""Sum of the probe's intensity over mean counts, within which a file's probe scale is kept."""
SAMPLE: Final = 64
"""Positions that tell whether object and probe go together."""

logger = logging.getLogger(__name__)


class Scaled(NamedTuple):
    """Probe and object of a scan, in photon scale."""

    probe: npt.NDArray[np.complex64]
    """(modes, N, N)."""
    objects: dict[str, npt.NDArray[np.complex64] | None]
    """Each (H, W)."""


def photon_scale(
    probe: Array,
    objects: Mapping[str, Array | None],
    positions: Array,
    mean_counts: float,
    origin: str,
    *,
    is_of_file: bool = True,
) -> Scaled:
    """Scale a probe whose power is far from the counts, and the objects that go with it by the inverse.

    An object goes with the probe as it is given where the two scatter the measured counts better than the object and
    the scaled probe do; otherwise it is in photon scale already, and stays.

    Args:
        probe: complex (modes, N, N), in any unit.
        objects: name -> complex (H, W), or None.
        positions: float (n, 2), rows (y, x), object pixels.
        mean_counts: photons of a pattern.
        origin: where they come from, for messages.
        is_of_file: whether the probe comes from there too, rather than from the patterns.

    Raises:
        DataError: there is no light.
    """
    power = float(np.sum(np.abs(probe.astype(np.complex128)) ** 2))
    if not (power > 0 and mean_counts > 0):
        rule = "light outside the pixels that are masked"
        advice = "Check centre, and mask hot pixels (mask_file)."
        raise DataError(problem("patterns", rule, "none", origin, advice))
    low, high = PROBE_SCALE_RANGE
    if low <= power / mean_counts <= high:
        return Scaled(probe, dict(objects))
    if is_of_file:
        reason = (
            "The probe has %g photons, the patterns have %g on average: the probe is scaled to the patterns."
        )
        logger.info("%s: " + reason, origin, power, mean_counts)
    factor = np.sqrt(mean_counts / power)
    found = dict(objects)
    for name, known in objects.items():
        if known is not None and _go_together(probe, known, positions, mean_counts, power):
            logger.info("%s: %s belongs to that probe: it is scaled by the inverse.", origin, name)
            found[name] = (known.astype(np.complex128) / factor).astype(np.complex64)
    return Scaled((probe.astype(np.complex128) * factor).astype(np.complex64), found)


def focus_of(patterns: Stack, ignored: Mask | None, domain: str) -> npt.NDArray[np.complex64]:
    """The focus whose far field is the mean of some patterns, (1, N, N): a probe without its defocus.

    Args:
        patterns: (n, N, N).
        ignored: bool, (N, N) or (n, N, N), pixels that mean nothing.
        domain: what the patterns are.
    """
    mean = np.mean(sample_of(patterns, ignored) ** (2 if domain == "amplitude" else 1), axis=0)
    return focus_of_light(mean)


def _go_together(probe: Array, known: Array, positions: Array, mean_counts: float, power: float) -> bool:
    """Whether the photons that object and probe scatter are nearer to the counts as they are than with a scaled probe.

    They are the mean over a sample of the positions whose patch the object holds.
    """
    n_pixels = probe.shape[-1]
    corners = np.round(positions).astype(np.int64) - n_pixels // 2
    held = corners[((corners >= 0) & (corners + n_pixels <= known.shape)).all(axis=1)]
    light = np.square(np.abs(probe), dtype=np.float64).sum(axis=0)
    windows = (known[y : y + n_pixels, x : x + n_pixels] for y, x in held[:: max(1, len(held) // SAMPLE)])
    scattered = [np.sum(light * np.square(np.abs(window), dtype=np.float64)) for window in windows]
    mean = float(np.mean(scattered)) if scattered else 0.0
    return mean == 0 or bool(abs(np.log(mean / mean_counts)) <= abs(np.log(mean / power)))
