"""Propagation between the exit plane and a detector in the far field (Fraunhofer)."""

import torch
from torch import Tensor


def far_field(exit_wave: Tensor) -> Tensor:
    """Far field of an exit wave: ``fft2(exit_wave, norm="ortho")``, zero frequency first.

    Args:
        exit_wave: complex (..., N, N), photon**0.5.

    Returns:
        Complex (..., N, N), photon**0.5, zero frequency at pixel (0, 0). The map is unitary, so the total number
        of photons is kept (Parseval). The origin of the exit wave is taken at pixel (0, 0), which only multiplies
        the far field by a phase that no intensity sees.
    """
    return torch.fft.fft2(exit_wave, norm="ortho")


def back_propagate(wave: Tensor) -> Tensor:
    """Exit wave of a far field: inverse, and adjoint, of :func:`far_field`.

    Args:
        wave: complex (..., N, N), zero frequency first.

    Returns:
        Complex (..., N, N) in the exit plane.
    """
    return torch.fft.ifft2(wave, norm="ortho")


def zero_first(detector: Tensor) -> Tensor:
    """Reorder detector pixels from zero frequency at (N//2, N//2), as patterns are stored, to (0, 0).

    Args:
        detector: (..., N, N).
    """
    return torch.fft.ifftshift(detector, dim=(-2, -1))


def zero_centred(detector: Tensor) -> Tensor:
    """Inverse of :func:`zero_first`.

    Args:
        detector: (..., N, N).
    """
    return torch.fft.fftshift(detector, dim=(-2, -1))
