"""Total variation of a complex image along and across its phase, and the object nearest to a step that has less of it.

A change d of the image x splits into one of the modulus, Re(d x* / |x|), and one of the phase times the modulus,
Im(d x* / |x|). The first counts `MODULUS` times as much: noise lies in both alike, and phases reveal more.
"""

import torch
from torch import Tensor

from ptycho_torch.solver.strips import strips

TINY = 1e-30
"""Instead of zero, where a length divides."""
MODULUS = 1.5
"""How much more a change of the modulus counts than one of the phase."""


def variation(image: Tensor, strength: Tensor) -> Tensor:
    """Isotropic total variation: sum of strength sqrt(sum over y and x of (MODULUS Re d')^2 + (Im d')^2).

    d' are the forward differences, divided by the phase factor of the image at the pixel.

    Args:
        image: complex (H, W).
        strength: real (H, W), of the prior at each pixel.

    Returns:
        Real scalar.
    """
    total = strength.new_zeros(())
    for rows, seen, inner in strips(len(image), below=1):
        slopes = _slopes(_planes(image[seen]), _frame(image[seen]))
        total += _length(slopes)[inner].mul_(strength[rows]).sum()
    return total


def no_dual(image: Tensor) -> Tensor:
    """What `shrink_variation` starts from: zeros, real (2, 2, H, W), which take no memory."""
    return torch.zeros((), dtype=image.real.dtype, device=image.device).expand(2, 2, *image.shape)


def shrink_variation(
    image: Tensor, weight: Tensor, strength: Tensor, dual: Tensor, n_steps: int = 2
) -> tuple[Tensor, Tensor]:
    """argmin_x of the variation + sum weight abs(x - image)^2 / 2, approached by accelerated dual steps.

    Beck and Teboulle 2009 (fast gradient projection), with a weight and a step per pixel; the phase factors are those
    of ``image``. The dual is kept by the caller from one call to the next, where few steps are enough.

    Args:
        image: complex (H, W).
        weight: real (H, W), > 0.
        strength: real (H, W), of the prior at each pixel, in the unit of ``weight``; 0 for none.
        dual: real (2, 2, H, W), see `no_dual`.
        n_steps: dual steps.

    Returns:
        The object, complex (H, W), and the dual.
    """
    found = torch.empty_like(image)
    new_dual = torch.empty(dual.shape, dtype=dual.dtype, device=dual.device)
    for rows, seen, inner in strips(len(image), above=n_steps + 1, below=n_steps + 1):
        told = image[seen], weight[seen], strength[seen], dual[..., seen, :]
        strip, strip_dual = _shrunk(*told, n_steps)
        found[rows], new_dual[..., rows, :] = strip[inner], strip_dual[..., inner, :]
    return found, new_dual


def _shrunk(
    image: Tensor, weight: Tensor, strength: Tensor, dual: Tensor, n_steps: int
) -> tuple[Tensor, Tensor]:
    least = weight.clone()
    least[:-1] = torch.minimum(least[:-1], weight[1:])
    least[:, :-1] = torch.minimum(least[:, :-1], weight[:, 1:])
    step, ahead, momentum = least / (8 * MODULUS**2), dual, 1.0
    planes, frame = _planes(image), _frame(image)
    for _ in range(n_steps):
        new = _slopes(_primal(planes, weight, ahead, frame), frame).mul_(step).add_(ahead)
        new *= (strength / _length(new).clamp_min_(TINY)).clamp_max_(1)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = torch.lerp(dual, new, 1 + (momentum - 1) / following)
        dual, momentum = new, following
    return torch.complex(*_primal(planes, weight, dual, frame)), dual


def pull(image: Tensor, dual: Tensor) -> Tensor:
    """-d variation / d image* that belongs to a dual, complex (H, W): what a step on the object has against it."""
    against = torch.empty_like(image)
    for rows, seen, inner in strips(len(image), above=1):
        planes = _divergence(dual[..., seen, :], _frame(image[seen]))
        against[rows] = torch.complex(*planes)[inner] / 2
    return against


def _planes(image: Tensor) -> Tensor:
    """Real and imaginary part, (2, H, W)."""
    return torch.stack([image.real, image.imag])


def _frame(image: Tensor) -> Tensor:
    """What takes real and imaginary part to the stretched parts along and across the phase: real (2, 2, H, W)."""
    cosine, sine = _planes(image / image.abs().clamp_min(TINY))
    return torch.stack([MODULUS * cosine, MODULUS * sine, -sine, cosine]).unflatten(0, (2, 2))


def _turned(frame: Tensor, slopes: Tensor) -> Tensor:
    return torch.addcmul(frame[:, 0] * slopes[:, :1], frame[:, 1], slopes[:, 1:])


def _slopes(planes: Tensor, frame: Tensor) -> Tensor:
    """Forward differences along rows and columns in the frame of each pixel, (2, 2, H, W); zero at the far edges."""
    slopes = torch.zeros(2, *planes.shape, dtype=planes.dtype, device=planes.device)
    torch.sub(planes[:, 1:], planes[:, :-1], out=slopes[0, :, :-1])
    torch.sub(planes[..., 1:], planes[..., :-1], out=slopes[1, ..., :-1])
    return _turned(frame, slopes)


def _length(slopes: Tensor) -> Tensor:
    return slopes.square().sum(dim=(0, 1)).sqrt_()


def _primal(planes: Tensor, weight: Tensor, dual: Tensor, frame: Tensor) -> Tensor:
    """The object that belongs to a dual: image + divergence / weight, as planes."""
    return _divergence(dual, frame).div_(weight).add_(planes)


def _divergence(dual: Tensor, frame: Tensor) -> Tensor:
    """The adjoint of `_slopes`, turned round, as planes."""
    rows, columns = _turned(frame.transpose(0, 1), dual)
    divergence = rows + columns
    divergence[:, 1:] -= rows[:, :-1]
    divergence[..., 1:] -= columns[..., :-1]
    return divergence
