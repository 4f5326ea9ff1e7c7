"""What training minimizes. Every loss names its domain: counts (photons), amplitude (their square root), object.

Each is normalized by the data, so that its size depends neither on the photon number nor on the batch size, and
a perfect prediction of noise-free data gives zero.
"""

import torch
from torch import Tensor


def _measured_sum(values: Tensor, measured: Tensor | None) -> Tensor:
    return values.sum() if measured is None else (values * measured).sum()


def poisson_loss(expected: Tensor, counts: Tensor, measured: Tensor | None = None) -> Tensor:
    """Poisson negative log-likelihood of photon counts, per photon, above its smallest possible value.

    sum(m - k log m - (k - k log k)) / sum(k) for expected counts m and measured counts k: half the Poisson
    deviance per photon. Leaving out the part that depends on the data alone changes no gradient.

    Args:
        expected: float (..., N, N), predicted photons per pixel, >= 0.
        counts: float (..., N, N), measured photons per pixel, >= 0.
        measured: bool, broadcasts against counts; False leaves a pixel out. None: all count.

    Returns:
        Scalar >= 0.

    One photon is added on both sides. It bounds the slope at pixels where almost nothing is expected, which
    would otherwise outweigh all others, and does not move the minimum.
    """
    expected, shifted = expected + 1.0, counts + 1.0
    excess = expected - shifted + shifted * (torch.log(shifted) - torch.log(expected))
    return _measured_sum(excess, measured) / _measured_sum(counts, measured).clamp_min(1.0)


def amplitude_loss(predicted: Tensor, amplitude: Tensor, measured: Tensor | None = None) -> Tensor:
    """Mean absolute error of the amplitude, relative to the mean amplitude: the R factor of crystallography.

    Args:
        predicted: float (..., N, N), predicted amplitude, photon**0.5.
        amplitude: float (..., N, N), measured amplitude, photon**0.5.
        measured: bool, broadcasts against amplitude; False leaves a pixel out. None: all count.

    Returns:
        Scalar >= 0, dimensionless.
    """
    scale = _measured_sum(amplitude, measured).clamp_min(torch.finfo(amplitude.dtype).tiny)
    return _measured_sum((predicted - amplitude).abs(), measured) / scale


def object_loss(patch: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute error of complex object patches against known ones, weighted by the illumination.

    Args:
        patch: complex (..., N, N), predicted transmission.
        label: complex (..., N, N), known transmission.
        weight: float, broadcasts against patch, >= 0.

    Returns:
        Scalar >= 0, dimensionless.
    """
    difference = patch - label
    distance = (difference.real.square() + difference.imag.square() + torch.finfo(weight.dtype).eps).sqrt()
    return (distance * weight).sum() / weight.expand_as(distance).sum()


def total_variation(patch: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference between neighbouring pixels of object patches, weighted by the illumination.

    Args:
        patch: complex (..., N, N), transmission.
        weight: float, broadcasts against patch, >= 0.

    Returns:
        Scalar >= 0, per pixel.
    """
    rows, columns = patch.diff(dim=-2), patch.diff(dim=-1)
    tiny = torch.finfo(weight.dtype).eps
    along_rows = (rows.real.square() + rows.imag.square() + tiny).sqrt() * weight[..., 1:, :]
    along_columns = (columns.real.square() + columns.imag.square() + tiny).sqrt() * weight[..., :, 1:]
    return (along_rows.sum() + along_columns.sum()) / weight.expand(patch.shape).sum()
