"""Cut patches out of canvases, put them back, and average what overlaps.

``place`` is the adjoint of ``extract``; to reassemble is to place weighted patches and to divide by the weight. Corners
are whole pixels: the sub-pixel part of a scan position is carried by the probe (see docs/physics.md).
"""

import torch
from torch import Tensor


def flat_indices(corners: Tensor, patch_shape: tuple[int, int], canvas_shape: tuple[int, int]) -> Tensor:
    """Indices of every patch pixel in the flattened stack of canvases.

    Args:
        corners: int64 (B, C, 2), row and column of each patch's first pixel on its canvas.
        patch_shape: rows and columns of a patch.
        canvas_shape: rows and columns of a canvas.

    Returns:
        int64 (B, C, rows, columns) into a tensor of B * H * W pixels.
    """
    n_rows, n_columns = patch_shape
    height, width = canvas_shape
    device = corners.device
    first = torch.arange(corners.shape[0], device=device)[:, None] * (height * width)
    first = first + corners[..., 0] * width + corners[..., 1]
    inside = torch.arange(n_rows, device=device)[:, None] * width + torch.arange(n_columns, device=device)
    return first[..., None, None] + inside


def extract(canvas: Tensor, indices: Tensor) -> Tensor:
    """Cut patches out of canvases.

    Args:
        canvas: (B, H, W), any dtype.
        indices: from :func:`flat_indices`, (B, C, N, N).

    Returns:
        (B, C, N, N), dtype of the canvas.
    """
    if canvas.is_complex():
        return torch.complex(extract(canvas.real, indices), extract(canvas.imag, indices))
    return canvas.reshape(-1).index_select(0, indices.reshape(-1)).reshape(indices.shape)


def place(patches: Tensor, indices: Tensor, canvas_shape: tuple[int, int]) -> Tensor:
    """Add patches onto empty canvases: the adjoint of :func:`extract`.

    Args:
        patches: (B, C, N, N), any dtype.
        indices: from :func:`flat_indices`, (B, C, N, N).
        canvas_shape: rows H and columns W of a canvas.

    Returns:
        (B, H, W), dtype of the patches; pixels no patch reaches are zero.
    """
    if patches.is_complex():
        return torch.complex(
            place(patches.real, indices, canvas_shape), place(patches.imag, indices, canvas_shape)
        )
    n_canvases = indices.shape[0]
    flat = patches.new_zeros(n_canvases * canvas_shape[0] * canvas_shape[1])
    flat = flat.index_add(0, indices.reshape(-1), patches.reshape(-1))
    return flat.reshape(n_canvases, *canvas_shape)


def shares(weights: Tensor, indices: Tensor, canvas_shape: tuple[int, int]) -> Tensor:
    """Weights relative to all that lies on the same canvas pixel: weight / extract(place(weight)).

    ``place(patches * shares)`` is then the weighted average of overlapping patches.

    Args:
        weights: real (B, C, N, N), > 0.
        indices: from :func:`flat_indices`, (B, C, N, N).
        canvas_shape: rows H and columns W of a canvas.

    Returns:
        (B, C, N, N); where patches overlap they sum to one.
    """
    return weights / extract(place(weights, indices, canvas_shape), indices)
