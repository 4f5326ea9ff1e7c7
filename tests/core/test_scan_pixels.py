"""What is said of single pixels of the patterns, and of patterns and probes in FFT order."""

import re

import numpy as np
import pytest

from ptycho.raw_data import DataError, RawData
from tests.core.sound_scans import SCAN, said, sound, write

COUNTS = np.asarray(SCAN.patterns)

# Flags and masks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int32, np.float32, np.float64])
def test_gaps_at_the_largest_value_are_masked_and_said(tmp_path, caplog, dtype):
    gap = np.zeros((32, 32), bool)
    gap[15:17] = True
    counts = COUNTS.astype(dtype)
    counts[:, gap] = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 2**32 - 1
    (tmp_path / "sound").mkdir()
    expected = RawData.from_file(write(tmp_path / "sound", diff3d=np.where(gap, 0, COUNTS).astype(dtype)))
    caplog.clear()
    scan = RawData.from_file(write(tmp_path, diff3d=counts))
    np.testing.assert_array_equal(scan.bad_pixels, gap)
    np.testing.assert_array_equal(scan.patterns, expected.patterns)
    np.testing.assert_allclose(scan.probe, expected.probe, rtol=1e-6)
    (warning,) = said(caplog)
    assert "64 pixels hold" in warning
    assert "without a measurement: they are masked" in warning


def test_gaps_beside_bad_pixels_in_the_file_are_joined_with_them(tmp_path):
    counts, bad = COUNTS.astype(np.uint16), np.zeros((60, 32, 32), bool)
    counts[:, 3] = 65535
    bad[5, 8, 8] = True
    scan = RawData.from_file(write(tmp_path, diff3d=counts, bad_pixels=bad))
    assert scan.bad_pixels.shape == (60, 32, 32)
    assert scan.bad_pixels[:, 3].all()
    assert scan.bad_pixels.sum() == 60 * 32 + 1


def test_pixels_of_a_detector_that_saturates_are_masked_where_it_does(tmp_path, caplog):
    scan = sound(nphotons=1e8)
    counts = np.minimum(np.asarray(scan.patterns) // 4, 65535).astype(np.uint16)
    counts[7, 16, 16] = 65535
    found = RawData.from_file(write(tmp_path, scan, diff3d=counts))
    np.testing.assert_array_equal(found.bad_pixels, counts == 65535)
    assert "the detector saturates" in " ".join(said(caplog))


def test_gaps_that_the_file_marks_as_bad_are_not_said(tmp_path, caplog):
    counts, bad = COUNTS.astype(np.uint16), np.zeros((32, 32), bool)
    bad[15:17] = True
    counts[:, bad] = 65535
    RawData.from_file(write(tmp_path, diff3d=counts, bad_pixels=bad))
    assert said(caplog) == []


LARGEST = {16: 2**16 - 1, 31: 2**31 - 1, 32: 2**32 - 1}


@pytest.mark.parametrize("row", [2, 15])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *((dtype, LARGEST[16]) for dtype in (np.uint32, np.int64, np.uint64)),
        *((dtype, LARGEST[32]) for dtype in (np.int64, np.uint64)),
        *((dtype, LARGEST[31]) for dtype in (np.uint32, np.int64)),
        *((dtype, LARGEST[32] - 1) for dtype in (np.uint32, np.int64, np.float64)),
        *((dtype, LARGEST[16] - 1) for dtype in (np.uint16, np.uint32, np.float32)),
    ],
)
def test_the_flag_of_a_narrower_integer_is_one_in_a_wider(tmp_path, caplog, dtype, value, row):
    counts, gap = COUNTS.astype(dtype), np.zeros((32, 32), bool)
    gap[row : row + 2, 3:30] = True
    counts[:, gap] = value
    scan = RawData.from_file(write(tmp_path, diff3d=counts))
    np.testing.assert_array_equal(scan.bad_pixels, gap)
    (warning,) = said(caplog)
    assert f"54 pixels hold {value}, which detectors write without a measurement" in warning


def test_two_flags_are_masked_together(tmp_path, caplog):
    counts = COUNTS.astype(np.uint32)
    counts[:, 3], counts[::2, 16, 16] = LARGEST[32], LARGEST[32] - 1
    scan = RawData.from_file(write(tmp_path, diff3d=counts))
    assert scan.bad_pixels[3].all()
    assert scan.bad_pixels[16, 16]
    assert scan.bad_pixels.sum() == 33
    assert "33 pixels hold 4294967294 or 4294967295" in said(caplog)[0]


@pytest.mark.parametrize("value", [65534, 65535])
def test_a_count_that_is_a_flag_elsewhere_is_a_count(tmp_path, caplog, value):
    counts = (np.asarray(SCAN.patterns) * (60000 / np.max(SCAN.patterns))).astype(np.uint32)
    brightest = np.unravel_index(np.argmax(counts.sum(axis=0)), (32, 32))
    counts[(5, *brightest)] = value
    found = RawData.from_file(write(tmp_path, diff3d=counts))
    np.testing.assert_array_equal(found.patterns, counts)
    assert len(said(caplog)) == (value == 65535)


def test_the_values_of_bad_pixels_do_not_count_as_light(tmp_path):
    counts, bad = COUNTS.astype(np.uint32), np.zeros((32, 32), bool)
    bad[15:17] = True
    (tmp_path / "sound").mkdir()
    expected = RawData.from_file(write(tmp_path / "sound", diff3d=np.where(bad, 0, counts), bad_pixels=bad))
    scan = RawData.from_file(write(tmp_path, diff3d=np.where(bad, 10**6, counts), bad_pixels=bad))
    np.testing.assert_allclose(scan.probe, expected.probe, rtol=1e-6)


@pytest.mark.parametrize("place", [(0, 0), (3, 28), (0, 16)])
def test_one_hot_pixel_is_not_taken_for_fft_order(tmp_path, caplog, place):
    counts = COUNTS.astype(np.uint32)
    counts[(slice(None), *place)] = 10**6
    RawData.from_file(write(tmp_path, diff3d=counts))
    (warning,) = said(caplog)
    assert re.search(
        rf"1 pixel, in row {place[0]}, column {place[1]}, holds 9.% of the light, .* masked", warning
    )


@pytest.mark.parametrize("rows", [slice(0, 2), slice(30, 32)])
def test_a_bright_line_is_not_taken_for_fft_order(tmp_path, rows):
    counts = COUNTS.astype(np.uint32)
    counts[:, rows] = 10**6
    assert len(RawData.from_file(write(tmp_path, diff3d=counts))) == 60


@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("domain", ["amplitude", "intensity"])
def test_a_mask_that_is_the_other_way_round_is_said(tmp_path, caplog, domain, common):
    scan, bad = sound(domain), np.ones((32, 32), bool)
    bad[:4] = False
    given = bad if common else np.repeat(bad[None], 60, axis=0)
    RawData.from_file(write(tmp_path, scan, bad_pixels=given))
    (warning,) = said(caplog)
    assert re.search(
        r"the bad pixels leave out \d+% of the light, and are \d+ of the \d+ pixels: .*Invert the mask",
        warning,
    )


@pytest.mark.parametrize("common", [True, False])
def test_light_that_an_inverted_mask_leaves_at_the_edges_is_no_order(tmp_path, caplog, common):
    rows, columns = np.indices((32, 32)) - 15.5
    bad = np.hypot(rows, columns) < 17
    counts = COUNTS + np.random.default_rng(0).poisson(0.3, COUNTS.shape)
    given = bad if common else np.repeat(bad[None], 60, axis=0)
    RawData.from_file(write(tmp_path, diff3d=counts, bad_pixels=given))
    (warning,) = said(caplog)
    assert re.search(r"the bad pixels leave out \d+% of the light, .*Invert the mask", warning)


def test_nothing_is_said_of_a_mask_of_what_was_not_measured(tmp_path, caplog):
    rng = np.random.default_rng(0)
    counts, bad = COUNTS.astype(np.uint32), np.zeros((32, 32), bool)
    bad[15:17], bad[5, 5], bad[:, 30] = True, True, True
    counts[:, 15:17], counts[:, 5, 5], counts[:, :, 30] = 10**7, rng.poisson(1e6, 60), 2**32 - 1
    RawData.from_file(write(tmp_path, diff3d=counts, bad_pixels=bad))
    assert said(caplog) == []


@pytest.mark.parametrize("common", [True, False])
def test_the_mask_of_a_masked_array_is_honoured(common):
    mask = np.zeros(COUNTS.shape, bool)
    mask[:, 4, 5] = True
    mask[3, 6, 6] = not common
    given = np.ma.MaskedArray(np.where(mask, 10**6, COUNTS), mask)
    for scan in (
        RawData.from_arrays(given, SCAN.positions_px, SCAN.probe, domain="intensity"),
        RawData.from_coords_without_pc(SCAN.xcoords, SCAN.ycoords, given, SCAN.probe),
    ):
        np.testing.assert_array_equal(np.broadcast_to(scan.bad_pixels, mask.shape), mask)
        assert (scan.bad_pixels.ndim == 2) == common
        assert not np.asarray(scan.patterns)[mask].any()
        assert not np.ma.isMaskedArray(scan.patterns)


def test_masked_positions_are_refused():
    masked = np.ma.MaskedArray(SCAN.positions_px, np.arange(120).reshape(60, 2) == 6)
    with pytest.raises(DataError, match=r"ycoords: .*got 1 masked ones"):
        RawData.from_arrays(COUNTS, masked, SCAN.probe)


# Order ---


@pytest.mark.parametrize("defocus_rad", [0.0, 8.0])
@pytest.mark.parametrize("N", [32, 64])
def test_patterns_in_fft_order_are_refused_with_the_way_out(tmp_path, N, defocus_rad):
    scan = sound(N=N, defocus_rad=defocus_rad)
    counts = np.fft.ifftshift(scan.patterns, axes=(-2, -1))
    with pytest.raises(
        DataError,
        match=r"diff3d: expected the zero frequency at the centre.*FFT order.*np\.fft\.fftshift\(patterns",
    ):
        RawData.from_file(write(tmp_path, scan, diff3d=counts))


@pytest.mark.parametrize("defocus_rad", [0.0, 8.0])
def test_a_probe_in_fft_order_is_refused_with_the_way_out(tmp_path, defocus_rad):
    scan = sound(N=64, defocus_rad=defocus_rad)
    probe = np.fft.ifftshift(scan.probe, axes=(-2, -1))
    with pytest.raises(
        DataError, match=r"probeGuess: expected a probe centred on .*np\.fft\.fftshift\(probe"
    ):
        RawData.from_file(write(tmp_path, scan, probeGuess=probe))


@pytest.mark.parametrize("defocus_rad", [0.0, 8.0])
@pytest.mark.parametrize("N", [32, 64])
@pytest.mark.parametrize("axis", [-2, -1])
def test_one_axis_in_fft_order_is_refused_with_the_way_out(tmp_path, N, defocus_rad, axis):
    scan = sound(N=N, defocus_rad=defocus_rad)
    way_out = rf"FFT order along one axis.*np\.fft\.fftshift\(%s, axes={axis}\)"
    counts = np.fft.ifftshift(scan.patterns, axes=axis)
    with pytest.raises(DataError, match=way_out % "patterns"):
        RawData.from_file(write(tmp_path, scan, diff3d=counts))
    probe = np.fft.ifftshift(scan.probe, axes=axis)
    with pytest.raises(DataError, match=way_out % "probe"):
        RawData.from_file(write(tmp_path, scan, probeGuess=probe))
