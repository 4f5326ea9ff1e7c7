"""The canvas of an object: where it lies, patches cut from it and added to it in place, averages of what overlaps.

Adding is the adjoint of cutting. Corners are whole pixels: the sub-pixel part of a scan position is carried by the
probe (see docs/physics.md). On a CPU patches are slices of the canvas, which is many times faster than index arrays;
elsewhere all are gathered at once.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


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
        canvas: (H, W), any dtype.
        corners: int64 (k, 2), row and column of each patch's first pixel on the canvas.
        out: (k, rows, columns), dtype and device of the canvas; overwritten.

    Returns:
        ``out``.
    """
    return (cut_slices if canvas.device.type == "cpu" else gather)(canvas, corners, out)


def add(canvas: Tensor, corners: Tensor, patches: Tensor) -> None:
    """Add patches to a canvas, in place and in their order: the adjoint of :func:`cut`.

    Args:
        canvas: contiguous (H, W), any dtype; takes the sums.
        corners: int64 (k, 2), row and column of each patch's first pixel on the canvas.
        patches: (k, rows, columns), dtype and device of the canvas.
    """
    (add_slices if canvas.device.type == "cpu" else scatter)(canvas, corners, patches)


def cut_slices(canvas: Tensor, corners: Tensor, out: Tensor) -> Tensor:
    """`cut`, patch by patch."""
    rows, columns = out.shape[-2:]
    source = canvas.numpy()
    for patch, (row, column) in zip(out.numpy(), corners.tolist(), strict=True):
        patch[...] = source[row : row + rows, column : column + columns]
    return out


def add_slices(canvas: Tensor, corners: Tensor, patches: Tensor) -> None:
    """`add`, patch by patch."""
    rows, columns = patches.shape[-2:]
    target = canvas.numpy()
    for patch, (row, column) in zip(patches.numpy(), corners.tolist(), strict=True):
        target[row : row + rows, column : column + columns] += patch


def gather(canvas: Tensor, corners: Tensor, out: Tensor) -> Tensor:
    """`cut`, all patches at once."""
    windows = canvas.unfold(0, out.shape[-2], 1).unfold(1, out.shape[-1], 1)
    return out.copy_(windows[corners[:, 0], corners[:, 1]])


def scatter(canvas: Tensor, corners: Tensor, patches: Tensor) -> None:
    """`add`, all patches at once."""
    width = canvas.shape[1]
    rows, columns = (torch.arange(n, device=canvas.device) for n in patches.shape[-2:])
    first = corners[:, 0] * width + corners[:, 1]
    indices = first[:, None, None] + rows[:, None] * width + columns
    parts = [torch.view_as_real(one) if one.is_complex() else one[..., None] for one in (canvas, patches)]
    pixels, values = (one.reshape(-1, one.shape[-1]) for one in parts)
    pixels.index_add_(0, indices.reshape(-1), values)


class Overlap(NamedTuple):
    """How the patches of each of B groups lie on the canvas of their group; the canvases stand in one column."""

    corners: Tensor
    """int64 (B * C, 2), row and column of each patch's first pixel in the column of canvases."""
    shape: tuple[int, int]
    """Rows and columns of the column of canvases."""
    share: Tensor
    """float (B * C, N, N), weight of a patch relative to all that lies on the same pixel."""


def overlap_of(corners: Tensor, weight: Tensor) -> Overlap:
    """Canvases that just hold the patches of their groups.

    Args:
        corners: int64 (B, C, 2), row and column of each patch's first pixel.
        weight: float (B * C, N, N), > 0.
    """
    relative = corners - corners.amin(dim=1, keepdim=True)
    height, width = (int(reach) for reach in relative.amax(dim=(0, 1)) + weight.shape[-1])
    relative[..., 0] += torch.arange(len(corners), device=corners.device)[:, None] * height
    places, shape = relative.flatten(0, 1), (len(corners) * height, width)
    return Overlap(places, shape, weight / _overlapped(weight, places, shape))


def averaged(patches: Tensor, overlap: Overlap) -> Tensor:
    """The weighted average of overlapping patches, at each of them: complex (B * C, N, N) to the same.

    The backward pass, for the patches alone, is written out: it is the adjoint, and keeps nothing but the shares.
    """
    result: Tensor = _Averaged.apply(patches, *overlap)
    return result


class _Averaged(torch.autograd.Function):
    """Forward and backward pass of :func:`averaged`."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, corners: Tensor, shape: tuple[int, int], share: Tensor) -> Tensor:
        ctx.save_for_backward(corners, share)
        ctx.shape = shape
        return _overlapped(patches * share, corners, shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        corners, share = ctx.saved_tensors
        return _overlapped(gradient.resolve_conj(), corners, ctx.shape) * share, None, None, None


def _overlapped(patches: Tensor, corners: Tensor, shape: tuple[int, int]) -> Tensor:
    """What all patches together give at each of them."""
    canvas = patches.new_zeros(shape)
    add(canvas, corners, patches)
    return cut(canvas, corners, torch.empty_like(patches))
