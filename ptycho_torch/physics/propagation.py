"""Propagation between the exit plane and a detector in the far field (Fraunhofer)."""

import torch
from torch import Tensor

_AXES = (-2, -1)


def far_field(exit_wave: Tensor) -> Tensor:
    """Far field of an exit wave: ``fftshift(fft2(exit_wave, norm="ortho"))``.

    Args:
        exit_wave: complex (..., N, N), photon**0.5, pixel (N//2, N//2) on the optical axis.

    Returns:
        Complex (..., N, N), photon**0.5, zero frequency at (N//2, N//2). The map is unitary, so the total
        number of photons is kept (Parseval). The origin of the exit wave is taken at pixel (0, 0), which
        only multiplies the far field by a phase that no intensity sees.
    """
    return torch.fft.fftshift(torch.fft.fft2(exit_wave, norm="ortho"), dim=_AXES)


def back_propagate(wave: Tensor) -> Tensor:
    """Exit wave of a far field: inverse, and adjoint, of :func:`far_field`.

    Args:
        wave: complex (..., N, N), zero frequency at (N//2, N//2).

    Returns:
        Complex (..., N, N) in the exit plane.
    """
    return torch.fft.ifft2(torch.fft.ifftshift(wave, dim=_AXES), norm="ortho")
