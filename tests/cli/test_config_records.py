"""`ptycho config check` and `diff` of records of runs, damaged ones too, and of canonical files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ptycho.config.canonical import InferenceConfig, TrainingConfig
from ptycho_torch.cli.config_schema import schema

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
        f"hunter: no such setting at {place}.",
        f"gridsiz: no such setting at {place}. Did you mean model.gridsize?",
        f"fancy_knob: no such setting at {place}. The record was written by ptychopinn 9.9; this is ",
        f"num_workers: expected an integer >= 0; got -1 from {place}.",
    ):
        assert said.count(message) == 1, said


@pytest.mark.parametrize("part", ["configuration", "execution", "origins", "versions"])
def test_a_record_with_a_part_that_is_no_mapping_is_damaged(ptycho: Run, part: str) -> None:
    place = written(**{part: "x"})
    message = f"{place}: {part}: expected a mapping; got 'x'. The record of the run is damaged.\n"
    assert ptycho("config", "check", place) == (2, "", f"ptycho config: {message}")


@pytest.mark.parametrize("part", ["resumed", "fingerprints"])
def test_a_record_with_a_part_that_is_no_list_is_damaged(ptycho: Run, part: str) -> None:
    place = written(**{part: 10**30})
    code, _, said = ptycho("config", "check", place)
    assert code == 2
    assert f"{place}: {part}: expected a list; got " in said


def test_a_record_that_lacks_a_part_is_damaged(ptycho: Run) -> None:
    Path("config.json").write_text('{"configuration": {"train_data_file": null}}')
    code, _, said = ptycho("config", "check", "config.json")
    assert code == 2
    assert said.count("expected a mapping; got None. The record of the run is damaged.") == 2


def test_a_config_json_that_is_a_run_file_is_checked_as_one(ptycho: Run) -> None:
    Path("config.json").write_text('{"execution": {"seed": 3}}')
    assert ptycho("config", "check", "config.json")[0] == 0


def test_both_files_of_a_diff_are_said_to_be_wrong(ptycho: Run) -> None:
    Path("a.toml").write_text("num_workers = -1\n")
    Path("b").mkdir()
    for words in (("missing.toml", "a.toml"), ("a.toml", "b"), ("b/config.json", "a.toml")):
        code, _, said = ptycho("config", "diff", *words)
        assert code == 2
        assert "num_workers: expected an integer >= 0; got -1 from a.toml:1." in said
        assert any(reason in said for reason in ("no such file", "expected the folder of a run"))


def test_a_diff_prints_no_control_characters(ptycho: Run) -> None:
    origins = {
        "a.\u001b[2J": {"kind": "file", "value": "\u001b[31m"},
        "\u001b.x": {"kind": "file", "value": 1},
    }
    place = written(origins=origins)
    Path("config.json").write_text(json.dumps({"origins": {"a.\u001b[2J": {"kind": "file", "value": 1}}}))
    shown = ptycho("config", "diff", place, "config.json")[1]
    assert "\\x1b[31m" in shown
    assert "\x1b" not in shown


# canonical files


def is_described(content: object) -> bool:
    return jsonschema.Draft202012Validator(schema()).is_valid(content)


@pytest.mark.parametrize(
    ("content", "cls"),
    [
        ({"nepochs": 3, "model": {"N": 64}}, TrainingConfig),
        ({"n_images": 4, "batch_size": 2, "model": {}}, TrainingConfig),
        ({"debug": True, "test_data_file": "a.npz", "model": {"gridsize": 2}}, InferenceConfig),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_canonical_file_passes_its_check_and_is_described(
    ptycho: Run, content: dict[str, Any], cls: Any
) -> None:
    Path("a.json").write_text(json.dumps(content))
    cls.from_file("a.json")
    assert ptycho("config", "check", "a.json")[0] == 0
    assert is_described(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"nepochs": 0, "model": {}}, "training.nepochs: expected an integer >= 1; got 0 from a.json:1."),
        (
            {"nepochs": 1, "seed": 3, "model": {}},
            "seed: no such setting at a.json:1. Did you mean [execution] seed?",
        ),
        ({"nepochs": 1, "debug": True, "model": {}}, "debug: no such setting at a.json:1."),
        ({"nepochs": 1, "model": {"N": 33}}, "model.N: expected a multiple of 16 from 32 up"),
        ({"nepochs": 1, "model": {}, "training": {}}, "nepochs: expected inside a table"),
        ({"backend": "tensorflow", "model": {}}, "tensorflow"),
        ({"model": {"N": 33}}, "model.N: expected a multiple of 16 from 32 up"),
        ({"training": {"positions_provided": False}}, "positions_provided"),
    ],
)
def test_a_canonical_file_is_refused_for_what_is_wrong_in_it(
    ptycho: Run, content: dict[str, Any], message: str
) -> None:
    Path("a.json").write_text(json.dumps(content))
    code, _, said = ptycho("config", "check", "a.json")
    assert code == 2
    assert message in said
    assert "tensorflow" in message or not is_described(content)
