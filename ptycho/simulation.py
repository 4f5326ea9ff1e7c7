"""Synthetic scans whose object and probe are known.

Object: two photographs that scikit-image ships, one as transmission amplitude (0.6 to 1), one as phase (-1 to 1
rad). Probe: a defocused beam from an annular pupil (a zone plate with central stop), whose spectrum lies well
inside the array. Pattern j: the object patch at the nearest whole pixel, the probe shifted by the remainder
(in Fourier space, so exactly for a band-limited probe), far field fftshift(fft2(exit wave, norm="ortho")),
Poisson counts of its intensity, summed over probe modes. All in numpy and double precision, so that a seed
gives the same scan whatever the device.
"""

from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
from skimage import color, data, transform

from ptycho.memory import available_bytes, size_text, too_large
from ptycho.raw_data import RawData
from ptycho.scan_checks import LARGEST_VALUE
from ptycho.scan_domain import DOMAINS

Image = Literal["astronaut", "camera", "chelsea", "coffee", "coins", "brick", "grass", "gravel", "moon"]
IMAGES = get_args(Image)
"""Images that come inside scikit-image's wheel (none is downloaded)."""

PUPIL_RADII = (0.08, 0.235)
"""Inner and outer radius of the pupil, in cycles per pixel."""
PUPIL_EDGE = 0.016
"""Width of the pupil's soft edges, in cycles per pixel."""
GOLDEN_ANGLE_RAD = np.pi * (3 - np.sqrt(5))
MARGIN_PX = 6
"""Object beyond the outermost patches."""
BATCH = 64
OBJECT_BYTES, WAVE_BYTES, COUNT_BYTES = 64, 80, 4
"""Memory for a pixel of the object, of a wave of each mode in a batch, and of a pattern."""
LARGEST_COUNT = 2**32 - 1


def simulate_scan(
    object_amplitude_image: Image = "astronaut",
    phase_image: Image = "chelsea",
    *,
    N: int = 64,
    n_positions: int = 492,
    pattern: Literal["fermat", "raster"] = "fermat",
    step_px: float | None = None,
    nphotons: float = 1e6,
    poisson_noise: bool = True,
    defocus_rad: float | None = None,
    n_modes: int = 1,
    domain: Literal["amplitude", "intensity"] = "amplitude",
    holdout_fraction: float = 0.05,
    seed: int = 42,
) -> RawData:
    """Simulate one scan.

    Args:
        object_amplitude_image: photograph that becomes the amplitude of the object.
        phase_image: photograph that becomes its phase.
        N: patterns are N x N; even.
        n_positions: number of scan positions.
        pattern: Fermat spiral, or square raster with jitter (a quarter of the step, either way).
        step_px: mean spacing (square root of the area per position) in object pixels; none: 0.118 N.
        nphotons: photons on the object per pattern.
        poisson_noise: add photon noise; off: the expectation values.
        defocus_rad: phase at the rim of the pupil; none: N / 6 (90 % of the light within 0.45 N across).
        n_modes: incoherent probe modes, each with a quarter of the power of the one before.
        domain: store amplitudes (float32) or counts (uint32, or float32 without noise).
        holdout_fraction: share of patterns marked as kept for evaluation.
        seed: seed of jitter, noise and masks.

    Returns:
        The scan; `object_truth` and `probe_truth` hold the truth, `object_guess` is ones, `probe` is the true probe.

    Raises:
        ValueError: an unknown image or pattern, or a number out of range.
    """
    step = 0.118 * N if step_px is None else step_px
    defocus = N / 6 if defocus_rad is None else defocus_rad
    _check(N, n_positions, step, nphotons, n_modes, holdout_fraction, defocus, seed, domain)
    rng = np.random.default_rng(seed)
    positions = scan_positions(pattern, n_positions, step, rng)
    positions += N // 2 + MARGIN_PX - positions.min(axis=0)
    height, width = np.ceil(positions.max(axis=0)).astype(int) + N // 2 + MARGIN_PX + 1
    amplitude = 0.6 + 0.4 * photograph(object_amplitude_image, (height, width))
    phase_rad = 2 * photograph(phase_image, (height, width)) - 1
    truth: npt.NDArray[np.complex128] = amplitude * cast(Any, np.exp(1j * phase_rad))
    probe = make_probe(N, defocus, n_modes) * np.sqrt(nphotons)
    patterns = _patterns(truth, probe, positions, domain, rng if poisson_noise else None)
    holdout = np.zeros(n_positions, dtype=bool)
    holdout[rng.choice(n_positions, round(holdout_fraction * n_positions), replace=False)] = True
    half = rng.permutation(np.arange(n_positions) % 2).astype(np.int8)
    return RawData.from_arrays(
        patterns,
        positions,
        probe.astype(np.complex64),
        domain=domain,
        holdout=holdout,
        half=half,
        object_guess=np.ones((height, width), dtype=np.complex64),
        object_truth=truth,
        probe_truth=probe,
        nphotons=float(nphotons),
        metadata={
            "made_by": "ptycho_torch.simulate.simulate_scan",
            "object_amplitude_image": object_amplitude_image,
            "phase_image": phase_image,
            "pattern": pattern,
            "step_px": float(step),
            "poisson_noise": poisson_noise,
            "seed": seed,
        },
    )


def photograph(name: str, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """A shipped photograph in grey, float64 of this shape, stretched to 0..1.

    Raises:
        ValueError: not one of `IMAGES`.
    """
    if name not in IMAGES:
        raise ValueError(f"image: expected one of {', '.join(IMAGES)}; got {name!r}. Choose one.")
    image = np.asarray(getattr(data, name)())
    grey = cast(Any, color).rgb2gray(image) if image.ndim == 3 else image.astype(np.float64)
    resized: npt.NDArray[np.float64] = cast(Any, transform).resize(grey, shape, anti_aliasing=True)
    return (resized - resized.min()) / (resized.max() - resized.min())


def make_probe(N: int, defocus_rad: float, n_modes: int = 1) -> npt.NDArray[np.complex128]:
    """A defocused annular-pupil probe, complex128 (n_modes, N, N), orthogonal modes, total power 1, centred.

    The modes beyond the first are the pupil times linear and quadratic ramps, made orthogonal (a partially
    coherent source); each has a quarter of the power of the one before.
    """
    frequency = np.fft.fftfreq(N)
    fy, fx = np.meshgrid(frequency, frequency, indexing="ij")
    radius = np.hypot(fy, fx)
    inner, outer = PUPIL_RADII
    pupil = _edge(radius - inner) * _edge(outer - radius) * np.exp(1j * defocus_rad * (radius / outer) ** 2)
    ramps = [np.ones_like(fy), fy, fx, fy * fx, fy**2 - fx**2, fy**2 + fx**2][:n_modes]
    columns, triangle = np.linalg.qr(np.stack([(pupil * ramp).ravel() for ramp in ramps], axis=1))
    modes = columns * np.sign(
        cast(Any, np.diag(triangle)).real
    )  # the decomposition leaves the sign of a mode open
    power = 0.25 ** np.arange(n_modes)
    waves = np.fft.fftshift(np.fft.ifft2(modes.T.reshape(-1, N, N), norm="ortho"), axes=(-2, -1))
    return waves * np.sqrt(power / power.sum())[:, None, None]


def scan_positions(
    pattern: str, n_positions: int, step_px: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Positions float64 (n_positions, 2), rows (y, x), with one position per area step_px^2.

    Raises:
        ValueError: an unknown pattern.
    """
    order = np.arange(n_positions)
    if pattern == "fermat":
        radius, angle = step_px * np.sqrt((order + 0.5) / np.pi), order * GOLDEN_ANGLE_RAD
        return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    if pattern == "raster":
        grid = np.stack(np.divmod(order, int(np.ceil(np.sqrt(n_positions)))), axis=1) * step_px
        return grid + rng.uniform(-0.25, 0.25, grid.shape) * step_px
    raise ValueError(f"pattern: expected 'fermat' or 'raster'; got {pattern!r}. Choose one.")


def _edge(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Smooth step from 0 (far outside) to 1 (far inside the pupil)."""
    return 0.5 * (1 + np.tanh(distance / PUPIL_EDGE))


def _patterns(
    truth: npt.NDArray[np.complex128],
    probe: npt.NDArray[np.complex128],
    positions: npt.NDArray[np.float64],
    domain: str,
    rng: np.random.Generator | None,
) -> npt.NDArray[np.float32] | npt.NDArray[np.uint32]:
    """Patterns (n, N, N) in the wanted domain, a few at a time."""
    size = probe.shape[-1]
    whole = np.round(positions).astype(int)
    shift = positions - whole
    spectrum, frequency = np.fft.fft2(probe), np.fft.fftfreq(size)
    patches = np.lib.stride_tricks.sliding_window_view(truth, (size, size))
    counts = domain == "intensity" and rng is not None
    patterns: npt.NDArray[Any] = np.empty((len(positions), size, size), np.uint32 if counts else np.float32)
    for start in range(0, len(positions), BATCH):
        part = slice(start, start + BATCH)
        ramp_y, ramp_x = (np.exp(-2j * np.pi * shift[part, axis, None] * frequency) for axis in (0, 1))
        shifted = np.fft.ifft2(spectrum * (ramp_y[:, None, :, None] * ramp_x[:, None, None, :]))
        corner_y, corner_x = whole[part].T - size // 2
        exit_wave = shifted * patches[corner_y, corner_x][:, None]
        far_field = np.fft.fft2(exit_wave, norm="ortho")
        intensity = np.fft.fftshift((np.abs(far_field) ** 2).sum(axis=1), axes=(-2, -1))
        intensity = intensity if rng is None else rng.poisson(intensity)
        if counts and intensity.max() > LARGEST_COUNT:
            raise ValueError(
                f"nphotons: expected at most {LARGEST_COUNT} counts in a pixel; got {intensity.max()}. "
                " Lower it, or set the domain to 'amplitude'."
            )
        patterns[part] = intensity if domain == "intensity" else np.sqrt(intensity)
    return patterns


def _check(
    N: int,
    n_positions: int,
    step_px: float,
    nphotons: float,
    n_modes: int,
    holdout_fraction: float,
    defocus_rad: float,
    seed: int,
    domain: str,
) -> None:
    most = f"a number > 0, at most {LARGEST_VALUE:g}"
    rules = (
        ("N", N, N >= 16 and N % 2 == 0, "an even number >= 16"),
        ("n_positions", n_positions, n_positions >= 1, "at least 1"),
        ("step_px", step_px, 0 < step_px < np.inf, "a finite number > 0"),
        ("nphotons", nphotons, 0 < nphotons <= LARGEST_VALUE, most),
        ("n_modes", n_modes, 1 <= n_modes <= 6, "1 to 6"),
        ("holdout_fraction", holdout_fraction, 0 <= holdout_fraction < 1, "a number in [0, 1)"),
        ("defocus_rad", defocus_rad, abs(defocus_rad) < np.inf, "a finite number"),
        ("seed", seed, seed >= 0, "an integer >= 0"),
        ("domain", repr(domain), domain in DOMAINS, " or ".join(map(repr, DOMAINS))),
    )
    for name, value, holds, expected in rules:
        if not holds:
            raise ValueError(f"{name}: expected {expected}; got {value}. Change it.")
    _refuse_too_large(N, n_positions, step_px, n_modes)


def _refuse_too_large(N: int, n_positions: int, step_px: float, n_modes: int) -> None:
    """Refuse a scan that does not fit into memory, before any of it is there."""
    n, size, step = min(n_positions, 10**12), min(N, 10**9), min(step_px, 1e12)  # larger ones are no floats
    side = 2 / np.sqrt(np.pi) * step * np.sqrt(n) + size + 2 * MARGIN_PX
    parts = {
        f"an object of {side:.3g} x {side:.3g} pixels (step_px, n_positions)": side**2 * OBJECT_BYTES,
        f"{n} patterns of {size} x {size} pixels": n * size**2 * COUNT_BYTES,
        f"waves of {size} x {size} pixels (N)": min(BATCH, n) * n_modes * size**2 * WAVE_BYTES,
    }
    n_bytes = float(sum(parts.values()))
    if too_large(n_bytes):
        largest = max(parts, key=lambda name: parts[name])
        raise ValueError(
            f"scan: expected one that fits into the available memory, {size_text(available_bytes())}; got "
            f"{size_text(n_bytes)}, most of it for {largest}. Simulate a smaller scan."
        )
