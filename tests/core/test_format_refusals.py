"""Scans of other layouts that are refused, by the name of what is wrong."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho.config.errors import ConfigError
from ptycho.raw_data import DataError
from tests.core.foreign_files import (
    ALL,
    NAMED,
    SQUARE,
    counts,
    read,
    standard,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return standard(tmp_path / "scan.h5")


def test_all_that_a_file_does_not_say_comes_in_one_error(file: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(file)
    patterns, positions = caught.value.problems
    assert re.match(r"patterns: .*got none \(the file holds ", patterns)
    assert "/entry/patterns (20 x 24 x 30, uint16), /entry/x (20, float64)" in patterns
    assert patterns.endswith("Name it, as in --patterns /entry/patterns.")
    assert positions.startswith("positions: expected scan positions")
    assert "got none from" in positions  # the arrays of the file are listed once
    assert positions.endswith("Name them, as in --positions-x /entry/x --positions-y /entry/y.")
    with pytest.raises(DataError) as caught:
        read(file, patterns="/entry/no", positions_y="/entry/nor", positions_x="/entry/x")
    assert [one.count("The file holds") for one in caught.value.problems] == [1, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({**NAMED}, r"/entry/patterns: .*got 24 x 30 pixels .*Set --crop, to 24 or less"),
        ({**NAMED, **SQUARE}, r"object_pixel: .*Set --energy and .*, or --object-pixel\. If .* --positions-unit px"),
        ({**ALL, "crop": 32}, r"crop: .*got 32"),
        ({**ALL, "bin": 3}, r"bin: .*got 3"),
        ({**ALL, "pad": 16}, r"pad: .*got 16"),
        ({**ALL, "pad": 65_000}, r"pad: .*available memory.*got 65000 x 65000 pixels.* Lower it"),
        ({**ALL, "centre": "30, 3"}, r"centre: .*got 30, 3"),
        ({**ALL, "axes": "yxHW"}, r"/entry/patterns: .*got shape \(20, 24, 30\)"),
        ({**ALL, "patterns": "/entry/no"}, r"patterns: .*got '/entry/no'.* The file holds"),
        ({**ALL, "positions_x": "/entry/patterns"}, r"/entry/patterns: expected one for each of the 20 patterns"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_the_way_out(
    file: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(file, **settings)
    assert str(file) in str(caught.value)


def test_patterns_that_were_hardly_written_are_refused_before_they_are_read(file: Path) -> None:
    with h5py.File(file, "a") as opened:
        opened.create_dataset("entry/begun", (30_000, 8, 8), "u2", chunks=(1, 8, 8))[0] = 1
    with pytest.raises(DataError, match=r"/entry/begun: expected values; .* 1 of 30000 parts written"):
        read(file, **(ALL | {"patterns": "/entry/begun"}))


@pytest.mark.parametrize("setting", ["patterns", "positions", "positions_x", "mask", "probe"])
@pytest.mark.parametrize("shape", [(0,), (0, 0), (0, 0, 0), (20, 0)])
def test_an_array_without_elements_is_refused_by_its_name(
    file: Path, setting: str, shape: tuple[int, ...]
) -> None:
    with h5py.File(file, "a") as opened:
        opened["entry/none"] = np.zeros(shape)
    without = {"positions_x", "positions_y"} if setting == "positions" else set()
    settings = {name: value for name, value in ALL.items() if name not in without}
    with pytest.raises(DataError, match=r"entry/none: expected .*shape \("):
        read(file, **(settings | {setting: "/entry/none"}))


@pytest.mark.parametrize("value", [1e300, 1e-300])
@pytest.mark.parametrize("setting", ["distance", "energy", "detector_pixel", "object_pixel"])
def test_a_length_beyond_any_magnitude_is_refused(file: Path, setting: str, value: float) -> None:
    unit = "J" if setting == "energy" else "m"
    with pytest.raises((ConfigError, DataError), match=setting):
        read(file, **(ALL | {setting: f"{value:g} {unit}"}))


def test_patterns_that_are_a_number_are_refused(file: Path) -> None:
    with h5py.File(file, "a") as opened:
        opened["entry/number"] = 3.0
    with pytest.raises(DataError, match=r"/entry/number: .*got shape \(\)"):
        read(file, **(ALL | {"patterns": "/entry/number"}))


def test_pixels_that_count_to_the_end_of_32_bits_are_no_overflow(tmp_path: Path) -> None:
    stack = counts().astype(np.uint32)
    stack[3:9, 12, 14] = 2**32 - 1
    assert len(read(standard(tmp_path / "scan.h5", patterns=stack), **ALL).patterns) == len(stack)


@pytest.mark.parametrize("content", ["nothing", "text", "names", "npz", "/proc/kmsg"])
def test_a_mask_file_without_a_mask_is_refused(file: Path, tmp_path: Path, content: str) -> None:
    mask = tmp_path / "mask.npy"
    if content.startswith("/"):
        mask.symlink_to(content)
    elif content == "npz":
        np.savez(tmp_path / "mask.npz", mask=np.zeros((24, 30)))
        (tmp_path / "mask.npz").rename(mask)
    elif content == "names":
        np.save(mask, np.full((24, 30), "bad"))
    else:
        mask.write_text("" if content == "nothing" else "no mask")
    with pytest.raises(DataError, match=r"mask_file: expected .*mask\.npy"):
        read(file, **(ALL | {"mask_file": str(mask)}))


@pytest.mark.parametrize("name", ["mask.npy", "mask.h5"])
def test_a_mask_file_that_is_not_there_is_told_as_such(file: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"mask_file: expected a mask; got no such file from .*{name}"):
        read(file, **(ALL | {"mask_file": str(tmp_path / name)}))


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="needs Linux")
@pytest.mark.parametrize("name", ["scan.npz", "scan.h5"])
def test_a_file_without_an_end_keeps_no_reader_waiting(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/proc/kmsg")
    with pytest.raises(DataError, match="scan file: expected"):
        read(tmp_path / name)
