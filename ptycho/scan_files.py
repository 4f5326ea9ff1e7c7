"""Files that hold one scan: NPZ in and out; ptychodus product and CXI in.

A reader returns the arrays under their keys of the data contract and converts units and layout; whether the
values make sense is checked afterwards, in one place (`ptycho.raw_data`). Nothing in a file is ever executed:
object arrays are refused.

ptychodus product (`.h5`): datasets `probe_position_x_m`, `probe_position_y_m`, `probe_position_indexes`,
    `probe` and `object`, the last with attributes `pixel_width_m`, `pixel_height_m`, `center_x_m`,
    `center_y_m`. The counts are in `diffraction.h5` in the same folder: `patterns`, `indexes`,
    `bad_pixels`. Positions and patterns with the same index belong together; others are left out.
CXI (`.cxi`, SI units): `entry_1/data_1/data` (n, N, N) counts, zero frequency at [N//2, N//2]; in
    `entry_1/sample_1/geometry_1` the sample's `translation` (n, 2 or 3); in `entry_1/instrument_1/source_1`
    `energy` (J) and `illumination` (the probe); in `entry_1/instrument_1/detector_1` `distance`,
    `x_pixel_size`, `y_pixel_size`, and optionally `mask` (not zero: bad), `basis_vectors` (slow, fast axis).

In both HDF5 formats the values of pixels marked bad mean nothing; they are set to 0.
"""

import contextlib
import json
import mmap
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, cast

import h5py  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import numpy.typing as npt

from ptycho.atomic import atomic_write
from ptycho.scan_checks import DataError, blocks, problem

Array = npt.NDArray[Any]

NPZ_KEYS = (
    *(
        "diff3d",
        "diffraction",
        "xcoords",
        "ycoords",
        "probeGuess",
        "bad_pixels",
        "holdout",
        "half",
        "scan_index",
    ),
    *("objectGuess", "objectTruth", "probeTruth", "label_amp", "label_phase", "nphotons", "metadata"),
)

FORMATS: dict[str, Literal["npz", "product", "cxi"]] = {
    ".npz": "npz",
    ".h5": "product",
    ".hdf5": "product",
    ".cxi": "cxi",
}
CXI_PROBE = ("entry_1/instrument_1/source_1/illumination", "entry_1/instrument_1/source_1/probe")

PLANCK_TIMES_LIGHT_J_M = 6.62607015e-34 * 299792458.0
LARGEST_PHOTON_ENERGY_J = 1e-10


class MappedArray(NamedTuple):
    """Where in a file a memory-mapped array lies: what a pickle holds in its place."""

    path: Path
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    order: Literal["C", "F"]

    def map(self) -> Array:
        """The array, mapped again, read-only."""
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, self.order)


def place_of(array: Array) -> Array | MappedArray:
    """The place of an array that is a whole read-only memory map, as its file still is; else the array."""
    if not isinstance(array, np.memmap) or not isinstance(array.base, mmap.mmap) or array.mode != "r":
        return array
    order = "C" if array.flags.c_contiguous else "F"
    place = MappedArray(Path(str(array.filename)), array.dtype, array.offset, array.shape, order)
    try:
        again = place.map()
    except (OSError, ValueError):  # the file is gone, or shorter
        return array
    ends = [0, -1]
    return place if np.array_equal(again[ends], array[ends]) else array


def array_at(place: Array | MappedArray) -> Array:
    """The array that `place_of` gave the place of."""
    return place.map() if isinstance(place, MappedArray) else place


class ScanFile(NamedTuple):
    """Arrays of a file by their key in the data contract; `names`: what the file calls them, if else."""

    arrays: dict[str, Array]
    names: dict[str, str]


def read_scan_file(path: Path) -> ScanFile:
    """Read one `.npz`, `.h5` / `.hdf5` (ptychodus product) or `.cxi` file.

    Raises:
        FileNotFoundError: no such file.
        DataError: another suffix, not a file of that format, or something it must hold is missing.
    """
    return {"npz": _read_npz, "product": _read_product, "cxi": _read_cxi}[_format(path)](path)


def read_probe_shape(path: Path) -> tuple[int, ...] | None:
    """The shape of a scan's probe, from its header alone; None where an NPZ file has no `probeGuess`.

    Raises:
        FileNotFoundError, DataError: as `read_scan_file`.
    """
    if _format(path) == "npz":
        with _open_npz(path) as (archive, members):
            if "probeGuess" not in members:
                return None
            with _open_member(path, archive, members["probeGuess"]) as stream:
                return _npy_header(stream)[0]
    with _open_hdf5(path) as file:
        if _format(path) == "cxi":
            return _dataset(file, *CXI_PROBE).shape
        shape = _dataset(file, "probe").shape
        return shape[1:] if len(shape) == 4 else shape


def read_statements(path: Path) -> dict[str, Array]:
    """What a scan states about its photons: `nphotons` and `metadata`, where it has them; nothing else is read.

    Raises:
        FileNotFoundError, DataError: as `read_scan_file`.
    """
    if _format(path) == "npz":
        with _open_npz(path) as (archive, members):
            found = [key for key in ("nphotons", "metadata") if key in members]
            return {key: _read_member(path, archive, members[key]) for key in found}
    if _format(path) == "cxi":
        return {}
    with _open_hdf5(path) as file:
        return _product_photons(file)


def _format(path: Path) -> Literal["npz", "product", "cxi"]:
    if not path.is_file():
        found = "a directory" if path.is_dir() else "nothing"
        raise FileNotFoundError(problem("scan file", "a file", found, path, "Check the path."))
    if path.suffix.lower() not in FORMATS:
        expected = f"a name that ends in {' or '.join(FORMATS)}"
        raise DataError(problem("scan file", expected, f"'{path.suffix}'", path, "Convert it to NPZ."))
    return FORMATS[path.suffix.lower()]


@contextlib.contextmanager
def _open_npz(path: Path) -> Generator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]], None, None]:
    """The archive, and its members by key."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive, {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    # RuntimeError: an encrypted member, or a compression that is not known
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise DataError(problem("scan file", "a whole NPZ", f"'{error}'", path, "Write it again.")) from error


@contextlib.contextmanager
def _open_member(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> Generator[IO[bytes], None, None]:
    try:
        with archive.open(info) as stream:
            yield stream
    # numpy reads a damaged header of an array as a damaged Python literal
    except (ValueError, SyntaxError, tokenize.TokenError) as error:
        name, advice = info.filename.removesuffix(".npy"), "Write numbers, and metadata as text (json.dumps)."
        raise DataError(problem(name, "a plain array", f"'{error}'", path, advice)) from error


def _read_npz(path: Path) -> ScanFile:
    """Known members of an NPZ file; stacks that are not compressed are memory-mapped, the rest is read."""
    names: dict[str, str] = {}
    with _open_npz(path) as (archive, members):
        found = [key for key in NPZ_KEYS if key in members]
        arrays = {key: _read_member(path, archive, members[key]) for key in found}
    if "diff3d" not in arrays and "diffraction" in arrays:
        arrays["diff3d"] = arrays["diffraction"]
        names["diff3d"] = "diffraction"
    arrays.pop("diffraction", None)
    return ScanFile(arrays, names)


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    with _open_member(path, archive, info) as stream:
        shape, fortran_order, dtype = _npy_header(stream)
        stack = len(shape) == 3 and 0 not in shape and dtype.kind in "iuf"
        if stack and info.compress_type == zipfile.ZIP_STORED:
            start = _member_start(path, info) + stream.tell()
            order = "F" if fortran_order else "C"
            return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape, order=order)
    with _open_member(path, archive, info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def _member_start(path: Path, info: zipfile.ZipInfo) -> int:
    """Byte in the file where a member begins, after its local header (whose extra field is its own)."""
    with path.open("rb") as stream:
        stream.seek(info.header_offset + 26)
        name_length, extra_length = struct.unpack("<HH", stream.read(4))
    return info.header_offset + 30 + name_length + extra_length


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays uncompressed; the file appears whole or not at all, also over one that is mapped.

    Raises:
        DataError: the name does not end in `.npz`.
    """
    if path.suffix != ".npz":
        raise DataError(
            problem("scan file", "a name that ends in .npz", repr(path.name), path, "Add the suffix.")
        )
    with atomic_write(path) as file:
        np.savez(file, allow_pickle=False, **cast(Any, dict(arrays)))


def _open_hdf5(path: Path) -> Any:
    try:
        return cast(Any, h5py).File(path, "r")
    except OSError as error:
        raise DataError(
            problem("scan file", "a whole HDF5 file", f"'{error}'", path, "Write it again.")
        ) from error


def _find(file: Any, *paths: str) -> str | None:
    return next((path for path in paths if path in file), None)


def _dataset(file: Any, *paths: str) -> Any:
    """The first of these datasets that the file has, opened but not read."""
    found = _find(file, *paths)
    if found is None:
        wanted = f"a dataset {' or '.join(paths)}"
        raise DataError(problem(paths[0], wanted, "nothing", file.filename, "Add it to the file."))
    return file[found]


def _number(file: Any, path: str) -> float:
    """A finite scalar dataset other than 0 (a length, an energy)."""
    value = np.asarray(_dataset(file, path)[()])
    if value.size != 1 or value.dtype.kind not in "iuf" or not np.isfinite(value).all() or not value.all():
        expected = "one finite number other than 0, in SI units"
        raise DataError(problem(path, expected, str(value), file.filename, "Correct it in the file."))
    return float(value.reshape(-1)[0])


def _attribute(dataset: Any, name: str) -> float:
    if name not in dataset.attrs:
        expected = f"an attribute of {dataset.name}, in metres"
        raise DataError(problem(name, expected, "nothing", dataset.file.filename, "Add it to the file."))
    return float(dataset.attrs[name])


def _silence(patterns: Array, bad: Array | None) -> None:
    """Set the pixels marked bad to 0, in place, block by block."""
    if bad is not None and bad.ndim == 2 and bad.shape == patterns.shape[1:]:
        for start, block in blocks(patterns):
            patterns[start : start + len(block), bad] = 0


def _metadata(**entries: Any) -> Array:
    return np.array(json.dumps({"measurement_domain": "intensity", **entries}))


def _read_product(path: Path) -> ScanFile:
    """A ptychodus product and the `diffraction.h5` beside it; positions as in ptychodus' own NPZ export."""
    arrays: dict[str, Array] = {}
    with _open_hdf5(path) as file:
        if _find(file, "probe_position_x_m") is None and _find(file, "patterns") is not None:
            advice = "Name the product file beside it (product.h5)."
            raise DataError(problem("scan file", "a ptychodus product", "only patterns", path, advice))
        indexes = np.asarray(_dataset(file, "probe_position_indexes")[()])
        object_ = _dataset(file, "object")
        pixel_m = (_attribute(object_, "pixel_height_m"), _attribute(object_, "pixel_width_m"))
        for key, axis, pixel in (("y", -2, pixel_m[0]), ("x", -1, pixel_m[1])):
            metres = np.asarray(_dataset(file, f"probe_position_{key}_m")[()])
            middle = (object_.shape[axis] - 1) / 2
            arrays[f"{key}coords"] = (metres - _attribute(object_, f"center_{key}_m")) / pixel + middle
        probe = np.asarray(_dataset(file, "probe")[()])
        arrays["probeGuess"] = probe[0] if probe.ndim == 4 else probe
        layers = np.asarray(object_[()])
        arrays["objectGuess"] = layers[0] if layers.ndim == 3 else layers
        arrays |= _product_photons(file)
    arrays["metadata"] = _metadata(format="ptychodus product", object_pixel_size_m=pixel_m)
    kept = _read_diffraction(path.with_name("diffraction.h5"), indexes, arrays)
    for key in ("xcoords", "ycoords"):
        arrays[key] = arrays[key][kept]
    names = {"diff3d": "patterns (diffraction.h5)", "probeGuess": "probe", "objectGuess": "object"}
    return ScanFile(arrays, names | {"xcoords": "probe_position_x_m", "ycoords": "probe_position_y_m"})


def _product_photons(file: Any) -> dict[str, Array]:
    """The photon number of a product; it writes 0 where it knows none."""
    photons = float(file.attrs.get("probe_photon_count", 0.0))
    return {"nphotons": np.array(photons)} if photons > 0 else {}


def _read_diffraction(path: Path, indexes: Array, arrays: dict[str, Array]) -> Array:
    """Add patterns and bad pixels of the positions with these indexes; return the rows that have one."""
    if not path.is_file():
        expected = "the counts beside the product"
        raise DataError(problem(path.name, expected, "no file", path, "Copy it there."))
    with _open_hdf5(path) as file:
        patterns = _dataset(file, "patterns")
        measured = {int(index): row for row, index in enumerate(_dataset(file, "indexes")[()])}
        kept = np.array([row for row, index in enumerate(indexes) if int(index) in measured], dtype=np.int64)
        if not len(kept):
            advice = "Save product and diffraction data of the same scan."
            expected = "some of the product's probe_position_indexes"
            raise DataError(problem("indexes", expected, "none of them", path, advice))
        rows = np.array([measured[int(indexes[row])] for row in kept], dtype=np.int64)
        arrays["diff3d"] = np.empty((len(rows), *patterns.shape[1:]), dtype=patterns.dtype)
        for place, row in enumerate(rows):
            arrays["diff3d"][place] = patterns[int(row)]
        if _find(file, "bad_pixels") is not None:
            arrays["bad_pixels"] = np.asarray(file["bad_pixels"][()])
            _silence(arrays["diff3d"], arrays["bad_pixels"].astype(bool))
    return kept


def _read_cxi(path: Path) -> ScanFile:
    """A CXI file; lengths become object pixels of size wavelength * distance / (N * detector pixel)."""
    source, detector = "entry_1/instrument_1/source_1", "entry_1/instrument_1/detector_1"
    arrays: dict[str, Array] = {}
    with _open_hdf5(path) as file:
        data = _dataset(file, "entry_1/data_1/data", f"{detector}/data")
        energy_J = _number(file, f"{source}/energy")
        if energy_J > LARGEST_PHOTON_ENERGY_J:
            expected, advice = "the photon energy in joules", "Multiply electronvolts by 1.602176634e-19."
            raise DataError(problem(f"{source}/energy", expected, f"{energy_J:g}", path, advice))
        detector_pixel_m = np.array([_number(file, f"{detector}/{axis}_pixel_size") for axis in "yx"])
        object_pixel_m = PLANCK_TIMES_LIGHT_J_M / energy_J * _number(file, f"{detector}/distance")
        object_pixel_m = object_pixel_m / (data.shape[-1] * detector_pixel_m)
        positions = _cxi_positions(file, f"{detector}/basis_vectors") / object_pixel_m
        positions += data.shape[-1] // 2 - positions.min(axis=0)
        arrays["ycoords"], arrays["xcoords"] = positions.T
        arrays["diff3d"] = np.asarray(data[()])
        arrays["probeGuess"] = np.asarray(_dataset(file, *CXI_PROBE)[()])
        if _find(file, f"{detector}/mask") is not None:
            arrays["bad_pixels"] = np.asarray(file[f"{detector}/mask"][()]) != 0
            _silence(arrays["diff3d"], arrays["bad_pixels"])
    pixel_m = object_pixel_m.tolist()
    arrays["metadata"] = _metadata(format="CXI", object_pixel_size_m=pixel_m, energy_J=energy_J)
    names = {"diff3d": "data", "probeGuess": "illumination", "bad_pixels": "mask"}
    return ScanFile(arrays, names | {"xcoords": "translation", "ycoords": "translation"})


def _cxi_positions(file: Any, basis_path: str) -> npt.NDArray[np.float64]:
    """Where the beam hits the sample, float64 (n, 2) in metres, along detector rows and columns.

    CXI gives translations of the sample, so on it the beam moves against them. Without basis vectors the
    detector's rows run along -y and its columns along -x (CXI's x axis points left when looking downstream).
    """
    dataset = _dataset(file, "entry_1/sample_1/geometry_1/translation", "entry_1/data_1/translation")
    moved = np.asarray(dataset[()], dtype=np.float64)
    if moved.ndim != 2 or moved.shape[1] not in (2, 3) or not np.isfinite(moved).all():
        expected, got = "finite numbers in metres, shape (n, 3)", f"shape {moved.shape}, or NaN or infinity"
        raise DataError(problem(dataset.name, expected, got, file.filename, "Correct it in the file."))
    basis = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
    if _find(file, basis_path) is not None:
        basis = np.asarray(file[basis_path][()], dtype=np.float64)
        if basis.shape != (2, 3) or not np.linalg.norm(basis, axis=1).all():
            expected, advice = "slow and fast axis, shape (2, 3)", "Leave it out for the default."
            raise DataError(problem(basis_path, expected, f"shape {basis.shape}", file.filename, advice))
        basis = basis / np.linalg.norm(basis, axis=1, keepdims=True)
    return -moved @ basis[:, : moved.shape[1]].T
