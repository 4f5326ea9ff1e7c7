"""The object's canvas: how large it is, and how patches are cut from it and added to it in place.

Patches lie at whole pixels; the sub-pixel rest of a scan position is carried by the probe (see docs/physics.md). On a
CPU patches are slices of the canvas, which costs a tenth of index arrays; elsewhere many are gathered at once.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ptycho_torch.patches import flat_indices


class Frame(NamedTuple):
    """Where a canvas lies: canvas pixel (r, c) is pixel (r, c) + corner_px of the scan positions' coordinates."""

    corner_px: tuple[int, int]
    shape: tuple[int, int]


def frame_of(positions_px: Tensor, n_pixels: int, margin_px: int = 0) -> Frame:
    """The smallest canvas that holds every patch, and a margin for positions that may move.

    Args:
        positions_px: float (n, 2), rows (y, x).
        n_pixels: side N of the patches.
        margin_px: pixels added on each side.
    """
    corners = corners_of(positions_px, n_pixels)
    low, high = corners.amin(dim=0) - margin_px, corners.amax(dim=0) + n_pixels + margin_px
    (row, column), (height, width) = low.tolist(), (high - low).tolist()
    return Frame((row, column), (height, width))


def corners_of(positions_px: Tensor, n_pixels: int) -> Tensor:
    """First pixel of each patch: int64 (n, 2), in the pixels of the positions."""
    return torch.round(positions_px).long() - n_pixels // 2


def cut(canvas: Tensor, corners: Tensor, out: Tensor) -> Tensor:
    """Cut patches out of a canvas.

    Args:
        canvas: (H, W), contiguous.
        corners: int64 (k, 2), row and column of each patch's first pixel on the canvas.
        out: (k, N, N), dtype and device of the canvas; overwritten.

    Returns:
        ``out``.
    """
    return (cut_slices if canvas.device.type == "cpu" else gather)(canvas, corners, out)


def add(canvas: Tensor, corners: Tensor, patches: Tensor) -> None:
    """Add patches onto a canvas, in place: the adjoint of :func:`cut`.

    Args:
        canvas: (H, W), contiguous.
        corners: as in :func:`cut`.
        patches: (k, N, N), contiguous, dtype and device of the canvas.
    """
    (add_slices if canvas.device.type == "cpu" else scatter)(canvas, corners, patches)


def cut_slices(canvas: Tensor, corners: Tensor, out: Tensor) -> Tensor:
    """`cut`, patch by patch."""
    n_pixels = out.shape[-1]
    source, target = canvas.numpy(), out.numpy()
    for patch, (row, column) in zip(target, corners.tolist(), strict=True):
        patch[...] = source[row : row + n_pixels, column : column + n_pixels]
    return out


def add_slices(canvas: Tensor, corners: Tensor, patches: Tensor) -> None:
    """`add`, patch by patch."""
    n_pixels = patches.shape[-1]
    target, source = _floats(canvas), _floats(patches)
    width = source.shape[-1] // n_pixels
    for patch, (row, column) in zip(source, corners.tolist(), strict=True):
        target[row : row + n_pixels, width * column : width * (column + n_pixels)] += patch


def gather(canvas: Tensor, corners: Tensor, out: Tensor) -> Tensor:
    """`cut`, all patches at once."""
    indices = _indices(corners, out.shape[-1], canvas)
    return torch.index_select(canvas.view(-1), 0, indices, out=out.view(-1)).view_as(out)


def scatter(canvas: Tensor, corners: Tensor, patches: Tensor) -> None:
    """`add`, all patches at once."""
    pairs = [torch.view_as_real(one) if one.is_complex() else one[..., None] for one in (canvas, patches)]
    flat, values = (one.reshape(-1, one.shape[-1]) for one in pairs)
    flat.index_add_(0, _indices(corners, patches.shape[-1], canvas), values)


def _floats(image: Tensor) -> Any:
    array = image.numpy()
    return array.view(array.real.dtype)


def _indices(corners: Tensor, n_pixels: int, canvas: Tensor) -> Tensor:
    height, width = canvas.shape
    return flat_indices(corners[None], (n_pixels, n_pixels), (height, width)).view(-1)
