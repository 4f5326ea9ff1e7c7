"""What other programs read of a reconstruction, read back by them or by readers of their own."""

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from ptycho.checksums import verify
from ptycho.geometry import Geometry
from ptycho.raw_data import DataError
from ptycho_torch.config_factory import create_inference_payload
from ptycho_torch.runs.exports import Export, phase_of, without_ramp
from ptycho_torch.runs.product import Product
from ptycho_torch.runs.reconstruction import reconstruct_scans
from tests.torch.runs import trained
from tests.torch.solving import scan_of, solved

LENGTHS = {
    "measurement_domain": "amplitude",
    "energy_eV": 8000.0,
    "distance_m": 2.0,
    "detector_pixel_size_m": [1e-4, 0.5e-4],
}
WAVELENGTH_M = 1.239841984e-6 / 8000
PIXEL_M = WAVELENGTH_M * 2 / (32 * np.array([1e-4, 0.5e-4]))


def product(**changes):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :56]
    phase = 5 * np.exp(-((y - 20) ** 2 + (x - 28) ** 2) / 200)
    coverage = np.ones((40, 56), np.float32)
    coverage[:5] = 0
    arrays = {
        "name": "a scan",
        "object": (0.8 * np.exp(1j * phase)).astype(np.complex64),
        "coverage": coverage,
        "corner_px": (-3, 7),
        "probe": (rng.normal(size=(2, 32, 32)) * (1 + 1j)).astype(np.complex64),
        "positions_px": rng.uniform(13, 20, (9, 2)),
        "rows": np.arange(9) * 2,
        "intensities": rng.uniform(0.9, 1.1, 9),
        "geometry": Geometry.of(LENGTHS, 32),
    }
    return Product(**(arrays | changes))


def written(folder: Path, found: Product, form: str = "all", **options: bool) -> Path:
    Export(form, **options).write(folder, found)
    return folder


# Each format ----------------------------------------------------------------------------------------------------


def test_a_bad_verdict_stands_above_the_pictures():
    figures = {
        "r_factor": 0.2,
        "mean_pattern_r_factor": 0.8,
        "poisson_deviance_per_pixel": 1.02,
        "patterns": "held out",
    }
    titles = [
        product().placed(figures | more).title
        for more in ({}, {"problem": "positions: wrong"}, {"n_iterations": 7, "interrupted": True})
    ]
    assert [title.split("\n")[1:] for title in titles] == [
        [],
        ["Do not trust this picture"],
        ["Not finished"],
    ]
    assert titles[2].splitlines()[0].endswith("deviance 1.02 per pixel (held out patterns), 7 iterations")


def test_a_product_of_ptychodus_has_everything_in_metres(tmp_path):
    found = product()
    with h5py.File(written(tmp_path, found) / "reconstruction.h5") as file:
        image, sides = (
            file["object"],
            (file["object"].attrs["pixel_height_m"], file["object"].attrs["pixel_width_m"]),
        )
        np.testing.assert_allclose(sides, PIXEL_M, rtol=1e-6)
        np.testing.assert_array_equal(image[0], found.object)
        np.testing.assert_array_equal(file["probe"][0], found.probe)
        np.testing.assert_array_equal(file["probe_position_indexes"], found.rows)
        for axis, name in enumerate(
            "yx"
        ):  # ptychodus: the middle of the array is its centre, pixels are centred
            middle = (image.shape[1 + axis] - 1) / 2
            place = (file[f"probe_position_{name}_m"][()] - image.attrs[f"center_{name}_m"]) / sides[
                axis
            ] + middle
            np.testing.assert_allclose(place, found.positions_px[:, axis] - found.corner_px[axis] - 0.5)
        assert file.attrs["photon_energy_eV"] == pytest.approx(8000)
        assert file.attrs["detector_object_distance_m"] == 2
        assert file.attrs["probe_photon_count"] == pytest.approx(np.sum(np.abs(found.probe) ** 2), rel=1e-5)
        np.testing.assert_allclose(
            file["probe_photon_counts"][()] / file.attrs["probe_photon_count"], found.intensities
        )


def test_cxi_has_everything_in_si_units(tmp_path):
    found = product()
    with h5py.File(written(tmp_path, found) / "reconstruction.cxi") as file:
        entry = file["entry_1"]
        np.testing.assert_array_equal(entry["image_1/data"], found.object)
        np.testing.assert_array_equal(entry["image_1/mask"], found.coverage == 0)
        np.testing.assert_allclose(
            entry["image_1/image_size"], [56 * PIXEL_M[1], 40 * PIXEL_M[0], 0], rtol=1e-6
        )
        np.testing.assert_array_equal(entry["instrument_1/source_1/illumination"], found.probe)
        assert entry["instrument_1/source_1/energy"][()] == pytest.approx(8000 * 1.602176634e-19)
        assert entry["instrument_1/source_1/wavelength"][()] == pytest.approx(WAVELENGTH_M)
        assert entry["instrument_1/detector_1/distance"][()] == 2
        assert entry["instrument_1/detector_1/x_pixel_size"][()] == 0.5e-4
        moved = entry["sample_1/geometry_1/translation"][()]
        np.testing.assert_allclose(moved[:, 1::-1] / PIXEL_M, found.positions_px)


@pytest.mark.parametrize("reader", [tifffile.imread, lambda path: np.asarray(Image.open(path))])
def test_a_tiff_has_32_bits_and_nothing_where_nothing_was_seen(tmp_path, reader):
    found = product()
    phase = reader(written(tmp_path, found) / "object_phase.tif")
    assert phase.dtype == np.float32
    assert np.isnan(phase[:5]).all()
    np.testing.assert_allclose(phase[5:], np.angle(found.object)[5:], rtol=1e-6)
    np.testing.assert_allclose(reader(tmp_path / "object_amplitude.tif")[5:], 0.8, rtol=1e-6)


def test_imagej_sees_the_size_of_a_pixel_and_the_modes(tmp_path):
    written(tmp_path, product(), "tiff")
    with tifffile.TiffFile(tmp_path / "object_phase.tif") as file:
        assert file.is_imagej
        assert file.imagej_metadata["unit"] == "um"
        for tag, side in (("YResolution", PIXEL_M[0]), ("XResolution", PIXEL_M[1])):
            dots, over = file.pages[0].tags[tag].value
            assert over / dots == pytest.approx(side * 1e6, rel=1e-4)
    np.testing.assert_allclose(
        tifffile.imread(tmp_path / "probe_amplitude.tif"), np.abs(product().probe), rtol=1e-6
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{what}_{part}.tif" for what in ("object", "probe") for part in ("amplitude", "phase")
    ]


@pytest.mark.parametrize("pixel_m", [None, (2e-26, 2e-26)])
def test_without_lengths_that_it_can_hold_a_tiff_has_no_size(tmp_path, pixel_m):
    written(tmp_path, product(geometry=Geometry(object_pixel_m=pixel_m)), "tiff")
    with tifffile.TiffFile(tmp_path / "object_phase.tif") as file:
        assert "unit" not in file.imagej_metadata


def test_a_phase_is_unwrapped_on_request(tmp_path):
    found = product()
    folded, whole = (
        tifffile.imread(written(tmp_path, found, unwrap_phase=unwrap) / "object_phase.tif")[5:]
        for unwrap in (False, True)
    )
    assert np.abs(np.diff(folded, axis=1)).max() > np.pi
    assert np.abs(np.diff(whole, axis=1)).max() < 1
    assert np.ptp(whole) == pytest.approx(
        np.ptp(5 * np.exp(-((np.mgrid[5:40, :56] - [[[20]], [[28]]]) ** 2).sum(0) / 200)), rel=1e-4
    )


def test_a_ramp_is_taken_off_on_request_and_nothing_else():
    y, x = np.mgrid[:40, :56]
    flat = product(object=(0.9 * np.exp(1j * 0.2 * np.cos((x - 27.5) / 3))).astype(np.complex64))
    tilted = dataclasses.replace(
        flat, object=(flat.object * np.exp(1j * (0.31 * y - 0.17 * x + 1))).astype(np.complex64)
    )
    level = phase_of(without_ramp(tilted), unwrap=False)
    difference = (level - np.angle(flat.object))[5:]
    assert np.ptp(difference) < 0.05
    np.testing.assert_allclose(np.abs(without_ramp(tilted).object), np.abs(flat.object), rtol=1e-5)


# Whole runs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    scan = dataclasses.replace(scan_of(), metadata=LENGTHS)
    scan.to_file(tmp_path / "tiny.npz")
    return tmp_path / "tiny.npz"


NAMES = {
    *("reconstruction.h5", "reconstruction.cxi"),
    *(f"{what}_{part}.tif" for what in ("object", "probe") for part in ("amplitude", "phase")),
}


def checked(folder: Path) -> None:
    """The files of a run agree with each other, and its record and checksums know of them."""
    assert verify(folder).items() >= dict.fromkeys(NAMES, "ok").items()
    with np.load(folder / "reconstruction.npz") as arrays, h5py.File(folder / "reconstruction.h5") as file:
        np.testing.assert_allclose(arrays["object_pixel_size_m"], PIXEL_M, rtol=1e-6)
        np.testing.assert_array_equal(file["object"][0], arrays["object"])
        np.testing.assert_array_equal(arrays["pattern_rows"], np.arange(70))
        assert arrays["positions_px"].shape == (70, 2)
        assert arrays["probe_powers"].sum() == pytest.approx(1)
        assert arrays["coverage"].shape == arrays["object"].shape
    (sizes,) = json.loads((folder / "config.json").read_text())["object_pixel_size_m"].values()
    np.testing.assert_allclose(sizes, PIXEL_M, rtol=1e-6)


@pytest.mark.integration
def test_a_reconstruction_without_a_model_saves_all_formats(file, tmp_path):
    solved(file, tmp_path / "out", n_iterations=3, save="all", refine_intensities=True)
    checked(tmp_path / "out")


@pytest.mark.integration
@pytest.mark.usefixtures("legacy")
def test_a_reconstruction_with_a_model_saves_all_formats(file, tmp_path):
    trained(file, tmp_path / "model", nepochs=1)
    settings = {"save": "all", "n_groups": None, "accelerator": "cpu"}
    reconstruct_scans(create_inference_payload(tmp_path / "model", file, tmp_path / "out", settings))
    checked(tmp_path / "out")


@pytest.mark.integration
@pytest.mark.parametrize("form", ["h5", "cxi", "all"])
def test_lengths_that_are_not_known_are_missed_before_anything_is_reconstructed(tmp_path, form):
    scan_of().to_file(tmp_path / "tiny.npz")
    with pytest.raises(DataError, match=rf"save {form}: expected a scan with the size of an object pixel"):
        solved(tmp_path / "tiny.npz", tmp_path / "out", save=form)
    assert not (tmp_path / "out").exists()
