"""The probe: sub-pixel displacement and support."""

import torch
from torch import Tensor


def fourier_shift(image: Tensor, shift_px: Tensor) -> Tensor:
    """Displace images by a fraction of a pixel with the Fourier shift theorem.

    Exact for images sampled finely enough (band limited) that vanish at the border, as a probe does.

    Args:
        image: complex (..., N, N).
        shift_px: real (..., 2), displacement (rows, columns) in pixels; positive moves towards larger indices.
            Its leading axes broadcast against those of ``image``.

    Returns:
        Complex (..., N, N).
    """
    return displaced(torch.fft.fft2(image), shift_px)


def displaced(spectrum: Tensor, shift_px: Tensor) -> Tensor:
    """:func:`fourier_shift` of images whose spectrum is known: ``fft2(image)``, complex (..., N, N).

    One spectrum serves any number of shifts, and the phase ramp is a factor for the rows and one for the columns.
    """
    rows, columns = (_ramp(shift_px[..., axis], spectrum.shape[axis - 2]) for axis in (0, 1))
    return torch.fft.ifft2(spectrum * rows[..., :, None] * columns[..., None, :])


def _ramp(shift_px: Tensor, n_pixels: int) -> Tensor:
    """Phase factors exp(-2 pi i f s) of all frequencies f: real (...) to complex (..., n_pixels)."""
    frequency = torch.fft.fftfreq(n_pixels, device=shift_px.device, dtype=shift_px.dtype)
    angle = -2 * torch.pi * shift_px[..., None] * frequency
    return torch.polar(torch.ones_like(angle), angle)


def circular_mask(n_pixels: int, diameter_px: float, edge_sigma_px: float) -> Tensor:
    """A centred disc with a soft edge.

    Args:
        n_pixels: side N of the square array.
        diameter_px: diameter at which the mask is one half, pixels.
        edge_sigma_px: width of the edge, the sigma of the Gaussian whose integral the edge follows, pixels;
            0 gives a sharp edge.

    Returns:
        Float32 (N, N) in [0, 1], centred on pixel (N//2, N//2).
    """
    axis = torch.arange(n_pixels, dtype=torch.float32) - n_pixels // 2
    inside_px = diameter_px / 2 - torch.hypot(axis[:, None], axis[None, :])
    if edge_sigma_px == 0:
        return (inside_px >= 0).float()
    return 0.5 * (1 + torch.erf(inside_px / (edge_sigma_px * 2**0.5)))


def limit_support(probe: Tensor, mask: Tensor | None) -> Tensor:
    """Multiply a probe by a support mask.

    Args:
        probe: complex (..., N, N).
        mask: float (N, N), or None for no limit.

    Returns:
        Complex (..., N, N).
    """
    return probe if mask is None else probe * mask
