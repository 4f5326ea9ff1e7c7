"""How images lie in memory between physics and network: complex or as channels, folded or not.

Blocks of 2 x 2 pixels become channels and channels become blocks (Shi et al. 2016), between images in rows and channels
that are last in memory. Two neighbours of a row stay neighbours, so that they move as one number of twice the size.
Each backward pass is written out: it is the opposite move.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

FOLD = 2
"""Side of a block: a quarter of the pixels, at equal content."""
_PAIRS = {2: torch.int32, 4: torch.float64, 8: torch.complex128}
"""Bytes of a number -> type of a pair of them."""


def as_channels(*images: Tensor) -> Tensor:
    """Real and imaginary part of each image: k times complex (M, N, N) to float (M, 2 k, N, N)."""
    result: Tensor = _AsChannels.apply(*images)
    return result


def fold(image: Tensor) -> Tensor:
    """Blocks become channels: (M, c, H, W) to (M, 4 c, H/2, W/2), channels last in memory; H and W are even."""
    result: Tensor = _Fold.apply(image)
    return result


def unfold(features: Tensor) -> Tensor:
    """Channels become blocks, the inverse of :func:`fold`: (M, 4 c, H, W) to (M, c, 2 H, 2 W)."""
    result: Tensor = _Unfold.apply(features)
    return result


class _AsChannels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *images: Tensor) -> Tensor:
        return torch.stack([part for image in images for part in (image.real, image.imag)], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        parts = gradient.unbind(dim=1)
        return tuple(torch.complex(*pair) for pair in zip(parts[::2], parts[1::2], strict=True))


class _Fold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor) -> Tensor:
        return _folded(image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _unfolded(gradient)


class _Unfold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        return _unfolded(features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _folded(gradient)


def _folded(image: Tensor) -> Tensor:
    n, channels, height, width = image.shape
    rows, columns = height // FOLD, width // FOLD
    pairs = image.contiguous().view(n, channels, rows, FOLD, width).view(_PAIRS[image.dtype.itemsize])
    blocks = pairs.permute(0, 2, 4, 1, 3).contiguous().view(image.dtype)
    return blocks.view(n, rows, columns, channels * FOLD**2).permute(0, 3, 1, 2)


def _unfolded(features: Tensor) -> Tensor:
    n, channels, rows, columns = features.shape
    last = features.permute(0, 2, 3, 1).contiguous()
    pairs = last.view(n, rows, columns, channels // FOLD**2, FOLD, FOLD).view(_PAIRS[last.dtype.itemsize])
    image = pairs.squeeze(-1).permute(0, 3, 1, 4, 2).contiguous().view(last.dtype)
    return image.view(n, channels // FOLD**2, rows * FOLD, columns * FOLD)
