"""Raw files whose dtype, masks, axes or positions are not what the settings expect at first."""

from pathlib import Path

import numpy as np
import pytest

from ptycho.data_error import DataError
from tests.core.foreign_files import ALL, counts, read, standard
from tests.core.test_formats import cut

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
