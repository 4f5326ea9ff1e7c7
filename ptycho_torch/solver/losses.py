"""What a prediction is judged by, pixel by pixel, and how its far field must change.

    amplitude  L = sum (A - sqrt(I))^2          excess e = A / sqrt(I) - 1
    Poisson    L = sum I - k + k log(k / I)     excess e = k / I - 1

In both e F is the descent direction of the far field F, -dL/dF* (Wirtinger). Photon noise makes them a quarter and a
half per pixel where counts are many.
"""

from typing import Literal

import torch
from torch import Tensor

Loss = Literal["amplitude", "poisson"]

DARK = 1e-6
"""Photons added to a prediction before its root is taken."""


def amplitude_excess(
    intensity: Tensor, amplitude: Tensor, measured: Tensor | None, work: Tensor, excess: Tensor
) -> Tensor:
    """Amplitude loss L = sum (A - sqrt(I))^2.

    Args:
        intensity: real (k, N, N), predicted photons, > 0; holds its root afterwards.
        amplitude: real (k, N, N), photon**0.5.
        measured: 0 or 1, broadcasts; None when every pixel was measured.
        work: real (k, N, N), overwritten.
        excess: real (k, N, N), receives A / sqrt(I) - 1.

    Returns:
        L, a scalar.
    """
    root = intensity.sqrt_()
    torch.sub(amplitude, root, out=work)
    if measured is not None:
        work.mul_(measured)
    torch.div(work, root, out=excess)
    return torch.dot(work.view(-1), work.view(-1))


def poisson_excess(
    intensity: Tensor, counts: Tensor, measured: Tensor | None, work: Tensor, excess: Tensor
) -> Tensor:
    """Poisson loss L = sum I - k + k log(k / I), half the deviance.

    Args:
        intensity: real (k, N, N), predicted photons, > 0; holds k - I afterwards.
        counts: real (k, N, N), photons, > 0.
        measured: 0 or 1, broadcasts; None when every pixel was measured.
        work: real (k, N, N), overwritten.
        excess: real (k, N, N), receives k / I - 1.

    Returns:
        L, a scalar.
    """
    torch.div(counts, intensity, out=work)
    torch.sub(work, 1, out=excess)
    work.log_()
    torch.sub(counts, intensity, out=intensity)
    if measured is not None:
        for one in (work, excess, intensity):
            one.mul_(measured)
    return torch.dot(counts.view(-1), work.view(-1)) - intensity.sum()


def dark_count(mean_photons: float) -> float:
    """Photons added to counts and prediction in the Poisson loss, which is unbounded in the dark.

    Larger values cost quality; smaller ones make a few dark pixels rule the step.

    Args:
        mean_photons: of a pattern.
    """
    return min(max(1e-3 * (1e6 / max(mean_photons, 1.0)) ** 0.75, 1e-3), 0.03)
