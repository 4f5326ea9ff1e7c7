"""The beam is found on a detector with gaps, and a crop that leaves it out gives a warning."""

from pathlib import Path

import numpy as np
import pytest

from ptycho.formats.windows import centre_of
from ptycho.raw_data import DataError
from tests.core.foreign_files import LENGTHS, MIDDLE, NAMED, H, N, W, counts, read, standard

GAP = np.zeros((H, W), bool)
GAP[20:23] = True
GAP[:, 27:29] = True
CORNER = np.zeros((H, W), bool)
CORNER[:8, :10] = True


def with_gap(path: Path, dtype: str, value: float, gap: np.ndarray = GAP) -> Path:
    stack = counts().astype(dtype)
    stack[:, gap] = value
    return standard(path / "scan.h5", patterns=stack, mask=gap)


@pytest.mark.parametrize(
    ("dtype", "value", "settings"),
    [
        ("uint32", 2**32 - 1, {}),
        ("uint32", 2**32 - 2, {}),
        ("uint32", 2**32 - 1, {"dead_value": 4294967295.0}),
        ("uint32", 60000, {"dead_value": 60000.0}),
        ("uint32", 60000, {"mask": "/entry/mask"}),
        ("uint16", 65535, {}),
        ("float32", 65535, {}),
        ("float64", np.nan, {}),
        ("int32", -1, {}),
    ],
)
@pytest.mark.parametrize("gap", [GAP, CORNER])
def test_gaps_are_no_light_that_the_centre_is_found_from(tmp_path, dtype, value, settings, gap) -> None:
    path = with_gap(tmp_path, dtype, value, gap)
    scan = read(path, **NAMED, **LENGTHS, crop=12, centre="auto", **settings)
    row, column = MIDDLE
    wanted = counts()[:, row - 6 : row + 6, column - 6 : column + 6]
    bad = gap[row - 6 : row + 6, column - 6 : column + 6]
    np.testing.assert_array_equal(scan.patterns, np.where(bad, 0, wanted))
    assert "crop" not in [one.name for one in scan.verdicts]


def test_masks_of_single_images_and_files_are_left_out_of_that_search(tmp_path: Path) -> None:
    each = np.broadcast_to(CORNER, (N, H, W)).copy()
    each[3, 0, 0] = False
    path = with_gap(tmp_path, "uint32", 60000, CORNER)
    known = {**NAMED, **LENGTHS, "crop": 12, "centre": "auto"}
    np.save(tmp_path / "mask.npy", CORNER)
    several = standard(tmp_path / "each.h5", patterns=np.where(each, 60000, counts()), mask=each)
    for scan in (
        read(path, **known, mask_file=tmp_path / "mask.npy"),
        read(several, **known, mask="/entry/mask"),
    ):
        np.testing.assert_array_equal(scan.patterns, counts()[:, 5:17, 10:22])


@pytest.mark.parametrize(
    "settings",
    [{"crop": 12, "centre": "20, 4"}, {"crop": 12, "centre": "20, 4", "pad": 16}, {"centre": "19, 2"}],
)
def test_a_crop_beside_the_beam_is_said(tmp_path: Path, settings: dict) -> None:
    stack = counts() + np.random.default_rng(1).poisson(1.0, (N, H, W)).astype(np.uint16)
    path = standard(tmp_path / "scan.h5", patterns=stack)
    (said,) = [
        one
        for one in read(path, **NAMED, **LENGTHS, **({"crop": 10} | settings)).verdicts
        if one.name == "crop"
    ]
    assert said.severity == "warning"
    assert said.statistic is not None
    assert said.statistic < 0.1
    assert (
        f"row {settings['centre'].replace(', ', ', column ')}, hold 0% of the bright light" in said.sentence
    )
    assert "Set centre to auto" in said.remedy


SPOTS = {"beside": (1, 2), "above": (2, 1), "square": (2, 2)}


@pytest.mark.parametrize("spot", SPOTS)
@pytest.mark.parametrize("place", [(2, 3), (20, 4), (13, 21)])
@pytest.mark.parametrize("centre", ["auto", "11, 16"])
def test_neighbouring_hot_pixels_are_no_beam(tmp_path: Path, centre: str, place: tuple, spot: str) -> None:
    stack = counts().astype(np.uint32)
    (row, column), (height, width) = place, SPOTS[spot]
    stack[:, row : row + height, column : column + width] = 50_000
    path = standard(tmp_path / "scan.h5", patterns=stack)
    scan = read(path, **NAMED, **LENGTHS, crop=8, centre=centre)
    np.testing.assert_array_equal(scan.patterns, counts()[:, 7:15, 12:20])
    assert scan.verdicts == ()


def far_field(side: float, halo: float, background: float) -> np.ndarray:
    """A beam as wide as that, around row 40, column 27 of 64 x 64 pixels, in a mean of 64 images."""
    rows, columns = np.indices((64, 64)) - np.array([40, 27])[:, None, None]
    beam = 1e4 * ((rows >= 0) & (rows < side) & (columns >= 0) & (columns < side))
    light = beam + halo * np.exp(-(rows**2 + columns**2) / 128) + background
    return np.random.default_rng(0).poisson(light, (64, 64, 64)).mean(axis=0)


@pytest.mark.parametrize(
    ("side", "halo", "background"),
    [(1, 30, 0), (1, 0.05, 0), (2, 30, 0), (2, 0.05, 0), (2, 0, 1), (2, 0, 0.05), (2, 0, 0), (3, 0, 1)],
)
def test_a_beam_of_a_pixel_or_two_is_found(side: float, halo: float, background: float) -> None:
    row, column = centre_of(far_field(side, halo, background))
    assert np.hypot(float(row) - 40, float(column) - 27) <= 1.5


@pytest.mark.parametrize("background", [0.0, 3.0])
@pytest.mark.parametrize("settings", [{"crop": 8, "centre": "11, 16"}, {"crop": 24, "centre": "11, 16"}])
def test_a_crop_around_the_beam_is_not(tmp_path: Path, background: float, settings: dict) -> None:
    stack = counts() + np.random.default_rng(1).poisson(background, (N, H, W)).astype(np.uint16)
    path = standard(tmp_path / "scan.h5", patterns=stack)
    assert "crop" not in [one.name for one in read(path, **NAMED, **LENGTHS, **settings).verdicts]


def test_a_crop_without_any_light_is_refused_by_name(tmp_path: Path) -> None:
    stack = np.zeros((N, 64, 64), np.uint16)
    stack[:, :24, :30] = counts()
    path = standard(tmp_path / "scan.h5", patterns=stack)
    with pytest.raises(
        DataError, match=r"centre: expected light in the 16 x 16 pixels around it; got none around row 50"
    ):
        read(path, **NAMED, **LENGTHS, crop=16, centre="50, 50")


def with_inverted_mask(path: Path, radius: int, *, each: bool) -> Path:
    rows, columns = np.indices((H, W))
    good = np.hypot(rows - MIDDLE[0], columns - MIDDLE[1]) < radius
    mask = np.broadcast_to(good, (N, H, W)).copy() if each else good
    if each:
        mask[3, 11, 16] = False
    stack = counts() + np.random.default_rng(1).poisson(0.3, (N, H, W)).astype(np.uint16)
    return standard(path / "scan.h5", patterns=stack, mask=mask)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize(
    ("radius", "settings"), [(12, {"crop": 24}), (9, {"crop": 14}), (12, {"crop": 24, "bin": 2})]
)
def test_a_mask_of_the_good_pixels_is_named_and_nothing_that_follows_from_it(
    tmp_path: Path, radius: int, settings: dict, each: bool
) -> None:
    path = with_inverted_mask(tmp_path, radius, each=each)
    known = {**NAMED, **LENGTHS, "centre": "11, 16", "mask": "/entry/mask", **settings}
    (said,) = read(path, **known).verdicts
    assert said.name == "mask"
    assert read(path, **known, mask_marks="good").verdicts == ()


def test_a_mask_of_all_good_pixels_is_refused_by_its_name(tmp_path: Path) -> None:
    path = with_inverted_mask(tmp_path, 12, each=False)
    with pytest.raises(DataError, match=r"/entry/mask: .*invert the mask") as caught:
        read(path, **NAMED, **LENGTHS, centre="11, 16", mask="/entry/mask", crop=14)
    assert "centre" not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "value"), [("uint32", 2**32 - 1), ("uint16", 65535), ("int32", -1), ("float32", np.nan)]
)
def test_binning_adds_no_flags_to_counts(tmp_path: Path, dtype: str, value: float, caplog) -> None:
    gap = np.zeros((H, W), bool)
    gap[8, 15] = True
    path = with_gap(tmp_path, dtype, value, gap)
    scan = read(path, **NAMED, **LENGTHS, crop=16, centre="11, 16", bin=2)
    wanted = np.where(gap, 0, counts())[:, 3:19, 8:24].astype(int).reshape(N, 8, 2, 8, 2).sum((2, 4))
    np.testing.assert_array_equal(scan.patterns, wanted)
    np.testing.assert_array_equal(np.argwhere(scan.bad_pixels), [[2, 3]])
    assert [one.name for one in scan.verdicts] == ["flagged_pixels"]
    assert "1 pixel holds" in caplog.text


@pytest.mark.parametrize("bin_", [1, 2])
def test_flags_in_a_part_of_one_image_are_masked_there_alone(tmp_path: Path, bin_: int) -> None:
    stack = counts().astype(np.uint16)
    stack[4, :9], stack[7, 12, 15] = 65535, 65535
    path = standard(tmp_path / "scan.h5", patterns=stack)
    scan = read(path, **NAMED, **LENGTHS, crop=16, centre="11, 16", bin=bin_)
    (said,) = scan.verdicts
    assert said.name == "flagged_values"
    side = 16 // bin_
    marked = (stack == 65535)[:, 3:19, 8:24].reshape(N, side, bin_, side, bin_).any((2, 4))
    np.testing.assert_array_equal(scan.bad_pixels, marked)


@pytest.mark.parametrize("bin_", [1, 2])
@pytest.mark.parametrize(("dtype", "bound"), [("uint16", 65535), ("uint16", 16383), ("int32", 4095)])
def test_a_detector_that_saturates_is_said_before_pixels_are_binned(
    tmp_path: Path, dtype: str, bound: int, bin_: int
) -> None:
    stack = np.minimum(counts().astype(np.int64) * bound // (205 if bound == 65535 else 150), bound).astype(
        dtype
    )
    path = standard(tmp_path / "scan.h5", patterns=stack)
    settings = {**NAMED, **LENGTHS, "crop": 16, "centre": "11, 16", "bin": bin_}
    scan = read(path, **settings)
    (said,) = scan.verdicts
    assert said.name == "saturation"
    assert said.remedy == f"Set saturation to {bound} to silence this warning."
    reached, side = (stack == bound)[:, 3:19, 8:24], 16 // bin_
    assert said.statistic == (reached.sum() if bound == 65535 else (reached.sum((1, 2)) >= 3).mean())
    wanted = reached.reshape(N, side, bin_, side, bin_).any((2, 4))
    np.testing.assert_array_equal(scan.bad_pixels, wanted)
    stated = read(path, **settings, saturation=float(bound))
    assert stated.verdicts == ()
    np.testing.assert_array_equal(stated.bad_pixels, wanted)
    np.testing.assert_array_equal(np.where(wanted, 0, stated.patterns), np.where(wanted, 0, scan.patterns))


def test_values_beside_the_window_are_no_saturation_of_patterns_that_are_binned(tmp_path: Path) -> None:
    stack = counts()
    stack[2:5, 23, 29], stack[0, 23, 29] = 65535, 40000
    path = standard(tmp_path / "scan.h5", patterns=stack)
    scan = read(path, **NAMED, **LENGTHS, crop=16, centre="11, 16", bin=2)
    assert (scan.verdicts, scan.bad_pixels) == ((), None)


def test_the_patterns_that_were_looked_at_for_saturation_are_counted(tmp_path: Path) -> None:
    stack = np.tile(np.minimum(counts().astype(np.int64) * 400, 65535).astype(np.uint16), (5, 1, 1))
    path = standard(tmp_path / "scan.h5", patterns=stack, y=np.arange(100) * 6e-8, x=np.zeros(100))
    scan = read(path, **NAMED, **LENGTHS, crop=16, centre="11, 16", bin=2)
    (said,) = [one for one in scan.verdicts if one.name == "saturation"]
    assert "values of the 64 patterns that were looked at reached 65535, the largest of uint16" in said.text
