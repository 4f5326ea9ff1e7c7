"""`ptycho config check` and `diff` of records of runs, damaged ones too, and of canonical files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(**parts: Any) -> str:
    Path("run").mkdir()
    record = {"configuration": {"train_data_file": None, "model": {}}, "execution": {}, "origins": {}}
    Path("run/config.json").write_text(json.dumps(record | parts))
    return "run/config.json"


def test_what_a_record_holds_beyond_this_version_is_named_with_its_file(ptycho: Run) -> None:
    place = written(
        configuration={"hunter": 1, "model": {"gridsiz": 2}},
        execution={"fancy_knob": 1, "num_workers": -1},
        versions={"ptychopinn": "9.9"},
    )
    code, _, said = ptycho("config", "check", place)
    assert code == 2
    for message in (
        f"hunter: no such field at {place}.",
        f"gridsiz: no such field at {place}. Did you mean gridsize?",
        "fancy_knob: no such knob. The snapshot was written by ptychopinn 9.9; this is ",
        "num_workers: expected an integer >= 0; got -1 ",
    ):
        assert said.count(message) == 1, said
    assert said.count(f"It is recorded in {place}.") == 2


@pytest.mark.parametrize("part", ["configuration", "execution", "origins", "versions"])
def test_a_record_with_a_part_that_is_no_mapping_is_damaged(ptycho: Run, part: str) -> None:
    place = written(**{part: "x"})
    message = f"{place}: {part}: expected a mapping; got 'x'. The record of the run is damaged.\n"
    assert ptycho("config", "check", place) == (2, "", f"ptycho config: {message}")


def test_a_record_that_lacks_a_part_is_damaged(ptycho: Run) -> None:
    Path("config.json").write_text('{"configuration": {"train_data_file": null}}')
    code, _, said = ptycho("config", "check", "config.json")
    assert code == 2
    assert said.count("expected a mapping; got None. The record of the run is damaged.") == 2


def test_a_config_json_that_is_a_run_file_is_checked_as_one(ptycho: Run) -> None:
    Path("config.json").write_text('{"execution": {"seed": 3}}')
    assert ptycho("config", "check", "config.json")[0] == 0
