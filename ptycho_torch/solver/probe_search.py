"""A probe for a scan that has none: the mean pattern tells the modulus of its far field, a search tells the phase.

    probe(d, D) = ifft2(root of the mean pattern * phase of fft2(hole of diameter D) * exp(i d k^2)),
    k in cycles per pixel

Without a hole it is the focus of a lens, defocused by d. Every d is tried on a compact part of the scan (`trials`);
where none is far better than the others, holes are tried. A probe of another shape is not found; one
that is nearly so is refined by the descent that follows.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
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
UNCLEAR: Final = 0.9
"""A search found nothing where the least error is more than this part of the median one."""
LIKELY: Final = 0.75
"""Up to this part of the median one an error is that of a probe that fits: 0.84 was found with exchanged axes."""
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
SURE: Final = 0.45
"""The focus of a lens whose error in the first pass is less than this part of the median one is the probe: it was 0.6
or more where the image of a hole explained the patterns better. Holes are not tried then."""
HOLES: Final = (0.06, 0.75, 1.2)
"""Diameters of holes that are tried: from this share of the window to that one, and each over the one before."""


class FoundProbe(NamedTuple):
    """A probe and how it was found."""

    probe: Tensor
    """complex64 (1, N, N), photon**0.5."""
    defocus: float
    """Phase over the square of the frequency, rad pixel**2."""
    error: float
    """Of patterns that were not fitted, see `Trials.error`."""
    median: float
    """That of the guesses of its kind, in the first pass."""
    hole_px: float | None = None
    """Diameter of the hole that it is an image of; None: it is the focus of a lens."""
    reach: float = 0.0
    """How far on either side a defocus of a lens was looked for."""

    @property
    def is_clear(self) -> bool:
        """Whether it is clearly better than others of its kind."""
        return self.error < UNCLEAR * self.median

    @property
    def is_likely(self) -> bool:
        """Whether it is so much better that the positions are likely to be right as well."""
        return self.error < LIKELY * self.median


class _Search:
    """Errors of guesses, each tried once with a number of iterations."""

    def __init__(self, guess: Callable[[float, float | None], Tensor], trials: Trials) -> None:
        self.guess, self._trials = guess, trials
        self._known: dict[tuple[float, float | None, int], float] = {}

    def error(self, defocus: float, hole_px: float | None, n_iterations: int) -> float:
        """Of a probe of this defocus and hole."""
        guess = (defocus, hole_px, n_iterations)
        if guess not in self._known:
            self._known[guess] = self._trials.error(self.guess(defocus, hole_px), n_iterations)
        return self._known[guess]

    def finished(
        self, defocus: float, hole_px: float | None, step: float, last: float, median: float
    ) -> FoundProbe:
        """The best defocus near one, in steps that halve until the last one."""
        while step > last:
            step /= 2
            near = (defocus - step, defocus, defocus + step)
            defocus = min(near, key=lambda value: self.error(value, hole_px, N_FINE))
        error = self.error(defocus, hole_px, N_FINE)
        return FoundProbe(self.guess(defocus, hole_px), defocus, error, median, hole_px)


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


def probe_of(mean: Tensor, defocus: float, hole_px: float | None = None) -> Tensor:
    """The probe whose far field has this intensity, with a defocus.

    Args:
        mean: real (N, N), photons, zero frequency at (N//2, N//2).
        defocus: rad pixel**2.
        hole_px: diameter of a hole, in pixels of the object, whose far field has the same phase; None: a lens has none.

    Returns:
        complex64 (1, N, N), photon**0.5.
    """
    phase = defocus * _squared_frequency(len(mean))
    if hole_px is not None:
        from_edge = hole_px / 2 - len(mean) * _squared_frequency(len(mean)).sqrt()
        hole = torch.fft.ifftshift((from_edge + 0.5).clamp(0, 1))
        phase = phase + torch.fft.fftshift(torch.fft.fft2(hole)).angle()
    return _near_field(torch.polar(mean.double().sqrt(), phase))[None]


def pupil_radius(mean: Tensor) -> float:
    """Radius that holds `INSIDE` of the counts, cycles per pixel."""
    radius, order = _squared_frequency(len(mean)).sqrt().reshape(-1).sort()
    held = mean.double().reshape(-1)[order].cumsum(dim=0)
    return float(radius[int(torch.searchsorted(held, INSIDE * held[-1]).clamp(max=len(radius) - 1))])


def search_probe(patterns: Patterns, positions_px: Tensor, ids: Ids, near: float = 0.0) -> FoundProbe:
    """Find a probe for a scan that has none.

    Args:
        patterns: the measured patterns.
        positions_px: float64 (n, 2), rows (y, x).
        ids: patterns that may be used, increasing.
        near: defocus around which it is looked for, rad pixel**2; and around 0, and the opposite one, since the sign of
            a distance is easily wrong.
    """
    centres = (near, 0.0, -near)
    mean = mean_pattern(patterns, ids)
    search = _Search(partial(probe_of, mean), Trials(patterns, positions_px, ids))
    radius = max(pupil_radius(mean), 1 / len(mean))
    found, first_error = _lens(search, len(mean), radius, centres)
    if first_error < SURE * found.median:
        return found
    holes = [_hole(search, len(mean), radius, centre) for centre in dict.fromkeys((near, 0.0))]
    other = min(holes, key=lambda one: one.error)
    return other._replace(reach=found.reach) if other.error < found.error else found


def search_near(
    patterns: Patterns, positions_px: Tensor, ids: Ids, probe: Tensor, defocus: float = 0.0
) -> FoundProbe:
    """Find the defocus of a probe whose optics are known, beyond the one that it has.

    Args:
        patterns: the measured patterns.
        positions_px: float64 (n, 2), rows (y, x).
        ids: patterns that may be used, increasing.
        probe: complex (1, N, N), where the search begins; it is also looked for around the focus and beyond it.
        defocus: that the probe has, rad pixel**2.

    Returns:
        What was found; the probe itself, with a defocus of 0, where none is clearly better.
    """
    size = probe.shape[-1]
    far = _far_field(probe)
    search = _Search(lambda defocus, _: _with_defocus(far, defocus), Trials(patterns, positions_px, ids))
    radius = max(pupil_radius(far[0].abs().square()), 1 / size)
    found, _ = _lens(search, size, radius, (0.0, -defocus, -2 * defocus))
    as_it_is = search.error(0.0, None, N_FINE)
    return (
        found
        if found.error < CLEARLY * as_it_is
        else found._replace(probe=probe, defocus=0.0, error=as_it_is)
    )


def _far_field(probe: Tensor) -> Tensor:
    return torch.fft.fftshift(
        torch.fft.fft2(torch.fft.ifftshift(probe, dim=(-2, -1)), norm="ortho"), dim=(-2, -1)
    )


def _near_field(far: Tensor) -> Tensor:
    wave = torch.fft.ifft2(torch.fft.ifftshift(far, dim=(-2, -1)), norm="ortho")
    return torch.fft.fftshift(wave, dim=(-2, -1)).to(torch.complex64)


def _with_defocus(far: Tensor, defocus: float) -> Tensor:
    phase = defocus * _squared_frequency(far.shape[-1])
    return _near_field(far * torch.polar(torch.ones_like(phase), phase))


def _lens(search: _Search, size: int, radius: float, centres: Sequence[float]) -> tuple[FoundProbe, float]:
    """The best focus of a lens, by its defocus, and its error in the first pass.

    Args:
        search: what has tried guesses.
        size: side of the patterns.
        radius: of the pupil, cycles per pixel.
        centres: defocus around which it is looked for.
    """
    step, reach, errors = COARSE / radius**2, 0.0, dict[float, float]()
    for share in FARTHEST:
        n_steps = math.ceil(math.pi * size * share / radius / step)
        reach = n_steps * step
        tried = {
            round(centre / step) + k: centre + k * step
            for centre in centres[::-1]
            for k in range(-n_steps, n_steps + 1)
        }
        errors = {value: search.error(value, None, N_COARSE) for value in tried.values()}
        if min(errors.values()) < CLEARLY * statistics.median(errors.values()):
            break
    best = min(errors, key=lambda value: errors[value])
    found = search.finished(best, None, step, FINE / radius**2, statistics.median(errors.values()))
    return found._replace(reach=max(reach, abs(found.defocus))), errors[best]


def _hole(search: _Search, size: int, radius: float, near: float) -> FoundProbe:
    """The best image of a hole, by its diameter, and then by its defocus."""
    least, most, ratio = HOLES
    n_sizes = math.ceil(math.log(most / least, ratio))
    sizes = [size * least * ratio**k for k in range(n_sizes + 1)]
    errors = {width: search.error(near, width, N_COARSE) for width in sizes}
    best = min(errors, key=lambda width: errors[width])
    around = (best * ratio**-0.5, best, best * ratio**0.5)
    best = min(around, key=lambda width: search.error(near, width, N_FINE))
    return search.finished(near, best, 2 / radius**2, FINE / radius**2, statistics.median(errors.values()))


def _squared_frequency(size: int) -> Tensor:
    """float64 (N, N), cycles**2 per pixel**2, zero frequency at (N//2, N//2)."""
    along = (torch.arange(size, dtype=torch.float64) - size // 2) / size
    return along[:, None].square() + along[None].square()
