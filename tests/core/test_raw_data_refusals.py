import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from ptycho.raw_data import DataError, RawData, load_scans
from tests.core.scan_arrays import AMPLITUDE, COMPLEX, scan_arrays, write

LENGTHS = np.array(
    json.dumps({"wavelength_m": 1e-10, "distance_m": 1.0, "detector_pixel_size_m": [1e-4, 1e-4]})
)


@pytest.fixture
def scan_file(tmp_path):
    """Writes the contract arrays with changes; None leaves a key out."""

    def make(**changes):
        arrays = {key: value for key, value in (scan_arrays() | changes).items() if value is not None}
        return write(tmp_path / "scan.npz", **arrays)

    return make


def with_value(array, index, value):
    changed = array.copy()
    changed[index] = value
    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diff3d": None}, r"diff3d: .*got nothing"),
        ({"diff3d": None, "metadata": LENGTHS}, r"diff3d: .*got nothing"),
        ({"xcoords": None}, r"xcoords: .*got nothing"),
        ({"diff3d": AMPLITUDE[0]}, r"diff3d: .*shape \(any, any, any\); got shape \(8, 8\)"),
        ({"diff3d": AMPLITUDE + 0j}, r"diff3d: .*got dtype complex64"),
        ({"diff3d": AMPLITUDE > 3}, r"diff3d: .*got dtype bool"),
        ({"diff3d": AMPLITUDE[:, :6]}, r"diff3d: .*got shape \(6, 6, 8\)"),
        ({"diff3d": AMPLITUDE[:, :7, :7]}, r"diff3d: .*N even; got shape \(6, 7, 7\)"),
        ({"diff3d": AMPLITUDE[:0]}, r"diff3d: .*got shape \(0, 8, 8\)"),
        ({"diff3d": with_value(AMPLITUDE, (3, 1, 1), np.nan)}, r"got 1 NaN or infinite.*pattern 3"),
        ({"diff3d": with_value(AMPLITUDE, (4, 1, 1), np.inf)}, r"got 1 NaN or infinite.*pattern 4"),
        ({"diff3d": with_value(AMPLITUDE, (5, 1, 1), -2)}, r"got -2 in pattern 5"),
        (
            {"diff3d": AMPLITUDE.astype(float) * 1e300},
            r"diff3d: .*got [\d.]+e\+300",
        ),
        ({"diff3d": AMPLITUDE * 0}, r"diff3d: .*got no value above 0"),
        ({"diff3d": np.full((6, 8, 8), 1e-300)}, r"diff3d: .*got no value above 1e-300"),
        ({"diff3d": AMPLITUDE**2, "nphotons": 3200.0}, r"diff3d: expected amplitudes.*measurement_domain"),
        ({"xcoords": np.arange(5.0)}, r"xcoords: .*got shape \(5,\)"),
        ({"ycoords": np.full(6, np.nan)}, r"ycoords: .*got 6 NaN"),
        (
            {"xcoords": np.arange(6) * 1e-9, "ycoords": np.ones(6)},
            r"xcoords, ycoords: .*extent of 5e-09.*metres",
        ),
        (
            {"xcoords": with_value(np.arange(6.0), 2, -1e308)},
            r"xcoords, ycoords: .*at most 1e\+12 from the origin; got a coordinate of 1e\+308",
        ),
        ({"ycoords": np.arange(6) * 1j}, r"ycoords: .*got dtype complex128"),
        ({"probeGuess": np.zeros((8, 8), complex)}, r"probeGuess: .*got only zeros"),
        ({"probeGuess": np.full((8, 8), 1e-60 + 0j)}, r"probeGuess: .*got only zeros"),
        ({"probeGuess": np.full((8, 8), 1e60 + 0j)}, r"probeGuess: expected finite values"),
        ({"probeGuess": np.ones((8, 8))}, r"probeGuess: .*got dtype float64"),
        ({"probeGuess": np.ones((16, 16), complex)}, r"probeGuess: .*shape \(8, 8\); got shape \(16, 16\)"),
        ({"probeGuess": with_value(COMPLEX, (0, 0), np.nan)}, r"probeGuess: expected finite values"),
        ({"bad_pixels": np.ones((8, 8), bool)}, r"bad_pixels: expected some measured pixels.*invert"),
        ({"bad_pixels": np.full((8, 8), 3)}, r"bad_pixels: .*got values from 3 to 3"),
        ({"bad_pixels": np.zeros((4, 4), bool)}, r"bad_pixels: .*got shape \(4, 4\)"),
        ({"holdout": np.zeros(4, bool)}, r"holdout: .*shape \(6,\); got shape \(4,\)"),
        ({"scan_index": np.full(6, 0.5)}, r"scan_index: .*got numbers that are not whole"),
        ({"scan_index": np.zeros(6, complex)}, r"scan_index: .*got dtype complex128"),
        ({"objectGuess": np.ones(9, complex)}, r"objectGuess: .*got shape \(9,\)"),
        ({"label_amp": AMPLITUDE}, r"label_phase: expected both label_amp and label_phase"),
        ({"label_amp": AMPLITUDE[:2], "label_phase": AMPLITUDE}, r"label_amp: .*got shape \(2, 8, 8\)"),
        ({"metadata": "{no json"}, r"metadata: .*got '\{no json'"),
        ({"metadata": json.dumps([1])}, r"metadata: expected a JSON object"),
        ({"metadata": json.dumps({"measurement_domain": "both"})}, r"measurement_domain.*got 'both'"),
        ({"nphotons": -1.0}, r"nphotons: .*got -1.0"),
        ({"metadata": json.dumps({"nphotons": "many"})}, r"nphotons': .*got 'many'"),
    ],
)
def test_a_faulty_array_is_named_with_what_was_expected_and_found(scan_file, changes, message):
    path = scan_file(**changes)
    with pytest.raises(DataError, match=message) as caught:
        RawData.from_file(path)
    assert str(path) in str(caught.value)


def grid(step, n_side=5):
    ys, xs = np.divmod(np.arange(n_side**2), n_side)
    return {"ycoords": 100.0 + ys * step, "xcoords": 100.0 + xs * step}


def test_positions_too_far_apart_to_be_pixels_are_refused(tmp_path):
    arrays = scan_arrays(n=25) | grid(8.5e4)
    with pytest.raises(DataError, match=r"^xcoords, ycoords: .* 8\.5e\+04 from "):
        RawData.from_file(write(tmp_path / "scan.npz", **arrays))


@pytest.mark.parametrize(
    "positions",
    [
        grid(8.0),  # neighbours touch
        grid(0.0),  # every pattern at one place
        grid(1.0) | {"xcoords": 100 + np.arange(25) % 2 * 1e4 + np.arange(25)},  # two regions far apart
        {"ycoords": np.array([10.0, 5000.0]), "xcoords": np.zeros(2)},
        {"ycoords": np.array([10.0]), "xcoords": np.zeros(1)},
    ],
)
def test_sparse_scans_and_single_positions_are_accepted(tmp_path, positions):
    n = len(positions["xcoords"])
    scan = RawData.from_file(write(tmp_path / "scan.npz", **scan_arrays(n=n) | positions))
    np.testing.assert_array_equal(scan.xcoords, positions["xcoords"])


def test_object_arrays_are_refused_without_being_read(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    path = write(tmp_path / "scan.npz", **scan_arrays(), metadata=np.array(Trap(), dtype=object))
    with pytest.raises(DataError, match=r"metadata: .*got 'Object arrays cannot be loaded"):
        RawData.from_file(path)
    assert not (tmp_path / "executed").exists()


def test_all_problems_of_a_file_come_in_one_error(scan_file):
    path = scan_file(
        probeGuess=np.ones(3), xcoords=np.full(6, np.nan), diff3d=-AMPLITUDE, holdout=np.zeros(2, bool)
    )
    with pytest.raises(DataError) as caught:
        RawData.from_file(path)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        *("diff3d", "xcoords", "probeGuess", "holdout")
    ]
    assert str(caught.value).count("\n") == 3


def test_a_problem_beyond_the_first_block_of_a_large_stack_is_found(monkeypatch, scan_file):
    monkeypatch.setattr("ptycho.pattern_statistics.BLOCK_BYTES", 2 * AMPLITUDE[0].nbytes)
    with pytest.raises(DataError, match="-7 in pattern 5"):
        RawData.from_file(scan_file(diff3d=with_value(AMPLITUDE, (5, 0, 0), -7)))


def test_a_data_error_survives_pickling():
    error = DataError("one", "two")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.problems, str(copy)) == (("one", "two"), "one\ntwo")


def test_a_file_cut_short_is_a_data_error(scan_file):
    path = scan_file()
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=r"scan file: .*got .* Write it again"):
        RawData.from_file(path)


def test_positions_in_memory_must_be_rows(scan_file):
    with pytest.raises(DataError, match=r"positions_px: .*got shape \(2, 6\)"):
        RawData.from_arrays(AMPLITUDE, np.zeros((2, 6)), COMPLEX)


def test_a_file_of_another_kind_is_refused_by_what_it_begins_with(tmp_path):
    (tmp_path / "scan.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(DataError, match=r"scan file: .*got one .* 'MATLAB 5'"):
        RawData.from_file(tmp_path / "scan.mat")


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"scan file: .*got nothing from .*none\.npz"):
        load_scans(tmp_path / "none.npz")


def test_a_directory_is_not_one_scan(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"scan file: .*got a folder"):
        RawData.from_file(tmp_path)


def test_a_directory_gives_its_npz_files_in_order_and_nothing_else(tmp_path):
    for name, n in (("b.npz", 4), ("a.npz", 5)):
        write(tmp_path / name, **scan_arrays(n))
    (tmp_path / "settings.ini").write_text("x")
    (tmp_path / "diffraction.h5").write_text("x")
    assert [len(scan) for scan in load_scans(tmp_path)] == [5, 4]


def test_a_directory_without_npz_files_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data directory: .*got none"):
        load_scans(tmp_path)
