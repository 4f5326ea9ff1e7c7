"""Complex total variation: its value, and the object nearest to a step that has less of it."""

import torch
from torch import Tensor

TINY = 1e-30
"""Instead of zero, where a length divides."""


def variation(image: Tensor, strength: Tensor) -> Tensor:
    """Isotropic total variation of a complex image: sum of strength sqrt(abs(d_y x)^2 + abs(d_x x)^2).

    Args:
        image: complex (H, W).
        strength: real (H, W), of the prior at each pixel.

    Returns:
        Real scalar.
    """
    return _length(_slopes(image, image.new_empty(2, *image.shape))).mul_(strength).sum()


def shrink_variation(
    image: Tensor, weight: Tensor, strength: Tensor, dual: Tensor, n_steps: int = 5
) -> tuple[Tensor, Tensor]:
    """argmin_x of the variation + sum weight abs(x - image)^2 / 2, approached by accelerated dual steps.

    Beck and Teboulle 2009 (fast gradient projection), with a weight and a step per pixel. The dual is kept by the
    caller from one call to the next, where few steps are enough.

    Args:
        image: complex (H, W).
        weight: real (H, W), > 0.
        strength: real (H, W), of the prior at each pixel, in the unit of ``weight``; 0 for none.
        dual: complex (2, H, W), zeros at first.
        n_steps: dual steps.

    Returns:
        The object, complex (H, W), and the dual.
    """
    least = weight.clone()
    least[:-1] = torch.minimum(least[:-1], weight[1:])
    least[:, :-1] = torch.minimum(least[:, :-1], weight[:, 1:])
    step, ahead, momentum = least / 8, dual, 1.0
    for _ in range(n_steps):
        new = _slopes(_primal(image, weight, ahead), torch.empty_like(dual)).mul_(step).add_(ahead)
        new *= (strength / _length(new).clamp_min_(TINY)).clamp_max_(1)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = torch.lerp(dual, new, 1 + (momentum - 1) / following)
        dual, momentum = new, following
    return _primal(image, weight, dual), dual


def _slopes(image: Tensor, out: Tensor) -> Tensor:
    """Forward differences along rows and columns, complex (2, H, W); zero at the far edges."""
    torch.sub(image[1:], image[:-1], out=out[0, :-1])
    torch.sub(image[:, 1:], image[:, :-1], out=out[1, :, :-1])
    out[0, -1] = 0
    out[1, :, -1] = 0
    return out


def _length(slopes: Tensor) -> Tensor:
    return torch.view_as_real(slopes).square().sum(dim=(0, -1)).sqrt_()


def _primal(image: Tensor, weight: Tensor, dual: Tensor) -> Tensor:
    """The object that belongs to a dual: image + divergence / weight."""
    divergence = dual[0] + dual[1]
    divergence[1:] -= dual[0, :-1]
    divergence[:, 1:] -= dual[1, :, :-1]
    return divergence.div_(weight).add_(image)
