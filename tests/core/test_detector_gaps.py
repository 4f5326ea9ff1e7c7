"""Pixels in which a detector writes -1, -2 or no number where it measures nothing."""

import numpy as np
import pytest

from ptycho.config.data import DataConfig
from ptycho.raw_data import DataError, RawData
from tests.core.sound_scans import SCAN, said, write

COUNTS = np.asarray(SCAN.patterns)
GAP = np.zeros((32, 32), bool)
GAP[15:17] = True
GAP[4, 5] = True


def in_gap(dtype, value, gap=GAP):
    counts = COUNTS.astype(dtype)
    counts[:, gap] = value
    return counts


def sound_with_zeros(folder, dtype):
    (folder / "sound").mkdir()
    return RawData.from_file(write(folder / "sound", diff3d=in_gap(dtype, 0)))


@pytest.mark.parametrize(
    ("dtype", "value", "shown"),
    [
        ("int32", -1, "-1"),
        ("int16", -2, "-2"),
        ("float32", -1, "-1"),
        ("float32", np.nan, "no finite number"),
        ("float64", np.inf, "no finite number"),
    ],
)
def test_what_detectors_write_in_gaps_of_all_patterns_is_masked_and_said(
    tmp_path, caplog, dtype, value, shown
):
    expected = sound_with_zeros(tmp_path, dtype)
    caplog.clear()
    scan = RawData.from_file(write(tmp_path, diff3d=in_gap(dtype, value)))
    np.testing.assert_array_equal(scan.bad_pixels, GAP)
    np.testing.assert_array_equal(scan.patterns, expected.patterns)
    np.testing.assert_allclose(scan.probe, expected.probe, rtol=1e-6)
    (warning,) = said(caplog)
    assert f"65 pixels hold {shown}, which detectors write without a measurement: they are masked" in warning


def test_both_kinds_of_gaps_and_the_largest_value_stand_beside_each_other(tmp_path, caplog):
    counts, gap = in_gap("int32", -1), GAP.copy()
    counts[::2, 4, 5] = -2
    counts[:, 2] = np.iinfo(np.int32).max
    gap[2] = True
    scan = RawData.from_file(write(tmp_path, diff3d=counts))
    np.testing.assert_array_equal(scan.bad_pixels, gap)
    assert "97 pixels hold -2 or -1 or 2147483647" in " ".join(said(caplog))


@pytest.mark.parametrize(("dtype", "value"), [("int32", -1), ("int32", -7), ("float32", np.nan)])
@pytest.mark.parametrize("each", [False, True])
def test_values_of_bad_pixels_do_not_count(tmp_path, caplog, dtype, value, each):
    bad = np.broadcast_to(GAP, COUNTS.shape).copy()
    bad[7, 3, 9] = each
    counts = np.where(bad, value, COUNTS).astype(dtype)
    scan = RawData.from_file(write(tmp_path, diff3d=counts, bad_pixels=bad if each else GAP))
    np.testing.assert_array_equal(scan.bad_pixels, bad if each else GAP)
    np.testing.assert_array_equal(scan.patterns, np.where(bad, 0, COUNTS))
    assert said(caplog) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, "diff3d: expected values >= 0; got -1 in pattern 7 from .*set dead_value to -1, or name a mask"),
        (-0.5, "diff3d: expected values >= 0; got -0.5 in pattern 7 .*If a background was taken off"),
        (np.nan, "got 1 NaN or infinite values, the first in pattern 7 from .*mask_file"),
    ],
)
def test_such_a_value_in_some_patterns_is_refused_by_name_of_what_says_it(tmp_path, value, message):
    counts = COUNTS.astype("float32")
    counts[7, 3, 9] = value
    with pytest.raises(DataError, match=message):
        RawData.from_file(write(tmp_path, diff3d=counts, metadata=None))


@pytest.mark.parametrize("others", [(-3,), (-1, -2)])
def test_a_value_is_named_only_if_all_below_0_are_that_one(tmp_path, others):
    counts = COUNTS.astype("int32")
    counts[7, 3, 9] = counts[9, 3, 9] = counts[8, 20, 1] = -3
    for row, value in enumerate(others):
        counts[row, 5, 5 + row] = value
    with pytest.raises(DataError, match=r"got -3 in pattern") as caught:
        RawData.from_file(write(tmp_path, diff3d=counts, metadata=None))
    assert ("set dead_value to -3, or name a mask" in str(caught.value)) == (others == (-3,))
    assert ("If a background was taken off" in str(caught.value)) != (others == (-3,))


@pytest.mark.parametrize(("bin_", "names_it"), [(1, True), (2, False)])
def test_sums_of_pixels_are_no_value_that_a_detector_writes(tmp_path, bin_, names_it):
    counts = np.zeros((60, 32, 32), "int32")
    counts[:, 8:24, 8:24] = COUNTS[:, 8:24, 8:24]
    counts[7, 4:6, 8:10] = -300
    path = write(tmp_path, diff3d=counts, probeGuess=None)
    with pytest.raises(DataError, match=rf"got -{300 * bin_**2} in pattern 7") as caught:
        RawData.from_file(path, reading=DataConfig(crop=32, bin=bin_))
    assert ("dead_value" in str(caught.value)) == names_it


def test_labels_have_no_gaps(tmp_path):
    labels = {"label_amp": in_gap("float32", np.nan), "label_phase": in_gap("float32", 0)}
    with pytest.raises(DataError, match="label_amp: expected finite values; got 3900"):
        RawData.from_file(write(tmp_path, **labels))
