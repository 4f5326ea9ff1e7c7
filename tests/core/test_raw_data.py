import copy as copying
import json
import logging
import pickle
from typing import Any

import numpy as np
import pytest

from ptycho.photon_scale import photon_scale
from ptycho.raw_data import RawData
from ptycho.stored_array import StoredArray
from ptycho_torch.simulate import simulate_scan
from tests.core.scan_arrays import AMPLITUDE, COMPLEX, scan_arrays, write


@pytest.fixture
def scan_file(tmp_path):
    """Writes the contract arrays with changes; None leaves a key out."""

    def make(**changes):
        arrays = {key: value for key, value in (scan_arrays() | changes).items() if value is not None}
        return write(tmp_path / "scan.npz", **arrays)

    return make


def test_columns_and_rows_become_rows_of_y_and_x(scan_file):
    scan = RawData.from_file(scan_file(xcoords=np.arange(6.0), ycoords=np.arange(6) + 100))
    np.testing.assert_array_equal(scan.positions_px, [[100 + i, i] for i in range(6)])
    np.testing.assert_array_equal(scan.xcoords, np.arange(6))
    np.testing.assert_array_equal(scan.ycoords, np.arange(6) + 100)


def test_patterns_of_an_uncompressed_file_stay_on_disk_in_their_dtype(scan_file):
    counts = np.arange(6 * 64, dtype=np.uint16).reshape(6, 8, 8)
    scan = RawData.from_file(scan_file(diff3d=counts))
    assert isinstance(scan.patterns, StoredArray)
    assert scan.patterns.dtype == np.uint16
    np.testing.assert_array_equal(scan.patterns, counts)


def test_a_pickle_of_stored_patterns_and_labels_holds_their_place_alone(scan_file):
    arrays = scan_arrays(n=40, size=32)
    patterns = arrays.pop("diff3d")
    path = scan_file(**arrays, diff3d=patterns, label_amp=patterns, label_phase=patterns)
    scan = RawData.from_file(path)
    content = pickle.dumps(scan)
    assert len(content) < patterns.nbytes // 4
    for copy in (pickle.loads(content), copying.copy(scan), copying.deepcopy(scan)):
        assert isinstance(copy.patterns, StoredArray)
        assert isinstance(copy.labels.phase, StoredArray)
        np.testing.assert_array_equal(copy.patterns, patterns)
        np.testing.assert_array_equal(copy.labels, (patterns, patterns))
        np.testing.assert_array_equal(copy.positions_px, scan.positions_px)


def test_a_pickle_of_patterns_in_memory_holds_them(scan_file):
    stored = RawData.from_file(scan_file())
    positions = np.array([[10.0, 10.0], [12.0, 10.0], [10.0, 12.0]])
    for patterns in (AMPLITUDE[2:5], stored.patterns[2:5]):
        scan = RawData.from_arrays(patterns, positions, COMPLEX)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(scan)).patterns, AMPLITUDE[2:5])


def test_a_pickle_holds_the_patterns_where_their_file_was_replaced(scan_file):
    scan = RawData.from_file(scan_file())
    RawData.from_arrays(AMPLITUDE[::-1], scan.positions_px, COMPLEX).to_file(scan.path)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(scan)).patterns, AMPLITUDE)


def test_a_fortran_ordered_file_is_read_as_written(scan_file):
    patterns = np.asfortranarray(np.random.default_rng(1).uniform(1, 9, (6, 8, 8)))
    np.testing.assert_array_equal(RawData.from_file(scan_file(diff3d=patterns)).patterns, patterns)


def test_a_compressed_file_is_read_once(tmp_path):
    arrays = scan_arrays()
    np.savez_compressed(tmp_path / "scan.npz", **arrays)
    scan = RawData.from_file(tmp_path / "scan.npz")
    np.testing.assert_array_equal(scan.patterns, arrays["diff3d"])


@pytest.mark.parametrize("nphotons", [100.0, 1e3, 1e5, 1e7])
@pytest.mark.parametrize(
    ("scale", "dtype"), [(0.37, np.float32), (1e-12, np.float64), (1 / 60000, np.float32)]
)
def test_counts_times_a_gain_are_counts_and_their_roots_are_not(
    nphotons: float, scale: float, dtype: Any
) -> None:
    scan = simulate_scan(N=32, n_positions=60, nphotons=nphotons)
    roots = scan.amplitude(np.arange(60))
    counts = (np.square(roots).round() * scale).astype(dtype)
    found = RawData.from_arrays(counts, scan.positions_px, None)
    assert (found.domain, found.domain_reason.split(":")[0][:27]) == (
        "intensity",
        "all values are multiples of",
    )
    uneven = np.random.default_rng(0).normal(1, 0.03, (32, 32))
    for others in (roots * scale, np.square(roots) * uneven, scan.amplitude(np.arange(60)) * uneven):
        reason = RawData.from_arrays(others, scan.positions_px, None).domain_reason
        assert reason == "not all values are whole numbers"
    if nphotons == 1e5:  # with more light rounding is no longer less than the noise of counts
        rounded = RawData.from_arrays(roots.round() * scale, scan.positions_px, None)
        assert (rounded.domain, rounded.domain_reason[:15]) == ("amplitude", "the values vary")


@pytest.mark.parametrize("nphotons", [3e3, 1e5])
def test_roots_of_counts_are_amplitudes_however_they_are_rounded(nphotons: float) -> None:
    scan = simulate_scan(N=32, n_positions=60, nphotons=nphotons)
    roots = np.sqrt(np.square(scan.amplitude(np.arange(60)).astype(np.float64)).round())
    for rounded, words in (
        (np.rint(roots).astype(np.uint8), "the whole numbers (uint8) vary"),
        (roots.round(1), "all values are square roots of whole numbers, rounded to multiples of 0.1"),
        (roots.round(1).astype(np.float32), "all values are square roots of whole numbers, rounded to"),
        (roots.astype(np.float32), "all values are square roots of whole numbers"),
    ):
        found = RawData.from_arrays(rounded, scan.positions_px, None)
        assert (found.domain, words in found.domain_reason) == ("amplitude", True)
        assert "photons" not in [one.name for one in found.verdicts]
    for other in (np.uint16, np.float32):  # averages of counts differ as little
        found = RawData.from_arrays(np.rint(roots).astype(other), scan.positions_px, None)
        assert found.domain == "intensity"
        assert "as rounded square roots or averages do" in found.domain_reason
    usual = {"usual_domain": "intensity", "format": "cxi"}
    assert RawData.from_arrays(roots, scan.positions_px, None, metadata=usual).domain == "amplitude"
    for counts in (roots**2, (roots**2).round() * 0.1, (roots**2).round().astype(np.uint16)):
        assert (
            RawData.from_arrays(counts, scan.positions_px, None, metadata=usual).domain_reason
            == "as files of cxi hold counts"
        )


def test_diffraction_is_another_name_of_diff3d(scan_file):
    patterns = scan_arrays()["diff3d"]
    scan = RawData.from_file(scan_file(diff3d=None, diffraction=patterns))
    np.testing.assert_array_equal(scan.patterns, patterns)


@pytest.mark.parametrize(
    ("changes", "domain", "reason"),
    [
        ({}, "amplitude", "all values are square roots of whole numbers"),
        ({"diff3d": np.ones((6, 8, 8), np.uint8)}, "intensity", "uint8"),
        (
            {"bad_pixels": np.zeros((8, 8), dtype=bool)},
            "amplitude",
            "all values are square roots of whole numbers",
        ),
        ({"bad_pixels": np.eye(8, dtype=bool)}, "amplitude", "all values are square roots of whole numbers"),
        ({"metadata": json.dumps({"measurement_domain": "intensity"})}, "intensity", "metadata"),
        (
            {
                "metadata": json.dumps({"measurement_domain": "amplitude"}),
                "bad_pixels": np.eye(8, dtype=bool),
                "diff3d": np.ones((6, 8, 8), np.uint8),
            },
            "amplitude",
            "metadata",
        ),
    ],
)
def test_the_file_says_which_domain_it_holds(scan_file, changes, domain, reason):
    scan = RawData.from_file(scan_file(**changes))
    assert scan.domain == domain
    assert reason in scan.domain_reason


def test_the_caller_decides_the_domain_against_the_file(scan_file):
    path = scan_file(diff3d=np.ones((6, 8, 8), np.uint8))
    assert RawData.from_file(path, domain="amplitude").domain == "amplitude"


def test_the_domain_and_its_reason_are_logged_once(scan_file, caplog):
    caplog.set_level(logging.INFO, logger="ptycho")
    RawData.from_file(scan_file())
    assert caplog.text.count("patterns are read as") == 1
    assert (
        "read as amplitude (all values are square roots of whole numbers). The file does not state it"
        in caplog.text
    )


def test_an_unknown_domain_is_refused(scan_file):
    with pytest.raises(ValueError, match="domain: expected 'auto', 'amplitude' or 'intensity'; got 'counts'"):
        RawData.from_file(scan_file(), domain="counts")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64, np.float32, np.float64])
def test_amplitude_is_the_square_root_of_counts_of_any_dtype(scan_file, dtype):
    counts = np.random.default_rng(3).poisson(40, (6, 8, 8))
    scan = RawData.from_file(scan_file(diff3d=counts.astype(dtype)), domain="intensity")
    amplitude = scan.amplitude([4, 1])
    assert amplitude.dtype == np.float32
    np.testing.assert_allclose(amplitude, np.sqrt(counts[[4, 1]]), rtol=1e-6)


def test_amplitude_of_amplitudes_is_as_stored(scan_file):
    scan = RawData.from_file(scan_file())
    np.testing.assert_array_equal(scan.amplitude(np.array([2])), scan.patterns[2:3])


@pytest.mark.parametrize("factor", [0.9, 2.0, 4.9])
def test_a_probe_in_photon_scale_is_kept(scan_file, factor):
    probe = scan_arrays()["probeGuess"] * np.float32(np.sqrt(factor))
    np.testing.assert_array_equal(RawData.from_file(scan_file(probeGuess=probe)).probe, probe[None])


@pytest.mark.parametrize("factor", [1e-6, 0.5, 10.0, 1e6])
def test_a_probe_in_another_scale_is_scaled_to_the_mean_counts_and_logged(scan_file, caplog, factor):
    caplog.set_level(logging.INFO, logger="ptycho.photon_scale")
    arrays = scan_arrays()
    probe = arrays["probeGuess"] * np.float32(np.sqrt(factor))
    scan = RawData.from_file(scan_file(probeGuess=probe))
    mean_counts = (arrays["diff3d"].astype(float) ** 2).sum(axis=(1, 2)).mean()
    np.testing.assert_allclose((np.abs(scan.probe) ** 2).sum(), mean_counts, rtol=1e-5)
    np.testing.assert_allclose(np.angle(scan.probe[0]), np.angle(probe), atol=1e-5)
    assert "the probe is scaled" in caplog.text


@pytest.mark.parametrize("is_of_file", [True, False])
def test_the_photons_of_a_probe_are_told_of_where_the_file_has_it(caplog, is_of_file):
    caplog.set_level(logging.INFO, logger="ptycho.photon_scale")
    probe = np.ones((1, 8, 8), np.complex64)
    scaled = photon_scale(probe, {}, np.zeros((6, 2)), 6400.0, "scan", is_of_file=is_of_file)
    np.testing.assert_allclose((np.abs(scaled.probe) ** 2).sum(), 6400, rtol=1e-5)
    assert ("The probe has 64 photons" in caplog.text) is is_of_file


@pytest.mark.parametrize("factor", [1e-3, 0.1, 10.0])
def test_an_object_stays_with_its_probe_whatever_unit_the_two_are_in(scan_file, factor):
    rng = np.random.default_rng(1)
    guess = (0.9 + 0.1 * rng.random((40, 40))).astype(np.complex64)
    probe = scan_arrays()["probeGuess"] * np.float32(factor)
    together = RawData.from_file(scan_file(probeGuess=probe, objectGuess=guess / np.float32(factor)))
    np.testing.assert_allclose(together.object_guess, guess, rtol=1e-4)
    apart = RawData.from_file(scan_file(probeGuess=probe, objectGuess=guess))
    np.testing.assert_array_equal(apart.object_guess, guess)


def test_the_scale_of_a_probe_follows_the_domain(scan_file):
    counts = np.full((6, 8, 8), 25, np.uint16)
    scan = RawData.from_file(scan_file(diff3d=counts, probeGuess=np.ones((2, 8, 8), complex)))
    assert scan.probe.shape == (2, 8, 8)
    np.testing.assert_allclose((np.abs(scan.probe) ** 2).sum(), 25 * 64, rtol=1e-5)


def test_scan_index_that_numbers_the_patterns_means_one_object(scan_file):
    assert not RawData.from_file(scan_file(scan_index=np.arange(6))).scan_index.any()


def test_scan_index_that_repeats_names_objects(scan_file):
    objects = np.array([0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(RawData.from_file(scan_file(scan_index=objects)).scan_index, objects)


def test_a_scan_written_and_read_back_is_equal(tmp_path):
    arrays, rng = scan_arrays(), np.random.default_rng(5)
    scan = RawData.from_arrays(
        arrays["diff3d"],
        np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1),
        np.stack([arrays["probeGuess"], arrays["probeGuess"]]),
        bad_pixels=np.eye(8, dtype=bool),
        domain="amplitude",
        holdout=np.arange(6) == 2,
        half=np.arange(6) % 2,
        object_guess=np.ones((40, 42), np.complex64),
        object_truth=rng.normal(size=(40, 42)) + 1j,
        probe_truth=arrays["probeGuess"],
        scan_index=[0, 0, 0, 1, 1, 1],
        labels=(np.ones((6, 8, 8), np.float32), -np.ones((6, 8, 8), np.float32)),
        nphotons=3200.0,
        metadata={"energy_eV": 9000.0},
    )
    scan.to_file(tmp_path / "copy.npz")
    copy = RawData.from_file(tmp_path / "copy.npz")
    names = (
        "patterns positions_px probe bad_pixels holdout half object_guess object_truth probe_truth scan_index"
    )
    for name in names.split():
        first, second = getattr(scan, name), getattr(copy, name)
        assert first.dtype == second.dtype, name
        np.testing.assert_array_equal(first, second, err_msg=name)
    np.testing.assert_array_equal(scan.labels, copy.labels)
    assert (copy.domain, copy.nphotons, copy.metadata["energy_eV"]) == ("amplitude", 3200.0, 9000.0)


def test_a_scan_written_over_its_own_file_survives(tmp_path):
    path = write(tmp_path / "scan.npz", **dict(reversed(scan_arrays().items())))
    scan = RawData.from_file(path)
    before = np.array(scan.patterns)
    scan.to_file(path)
    np.testing.assert_array_equal(scan.patterns, before)
    np.testing.assert_array_equal(RawData.from_file(path).patterns, before)
    assert [entry.name for entry in path.parent.iterdir()] == ["scan.npz"]


def test_patterns_given_in_memory_are_not_copied():
    arrays = scan_arrays()
    positions = np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1)
    assert RawData.from_arrays(arrays["diff3d"], positions, arrays["probeGuess"]).patterns is arrays["diff3d"]


def test_historical_names_give_and_read_the_same_arrays():
    arrays = scan_arrays()
    guess = np.ones((40, 40), np.complex64)
    scan = RawData.from_coords_without_pc(
        **arrays, scan_index=np.zeros(6, int), objectGuess=guess, domain="amplitude"
    )
    for name in ("diff3d", "xcoords", "ycoords", "probeGuess"):
        np.testing.assert_array_equal(getattr(scan, name), arrays[name])
    np.testing.assert_array_equal(scan.objectGuess, guess)


def test_several_probe_modes_are_read_back_as_modes():
    arrays = scan_arrays()
    arrays["probeGuess"] = np.stack([arrays["probeGuess"]] * 2)
    assert RawData.from_coords_without_pc(**arrays).probeGuess.shape == (2, 8, 8)


def test_the_photon_number_comes_from_its_key_before_the_metadata(scan_file):
    metadata = json.dumps({"nphotons": 7e3})
    assert RawData.from_file(scan_file(metadata=metadata)).nphotons == 7e3
    assert RawData.from_file(scan_file(metadata=metadata, nphotons=8e3)).nphotons == 8e3
    assert RawData.from_file(scan_file()).nphotons is None
