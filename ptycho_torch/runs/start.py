"""Where a reconstruction without a network starts: free space and the probe of the scan, or what a run has found."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.memory import too_large
from ptycho.npz_files import open_npz, read_member
from ptycho.raw_data import RawData
from ptycho.run_folder import OF_RECONSTRUCTION
from ptycho.scan_checks import CANVAS_BYTES
from ptycho_torch.patches import Frame, frame_of

_NAMES = ("object", "corner_px", "probe", "positions_px", "intensities")
"""Arrays that are read; the first two must be there."""


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
    flat = Start(
        np.ones(1, dtype=np.complex64), scan.probe, scan.positions_px, np.ones(len(scan), dtype=np.float64)
    )
    found = {} if path is None else _read(path)
    fields: dict[str, Any] = {
        name: _checked(path, name, found[name], getattr(flat, name))
        for name in ("probe", "positions_px", "intensities")
        if name in found
    }
    placed = fields.get("positions_px", scan.positions_px)
    height, width = (np.ptp(placed, axis=0) + scan.patterns.shape[-1] + 2 * margin_px).tolist()
    if too_large(height * width * CANVAS_BYTES):
        _refuse(path, "positions_px near those of the scan")
    frame = frame_of(torch.from_numpy(placed), scan.patterns.shape[-1], margin_px)
    canvas = np.ones(frame.shape, dtype=np.complex64)
    if found:
        _place(canvas, frame, found["object"], found["corner_px"])
    return Start(canvas, **{name: fields.get(name, getattr(flat, name)) for name in _NAMES[2:]})


def _read(path: Path) -> dict[str, NDArray[Any]]:
    file = path / OF_RECONSTRUCTION[0] if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"start: expected a run's folder with {OF_RECONSTRUCTION[0]}, or an NPZ file; got {printable(str(path))}. "
            "Check the path."
        )
    with open_npz(file) as (archive, members):
        found = {name: read_member(file, archive, members[name]) for name in _NAMES if name in members}
    image, corner = (found.get(name) for name in _NAMES[:2])
    fits = image is not None and image.ndim == 2 and image.dtype.kind in "fc"
    if image is None or not fits or not np.isfinite(_cast(image, np.complex64)).all():
        _refuse(file, "object, complex (H, W) and finite")
    if corner is None or corner.shape != (2,) or corner.dtype.kind not in "iu":
        _refuse(file, "corner_px, two whole numbers")
    return found


def _checked(path: Path | None, name: str, found: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """An array of the file, in the type that is worked with; of a probe the number of modes is free."""
    of_probe = name == "probe"
    fits = found.ndim == like.ndim and found.shape[of_probe:] == like.shape[of_probe:]
    if not fits or found.dtype.kind not in ("iufc" if of_probe else "iuf"):
        _refuse(path, f"{name} of a scan with the shape {like.shape}, as the one to reconstruct")
    values = _cast(found, like.dtype)
    dark = (of_probe and not values.any()) or (name == "intensities" and not (values > 0).all())
    if dark or not np.isfinite(values).all():
        _refuse(path, f"{name} of finite numbers{'' if name == 'positions_px' else ', with light'}")
    return values


def _cast(found: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """An array in the type that is worked with; what is too large for it becomes infinite."""
    with np.errstate(over="ignore"):
        return found.astype(dtype)


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


def _refuse(path: Path | None, expected: str) -> NoReturn:
    message = (
        f"start: expected {expected}; got another one, or none, in {printable(str(path))}. Name another file."
    )
    raise ConfigError([Failure("solver.start", f"solver.{message}")])
