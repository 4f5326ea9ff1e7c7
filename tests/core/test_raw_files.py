"""Raw files whose dtype, masks, axes or positions are not what the settings expect at first."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho.config.data import DataConfig
from ptycho.config.errors import ConfigError
from ptycho.config.request import Request
from ptycho.data_error import DataError
from tests.core.foreign_files import (
    ALL,
    LENGTHS,
    N_SCAN,
    NAMED,
    PIXEL_M,
    SQUARE,
    H,
    N,
    W,
    counts,
    positions_px,
    read,
    standard,
)
from tests.core.test_formats import cut, moved

# Sums of pixels


@pytest.mark.parametrize("dtype", ["float16", ">f2", "float32", "float64"])
def test_counts_of_any_float_are_added_up_in_what_holds_their_sum(tmp_path: Path, dtype: str) -> None:
    stack = (200.0 * counts()).astype(dtype)
    summed = np.asarray(read(standard(tmp_path / "scan.h5", patterns=stack), **ALL, bin=2).patterns)
    assert summed.dtype == (np.float64 if dtype == "float64" else np.float32)
    np.testing.assert_array_equal(summed, cut(stack).astype(float).reshape(-1, 10, 2, 10, 2).sum((2, 4)))
    assert summed.max() > np.finfo(np.float16).max


# Masks


def test_what_a_mask_marks_counts_for_one_in_a_file_of_its_own_too(tmp_path: Path) -> None:
    good = np.ones((24, 30), np.uint8)
    good[8, 14] = 0
    np.save(tmp_path / "good.npy", good)
    other = np.zeros((24, 30), np.uint32)
    other[9, 14] = 1
    path = standard(tmp_path / "scan.h5", pixel_mask=other)  # read as NeXus has it
    scan = read(path, **ALL, mask_file=tmp_path / "good.npy", mask_marks="good")
    np.testing.assert_array_equal(scan.bad_pixels, cut((good == 0) | (other != 0)))


def test_a_mask_file_that_leaves_no_pixel_is_named_with_the_way_out(tmp_path: Path) -> None:
    np.save(tmp_path / "all.npy", np.ones((24, 30), bool))
    path = standard(tmp_path / "scan.h5", pixel_mask=np.zeros((25, 30)))
    with pytest.raises(DataError) as refused:
        read(path, **ALL, mask_file=tmp_path / "all.npy")
    (said,) = refused.value.problems
    assert said.startswith("mask_file: expected some measured pixels; got none from ")
    assert said.endswith("all.npy. Set --mask-marks good, or invert the mask.")
    assert not np.any(read(path, **ALL, mask_file=tmp_path / "all.npy", mask_marks="good").bad_pixels)


def test_how_many_pixels_a_mask_leaves_is_told_to_the_pixel(tmp_path: Path) -> None:
    bad = np.ones((24, 30), bool)
    bad[11, 15:18] = False
    path = standard(tmp_path / "scan.h5", mask=bad)
    (said,) = [one for one in read(path, **ALL, mask="/entry/mask").verdicts if one.name == "mask"]
    assert "and are 397 of the 400 pixels" in said.text


# Axes


WHERE = positions_px() * PIXEL_M


@pytest.mark.parametrize("settings", [{}, {"crop": 20}])
def test_patterns_along_the_last_axis_are_told_as_such(tmp_path: Path, settings: dict[str, Any]) -> None:
    stack = np.repeat(counts(), 2, axis=0)[:31, :, 3:27].transpose(1, 2, 0)
    y, x = np.repeat(WHERE, 2, axis=0)[:31].T
    both = np.stack((y, x))
    path = standard(tmp_path / "scan.h5", patterns=stack, y=y, x=x, both=both)
    together = {"patterns": "/entry/patterns", "positions": "/entry/both"}
    for named in (NAMED, together):
        with pytest.raises(DataError, match=r"Set --axes HWn: there are then as many patterns as positions"):
            read(path, **named, **LENGTHS, **settings)
        assert len(read(path, **named, **LENGTHS, axes="HWn").patterns) == 31


@pytest.mark.parametrize("given", ["every", "rows and columns", "one array"])
@pytest.mark.parametrize("axes", ["xyHW", "HWyx"])
def test_axes_of_a_raster_are_told_by_its_positions(tmp_path: Path, axes: str, given: str) -> None:
    grid = counts().reshape(*N_SCAN, H, W)[..., 3:27]
    y, x = (one.reshape(N_SCAN) for one in WHERE.T)
    stored = grid.transpose(1, 0, 2, 3) if axes == "xyHW" else grid.transpose(2, 3, 0, 1)
    named = {"patterns": "/entry/patterns", "positions": "/entry/both"} if given == "one array" else NAMED
    where = {"y": y[:, 0], "x": x[0]} if given == "rows and columns" else {"y": y, "x": x}
    both = np.stack((y, x), axis=-1)
    path = standard(tmp_path / "scan.h5", patterns=stored, **where, both=both)
    with pytest.raises(DataError, match=f"Set --axes {axes}: there are then as many patterns as positions"):
        read(path, **named, **LENGTHS)
    scan = read(path, **named, **LENGTHS, axes=axes)
    np.testing.assert_array_equal(scan.patterns, counts()[..., 3:27])
    np.testing.assert_allclose(moved(scan), positions_px(), atol=1e-9)


def test_both_coordinates_of_a_raster_may_come_first(tmp_path: Path) -> None:
    stack = counts().reshape(*N_SCAN, H, W)[..., 3:27]
    where = WHERE.T.reshape(2, *N_SCAN)
    path = standard(tmp_path / "scan.h5", patterns=stack, y=None, x=None, where=where)
    scan = read(path, **LENGTHS, patterns="/entry/patterns", positions="/entry/where")
    np.testing.assert_allclose(moved(scan), positions_px(), atol=1e-9)


# Positions


@pytest.mark.parametrize("axis", ["y", "x"])
def test_positions_that_are_no_number_are_named_by_their_own_array(tmp_path: Path, axis: str) -> None:
    where = dict(zip("yx", WHERE.T.copy(), strict=True))
    where[axis][7] = np.nan
    with pytest.raises(DataError, match=f"/entry/{axis}: expected finite positions; got 1 NaN"):
        read(standard(tmp_path / "scan.h5", **where), **ALL)
    both = np.stack((*where.values(), np.full(N, np.nan)), axis=1)  # the third is not used
    path = standard(tmp_path / "scan.h5", both=both)
    with pytest.raises(DataError, match=r"/entry/both: expected finite positions"):
        read(path, **LENGTHS, **SQUARE, patterns="/entry/patterns", positions="/entry/both")


# Messages


@pytest.mark.parametrize("written", ["8 kev", "8", "8 MeV", "8,0 keV"])
def test_how_an_energy_is_written_is_told(written: str) -> None:
    with pytest.raises(ConfigError, match=r"Write a number with a decimal point, and its unit: eV, keV, J\."):
        Request([DataConfig], overrides={"energy": written}, environ={}).answer()


def test_an_empty_file_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "scan.h5").touch()
    with pytest.raises(DataError, match="expected an HDF5 or NPZ file; got an empty file from"):
        read(tmp_path / "scan.h5", **ALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patterns": "/entry"}, r"got a group \(.*Name an array in it, or write one there\."),
        ({"patterns": "/entry/patterns[0:10]"}, r"patterns: expected the name of an array in the file; got '/entry"),
        ({"positions_y": "/entry/text"}, r"/entry/text: .* Name another array, or correct it in the file\."),
    ],
)  # fmt: skip
def test_what_is_named_and_is_no_array_of_numbers_is_told_as_what_it_is(
    tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    path = standard(tmp_path / "scan.h5", text=["1.0"] * N)
    with pytest.raises(DataError, match=message):
        read(path, **{**ALL, **settings})


def test_two_lists_without_names_are_proposed_as_positions(tmp_path: Path) -> None:
    np.savez(tmp_path / "scan.npz", counts()[..., 3:27], *WHERE.T)
    with pytest.raises(
        DataError, match=r"Name them, as in --positions-x arr_1 --positions-y arr_2, or exchanged"
    ):
        read(tmp_path / "scan.npz", patterns="arr_0", **LENGTHS)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_gap_that_holds_no_finite_number_is_told_as_such(tmp_path: Path, value: float) -> None:
    stack = counts().astype(np.float32)
    stack[:, 4:6] = value
    (said,) = [
        one
        for one in read(standard(tmp_path / "scan.h5", patterns=stack), **ALL).verdicts
        if one.name == "flagged_pixels"
    ]
    assert "40 pixels hold no finite number, which detectors write without a measurement" in said.text
