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
    light = np.square(np.abs(probe), dtype=np.float64).sum(axis=0)
    return 2.0 * float(np.sqrt(np.count_nonzero(light >= LIT * light.max()) / np.pi))


def far_field_light(probe: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Intensity of the far field of a probe (modes, N, N) alone, (N, N), zero frequency at [N//2, N//2]."""
    waves = np.fft.fftshift(np.fft.fft2(probe, norm="ortho"), axes=(-2, -1))
    return np.square(np.abs(waves), dtype=np.float64).sum(axis=0)
