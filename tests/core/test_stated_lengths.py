"""Lengths in the metadata of the data contract that no experiment has, or that contradict each other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho.data_error import DataError
from ptycho.raw_data import RawData
from tests.core.foreign_files import counts, positions_px, read
from tests.core.test_formats_of_others import names
from tests.core.test_units_in_files import PIXEL, said


def contract(path: Path, **metadata: Any) -> Path:
    where = positions_px() + 10
    np.savez(
        path,
        diff3d=counts()[:, 2:22, 6:26],
        ycoords=where[:, 0],
        xcoords=where[:, 1],
        metadata=np.array(json.dumps({"measurement_domain": "intensity", **metadata})),
    )
    return path


@pytest.mark.parametrize(
    ("stated", "message", "setting"),
    [
        (
            {"distance_m": 2e4},
            "'distance_m': expected a distance from 1 um to 200 m or .*; got 20000 m",
            "distance",
        ),
        ({"distance_m": 1e-7}, "'distance_m': expected a distance from 1 um .*; got 1e-07 m", "distance"),
        ({"detector_pixel_size_m": [75, 75]}, "got 75 m .* If it is in um, write it in m", "detector_pixel"),
        (
            {"wavelength_m": 1.55},
            "a wavelength of photons from .*; got 1.55 m .* If it is in A, write",
            "wavelength",
        ),
        ({"energy_eV": 1e8}, "'energy_eV': expected an energy of photons from .*; got 1e.08 eV", "energy"),
        (
            {"energy_eV": 8.0, "wavelength_m": 1.55e-10},
            r"'wavelength_m': expected the 1550 A of energy_eV 8 eV \(photon\); got 1.55e-10 m .* or set --energy or",
            "wavelength",
        ),
        (
            {"energy_eV": 8e3, "energy_J": 8e-16},
            r"'energy_J': expected the 1.55 A of energy_eV 8000 eV \(photon\); got 8e-16 J",
            "wavelength",
        ),
    ],
)
def test_lengths_of_metadata_are_judged_as_those_of_other_files(
    tmp_path: Path, stated: dict[str, Any], message: str, setting: str
) -> None:
    others = {"wavelength_m": 1.55e-10, "distance_m": 1.2, "detector_pixel_size_m": 250e-6}
    sound = {} if "energy" in str(stated) else {key: one for key, one in others.items() if key not in stated}
    path = contract(tmp_path / "scan.npz", **stated, **sound)
    for settings in ({}, {"crop": 18}):
        with pytest.raises(DataError, match=message) as caught:
            read(path, **settings)
        assert len(caught.value.problems) == 1
    held = dict(np.load(path))
    y, x = held.pop("ycoords"), held.pop("xcoords")
    with pytest.raises(DataError, match=message.partition(r" .* or set")[0]):
        RawData.from_arrays(held["diff3d"], np.stack((y, x), 1), None, metadata={**stated, **sound})
    scan = read(path, **PIXEL)
    severity, text = said(scan, setting)
    assert severity == "warning"
    assert "which is left out, as object_pixel is set" in text
    assert not stated.keys() & scan.metadata.keys()
    assert scan.metadata["object_pixel_size_m"] == pytest.approx([2e-8] * 2)
    value = {"distance": "1.2 m", "detector_pixel": "250 um", "wavelength": "1.55 A", "energy": "8 keV"}
    assert setting not in names(read(path, **{setting: value[setting]}))


def test_lengths_of_electrons_in_metadata_are_possible(tmp_path: Path) -> None:
    for stated in (
        {"energy_eV": 3e5, "wavelength_m": 1.9687e-12, "distance_m": 300.0},
        {"energy_eV": 1e7, "wavelength_m": 1.18e-13},
        {"energy_eV": 8000.0, "wavelength_m": 1.55e-10},
    ):
        assert names(read(contract(tmp_path / "scan.npz", **stated))) == []
    with pytest.raises(DataError, match="'distance_m': expected a distance from 1 um to 200 m; got 300 m"):
        read(contract(tmp_path / "scan.npz", distance_m=300.0), particle="photon")


def test_an_object_pixel_of_metadata_that_the_other_lengths_contradict_is_said(tmp_path: Path) -> None:
    lengths = {"wavelength_m": 1e-10, "distance_m": 1.2, "detector_pixel_size_m": 250e-6}
    path = contract(tmp_path / "scan.npz", **lengths, object_pixel_size_m=[2e-8, 2e-8])
    for settings in ({}, {"crop": 18}):
        severity, text = said(read(path, **settings), "object_pixel")
        assert severity == "warning"
        assert text.startswith("metadata state object_pixel_size_m 20 nm, and their other lengths give 24 nm")
    set_ = said(read(path, object_pixel="20 nm"), "object_pixel")[1]
    assert set_.startswith("object_pixel is set to 20 nm, and other lengths give the 24 nm of")
    same = contract(tmp_path / "scan.npz", **lengths, object_pixel_size_m=[2.4e-8, 2.4e-8])
    for settings in ({}, {"crop": 18}, {"bin": 2}, {"pad": 32}):
        assert "object_pixel" not in names(read(same, **settings))


def test_lengths_that_are_set_replace_those_of_metadata_for_good(tmp_path: Path) -> None:
    path = contract(
        tmp_path / "scan.npz", energy_eV=8.0, distance_m=1200.0, detector_pixel_size_m=0.25, note=1
    )
    lengths = {"energy": "8 keV", "distance": "1.2 m", "detector_pixel": "250 um"}
    scan = read(path, **lengths)
    assert (scan.metadata["note"], "energy_eV" in scan.metadata) == (1, False)
    scan.to_file(tmp_path / "again.npz")
    again = read(tmp_path / "again.npz")
    assert names(again) == []
    assert again.metadata["object_pixel_size_m"] == pytest.approx(
        [1.5498e-10 * 1.2 / (20 * 250e-6)] * 2, rel=1e-4
    )
