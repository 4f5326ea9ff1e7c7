"""`ptycho config check` and `diff` of records of runs, damaged ones too, and of canonical files."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ptycho.config.canonical import InferenceConfig, TrainingConfig
from ptycho_torch.cli.config_schema import schema
from tests.refusals import told

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
    names = ["model.gridsiz", "inference.hunter", "fancy_knob", "num_workers"]
    assert [name for name, *_ in told(said)] == names
    assert said.count(f" {place}.") == 4
    assert said.count(" ptychopinn 9.9; ") == 3
    assert "Did you mean model.gridsize? " in said


def test_of_countless_names_in_a_record_a_few_are_told_at_once(ptycho: Run) -> None:
    names = {f"name_{number}": number for number in range(100_000)}
    place, started_s = written(configuration=names, execution={"num_workers": -1}), time.process_time()
    code, _, said = ptycho("config", "check", place)
    assert time.process_time() - started_s < 1
    assert (code, said.count("no such setting")) == (2, 19)
    assert f"{place}: 100000 names are not settings here." in said


@pytest.mark.parametrize("part", ["configuration", "execution", "origins", "versions"])
def test_a_record_with_a_part_that_is_no_mapping_is_damaged(ptycho: Run, part: str) -> None:
    place = written(**{part: "x"})
    code, out, said = ptycho("config", "check", place)
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert said.startswith(f"ptycho config: {place}: {part}: ")


@pytest.mark.parametrize("part", ["resumed", "fingerprints"])
def test_a_record_with_a_part_that_is_no_list_is_damaged(ptycho: Run, part: str) -> None:
    place = written(**{part: 10**30})
    code, _, said = ptycho("config", "check", place)
    assert code == 2
    assert said.startswith(f"ptycho config: {place}: {part}: ")


def test_a_damaged_record_is_compared_with_nothing(ptycho: Run) -> None:
    Path("config.json").write_text(json.dumps({"configuration": {}, "origins": {}}))
    Path("a.toml").write_text("[training]\nfoo = 1\n")
    code, _, said = ptycho("config", "diff", "config.json", "a.toml")
    assert (code, [name for name, *_ in told(said)]) == (2, ["config.json", "foo"])


def test_a_record_that_lacks_a_part_is_damaged(ptycho: Run) -> None:
    Path("config.json").write_text('{"configuration": {"train_data_file": null}}')
    code, _, said = ptycho("config", "check", "config.json")
    assert code == 2
    assert all(f"config.json: {part}: " in said for part in ("execution", "origins"))


def test_a_config_json_that_is_a_run_file_is_checked_as_one(ptycho: Run) -> None:
    Path("config.json").write_text('{"execution": {"seed": 3}}')
    assert ptycho("config", "check", "config.json")[0] == 0


def test_both_files_of_a_diff_are_said_to_be_wrong(ptycho: Run) -> None:
    Path("a.toml").write_text("num_workers = -1\n")
    Path("b").mkdir()
    for words in (("missing.toml", "a.toml"), ("a.toml", "b"), ("b/config.json", "a.toml")):
        code, _, said = ptycho("config", "diff", *words)
        assert code == 2
        other = next(word for word in words if word != "a.toml")
        assert {name for name, *_ in told(said)} == {"num_workers", other}


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
        ({"training": {"nepochs": 3}, "model": {"N": 64}}, TrainingConfig),
        ({"training": {"n_images": 4, "batch_size": 2}, "model": {}}, TrainingConfig),
        (
            {"inference": {"debug": True, "test_data_file": "a.npz"}, "model": {"gridsize": 2}},
            InferenceConfig,
        ),
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
    ("content", "name"),
    [
        ({"training": {"nepochs": 0}, "model": {}}, "training.nepochs"),
        ({"training": {"nepochs": 1, "seed": 3}, "model": {}}, "seed"),
        ({"training": {"nepochs": 1}, "model": {"N": 33}}, "model.N"),
        ({"nepochs": 1, "model": {}}, "nepochs"),
        ({"nepochs": 1, "model": {}, "training": {}}, "nepochs"),
        ({"training": {"backend": "tensorflow"}, "model": {}}, "training.backend"),
        ({"model": {"N": 33}}, "model.N"),
        ({"training": {"positions_provided": False}}, "training.positions_provided"),
    ],
)
def test_a_canonical_file_is_refused_for_what_is_wrong_in_it(
    ptycho: Run, content: dict[str, Any], name: str
) -> None:
    Path("a.json").write_text(json.dumps(content))
    code, _, said = ptycho("config", "check", "a.json")
    assert (code, told(said)) == (2, [(name, "a.json:1")])
    assert name == "training.backend" or not is_described(content)
