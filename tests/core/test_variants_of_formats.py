"""What programs leave out of their files, write in another place, or write for something that they do not know."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho.data_error import DataError
from ptycho.formats import frames
from tests.core.foreign_files import N, positions_px, read
from tests.core.test_formats_of_others import COUNTS, RASTER, SIDE, cube, cxi, moved, names, ptylab

DETECTOR = "entry_1/instrument_1/detector_1"
GOOD = np.indices((SIDE, SIDE))[0] != 3
PIXEL_M = 1e-10 * 1.2 / (SIDE * 250e-6)


def replaced(path: Path, **values: Any) -> Path:
    """A CXI file with other datasets of its detector; None drops one."""
    with h5py.File(path, "a") as file:
        for name, value in values.items():
            if name in file[DETECTOR]:
                del file[f"{DETECTOR}/{name}"]
            if value is not None:
                file[f"{DETECTOR}/{name}"] = value
    return path


# CXI


def test_distance_and_pixels_follow_from_the_corner_and_the_axes_of_a_detector(tmp_path: Path) -> None:
    axes = np.array([[0, -250e-6, 0], [-250e-6, 0, 0]])
    nowhere: dict[str, Any] = {"distance": None, "x_pixel_size": None, "y_pixel_size": None}
    for basis in (axes, axes.T, np.repeat(axes[None], N, axis=0)):
        path = replaced(
            cxi(tmp_path / "scan.cxi"), **nowhere, corner_position=[3e-3, 3e-3, 1.2], basis_vectors=basis
        )
        assert read(path).metadata["object_pixel_size_m"] == pytest.approx([PIXEL_M] * 2)
    with pytest.raises(DataError, match=r"Set --distance and --detector-pixel, or"):
        read(replaced(cxi(tmp_path / "scan.cxi"), **nowhere))  # its axes are directions


def test_a_pixel_with_a_signal_is_not_bad(tmp_path: Path) -> None:
    bad = np.zeros((SIDE, SIDE), bool)
    bad[3] = True
    for mask in (0x1000 * (1 - bad) + bad, np.repeat((0x1000 + bad)[None], N, axis=0)):
        scan = read(cxi(tmp_path / "scan.cxi", mask=mask.astype(np.uint32)))
        np.testing.assert_array_equal(scan.bad_pixels, bad)
        assert "mask" not in names(scan)


def test_an_image_in_a_file_is_no_probe(tmp_path: Path) -> None:
    path = cxi(tmp_path / "scan.cxi")
    with h5py.File(path, "a") as file:
        file["entry_1/image_1/data"] = np.ones((80, 90), complex)
    assert not read(path).has_probe


def test_the_wavelength_counts_where_the_energy_is_zero(tmp_path: Path) -> None:
    path = cxi(tmp_path / "scan.cxi")
    with h5py.File(path, "a") as file:
        file["entry_1/instrument_1/source_1/energy"] = 0.0
    assert read(path).metadata["wavelength_m"] == pytest.approx(1e-10)


def test_a_background_that_was_taken_off_leaves_no_counts_below_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.6, COUNTS.shape).astype(np.float32)
    path = replaced(cxi(tmp_path / "scan.cxi"), data=COUNTS + noise)
    scan = read(path)
    assert "below_zero" in names(scan)
    np.testing.assert_array_equal(scan.patterns, np.maximum(COUNTS + noise, 0))
    monkeypatch.setattr(frames, "IN_MEMORY", (0.25, 1))
    np.testing.assert_array_equal(read(path).patterns[3:5], scan.patterns[3:5])
    with pytest.raises(DataError, match=r"expected values >= 0; got -7"):
        read(replaced(path, data=np.where(np.indices(COUNTS.shape)[0] == 3, -7.0, COUNTS)))


# ptypy and PtyLab


def ptyd(path: Path, weights: Any = None, **more: Any) -> Path:
    """Two chunks; `weights` is a function of the number of patterns."""
    with h5py.File(path, "w") as file:
        for chunk, rows in enumerate(np.array_split(np.arange(N), 2)):
            group = file.create_group(f"chunks/{chunk}")
            group["data"], group["positions"] = COUNTS[rows], positions_px()[rows] * 2e-8
            if weights is not None:
                group["weights"] = weights(len(rows))
        lengths = {"energy": 12.39842, "distance": 1.2, "psize": 250e-6}
        for name, value in lengths.items():
            file[f"info/{name}"] = value
        for name, value in more.items():
            file[name.replace("__", "/")] = value
    return path


@pytest.mark.parametrize(
    ("weights", "more"),
    [
        (lambda n: np.ones((n, SIDE, SIDE)) * GOOD, {}),
        (lambda n: GOOD.astype(float), {}),
        (lambda n: np.zeros(0), {"meta__weight2d": GOOD}),
        (None, {"common__weight2d": GOOD}),
        (lambda n: np.zeros(0), {"meta__weight2d": True}),
    ],
)
def test_weights_are_in_each_chunk_or_once_or_nowhere(tmp_path: Path, weights: Any, more: Any) -> None:
    scan = read(ptyd(tmp_path / "scan.ptyd", weights, **more))
    if scan.bad_pixels is None:
        assert more["meta__weight2d"] is True
    else:
        np.testing.assert_array_equal(scan.bad_pixels, ~GOOD)


def test_what_ptypy_writes_as_none_is_not_known(tmp_path: Path) -> None:
    path = ptyd(tmp_path / "scan.ptyd")
    with h5py.File(path, "a") as file:
        del file["info/energy"]
        file["info/energy"] = np.zeros(1)
        file["info/energy"].attrs["type"] = "None"
    with pytest.raises(DataError, match=r"no size of an object pixel from .*\. Set --energy, or"):
        read(path)
    assert read(path, energy="12.39842 keV").domain == "intensity"


def test_what_holds_no_scan_is_refused_by_what_it_is(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "result.ptyr", "w") as file:
        file["content/obj/S00/data"], file["header/kind"] = np.ones((1, 40, 40), complex), "minimal"
    with pytest.raises(DataError, match=r"got a reconstruction of ptypy, without patterns .*\.ptyd"):
        read(tmp_path / "result.ptyr")
    path = ptylab(tmp_path / "fourier.h5")
    with h5py.File(path, "a") as file:
        del file["zo"]
        file["zled"] = 0.06
    with pytest.raises(DataError, match=r"got Fourier ptychography .*PtyLab"):
        read(path)


@pytest.mark.parametrize("value", [5, np.array([[5]]), np.array([5], np.uint8)])
def test_an_orientation_of_ptylab_is_said_and_not_applied(tmp_path: Path, value: Any) -> None:
    path = ptylab(tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        file["orientation"] = value
    scan = read(path)
    np.testing.assert_allclose(moved(scan), positions_px(), atol=1e-6)
    (said,) = [one.text for one in scan.verdicts if one.name == "turned"]
    assert said.startswith("the file states orientation 5, which is not applied. Set orientation to auto")
    assert "turned" not in names(read(path, orientation="flip-x"))
    with h5py.File(path, "a") as file:
        file["orientation"][...] = 0
    assert "turned" not in names(read(path))


# EMD


@pytest.mark.parametrize("group", ["root/metadatabundle", "root/cube", "root"])
def test_the_calibration_counts_where_coordinates_are_in_pixels(tmp_path: Path, group: str) -> None:
    path = cube(tmp_path / "cube.h5", "pixels", "pixels", 1.0)
    with h5py.File(path, "a") as file:
        for name, value in (("R_pixel_size", 2.0), ("R_pixel_units", "A"), ("Q_pixel_size", 0.05)):
            file[f"{group}/calibration/{name}"] = value
        file[f"{group}/calibration/Q_pixel_units"] = b"A^-1"
        file[f"{group}/calibration/QR_rotation"] = b"_None"
    scan, pixel_m = read(path), 1e-10 / (SIDE * 0.05)
    np.testing.assert_allclose(scan.metadata["object_pixel_size_m"], pixel_m)
    np.testing.assert_allclose(moved(scan).max(axis=0), (np.array(RASTER) - 1) * 2e-10 / pixel_m)


def test_units_and_names_of_older_cubes_are_known(tmp_path: Path) -> None:
    path = cube(tmp_path / "cube.emd", "[n_m^-1]", "[n_m]", 0.5)
    with h5py.File(path, "a") as file:
        file.move("root/cube/data", "root/cube/datacube")
    assert read(path).metadata["object_pixel_size_m"] == pytest.approx([1e-9 / (SIDE * 0.5)] * 2)


def test_a_cube_in_pixels_needs_the_object_pixel(tmp_path: Path) -> None:
    path = cube(tmp_path / "cube.h5", "pixels", "A", 1.0)
    with pytest.raises(
        DataError, match=r"Set --object-pixel: 1 / \(side of the patterns x size of a detector"
    ):
        read(path)


# ptychodus


def ptychodus(folder: Path, product: str, diffraction: str) -> None:
    where = positions_px() * 2e-8
    of_object = {"center_y_m": 0.0, "center_x_m": 0.0, "pixel_height_m": 2e-8, "pixel_width_m": 2e-8}
    arrays = {
        "probe_position_indexes": np.arange(N),
        "probe_position_y_m": where[:, 0],
        "probe_position_x_m": where[:, 1],
        "probe": np.ones((1, SIDE, SIDE), complex),
        "object": np.ones((1, 60, 70), complex),
    }
    if product.endswith(".npz"):
        numbers = {f"object_{name}": np.array(value) for name, value in of_object.items()}
        np.savez(folder / product, **arrays, **numbers, probe_energy_eV=np.array(8000.0))  # pyright: ignore[reportArgumentType]
        np.savez(folder / diffraction, patterns=COUNTS, indexes=np.arange(N))
        return
    with h5py.File(folder / product, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file["object"].attrs.update(of_object)
        file.attrs["probe_energy_eV"] = 8000.0
    with h5py.File(folder / diffraction, "w") as file:
        file["patterns"], file["indexes"] = COUNTS, np.arange(N)


@pytest.mark.parametrize(
    ("product", "diffraction", "named"),
    [
        ("product-in.h5", "diffraction.h5", 0), ("product-out.h5", "diffraction.h5", 1),
        ("mine.h5", "diffraction.h5", 0), ("product.npz", "diffraction.npz", 0), ("product.npz", "diffraction.npz", 1),
    ],
)  # fmt: skip
def test_the_two_files_of_ptychodus_are_found(
    tmp_path: Path, product: str, diffraction: str, named: int
) -> None:
    ptychodus(tmp_path, product, diffraction)
    scan = read(tmp_path / (product, diffraction)[named])
    np.testing.assert_allclose(moved(scan), positions_px(), atol=1e-6)
    assert scan.metadata["energy_J"] == pytest.approx(8000 * 1.602176634e-19)
    assert (scan.has_probe, scan.domain) == (True, "intensity")


def test_diffraction_data_alone_lack_positions_alone(tmp_path: Path) -> None:
    ptychodus(tmp_path, "mine.h5", "diffraction.h5")
    with pytest.raises(DataError) as caught:
        read(tmp_path / "diffraction.h5")
    (problem,) = caught.value.problems
    assert problem.endswith("If it is in product.h5, copy that into the folder of this file.")
