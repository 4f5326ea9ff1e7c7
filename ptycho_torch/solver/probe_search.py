"""A probe for a scan that has none: the mean pattern tells its far field, a search tells its defocus.

    probe(d) = ifft2(root of the mean pattern * exp(i d k^2)),  k in cycles per pixel

Every d is tried on a compact part of the scan (`trials`). A probe of another shape than a defocused pupil is not found;
one that is nearly so is refined by the descent that follows.
"""

import math
import statistics
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.solver.forward import Ids
from ptycho_torch.solver.patterns import Patterns
from ptycho_torch.solver.trials import Trials

INSIDE: Final = 0.9
"""Share of the counts within the radius of the pupil."""
FARTHEST: Final = (0.45, 0.9, 1.8)
"""The edge of the pupil moves by this share of the window at the largest defocus that is tried: the next one where
nothing that is clearly better than the others was found within one."""
CLEARLY: Final = 0.8
"""An error is that at this part of the median one."""
COARSE: Final = 2.0
"""First step of the defocus, as the phase at the radius of the pupil, radians: the right one is found from some three
radians away."""
FINE: Final = 0.25
"""Last step."""
N_COARSE: Final = 6
"""Iterations of a trial in the first pass over all values."""
N_FINE: Final = 12
"""Iterations of those that follow."""
N_READ: Final = 512
"""Patterns whose mean is taken."""


class FoundProbe(NamedTuple):
    """A probe and how it was found."""

    probe: Tensor
    """complex64 (1, N, N), photon**0.5."""
    defocus: float
    """Phase over the square of the frequency, rad pixel**2."""
    error: float
    """Of patterns that were not fitted, see `Trials.error`."""
    tried: list[tuple[float, float]]
    """Every defocus of the first pass with its error, by defocus."""


def mean_pattern(patterns: Patterns, ids: Ids) -> Tensor:
    """Mean counts of at most `N_READ` patterns spread over a scan: float32 (N, N); 0 where nothing was measured."""
    some = ids[:: math.ceil(len(ids) / N_READ)]
    size = patterns.n_pixels
    total, n_measured = torch.zeros(size, size), torch.zeros(size, size)
    counts = torch.empty(1, size, size)
    for one in some:
        which = np.array([one])
        patterns.read(which, "intensity", counts)
        seen = patterns.measured(which, counts)
        total += counts[0] if seen is None else (counts * seen).reshape(size, size)
        n_measured += 1 if seen is None else seen.reshape(size, size)
    return total / n_measured.clamp(min=1)


def probe_of(mean: Tensor, defocus: float) -> Tensor:
    """The probe whose far field has this intensity, with a defocus.

    Args:
        mean: real (N, N), photons, zero frequency at (N//2, N//2).
        defocus: rad pixel**2.

    Returns:
        complex64 (1, N, N), photon**0.5.
    """
    phase = defocus * _squared_frequency(len(mean))
    pupil = torch.polar(mean.double().sqrt(), phase)
    wave = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(pupil), norm="ortho"))
    return wave.to(torch.complex64)[None]


def pupil_radius(mean: Tensor) -> float:
    """Radius that holds `INSIDE` of the counts, cycles per pixel."""
    radius, order = _squared_frequency(len(mean)).sqrt().reshape(-1).sort()
    held = mean.double().reshape(-1)[order].cumsum(dim=0)
    return float(radius[int(torch.searchsorted(held, INSIDE * held[-1]).clamp(max=len(radius) - 1))])


def search_probe(patterns: Patterns, positions_px: Tensor, ids: Ids) -> FoundProbe:
    """Find a probe for a scan that has none.

    Args:
        patterns: the measured patterns.
        positions_px: float64 (n, 2), rows (y, x).
        ids: patterns that may be used, increasing.
    """
    mean, trials = mean_pattern(patterns, ids), Trials(patterns, positions_px, ids)
    radius = max(pupil_radius(mean), 1 / len(mean))
    step = COARSE / radius**2
    errors: dict[float, float] = {}
    for share in FARTHEST:
        n_steps = math.ceil(math.pi * len(mean) * share / radius / step)
        for value in (k * step for k in range(-n_steps, n_steps + 1)):
            if value not in errors:
                errors[value] = trials.error(probe_of(mean, value), N_COARSE)
        if min(errors.values()) < CLEARLY * statistics.median(errors.values()):
            break
    best = min(errors, key=lambda value: errors[value])
    known: dict[float, float] = {}
    while step > FINE / radius**2:
        step /= 2
        for value in (best - step, best, best + step):
            if value not in known:
                known[value] = trials.error(probe_of(mean, value), N_FINE)
        best = min(known, key=lambda value: known[value])
    return FoundProbe(probe_of(mean, best), best, known[best], sorted(errors.items()))


def _squared_frequency(size: int) -> Tensor:
    """float64 (N, N), cycles**2 per pixel**2, zero frequency at (N//2, N//2)."""
    along = (torch.arange(size, dtype=torch.float64) - size // 2) / size
    return along[:, None].square() + along[None].square()
