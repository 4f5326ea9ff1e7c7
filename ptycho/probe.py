"""The probe: what its shape tells, and the one that a loaded model reconstructs with, where a caller sets it apart."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

LIT: Final = 0.1
"""Part of its peak intensity from which on a pixel belongs to a probe."""

_guess: npt.NDArray[np.complex64] | None = None


def set_probe_guess(X_train: Any = None, probe_guess: npt.ArrayLike | None = None) -> None:
    """Set the illumination of the models of this process.

    Args:
        X_train: not needed; historically the patterns that a missing guess was made from.
        probe_guess: complex (N, N) or (modes, N, N).

    Raises:
        ValueError: no guess; it cannot be made from patterns alone.
    """
    global _guess
    if probe_guess is None:
        raise ValueError("probe_guess: expected a complex array (N, N) or (modes, N, N); got none. Pass one.")
    probe = np.asarray(probe_guess, dtype=np.complex64)
    _guess = probe[None] if probe.ndim == 2 else probe


def get_probe_guess() -> npt.NDArray[np.complex64]:
    """The illumination, complex64 (modes, N, N).

    Raises:
        ValueError: nobody has set it.
    """
    if _guess is None:
        raise ValueError(
            "probe: expected one for the model; got none. Call ptycho.probe.set_probe_guess first."
        )
    return _guess


def probe_diameter_px(probe: npt.NDArray[Any]) -> float:
    """Diameter of the circle of the area that a probe (modes, N, N) lights."""
    return 2.0 * float(np.sqrt(np.count_nonzero(_lit(probe)) / np.pi))


def lit_pixels(probe: npt.NDArray[Any], positions: npt.NDArray[np.float64]) -> int:
    """Pixels of the object that a probe (modes, N, N) lights from any of the positions (n, 2), rows (y, x)."""
    return int(np.count_nonzero(_times_lit(probe, positions)[0]))


def covered_shares(
    probe: npt.NDArray[Any], positions: npt.NDArray[np.float64], lighting: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Of what the probe lights at each position, the share that it lights from others as well: float64 (n,).

    Args:
        probe: complex (modes, N, N).
        positions: (n, 2), rows (y, x).
        lighting: bool (n,), the others that count.
    """
    lit = _lit(probe)
    times, corners = _times_lit(probe, positions, lighting)
    shares = np.empty(len(corners))
    for row, (y, x) in enumerate(corners):
        shares[row] = np.mean(times[y : y + lit.shape[0], x : x + lit.shape[1]][lit] > lighting[row])
    return shares


def focus_of_light(light: npt.NDArray[Any]) -> npt.NDArray[np.complex64]:
    """The focus whose far field has this intensity (N, N): a probe without its defocus, (1, N, N)."""
    near = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(np.sqrt(light)), norm="ortho"))
    return near.astype(np.complex64)[None]


def far_field_light(probe: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Intensity of the far field of a probe (modes, N, N) alone, (N, N), zero frequency at [N//2, N//2]."""
    waves = np.fft.fftshift(np.fft.fft2(probe, norm="ortho"), axes=(-2, -1))
    return np.square(np.abs(waves), dtype=np.float64).sum(axis=0)


def _times_lit(
    probe: npt.NDArray[Any], positions: npt.NDArray[np.float64], lighting: npt.NDArray[np.bool_] | None = None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """From how many positions each pixel is lit, on a canvas of all; and the corner there of each position's patch."""
    lit, corners = _lit(probe), np.rint(positions).astype(np.int64)
    corners -= corners.min(axis=0)
    times = np.zeros(corners.max(axis=0) + lit.shape, dtype=np.int32)
    for y, x in corners if lighting is None else corners[lighting]:
        times[y : y + lit.shape[0], x : x + lit.shape[1]] += lit
    return times, corners


def _lit(probe: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    light = np.square(np.abs(probe), dtype=np.float64).sum(axis=0)
    return light >= LIT * light.max()
