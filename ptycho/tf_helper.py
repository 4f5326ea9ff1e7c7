"""Reassembling patches (historical name; nothing here needs TensorFlow)."""

from typing import Any

import numpy as np
import numpy.typing as npt


def reassemble_position(
    obj_tensor_full: Any, global_offsets: npt.ArrayLike, M: int = 20
) -> npt.NDArray[np.complex64]:
    """Average the middles of object patches where they overlap.

    Args:
        obj_tensor_full: complex (n, N, N), patches; an axis of length 1 at the end is dropped.
        global_offsets: (n, 2), their positions (y, x) in pixels, from the middle of the result.
        M: side of the middle of a patch that is used, in pixels; at most N.

    Returns:
        Complex64 (H, W), whose middle is the origin of the positions, to half a pixel; 1 where no patch reaches.

    Raises:
        ValueError: shapes that do not fit together, or M out of range.
    """
    patches = np.asarray(obj_tensor_full)
    patches = patches[..., 0] if patches.ndim == 4 else patches
    positions = np.asarray(global_offsets, dtype=np.float64).reshape(-1, 2)
    if patches.ndim != 3 or len(patches) != len(positions):
        raise ValueError(
            f"global_offsets: expected one for each of the patches (n, N, N); got shapes {patches.shape} and "
            f"{positions.shape}."
        )
    n_pixels = patches.shape[-1]
    if not 1 <= M <= n_pixels:
        raise ValueError(f"M: expected 1 to {n_pixels}, the side of a patch; got {M}.")
    first = (n_pixels - M) // 2
    corners = np.round(positions).astype(np.int64) - n_pixels // 2 + first
    origin = corners.min(axis=0)
    height, width = corners.max(axis=0) - origin + M
    total = np.zeros((height, width), dtype=np.complex128)
    weight = np.zeros((height, width))
    for patch, (row, column) in zip(patches, corners - origin, strict=True):
        place = slice(row, row + M), slice(column, column + M)
        total[place] += patch[first : first + M, first : first + M]
        weight[place] += 1
    return np.where(weight > 0, total / np.maximum(weight, 1), 1).astype(np.complex64)
