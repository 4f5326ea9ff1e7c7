"""Files that hold one scan, in any format that is read; which one it is, its suffix says.

A reader returns the arrays under their keys of the data contract and converts units and layout; whether the
values make sense is checked afterwards, in one place (`ptycho.raw_data`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from ptycho.data_error import DataError, problem
from ptycho.hdf5_files import Hdf5File
from ptycho.hdf5_scans import CXI_PROBE, product_photons, read_cxi, read_product
from ptycho.npz_files import ScanFile, open_npz, read_member, read_npz, read_shape
from ptycho.stored_array import Stack

Format = Literal["npz", "product", "cxi"]

FORMATS: Final[dict[str, Format]] = {".npz": "npz", ".h5": "product", ".hdf5": "product", ".cxi": "cxi"}
_READERS: Final[dict[Format, Callable[[Path], ScanFile]]] = {
    "npz": read_npz,
    "product": read_product,
    "cxi": read_cxi,
}


def read_scan_file(path: Path) -> ScanFile:
    """Read one `.npz`, `.h5` / `.hdf5` (ptychodus product) or `.cxi` file.

    Raises:
        FileNotFoundError: no such file.
        DataError: another suffix, not a file of that format, or something it must hold is missing or damaged.
    """
    return _READERS[_format(path)](path)


def read_probe_shape(path: Path) -> tuple[int, ...] | None:
    """The shape of a scan's probe, from its header alone; None where an NPZ file has no `probeGuess`.

    Raises:
        FileNotFoundError, DataError: as `read_scan_file`.
    """
    if _format(path) == "npz":
        with open_npz(path) as (archive, members):
            if "probeGuess" not in members:
                return None
            return read_shape(path, archive, members["probeGuess"])
    with Hdf5File(path) as file:
        places = CXI_PROBE if _format(path) == "cxi" else ("probe",)
        shape = file.dataset(*places, ndim=(2, 3, 4), kinds="c").shape
        return shape[1:] if len(shape) == 4 and _format(path) == "product" else shape


def read_statements(path: Path) -> dict[str, Stack]:
    """What a scan states about its photons: `nphotons` and `metadata`, where it has them; nothing else is read.

    Raises:
        FileNotFoundError, DataError: as `read_scan_file`.
    """
    if _format(path) == "npz":
        with open_npz(path) as (archive, members):
            found = [key for key in ("nphotons", "metadata") if key in members]
            return {key: read_member(path, archive, members[key]) for key in found}
    if _format(path) == "cxi":
        return {}
    with Hdf5File(path) as file:
        return product_photons(file)


def _format(path: Path) -> Format:
    if not path.is_file():
        found = "a directory" if path.is_dir() else "nothing"
        raise FileNotFoundError(problem("scan file", "a file", found, path, "Check the path."))
    if path.suffix.lower() not in FORMATS:
        expected = f"a name that ends in {' or '.join(FORMATS)}"
        raise DataError(problem("scan file", expected, f"'{path.suffix}'", path, "Convert it to NPZ."))
    return FORMATS[path.suffix.lower()]
