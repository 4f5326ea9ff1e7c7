import json
from pathlib import Path

import numpy as np
import pytest

from ptycho.json_files import write_json


def written(folder: Path, content: object) -> object:
    return json.loads(write_json(folder / "file.json", content).read_text())


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
