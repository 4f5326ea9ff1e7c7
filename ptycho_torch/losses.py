"""What training minimizes. Every loss names its domain: counts (photons), amplitude (their square root), object.

Each is a mean over patterns, normalized by what a scan has in all its batches, so that its size depends neither on the
photon number nor on the batch size, the loss of a batch is the mean of the losses of its parts (of equal size), and a
perfect prediction of noise-free data gives zero.
"""

import torch
from torch import Tensor

PIXELS = (-2, -1)


def measured_sum(values: Tensor, measured: Tensor | None) -> Tensor:
    """Sum over the pixels of each pattern: float (..., N, N) to (...), without what was not measured."""
    return (values if measured is None else values * measured).sum(dim=PIXELS)


def poisson_loss(
    expected: Tensor, counts: Tensor, mean_counts: Tensor, measured: Tensor | None = None
) -> Tensor:
    """Poisson negative log-likelihood of photon counts, per photon, above its smallest possible value.

    sum(m - k log m - (k - k log k)) / K for expected counts m and measured counts k, mean over patterns: half the
    Poisson deviance per photon. Leaving out the part that depends on the data alone changes no gradient.

    Args:
        expected: float (..., N, N), predicted photons per pixel, >= 0.
        counts: float (..., N, N), measured photons per pixel, >= 0.
        mean_counts: float (...), K, the photons of a pattern, mean of its scan; less than 1 counts as 1.
        measured: bool, broadcasts against counts; False leaves a pixel out. None: all count.

    Returns:
        Scalar >= 0.

    One photon is added on both sides. It bounds the slope at pixels where almost nothing is expected, which
    would otherwise outweigh all others, and does not move the minimum.
    """
    expected, shifted = expected + 1.0, counts + 1.0
    excess = expected - shifted + shifted * (torch.log(shifted) - torch.log(expected))
    return (measured_sum(excess, measured) / mean_counts.clamp_min(1.0)).mean()


def amplitude_loss(
    predicted: Tensor, amplitude: Tensor, mean_amplitude: Tensor, measured: Tensor | None = None
) -> Tensor:
    """Mean absolute error of the amplitude, relative to the mean amplitude: the R factor of crystallography.

    Over a whole scan it is that factor; a batch has its share of it.

    Args:
        predicted: float (..., N, N), predicted amplitude, photon**0.5.
        amplitude: float (..., N, N), measured amplitude, photon**0.5.
        mean_amplitude: float (...), sum of the amplitudes of a pattern, mean of its scan, photon**0.5.
        measured: bool, broadcasts against amplitude; False leaves a pixel out. None: all count.

    Returns:
        Scalar >= 0, dimensionless.
    """
    scale = mean_amplitude.clamp_min(torch.finfo(amplitude.dtype).tiny)
    return (measured_sum((predicted - amplitude).abs(), measured) / scale).mean()


def object_loss(patch: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute error of complex object patches: weighted by the illumination, mean over patches.

    Args:
        patch: complex (..., N, N), predicted transmission.
        label: complex (..., N, N), known transmission.
        weight: float, broadcasts against patch, >= 0.

    Returns:
        Scalar >= 0, dimensionless.
    """
    difference = patch - label
    distance = (difference.real.square() + difference.imag.square() + torch.finfo(weight.dtype).eps).sqrt()
    return ((distance * weight).sum(dim=PIXELS) / weight.expand_as(distance).sum(dim=PIXELS)).mean()


def total_variation(patch: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels of object patches: weighted by illumination, mean over patches.

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
    steps = along_rows.sum(dim=PIXELS) + along_columns.sum(dim=PIXELS)
    return (steps / weight.expand(patch.shape).sum(dim=PIXELS)).mean()


def _circular_steps(patch: Tensor) -> tuple[Tensor, Tensor]:
    """Phase steps between neighbouring pixels along rows and columns, rad."""
    return (patch[..., 1:, :] * patch[..., :-1, :].conj()).angle(), (
        patch[..., :, 1:] * patch[..., :, :-1].conj()
    ).angle()


def amplitude_smoothness(patch: Tensor, kind: str) -> Tensor:
    """How far the amplitude of object patches is from smooth: mean over pixels and patches.

    Args:
        patch: complex (..., N, N), transmission.
        kind: Total_Variation (mean absolute step between neighbours) or Mean_Deviation (from the patch's mean).

    Returns:
        Scalar >= 0.
    """
    amplitude = patch.abs()
    if kind == "Mean_Deviation":
        return (amplitude - amplitude.mean(dim=PIXELS, keepdim=True)).abs().mean()
    return amplitude.diff(dim=-2).abs().mean() + amplitude.diff(dim=-1).abs().mean()


def phase_smoothness(patch: Tensor, kind: str) -> Tensor:
    """The same for the phase, in rad; a phase is compared on the circle, so that wraps cost nothing.

    Args:
        patch: complex (..., N, N), transmission.
        kind: Total_Variation or Mean_Deviation.

    Returns:
        Scalar >= 0, rad.
    """
    if kind == "Mean_Deviation":
        return (patch * patch.mean(dim=PIXELS, keepdim=True).conj()).angle().abs().mean()
    along_rows, along_columns = _circular_steps(patch)
    return along_rows.abs().mean() + along_columns.abs().mean()


def amplitude_variance(patch: Tensor) -> Tensor:
    """Variance of the amplitude within object patches (..., N, N), mean over patches."""
    return patch.abs().var(dim=PIXELS, unbiased=False).mean()


def probe_distance(probe: Tensor, guess: Tensor) -> Tensor:
    """Squared distance of a probe from its guess, relative to the guess; real or complex of one shape."""
    return (probe - guess).abs().square().sum() / guess.abs().square().sum()
