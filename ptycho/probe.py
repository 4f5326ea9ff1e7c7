"""The illumination that a loaded model reconstructs with, for callers that set it apart from the patterns."""

from typing import Any

import numpy as np
import numpy.typing as npt

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
        raise ValueError("probe_guess: expected a complex array (N, N) or (modes, N, N); got none. Give it.")
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
