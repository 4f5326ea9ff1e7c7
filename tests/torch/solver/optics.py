"""Scans under probes of other optics than those that `ptycho.simulation` has: lenses and holes, at any defocus."""

import numpy as np
from numpy.typing import NDArray

from ptycho.raw_data import RawData
from ptycho.simulation import photograph, scan_positions

Complex = NDArray[np.complex128]


def transformed(wave: Complex, *, back: bool = False) -> Complex:
    """The far field of a wave, or the wave of a far field, both centred."""
    transform = np.fft.ifft2 if back else np.fft.fft2
    return np.fft.fftshift(transform(np.fft.ifftshift(wave), norm="ortho"))


def radius(N: int) -> NDArray[np.float64]:
    steps = np.arange(N) - N // 2
    return np.hypot(steps[:, None], steps)


def defocused(far: Complex, defocus: float) -> Complex:
    """The probe of a far field with a phase of `defocus` rad pixel**2 times the squared frequency, power 1."""
    wave = transformed(far * np.exp(1j * defocus * (radius(len(far)) / len(far)) ** 2), back=True)
    return wave / np.linalg.norm(wave)


def lens(N: int, outer: float, inner: float, defocus: float) -> Complex:
    """The focus of a lens whose pupil reaches from `inner` to `outer` cycles per pixel."""
    frequency = radius(N) / N
    pupil = np.clip((outer - frequency) * N + 0.5, 0, 1) * np.clip((frequency - inner) * N + 0.5, 0, 1)
    return defocused(pupil.astype(complex), defocus)


def hole(N: int, diameter: float, defocus: float) -> Complex:
    """The beam behind a round hole of so many pixels."""
    return defocused(transformed(np.clip(diameter / 2 - radius(N) + 0.5, 0, 1).astype(complex)), defocus)


def scan_under(
    probe: Complex, step_px: float, *, n: int = 120, nphotons: float = 1e6, seed: int = 0
) -> RawData:
    """A scan of a photograph under a probe, which the scan does not have."""
    N, rng = len(probe), np.random.default_rng(seed)
    positions = np.round(scan_positions("fermat", n, step_px, rng))
    positions += N // 2 - positions.min(axis=0)
    shape = tuple((positions.max(axis=0).astype(int) + N // 2).tolist())
    truth = (0.6 + 0.4 * photograph("camera", shape)) * np.exp(2j * photograph("coffee", shape) - 1j)
    corners = positions.astype(int) - N // 2
    waves = [probe * np.sqrt(nphotons) * truth[y : y + N, x : x + N] for y, x in corners]
    counts = rng.poisson([np.abs(transformed(wave)) ** 2 for wave in waves]).astype(np.uint32)
    return RawData.from_arrays(counts, positions, None, domain="intensity", object_truth=truth)


def likeness(found: Complex, truth: Complex) -> float:
    """Correlation of two probes (N, N), wherever they are, since patterns do not tell: 0 to 1."""
    moved = np.fft.ifft2(np.fft.fft2(found).conj() * np.fft.fft2(truth))
    return float(np.abs(moved).max() / np.linalg.norm(found) / np.linalg.norm(truth))
