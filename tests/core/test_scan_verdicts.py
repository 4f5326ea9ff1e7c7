"""What is said of a scan that reads without error: true faults are, sound scans are not."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from ptycho.probe import probe_diameter_px
from ptycho.raw_data import DataError, RawData
from ptycho.simulation import make_probe
from tests.core.sound_scans import SCAN, hit, said, sound, write


@pytest.mark.parametrize(("domain", "n_modes"), [("intensity", 1), ("amplitude", 3)])
@pytest.mark.parametrize("defocus_rad", [0.0, 4.0, 12.0])
@pytest.mark.parametrize("nphotons", [1e2, 1e4, 1e6, 1e9])
@pytest.mark.parametrize("step", [0.1, 0.4, 0.75])
def test_nothing_is_said_of_a_simulated_scan(tmp_path, caplog, step, nphotons, defocus_rad, n_modes, domain):
    step_px = step * probe_diameter_px(make_probe(32, defocus_rad, n_modes))
    scan = sound(domain, step_px=step_px, nphotons=nphotons, defocus_rad=defocus_rad, n_modes=n_modes)
    caplog.clear()
    for probe in (scan.probe, None):
        RawData.from_file(write(tmp_path, scan, probeGuess=probe))
        assert said(caplog) == []


SPOILT = {
    "cosmic_hits": {"diff3d": hit(SCAN, (7, 5, 5), 2_000)},
    "drift": {
        "diff3d": np.random.default_rng(0).poisson(
            SCAN.patterns[:] * np.exp(-np.arange(60) / 40)[:, None, None]
        )
    },
    "extent": {"xcoords": 0.01 * SCAN.xcoords, "ycoords": 0.01 * SCAN.ycoords},
}


@pytest.mark.parametrize("name", SPOILT)
@pytest.mark.parametrize("probe", [SCAN.probe, None], ids=["with a probe", "without one"])
def test_what_spoils_a_scan_is_said_with_and_without_a_probe(tmp_path, name, probe):
    scan = RawData.from_file(write(tmp_path, probeGuess=probe, **SPOILT[name]))
    assert [one.name for one in scan.verdicts] == [name]


@pytest.mark.parametrize("change", [{"xcoords": 0 * SCAN.xcoords}, {"ycoords": np.full(60, 70.0)}])
def test_equal_positions_are_said_without_a_probe(tmp_path, change):
    scan = RawData.from_file(write(tmp_path, probeGuess=None, **{"ycoords": 0 * SCAN.ycoords} | change))
    assert [one.name for one in scan.verdicts] == ["extent"]


@pytest.mark.parametrize("N", [16, 64, 128])
def test_nothing_is_said_of_another_size_or_pattern(tmp_path, caplog, N):
    for pattern in ("fermat", "raster"):
        sound(N=N, pattern=pattern, n_positions=30, step_px=0.1 * N).to_file(tmp_path / "scan.npz")
        RawData.from_file(tmp_path / "scan.npz")
    assert said(caplog) == []


@pytest.mark.parametrize(
    "name",
    [
        "siemens-star-128",
        *(f"synth-64-{part}-{dose}" for part in ("train", "test") for dose in ("1e4", "1e6")),
    ],
)
def test_nothing_but_the_domain_is_said_of_the_shared_scans(shared_data: Path, caplog, name):
    scan = RawData.from_file(shared_data / f"{name}.npz")
    (warning,) = said(caplog)  # these files do not state their domain
    assert "patterns are read as amplitude (all values are square roots of whole numbers)" in warning
    assert scan.bad_pixels is None
    RawData.from_file(shared_data / f"{name}.npz", domain="amplitude")
    assert len(said(caplog)) == 1


# The domain -----------------------------------------------------------------------------------------------------

COUNTS = np.asarray(SCAN.patterns)


@pytest.mark.parametrize("nphotons", [1e3, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("N", [32, 64])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_whole_numbers_of_any_dtype_are_counts(tmp_path, caplog, N, dtype, nphotons):
    counts = np.asarray(sound(N=N, nphotons=nphotons).patterns)
    counts = np.minimum(counts, 255 if dtype == np.uint8 else 60000).astype(dtype)
    scan = RawData.from_file(write(tmp_path, sound(N=N), diff3d=counts, metadata=None))
    assert scan.domain == "intensity"
    (warning,) = [line for line in said(caplog) if "read as" in line]
    assert "scan.npz: patterns are read as intensity (all values are whole numbers" in warning
    assert "set measurement_domain to intensity, or to amplitude if that is wrong" in warning


@pytest.mark.parametrize("nphotons", [1e4, 1e5, 1e6])
@pytest.mark.parametrize("defocus_rad", [0.0, 8.0])
@pytest.mark.parametrize("N", [32, 64])
def test_rounded_square_roots_in_bytes_are_amplitudes(tmp_path, caplog, N, defocus_rad, nphotons):
    scan = sound(N=N, nphotons=nphotons, defocus_rad=defocus_rad)
    roots = np.rint(np.sqrt(scan.patterns)).astype(np.uint8)
    found = RawData.from_file(write(tmp_path, scan, diff3d=roots, metadata=None))
    assert found.domain == "amplitude"
    assert "must be rounded square roots). The file does not state it" in " ".join(said(caplog))


@pytest.mark.parametrize("mask", [None, np.zeros((32, 32), bool)])
def test_bad_pixels_alone_decide_nothing(tmp_path, mask):
    path = write(tmp_path, diff3d=np.sqrt(COUNTS).astype(np.float32), metadata=None, bad_pixels=mask)
    assert RawData.from_file(path).domain == "amplitude"


def test_values_of_bad_pixels_do_not_make_counts_amplitudes(tmp_path):
    counts, bad = COUNTS.astype(np.float32), np.eye(32, dtype=bool)
    counts[:, bad] = 0.3
    assert (
        RawData.from_file(write(tmp_path, diff3d=counts, metadata=None, bad_pixels=bad)).domain == "intensity"
    )


def test_an_export_of_ptychodus_is_counts_and_nothing_is_said(tmp_path, caplog):
    counts = COUNTS.astype(np.float32) + np.float32(0.25)
    path = write(
        tmp_path,
        diff3d=counts,
        metadata=None,
        bad_pixels=np.zeros((32, 32), bool),
        probeGuess=SCAN.probe.reshape(1, 32, 32),
        xcoords_start=SCAN.xcoords,
        ycoords_start=SCAN.ycoords,
        objectGuess=np.ones((200, 200), complex),
        scan_index=np.zeros(len(SCAN), np.int64),
    )
    assert RawData.from_file(path).domain == "intensity"
    assert said(caplog) == []


# Units, numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["energy_J", "wavelength_m", "distance_m", "detector_pixel_size_m", "nphotons"]
)
@pytest.mark.parametrize("value", [-1.0, 0, float("nan"), float("inf"), 10**400])
def test_a_quantity_that_cannot_be_is_refused(tmp_path, key, value):
    stated = json.dumps({"measurement_domain": "intensity", key: value})
    if value == 10**400 and key != "nphotons":
        pytest.skip("larger than any, and used for nothing")
    with pytest.raises(DataError, match=rf"metadata '{key}': .*got "):
        RawData.from_file(write(tmp_path, metadata=np.array(stated)))


def test_a_pixel_size_of_two_axes_is_looked_at_too(tmp_path):
    stated = {"measurement_domain": "intensity", "object_pixel_size_m": [1e-8, -1e-8], "note": -1}
    with pytest.raises(DataError, match=r"metadata 'object_pixel_size_m': expected finite numbers > 0"):
        RawData.from_file(write(tmp_path, metadata=np.array(json.dumps(stated))))


@pytest.mark.parametrize(
    "stated",
    [
        {"a": {"energy": -8}},
        {"beam": [{"energy_keV": 8.0}, {"energy_keV": 0}]},
        {"detector": {"distance": {"value": -1, "unit": "m"}}},
        {"pixel_size_m": [[1e-8, 1e-8], [1e-8, -1e-8]]},
        {"energy_eV": "-8000"},
        {"energy_eV": "8e3"},
        {"detector_pixel_size_m": [75e-6, "75e-6"]},
    ],
)
def test_a_quantity_within_another_entry_is_looked_at_too(tmp_path, stated):
    stated = json.dumps({"measurement_domain": "intensity", **stated})
    with pytest.raises(
        DataError, match=r"metadata '.*(energy|distance|pixel).*': expected finite numbers > 0"
    ):
        RawData.from_file(write(tmp_path, metadata=np.array(stated)))


def test_an_energy_in_electronvolts_where_joules_are_stated_is_refused(tmp_path):
    stated = json.dumps({"measurement_domain": "intensity", "energy_J": 8000.0})
    with pytest.raises(
        DataError, match=r"metadata 'energy_J': expected the photon energy in joules; got 8000\.0"
    ):
        RawData.from_file(write(tmp_path, metadata=np.array(stated)))


def test_a_difference_of_two_quantities_may_be_negative(tmp_path):
    stated = {"measurement_domain": "intensity", "energy_offset_eV": -3, "stage": {"distance_shift": -1}}
    assert len(RawData.from_file(write(tmp_path, metadata=np.array(json.dumps(stated))))) == 60


@pytest.mark.filterwarnings("error")
def test_half_precision_is_read_without_a_warning_of_another_library(tmp_path, caplog):
    scan = sound(nphotons=1e3)
    RawData.from_file(write(tmp_path, scan, diff3d=np.asarray(scan.patterns).astype(np.float16)))
    assert said(caplog) == []


def test_float_zeros_are_a_scan_index(tmp_path):
    scan = RawData.from_file(write(tmp_path, scan_index=np.zeros(60)))
    assert scan.scan_index.dtype == np.int64
    assert not scan.scan_index.any()


def test_complex_positions_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"xcoords: .*got dtype complex128"):
        RawData.from_file(write(tmp_path, xcoords=SCAN.xcoords + 0j))


def test_positions_so_far_off_that_nothing_holds_the_object_are_refused(tmp_path):
    y, x = SCAN.ycoords.copy(), SCAN.xcoords.copy()
    y[17:], x[17:] = 1e6, -1e6
    with pytest.raises(
        DataError,
        match=r"xcoords, ycoords: .*got 1e\+06 x 1e\+06 "
        r"pixels, 40 TB, with position ",
    ):
        RawData.from_file(write(tmp_path, xcoords=x, ycoords=y))


def test_a_position_is_named_by_where_it_is_in_the_file(tmp_path):
    x = SCAN.xcoords.copy()
    x[0], x[-15:], x[-3] = 1e11, 1e9, 1.1e9
    with pytest.raises(DataError, match=rf"with position {len(x) - 3} at y .*, x 1.1e\+09 "):
        RawData.from_file(write(tmp_path, xcoords=x))


@pytest.mark.parametrize("place", [1e5, -1e6])
@pytest.mark.parametrize("far", [[17], [3, 17]])
def test_positions_far_off_are_said_and_their_patterns_left_out(tmp_path, caplog, far, place):
    x = SCAN.xcoords.copy()
    x[far] = place
    scan = RawData.from_file(write(tmp_path, xcoords=x))
    assert f"position {far[0]} (y " in " ".join(said(caplog))
    assert "far away from the others" in " ".join(said(caplog))
    assert scan.rows.tolist() == [row for row in range(len(x)) if row not in far]
    assert scan.positions_px.max() < 1000


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (0.01, "most positions lie within .* pixels, and the probe is .* pixels wide"),
        (0.0, "most positions are equal"),
    ],
)
def test_positions_that_are_too_close_together_are_said(tmp_path, caplog, factor, words):
    RawData.from_file(write(tmp_path, xcoords=SCAN.xcoords * factor, ycoords=SCAN.ycoords * factor))
    (warning,) = said(caplog)
    assert caplog.records[-1].levelno == logging.WARNING
    assert re.search(words, warning)


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("factor", [0.01, 0.0])
def test_positions_that_are_too_close_along_one_axis_are_said(tmp_path, caplog, axis, factor):
    key = f"{axis}coords"
    RawData.from_file(write(tmp_path, **{key: getattr(SCAN, key) * factor}))
    (warning,) = said(caplog)
    assert re.search(
        rf"most positions lie within .* pixels along {axis}, and .*Check the unit of {key}", warning
    )


def test_positions_that_are_equal_but_for_one_are_said(tmp_path, caplog):
    x, y = np.full_like(SCAN.xcoords, 40), np.full_like(SCAN.ycoords, 40)
    x[3] = 44
    RawData.from_file(write(tmp_path, xcoords=x, ycoords=y))
    assert any("most positions are equal" in warning for warning in said(caplog))


def test_intensities_scaled_to_nothing_are_said(tmp_path, caplog):
    RawData.from_file(
        write(tmp_path, diff3d=COUNTS * np.random.default_rng(0).normal(1, 0.02, (32, 32)) * 1e-12)
    )
    (warning,) = said(caplog)
    assert re.search(r"a pattern holds \S+ photons on average: .* not photon counts", warning)


@pytest.mark.parametrize(
    ("gain", "dtype"), [(1e-12, np.float32), (0.25, np.float32), (3.7, np.float32), (10, np.uint32)]
)
def test_counts_times_a_gain_are_said_with_it(tmp_path, caplog, gain, dtype):
    RawData.from_file(write(tmp_path, diff3d=(COUNTS * gain).astype(dtype)))
    (warning,) = said(caplog)
    assert f"all values are whole multiples of {gain:g}: these are counts times a gain" in warning
    assert f"Divide the patterns by {gain:g}." in warning


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_scan_of_a_few_patterns_is_read_without_a_word(tmp_path, caplog, n):
    path = write(tmp_path, diff3d=COUNTS[:n], xcoords=SCAN.xcoords[:n], ycoords=SCAN.ycoords[:n])
    assert len(RawData.from_file(path)) == n
    assert said(caplog) == []
