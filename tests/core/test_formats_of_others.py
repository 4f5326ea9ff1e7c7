"""What files of CXI, PtyLab and py4DSTEM state, and what they leave open."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho.data_error import DataError
from ptycho.raw_data import RawData
from tests.core.foreign_files import ALL, LENGTHS, NAMED, SQUARE, N, counts, positions_px, read, standard

SIDE = 24
COUNTS = counts()[:, :, 5:29]
RASTER = (4, 5)


def ptylab(path: Path, patterns: np.ndarray = COUNTS) -> Path:
    with h5py.File(path, "w") as file:
        file["ptychogram"], file["encoder"] = patterns, positions_px() * 2e-8
        for name, value in (("wavelength", 1e-10), ("zo", 1.2), ("dxd", 250e-6)):
            file[name] = value
    return path


def cxi(path: Path, where: str = "entry_1/sample_1/geometry_1/translation", mask: Any = None) -> Path:
    """Translations are those of the sample, along -y and -x of the detector."""
    moved = np.stack((*positions_px().T[::-1], np.zeros(N)), axis=1) * 2e-8
    with h5py.File(path, "w") as file:
        detector = file.create_group("entry_1/instrument_1/detector_1")
        detector["data"], detector["distance"] = COUNTS, 1.2
        detector["x_pixel_size"] = detector["y_pixel_size"] = 250e-6
        detector["basis_vectors"] = np.array([[0, 1.0, 0], [1.0, 0, 0]])
        file["entry_1/instrument_1/source_1/wavelength"] = 1e-10
        if mask is not None:
            detector["mask"] = mask
        file[where] = moved
    return path


def cube(path: Path, unit: str = "A^-1", step_unit: str = "A", spacing: float = 0.05, **turned: Any) -> Path:
    with h5py.File(path, "w") as file:
        group = file.create_group("root/cube")
        group.attrs["emd_group_type"] = "array"
        group["data"] = COUNTS.reshape(*RASTER, SIDE, SIDE)
        for k, (step, of) in enumerate([(2.0, step_unit)] * 2 + [(spacing, unit)] * 2):
            group[f"dim{k}"] = np.array([0, step])
            group[f"dim{k}"].attrs["units"] = of
        for name, value in turned.items():
            file[f"root/metadatabundle/calibration/{name}"] = value
    return path


def moved(scan: RawData) -> np.ndarray:
    return scan.positions_px - scan.positions_px.min(axis=0)


def names(scan: RawData) -> list[str]:
    return [one.name for one in scan.verdicts]


# Domain


def test_what_files_of_a_format_hold_is_not_called_a_statement(tmp_path: Path, caplog: Any) -> None:
    scan = read(ptylab(tmp_path / "scan.h5"))
    assert (scan.domain, scan.domain_reason) == ("intensity", "as files of ptylab hold counts")
    assert "measurement_domain" not in caplog.text
    rates = read(ptylab(tmp_path / "rates.h5", COUNTS * np.linspace(0.9, 1.1, SIDE)))
    assert rates.domain == "intensity"
    assert rates.domain_reason == "as files of ptylab hold counts, although not all values are whole numbers"
    assert "set measurement_domain to intensity, or to amplitude if that is wrong" in caplog.text
    roots = np.rint(np.sqrt(np.random.default_rng(0).poisson(100 * np.ones((N, SIDE, SIDE))))).astype(
        np.uint8
    )
    assert (
        "although the whole numbers (uint8) vary" in read(ptylab(tmp_path / "roots.h5", roots)).domain_reason
    )


# CXI


@pytest.mark.parametrize(
    "where",
    [
        "entry_1/sample_1/geometry_1/translation",
        "entry_1/data_1/translation",
        "entry_1/instrument_1/detector_1/translation",
    ],
)
def test_translations_are_found_where_programs_write_them(tmp_path: Path, where: str) -> None:
    scan, expected = read(cxi(tmp_path / "scan.cxi", where)), -positions_px()
    np.testing.assert_allclose(moved(scan), expected - expected.min(axis=0), atol=1e-6)


def test_translations_that_are_named_are_converted_as_those_that_are_found(tmp_path: Path) -> None:
    path = cxi(tmp_path / "scan.cxi", "entry_1/mine")
    expected = -positions_px()
    scan = read(path, positions="entry_1/mine")
    np.testing.assert_allclose(moved(scan), expected - expected.min(axis=0), atol=1e-6)
    plain = read(path, positions="entry_1/mine", positions_axes="xy")
    np.testing.assert_allclose(moved(plain), positions_px(), atol=1e-6)


@pytest.mark.parametrize("patterns_too", [True, False])
def test_the_place_of_the_detector_is_no_list_of_positions(tmp_path: Path, patterns_too: bool) -> None:
    """Of the names for translations, one that comes first in the same file, or is alone, may be a point."""
    path = cxi(tmp_path / "scan.cxi", "entry_1/instrument_1/detector_1/translation")
    with h5py.File(path, "r+") as file:
        listed = file["entry_1/instrument_1/detector_1/translation"][()]
        del file["entry_1/instrument_1/detector_1/translation"]
        file["entry_1/instrument_1/detector_1/translation"] = np.array([0.0, 0.0, 1.2])
        file["entry_1/sample_1/geometry_1/translation"] = np.zeros(3)
        if patterns_too:
            file["entry_1/data_1/translation"] = listed
    if not patterns_too:
        with pytest.raises(DataError, match=r"positions: expected scan positions, .*; got none"):
            read(path)
        return
    expected = -positions_px()
    np.testing.assert_allclose(moved(read(path)), expected - expected.min(axis=0), atol=1e-6)


def test_a_mask_of_one_image_may_have_an_axis_more(tmp_path: Path) -> None:
    bad = np.zeros((1, SIDE, SIDE), np.uint32)
    bad[0, 3] = 1
    np.testing.assert_array_equal(read(cxi(tmp_path / "scan.cxi", mask=bad)).bad_pixels, bad[0] > 0)


# EMD


@pytest.mark.parametrize(
    ("unit", "step_unit"),
    [("\u00c5^-1", "\u00c5"), ("1/\u212b", "\u212b"), ("[A\u207b\u00b9]", "[A\u030a]")],
)
def test_the_angstrom_may_have_its_ring(tmp_path: Path, unit: str, step_unit: str) -> None:
    scan = read(cube(tmp_path / "cube.h5", unit, step_unit))
    pixel_m = 1e-10 / (SIDE * 0.05)
    np.testing.assert_allclose(scan.metadata["object_pixel_size_m"], pixel_m)
    np.testing.assert_allclose(moved(scan).max(axis=0), np.array([3, 4]) * 2e-10 / pixel_m)


def test_units_that_are_not_known_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no size of an object pixel \(detector in 'px'\)"):
        read(cube(tmp_path / "a.h5", "px"))
    with pytest.raises(DataError, match=r"scan_step: expected .* got 2 'steps' and 2 'steps'"):
        read(cube(tmp_path / "b.h5", "A^-1", "steps"))


def test_an_angle_needs_the_energy_alone(tmp_path: Path) -> None:
    path = cube(tmp_path / "a.h5", "mrad", spacing=1.0)
    with pytest.raises(
        DataError, match=r"no size of an object pixel from .*\. Set --energy, or --object-pixel\.$"
    ):
        read(path)
    scan = read(path, energy="300 keV")
    np.testing.assert_allclose(scan.metadata["object_pixel_size_m"], 1.96875e-12 / (SIDE * 1e-3), rtol=1e-4)


@pytest.mark.parametrize(
    ("turned", "said"),
    [
        ({"QR_flip": True}, "axes are exchanged .*Set orientation to transpose, if"),
        (
            {"QR_flip": False, "QR_rotation": 12.0},
            "axes are turned .*QR_rotation 12.*Set orientation to auto",
        ),
    ],
)
def test_a_detector_that_is_turned_against_the_scan_is_said(
    tmp_path: Path, turned: Any, said: str, caplog: Any
) -> None:
    path = cube(tmp_path / "cube.h5", **turned)
    assert "turned" in names(read(path))
    assert re.search(said, caplog.text)
    assert "turned" not in names(read(path, orientation="transpose"))
    assert "turned" not in names(read(cube(tmp_path / "sound.h5", QR_flip=False, QR_rotation=0.0)))


# Settings that contradict each other


def test_energy_and_wavelength_are_one_thing(tmp_path: Path) -> None:
    path = standard(tmp_path / "scan.h5")
    assert read(path, **ALL, energy="12.4 keV").metadata["wavelength_m"] == pytest.approx(1e-10)
    with pytest.raises(
        DataError, match=r"wavelength: expected the 1.55 A of 8 keV \(photon\); got 1 A .* not both"
    ):
        read(path, **ALL, energy="8 keV")
    with pytest.raises(DataError, match=r"of 80 keV \(electron\)"):
        read(
            path,
            **NAMED,
            **SQUARE,
            object_pixel="20 nm",
            wavelength="4.3 A",
            energy="80 keV",
            particle="electron",
        )


def test_a_lens_and_a_pinhole_are_two_probes(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"convergence, aperture: expected a lens or a pinhole; got 1 mrad and 150 nm"
    ):
        read(
            standard(tmp_path / "scan.h5"),
            **{**NAMED, **LENGTHS, **SQUARE},
            convergence="1 mrad",
            aperture="150 nm",
        )


# Probes


@pytest.mark.parametrize("tilted", [True, False])
@pytest.mark.parametrize("crop", [SIDE, 12])
def test_a_probe_moves_with_the_patterns_where_its_light_is_theirs(
    tmp_path: Path, tilted: bool, crop: int
) -> None:
    rows, columns = np.indices((SIDE, SIDE)) - SIDE // 2
    straight = np.exp(-(rows**2 + columns**2) / 12).astype(np.complex64)
    ramp = np.exp(2j * np.pi * (3 * rows - 2 * columns) / SIDE)
    path = standard(tmp_path / "scan.h5", patterns=COUNTS, probe=(straight * ramp) if tilted else straight)
    known = {**NAMED, **LENGTHS, "probe": "/entry/probe", "crop": crop}
    moved_probe = read(path, **known, centre=f"{SIDE // 2 + 3}, {SIDE // 2 - 2}").probe[0]
    in_the_middle = read(standard(tmp_path / "plain.h5", patterns=COUNTS, probe=straight), **known).probe[0]
    overlap = np.vdot(moved_probe, in_the_middle)
    assert abs(overlap) ** 2 / np.prod([np.vdot(p, p).real for p in (moved_probe, in_the_middle)]) > 0.999
    assert abs(np.angle(overlap)) < 0.01
