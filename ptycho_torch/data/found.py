"""What an earlier run has found for a scan: its probe, its positions, the intensity of the beam in each pattern."""

import dataclasses
import math
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.memory import too_large
from ptycho.npz_files import read_results
from ptycho.raw_data import RawData
from ptycho.run_files import OF_RECONSTRUCTION
from ptycho.scan_checks import CANVAS_BYTES

OF_SCAN: Final = ("probe", "positions_px", "intensities")
"""Arrays of a scan."""


def with_found(scan: RawData, path: Path | None, field: str, enough: tuple[str, ...] = ()) -> RawData:
    """A scan with the probe, the positions and the intensities that a run has found for it; none is searched for then.

    Args:
        scan: as its file has it.
        path: see `read_found`; None: the scan stays as it is.
        field: the setting that names it, for messages.
        enough: other arrays, one of which is enough for the file to be of use.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it has nothing of the kind, or is of another scan.
        DataError: the file is damaged.
    """
    if path is None:
        return scan
    found = read_found(path, scan, field, (*enough, *OF_SCAN))
    if not found:
        refuse(path, field, f"one or several of the arrays {', '.join(OF_SCAN)}")
    found = {name: found[name] for name in OF_SCAN if name in found}
    reading = scan.reading
    if "positions_px" in found and reading.orientation == "auto":
        reading = dataclasses.replace(reading, orientation="identity")  # they lie as the run has them
    has_probe = scan.has_probe or "probe" in found
    return dataclasses.replace(scan, has_probe=has_probe, reading=reading, **found)


def read_found(path: Path, scan: RawData, field: str, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Read arrays of a run; those of the scan are checked against it.

    Args:
        path: a run's folder (of a run of several scans, the one below it that is called after the scan is taken), its
            reconstruction.npz, or another NPZ file.
        scan: the scan that they are for.
        field: the setting that names the path, for messages.
        names: arrays to read; one that is not there is left out.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: an array does not fit the scan.
        DataError: the file is damaged.
    """
    file = _file_of(path, scan)
    if file is None:
        name = field.rpartition(".")[2]
        raise FileNotFoundError(
            f"{name}: expected a run's folder with {OF_RECONSTRUCTION[0]}, or an NPZ file; got "
            f"{printable(str(path))}. Check the path."
        )
    found = read_results(file, names)
    like = {
        "probe": scan.probe,
        "positions_px": scan.positions_px,
        "intensities": np.ones(len(scan), dtype=np.float64),
    }
    fitting = {
        name: _fitting(file, field, name, found[name], like[name]) for name in OF_SCAN if name in found
    }
    spread_px = np.ptp(fitting.get("positions_px", scan.positions_px), axis=0) + scan.patterns.shape[-1]
    if too_large(math.prod(spread_px.tolist()) * CANVAS_BYTES):
        refuse(file, field, "positions_px near those of the scan")
    return found | fitting


def _file_of(path: Path, scan: RawData) -> Path | None:
    own = [] if scan.path is None else [path / scan.path.stem / OF_RECONSTRUCTION[0]]
    places = [path / OF_RECONSTRUCTION[0], *own] if path.is_dir() else [path]
    return next((place for place in places if place.is_file()), None)


def _fitting(file: Path, field: str, name: str, found: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """An array of the file, in the type that is worked with; of a probe the number of modes is free."""
    of_probe = name == "probe"
    fits = found.ndim == like.ndim and found.shape[of_probe:] == like.shape[of_probe:] and found.size > 0
    if not fits or found.dtype.kind not in ("iufc" if of_probe else "iuf"):
        refuse(file, field, f"{name} of a scan with the shape {like.shape}, as the one to reconstruct")
    values = cast(found, like.dtype)
    dark = (of_probe and not values.any()) or (name == "intensities" and not (values > 0).all())
    if dark or not np.isfinite(values).all():
        refuse(file, field, f"{name} of finite numbers{'' if name == 'positions_px' else ', with light'}")
    return values


def cast(found: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """An array in the type that is worked with; what is too large for it becomes infinite."""
    with np.errstate(over="ignore"):
        return found.astype(dtype)


def refuse(path: Path, field: str, expected: str) -> NoReturn:
    """Refuse a file of a run.

    Raises:
        ConfigError: always.
    """
    message = f"expected {expected}; got another one, or none, in {printable(str(path))}. Name another file."
    raise ConfigError([Failure(field, f"{field}: {message}")])
