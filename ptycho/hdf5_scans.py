"""Scans in HDF5: ptychodus products and CXI files, converted to the arrays and units of the data contract.

ptychodus product (`.h5`): datasets `probe_position_x_m`, `probe_position_y_m`, `probe_position_indexes`,
    `probe` and `object`, the last with attributes `pixel_width_m`, `pixel_height_m`, `center_x_m`,
    `center_y_m`. The counts are in `diffraction.h5` in the same folder: `patterns`, `indexes`,
    `bad_pixels`. Positions and patterns with the same index belong together; others are left out.
CXI (`.cxi`, SI units): `entry_1/data_1/data` (n, N, N) counts, zero frequency at [N//2, N//2]; in
    `entry_1/sample_1/geometry_1` the sample's `translation` (n, 2 or 3); in `entry_1/instrument_1/source_1`
    `energy` (J) and `illumination` (the probe); in `entry_1/instrument_1/detector_1` `distance`,
    `x_pixel_size`, `y_pixel_size`, and optionally `mask` (not zero: bad), `basis_vectors` (slow, fast axis).

In both the values of pixels marked bad mean nothing; they are set to 0.
"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ptycho.data_error import DataError, problem
from ptycho.geometry import PLANCK_TIMES_LIGHT_J_M
from ptycho.hdf5_files import Hdf5File
from ptycho.npz_files import ScanFile
from ptycho.pattern_statistics import blocks
from ptycho.stored_array import Array, Stack

CXI_PROBE: Final = ("entry_1/instrument_1/source_1/illumination", "entry_1/instrument_1/source_1/probe")
LARGEST_PHOTON_ENERGY_J: Final = 1e-10


def read_product(path: Path) -> ScanFile:
    """A ptychodus product and the `diffraction.h5` beside it; positions as in ptychodus' own NPZ export.

    Raises:
        DataError: something it must hold is missing, damaged or something else.
    """
    arrays: dict[str, Stack] = {}
    with Hdf5File(path) as file:
        if file.find("probe_position_x_m") is None and file.find("patterns") is not None:
            advice = "Name the product file beside it (product.h5)."
            raise DataError(problem("scan file", "a ptychodus product", "only patterns", path, advice))
        indexes = file.array("probe_position_indexes", ndim=(1,), kinds="iu")
        layers = file.array("object", ndim=(2, 3), kinds="c")
        pixel_m = [_metres(file, f"pixel_{side}_m", positive=True) for side in ("height", "width")]
        positions: dict[str, Array] = {}
        for key, axis, pixel in (("y", -2, pixel_m[0]), ("x", -1, pixel_m[1])):
            metres = file.array(f"probe_position_{key}_m", ndim=(1,), kinds="iuf")
            if metres.shape != indexes.shape:
                expected = f"one for each of the {len(indexes)} probe_position_indexes"
                name, got = f"probe_position_{key}_m", str(len(metres))
                raise DataError(problem(name, expected, got, path, "Write the product again."))
            middle = (layers.shape[axis] - 1) / 2
            positions[f"{key}coords"] = (metres - _metres(file, f"center_{key}_m")) / pixel + middle
        probe = file.array("probe", ndim=(2, 3, 4), kinds="c")
        arrays["probeGuess"] = probe[0] if probe.ndim == 4 and len(probe) else probe
        arrays["objectGuess"] = layers[0] if layers.ndim == 3 and len(layers) else layers
        arrays |= product_photons(file)
        lengths = _product_lengths(file)
    arrays["metadata"] = _metadata(format="ptychodus product", object_pixel_size_m=pixel_m, **lengths)
    kept = _read_diffraction(path.with_name("diffraction.h5"), indexes, arrays)
    arrays |= {key: values[kept] for key, values in positions.items()}
    names = {key: f"{name} (diffraction.h5)" for key, name in (("diff3d", "patterns"), ("bad_pixels",) * 2)}
    names |= {"probeGuess": "probe", "objectGuess": "object"}
    return ScanFile(arrays, names | {"xcoords": "probe_position_x_m", "ycoords": "probe_position_y_m"})


def product_photons(file: Hdf5File) -> dict[str, Stack]:
    """The photon number of a product; it writes 0 where it knows none."""
    photons = file.attribute("/", "probe_photon_count", "a number of photons >= 0")
    return {"nphotons": np.array(photons)} if photons else {}


def _product_lengths(file: Hdf5File) -> dict[str, float | bool]:
    """Energy, distance and whether it is the far field, as a product states them; it writes 0 for what is not known."""
    found: dict[str, float | bool] = {}
    for key, name in (("energy_eV", "photon_energy_eV"), ("distance_m", "detector_object_distance_m")):
        value = file.attribute("/", name, "a number >= 0")
        if value:
            found[key] = value
    far = file.attribute("/", "far_field", "True or False")
    return found if far is None else {**found, "far_field": bool(far)}


def read_cxi(path: Path) -> ScanFile:
    """A CXI file; lengths become object pixels of size wavelength * distance / (N * detector pixel).

    Raises:
        DataError: something it must hold is missing, damaged or something else.
    """
    source, detector = "entry_1/instrument_1/source_1", "entry_1/instrument_1/detector_1"
    arrays: dict[str, Stack] = {}
    with Hdf5File(path) as file:
        patterns = file.array("entry_1/data_1/data", f"{detector}/data", ndim=(3,), kinds="iuf")
        energy_J = file.number(f"{source}/energy")
        if energy_J > LARGEST_PHOTON_ENERGY_J:
            expected, advice = "the photon energy in joules", "Multiply electronvolts by 1.602176634e-19."
            raise DataError(problem(f"{source}/energy", expected, f"{energy_J:g}", path, advice))
        detector_pixel_m = np.array([file.number(f"{detector}/{axis}_pixel_size") for axis in "yx"])
        distance_m = file.number(f"{detector}/distance")
        object_pixel_m = PLANCK_TIMES_LIGHT_J_M / energy_J * distance_m
        object_pixel_m = object_pixel_m / (max(1, patterns.shape[-1]) * detector_pixel_m)
        positions = _cxi_positions(file, f"{detector}/basis_vectors") / object_pixel_m
        positions += patterns.shape[-1] // 2 - positions.min(axis=0)
        arrays["ycoords"], arrays["xcoords"] = positions.T
        arrays["diff3d"] = patterns
        arrays["probeGuess"] = file.array(*CXI_PROBE, ndim=(2, 3), kinds="c")
        if file.find(f"{detector}/mask") is not None:
            arrays["bad_pixels"] = file.array(f"{detector}/mask", ndim=(2, 3), kinds="biu") != 0
            _silence(patterns, np.asarray(arrays["bad_pixels"]))
    lengths = {"energy_J": energy_J, "distance_m": distance_m}
    pixels = {"object": object_pixel_m.tolist(), "detector": detector_pixel_m.tolist()}
    lengths |= {f"{what}_pixel_size_m": pair for what, pair in pixels.items()}
    arrays["metadata"] = _metadata(format="CXI", **lengths)
    names = {"diff3d": "data", "probeGuess": "illumination", "bad_pixels": "mask"}
    return ScanFile(arrays, names | {"xcoords": "translation", "ycoords": "translation"})


def _metres(file: Hdf5File, name: str, *, positive: bool = False) -> float:
    """A length among the attributes of the object of a product."""
    expected = f"an attribute of /object, in metres{', > 0' if positive else ''}"
    found = file.attribute("object", name, expected, positive=positive)
    if found is None:
        raise DataError(problem(name, expected, "nothing", file.path, "Add it to the file."))
    return found


def _silence(patterns: Array, bad: Array | None) -> None:
    """Set the pixels marked bad to 0, in place, block by block."""
    if bad is not None and bad.ndim == 2 and bad.shape == patterns.shape[1:]:
        for start, block in blocks(patterns):
            patterns[start : start + len(block), bad] = 0


def _metadata(**entries: Any) -> Array:
    return np.array(json.dumps({"measurement_domain": "intensity", **entries}))


def _read_diffraction(path: Path, indexes: Array, arrays: dict[str, Stack]) -> Array:
    """Add patterns and bad pixels of the positions with these indexes; return the rows that have one."""
    if not path.is_file():
        expected = "the counts beside the product"
        raise DataError(problem(path.name, expected, "no file", path, "Copy it there."))
    with Hdf5File(path) as file:
        patterns = file.dataset("patterns", ndim=(3,), kinds="iuf")
        of_patterns = file.array("indexes", ndim=(1,), kinds="iu")
        if len(of_patterns) != len(patterns):
            expected, got = f"one for each of the {len(patterns)} patterns", str(len(of_patterns))
            raise DataError(problem("indexes", expected, got, path, "Write the file again."))
        measured = {int(index): row for row, index in enumerate(of_patterns)}
        kept = np.array([row for row, index in enumerate(indexes) if int(index) in measured], dtype=np.int64)
        if not len(kept):
            advice = "Save product and diffraction data of the same scan."
            expected = "some of the product's probe_position_indexes"
            raise DataError(problem("indexes", expected, "none of them", path, advice))
        rows = np.array([measured[int(indexes[row])] for row in kept], dtype=np.int64)
        read = file.rows(patterns, rows)
        if file.find("bad_pixels") is not None:
            bad = file.array("bad_pixels", ndim=(2, 3), kinds="biu")
            arrays["bad_pixels"] = bad
            _silence(read, bad.astype(bool))
        arrays["diff3d"] = read
    return kept


def _cxi_positions(file: Hdf5File, basis_path: str) -> npt.NDArray[np.float64]:
    """Where the beam hits the sample, float64 (n, 2) in metres, along detector rows and columns.

    CXI gives translations of the sample, so on it the beam moves against them. Without basis vectors the
    detector's rows run along -y and its columns along -x (CXI's x axis points left when looking downstream).
    """
    place = file.find("entry_1/sample_1/geometry_1/translation", "entry_1/data_1/translation")
    place = place or "entry_1/sample_1/geometry_1/translation"
    moved = file.array(place, ndim=(1, 2), kinds="iuf").astype(np.float64)
    if moved.ndim != 2 or not len(moved) or moved.shape[1] not in (2, 3) or not np.isfinite(moved).all():
        expected, got = "finite numbers in metres, shape (n, 3)", f"shape {moved.shape}, or NaN or infinity"
        raise DataError(problem(place, expected, got, file.path, "Correct it in the file."))
    basis = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
    if file.find(basis_path) is not None:
        basis = file.array(basis_path, ndim=(1, 2), kinds="iuf").astype(np.float64)
        usable = basis.shape == (2, 3) and bool(np.isfinite(basis).all())
        if not usable or not np.linalg.norm(basis, axis=1).all():
            expected, advice = "slow and fast axis, shape (2, 3)", "Leave it out for the default."
            raise DataError(problem(basis_path, expected, f"shape {basis.shape}", file.path, advice))
        basis = basis / np.linalg.norm(basis, axis=1, keepdims=True)
    return -moved @ basis[:, : moved.shape[1]].T
