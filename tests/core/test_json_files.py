import json
import os
from pathlib import Path

import numpy as np
import pytest

from ptycho.config.record import LARGEST
from ptycho.json_files import read_json, write_json


def written(folder: Path, content: object) -> object:
    return json.loads(write_json(folder / "file.json", content).read_text())


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert read_json(write_json(tmp_path / "file.json", {"a": [1, None]})) == {"a": [1, None]}


@pytest.mark.parametrize("text", ["", "\x1b[31mred", "[" * 100_000, "[" + " " * LARGEST + "]"])
def test_what_no_run_writes_is_a_value_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(ValueError, match=r".") as caught:
        read_json(tmp_path / "file.json")
    assert not isinstance(caught.value, RecursionError)


def test_a_link_to_what_never_ends_is_no_json_file(tmp_path: Path) -> None:
    (tmp_path / "file.json").symlink_to("/dev/zero")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "file.json")


@pytest.mark.parametrize(
    ("value", "reason"),
    [(float("nan"), "not a number (NaN)"), (np.float32("-inf"), "infinite"), (np.array(np.inf), "infinite")],
)
def test_a_number_that_is_not_finite_is_null_with_the_reason(
    tmp_path: Path, value: object, reason: str
) -> None:
    assert written(tmp_path, {"of": {"r_factor": value, "n": 3}}) == {
        "of": {"r_factor": None, "r_factor_reason": reason, "n": 3}
    }
    assert written(tmp_path, [1.5, value]) == [1.5, None]


def test_what_is_none_has_no_reason(tmp_path: Path) -> None:
    assert written(tmp_path, {"seed": None}) == {"seed": None}


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    assert written(tmp_path, {"n": np.int64(3), "x": np.float32(0.5), "pair": np.array([1, 2])}) == {
        "n": 3,
        "x": 0.5,
        "pair": [1, 2],
    }


def test_what_json_cannot_hold_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    written(tmp_path, {"seed": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "file.json", {"seed": object()})
    assert json.loads((tmp_path / "file.json").read_text()) == {"seed": 1}


def test_a_pipe_or_a_file_without_an_end_is_no_json(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "endless.json").symlink_to("/proc/kmsg")
    for name in ("pipe.json", "endless.json"):
        with pytest.raises((OSError, ValueError)):
            read_json(tmp_path / name)
