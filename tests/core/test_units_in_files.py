"""Units that files state beside their arrays and numbers, and lengths that contradict each other."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho.config.quantities import ENERGIES
from ptycho.data_error import DataError
from ptycho.formats.geometry import wavelength_of
from ptycho.formats.units import plain_unit
from ptycho.raw_data import RawData
from tests.core.foreign_files import ALL, LENGTHS, NAMED, SQUARE, counts, positions_px, read, standard
from tests.core.test_formats_of_others import SIDE, cxi, moved, names
from tests.core.test_variants_of_formats import ptychodus

PIXEL = {"object_pixel": "20 nm"}


def said(scan: RawData, name: str) -> tuple[str, str]:
    (found,) = [one for one in scan.verdicts if one.name == name]
    return found.severity, found.text


def with_units(path: Path, values: float, unit: Any, attribute: str = "units") -> Path:
    """Positions in some unit, which both arrays state."""
    where = positions_px() * 2e-8 * values
    standard(path, y=where[:, 0], x=where[:, 1])
    with h5py.File(path, "a") as file:
        for axis in "yx":
            file[f"entry/{axis}"].attrs[attribute] = unit
    return path


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("um", "um"), ("\u00b5m", "um"), ("\u03bcm", "um"), ("Microns", "um"), ("micrometre", "um"), ("meters", "m"),
        ("mm", "mm"), ("[n_m]", "nm"), ("[1/n_m]", "1/nm"), ("Angstrom", "A"), ("\u212b", "A"), ("pixels", "px"),
        ("KeV", "keV"), ("steps", "steps"), ("cm", "cm"), ("MM", "mm"), ("UM", "um"), ("PX", "px"), ("ANGSTROM", "A"),
        ("\u00c5ngstr\u00f6m", "A"), ("A\u030a", "A"), ("\u00c5\u207b\u00b9", "A-1"), ("(um)", "um"), ("mum", "um"),
        ("$\\mu$m", "um"), ("um.", "um"), ("A", "A"), ("MeV", "MeV"), ("ms", "ms"), ("M", "m"), ("1/nm", "1/nm"),
    ],
)  # fmt: skip
def test_units_have_names_and_letters_of_other_alphabets(written: str, plain: str) -> None:
    assert plain_unit(written) == plain


@pytest.mark.parametrize(
    ("per_metre", "unit", "attribute"),
    [
        (1e6, "um", "units"),
        (1e3, b"mm", "unit"),
        (1e6, ["\u00b5m"], "units"),
        (1.0, "meters", "Units"),
        (1e2, "cm", "UNITS"),
        (1e3, "MM", "Unit"),
    ],
)
def test_positions_are_read_in_the_unit_that_the_file_states(
    tmp_path: Path, per_metre: float, unit: Any, attribute: str
) -> None:
    path = with_units(tmp_path / "scan.h5", per_metre, unit, attribute)
    scan = read(path, **NAMED, **SQUARE, **PIXEL)
    np.testing.assert_allclose(moved(scan), positions_px(), atol=1e-6)
    assert ("positions_unit" in names(scan)) == (per_metre != 1)


def test_a_unit_that_is_set_counts_before_that_of_the_file(tmp_path: Path) -> None:
    path = with_units(tmp_path / "scan.h5", 1e6, "mm")
    scan = read(path, **NAMED, **SQUARE, **PIXEL, positions_unit="um")
    np.testing.assert_allclose(moved(scan), positions_px(), atol=1e-6)


def test_a_unit_of_positions_that_is_not_known_is_said(tmp_path: Path) -> None:
    path = with_units(tmp_path / "scan.h5", 1.0, "steps")
    severity, text = said(read(path, **NAMED, **SQUARE, **PIXEL), "positions_unit")
    assert severity == "warning"
    assert text.endswith("'steps', is not known: m is taken for it. Set positions_unit.")
    assert "positions_unit" not in names(read(path, **NAMED, **SQUARE, **PIXEL, positions_unit="m"))
    with pytest.raises(DataError, match=r"/entry/x \(unit 'steps'\).*: expected object pixels, neighbours"):
        read(with_units(path, 1e6, "steps"), **NAMED, **SQUARE, **PIXEL)
    with h5py.File(path, "a") as file:
        file["entry/y"].attrs["units"], file["entry/x"].attrs["units"] = "um", "px"
    with pytest.raises(DataError, match="expected positions in one unit; got um and px"):
        read(path, **NAMED, **SQUARE, **PIXEL)


def test_a_unit_that_is_not_known_is_said_before_what_follows_from_it_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = with_units(tmp_path / "scan.h5", 25.0, "furlong")
    with pytest.raises(DataError, match="this is the near field"):
        read(path, **ALL)
    assert "the unit of the positions, 'furlong', is not known: m is taken for it" in caplog.text
    with pytest.raises(
        DataError, match=r"positions in m \(the file states 'furlong', which is not known\), and no"
    ):
        read(path, **NAMED, **SQUARE)


def test_each_coordinate_may_have_its_own_unit_and_both_may_be_in_a_group(tmp_path: Path) -> None:
    path, where = standard(tmp_path / "scan.h5"), positions_px() * 2e-8
    with h5py.File(path, "a") as file:
        for axis, unit, values in (("y", "um", where[:, 0] * 1e6), ("x", "mm", where[:, 1] * 1e3)):
            file[f"stage/{axis}"] = values
            file[f"stage/{axis}"].attrs["units"] = unit
    scan = read(path, patterns="/entry/patterns", positions="/stage", **SQUARE, **PIXEL)
    np.testing.assert_allclose(moved(scan), positions_px(), atol=1e-6)


def test_columns_that_nobody_has_named_are_said(tmp_path: Path) -> None:
    path = standard(tmp_path / "scan.h5", both=positions_px() * 2e-8)
    settings = {"patterns": "/entry/patterns", "positions": "/entry/both", **SQUARE, **PIXEL}
    severity, text = said(read(path, **settings), "positions_axes")
    assert severity == "note"
    assert text.startswith("the first coordinate in /entry/both is taken as y (rows), the second as x")
    assert "positions_axes" not in names(read(path, **settings, positions_axes="yx"))


def test_lengths_and_energies_are_read_in_the_unit_that_the_file_states(tmp_path: Path) -> None:
    path = cxi(tmp_path / "scan.cxi")
    expected = read(path).metadata
    with h5py.File(path, "a") as file:
        detector, source = file["entry_1/instrument_1/detector_1"], file["entry_1/instrument_1/source_1"]
        del source["wavelength"], detector["distance"], detector["x_pixel_size"], detector["y_pixel_size"]
        for group, name, value, unit in (
            (source, "energy", 12398.42, "eV"),
            (detector, "distance", 1200.0, "mm"),
            (detector, "x_pixel_size", 250.0, "microns"),
            (detector, "y_pixel_size", 0.25, "mm"),
        ):
            group[name] = value
            group[name].attrs["units"] = unit
    found = read(path).metadata
    for name in ("wavelength_m", "distance_m", "detector_pixel_size_m", "object_pixel_size_m"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5), name


def test_a_file_of_no_format_states_lengths_as_nexus_does_with_their_unit(tmp_path: Path) -> None:
    path = standard(tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        for name, value, unit in (
            ("beam/incident_wavelength", 1.0, "angstrom"),
            ("detector/distance", 1200.0, "mm"),
            ("detector/x_pixel_size", 250.0, "um"),
        ):
            file[f"entry/instrument/{name}"] = value
            file[f"entry/instrument/{name}"].attrs["units"] = unit
    assert read(path, **NAMED, **SQUARE).metadata == read(path, **ALL).metadata
    with h5py.File(path, "a") as file:
        del file["entry/instrument/detector/distance"].attrs["units"]
    with pytest.raises(DataError, match=r"Set --distance \(.* states 1200 without a unit\), or"):
        read(path, **NAMED, **SQUARE)


def test_an_object_pixel_that_contradicts_the_lengths_beside_it_is_refused(tmp_path: Path) -> None:
    path = standard(tmp_path / "scan.h5")
    pixel = 1e-10 * 1.2 / (20 * 250e-6)
    assert read(path, **ALL, object_pixel=f"{1.005 * pixel * 1e9} nm").has_probe is False
    with pytest.raises(
        DataError, match=r"object_pixel: expected the 24 nm of 1 A, 1.2 m, 250 um and 20 pixels; got 20 nm"
    ):
        read(path, **ALL, **PIXEL)
    with pytest.raises(DataError, match="object_pixel: expected the 12 nm of"):
        read(path, **NAMED, **LENGTHS, crop=20, centre="11, 16", pad=40, **PIXEL)
    assert read(path, **NAMED, **SQUARE, **PIXEL, wavelength="1 A", distance="1.2 m").domain == "intensity"


def nexus(path: Path, entry: str = "entry", **changes: tuple[Any, str]) -> Path:
    """A file of no format, with lengths where NeXus has them, which give an object pixel of 24 nm."""
    standard(path)
    found = {
        "beam/incident_wavelength": (1.0, "angstrom"),
        "detector/distance": (1200.0, "mm"),
        "detector/x_pixel_size": (250.0, "um"),
    } | changes
    with h5py.File(path, "a") as file:
        for name, (value, unit) in found.items():
            file[f"{entry}/instrument/{name}"] = value
            file[f"{entry}/instrument/{name}"].attrs["units"] = unit
    return path


def test_an_energy_and_a_wavelength_of_a_file_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    path = nexus(tmp_path / "scan.h5", **{"beam/incident_energy": (8.0, "keV")})
    with pytest.raises(
        DataError,
        match=r"incident_wavelength: expected the 1.55 A of 8 keV \(.*incident_energy\) \(photon\); "
        r"got 1 A .* Set --energy or --wavelength",
    ):
        read(path, **NAMED, **SQUARE)
    scan = read(path, **NAMED, **SQUARE, wavelength="1 A")
    assert scan.metadata["wavelength_m"] == pytest.approx(1e-10)


def test_lengths_of_a_file_that_differ_by_a_few_percent_are_said(tmp_path: Path) -> None:
    path = nexus(tmp_path / "scan.h5", **{"beam/incident_energy": (12.0, "keV")})
    severity, text = said(read(path, **NAMED, **SQUARE), "wavelength")
    assert severity == "warning"
    words = "the file states wavelength 1 A (entry/instrument/beam/incident_wavelength) and 12 keV (entry/"
    assert text.startswith(words)
    assert text.endswith(": the first counts. Set wavelength if that is wrong.")
    path = cxi(tmp_path / "scan.cxi")
    with h5py.File(path, "a") as file:
        file["entry_1/instrument_1/detector_1/basis_vectors"][...] *= 0.97 * 250e-6
    assert said(read(path), "detector_pixel")[0] == "warning"


def test_an_object_pixel_that_a_length_which_is_set_contradicts_is_refused(tmp_path: Path) -> None:
    ptychodus(tmp_path, "product.h5", "diffraction.h5")
    path, distance = tmp_path / "product.h5", 1.2
    with h5py.File(path, "a") as file:
        file.attrs["detector_object_distance_m"] = distance
    with h5py.File(tmp_path / "diffraction.h5", "a") as file:
        side = wavelength_of(8.0 * ENERGIES["keV"], "photon") * distance / (SIDE * 2e-8)
        file["patterns"].attrs.update(
            dict.fromkeys(("detector_pixel_height_m", "detector_pixel_width_m"), side)
        )
    assert "object_pixel" not in names(read(path))
    with pytest.raises(DataError, match=r"got 20 nm from .*Set --object-pixel, or the length that is wrong"):
        read(path, energy="8.3 keV")
    with h5py.File(path, "a") as file:
        file["object"].attrs.update(dict.fromkeys(("pixel_height_m", "pixel_width_m"), 1.93e-8))
    assert said(read(path), "object_pixel")[0] == "warning"


def test_a_pixel_and_basis_vectors_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    path = cxi(tmp_path / "scan.cxi")
    with h5py.File(path, "a") as file:
        file["entry_1/instrument_1/detector_1/basis_vectors"][...] *= 125e-6
    with pytest.raises(
        DataError,
        match=r"y_pixel_size: expected the 125 um \(.*basis_vectors\); got 0.00025 m \(.*pixel_size\)",
    ):
        read(path)
    assert read(path, detector_pixel="250 um").metadata["detector_pixel_size_m"] == [250e-6] * 2


def test_a_length_that_is_set_counts_and_that_of_the_file_is_said(tmp_path: Path) -> None:
    path = nexus(tmp_path / "scan.h5")
    severity, text = said(read(path, **NAMED, **SQUARE, **PIXEL), "object_pixel")
    assert severity == "warning"
    assert text.startswith("object_pixel is set to 20 nm, and other lengths give the 24 nm of 1 A (")
    severity, text = said(read(path, **NAMED, **SQUARE, energy="12 keV", distance="1195 mm"), "wavelength")
    assert severity == "note"
    assert text.startswith("the wavelength is set to 12 keV, and the file states 1 A (entry/instrument/beam")
    found = read(path, **NAMED, **SQUARE, distance="1195 mm", detector_pixel="250 um", wavelength="1 A")
    assert not {"wavelength", "distance", "detector_pixel", "object_pixel"} & {*names(found)}


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("detector_1/x_pixel_size", 75.0, "got 75 m .* If it is in um, set --detector-pixel '75 um'"),
        ("detector_1/x_pixel_size", 0.055, "got 0.055 m .* set --detector-pixel '0.055 mm'"),
        ("detector_1/distance", 1000.0, "got 1000 m .* set --distance '1000 mm'"),
        ("source_1/wavelength", 1.55, "got 1.55 m .* set --wavelength '1.55 A'"),
        ("source_1/wavelength", 0.155, "got 0.155 m .* set --wavelength '0.155 nm'"),
        ("source_1/wavelength", 632.8, "got 632.8 m .* set --wavelength '632.8 nm'"),
        ("source_1/energy", 8.0, "got 8 J .* set --energy '8 keV'"),
        ("source_1/energy", 8000.0, "got 8000 J .* set --energy '8000 eV'"),
        ("source_1/energy", 1e-30, "got 1e-30 J .* Set --energy with its unit, as in '8 keV'"),
    ],
)
def test_lengths_that_no_experiment_has_are_refused_with_the_likely_unit(
    tmp_path: Path, place: str, value: float, message: str
) -> None:
    path = cxi(tmp_path / "scan.cxi")
    with h5py.File(path, "a") as file:
        instrument = file["entry_1/instrument_1"]
        if place.endswith("energy"):
            del instrument["source_1/wavelength"]
        if place in instrument:
            del instrument[place]
        instrument[place] = value
    with pytest.raises(DataError, match=f"{place}: expected .* from .* to .*; {message}"):
        read(path)
    with pytest.raises(DataError, match=r"distance: expected a distance from 1 um to 200 m; got 1200 m"):
        read(cxi(tmp_path / "set.cxi"), distance="1200 m")


def test_an_unknown_unit_of_a_length_is_named(tmp_path: Path) -> None:
    path = cxi(tmp_path / "scan.cxi")
    with h5py.File(path, "a") as file:
        file["entry_1/instrument_1/detector_1/distance"].attrs["units"] = "steps"
    with pytest.raises(DataError, match=r"distance: expected a unit that is known: .*; got 1.2 'steps'"):
        read(path)
    changed = {"detector/distance": (1.2, "steps")}
    with pytest.raises(DataError, match=r"Set --distance \(.*/distance states 1.2 'steps'\)"):
        read(nexus(tmp_path / "scan.h5", **changed), **NAMED, **SQUARE)


@pytest.mark.parametrize("entry", ["entry", "entry1", "entry_1"])
def test_lengths_of_single_patterns_are_one_if_they_are_equal(tmp_path: Path, entry: str) -> None:
    each = np.linspace(1199.5, 1200.5, 20)
    path = nexus(tmp_path / "scan.h5", entry, **{"detector/distance": (each, "mm")})
    assert read(path, **NAMED, **SQUARE).metadata["distance_m"] == pytest.approx(1.2)
    path = nexus(tmp_path / "scan.h5", entry, **{"detector/distance": (each * np.linspace(1, 1.2, 20), "mm")})
    with pytest.raises(DataError, match=r"Set --distance \(.*/distance states 1199.5 to 1440.6 'mm'\)"):
        read(path, **NAMED, **SQUARE)


def test_an_object_pixel_that_is_set_replaces_what_metadata_state(tmp_path: Path) -> None:
    where = positions_px() + 10
    stated = '{"wavelength_m": 1e-10, "distance_m": 1.2, "detector_pixel_size_m": 250e-6}'
    path, patterns = tmp_path / "scan.npz", counts()[:, 2:22, 6:26]
    np.savez(path, diff3d=patterns, ycoords=where[:, 0], xcoords=where[:, 1], metadata=np.array(stated))
    assert read(path, **PIXEL).metadata["object_pixel_size_m"] == pytest.approx([2e-8] * 2)


# Lengths that are not needed


@pytest.mark.parametrize(
    ("place", "value", "name"),
    [
        ("detector_1/distance", 1000.0, "distance"),
        ("detector_1/x_pixel_size", 75.0, "detector_pixel"),
        ("source_1/wavelength", 632.8, "wavelength"),
        ("source_1/energy", 1e-15, "wavelength"),  # of another wavelength than is stated
        ("detector_1/basis_vectors", np.array([[0, 1e-3, 0], [1e-3, 0, 0]]), "detector_pixel"),
    ],
)
def test_wrong_lengths_of_a_file_are_left_out_where_the_object_pixel_is_set(
    tmp_path: Path, place: str, value: Any, name: str
) -> None:
    path = cxi(tmp_path / "scan.cxi")
    sound = read(path, **PIXEL)
    with h5py.File(path, "a") as file:
        instrument = file["entry_1/instrument_1"]
        if place in instrument:
            del instrument[place]
        instrument[place] = value
    scan = read(path, **PIXEL)
    severity, text = said(scan, name)
    assert severity == "warning"
    assert text.startswith(
        f"the {name.replace('_', ' ')} of the file is left out, as object_pixel is set: entry_1"
    )
    assert scan.metadata["object_pixel_size_m"] == pytest.approx([2e-8] * 2)
    assert len(scan.metadata) < len(sound.metadata)
    np.testing.assert_allclose(moved(scan), moved(sound))
    with pytest.raises(DataError, match="distance: expected a distance from 1 um to 200 m; got 1200 m"):
        read(path, **PIXEL, distance="1200 m")
