"""Where a reconstruction without a network starts: free space and the probe of the scan, or what a run has found."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho.raw_data import RawData
from ptycho_torch.data.found import OF_SCAN, cast, read_found, refuse
from ptycho_torch.patches import Frame, frame_of

_FIELD: Final = "solver.start"


@dataclass(frozen=True)
class Start:
    """What a descent begins with.

    Attributes:
        object: complex64 (H, W) on the canvas of the scan.
        probe: complex64 (modes, N, N), photon**0.5.
        positions_px: float64 (n, 2), rows (y, x).
        intensities: float64 (n,), relative.
    """

    object: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    positions_px: NDArray[np.float64]
    intensities: NDArray[np.float64]


def start_of(path: Path | None, scan: RawData, margin_px: int) -> Start:
    """The start for a scan.

    Args:
        path: a run's folder, its reconstruction.npz, or another NPZ file with ``object`` and ``corner_px``; None: free
            space. What else it has of a scan of this shape is taken too.
        scan: the patterns.
        margin_px: free canvas around the patches.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it is no object.
        DataError: the file is damaged.
    """
    found = {} if path is None else read_found(path, scan, _FIELD, ("object", "corner_px", *OF_SCAN))
    known = {"probe": scan.probe, "positions_px": scan.positions_px, "intensities": np.ones(len(scan))}
    fields = {name: found.get(name, value) for name, value in known.items()}
    frame = frame_of(torch.from_numpy(fields["positions_px"]), scan.patterns.shape[-1], margin_px)
    canvas = np.ones(frame.shape, dtype=np.complex64)
    if path is not None:
        _place(canvas, frame, *_checked_object(path, found))
    return Start(canvas, **fields)


def _checked_object(path: Path, found: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    image, corner = found.get("object"), found.get("corner_px")
    fits = image is not None and image.ndim == 2 and image.dtype.kind in "fc"
    if image is None or not fits or not np.isfinite(cast(image, np.complex64)).all():
        refuse(path, _FIELD, "object, complex (H, W) and finite")
    if corner is None or corner.shape != (2,) or corner.dtype.kind not in "iu":
        refuse(path, _FIELD, "corner_px, two whole numbers")
    return image, corner


def _place(canvas: NDArray[np.complex64], frame: Frame, image: NDArray[Any], corner_px: NDArray[Any]) -> None:
    """Put an image where it lies on a canvas; what lies outside is left out."""
    here, there = [], []
    for corner, first, size, length in zip(
        corner_px.tolist(), frame.corner_px, canvas.shape, image.shape, strict=True
    ):
        low, high = max(0, corner - first), min(size, corner - first + length)
        here.append(slice(low, max(low, high)))
        there.append(slice(low + first - corner, max(low, high) + first - corner))
    canvas[tuple(here)] = image[tuple(there)]
