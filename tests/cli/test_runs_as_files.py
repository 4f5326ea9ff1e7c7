"""A run in place of a configuration file: what it recorded, but for what the command and its data gave."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.record import settings_in
from ptycho.config.request import Request
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.runs.record import write_configuration
from ptycho_torch.runs.report.page import differences
from tests.torch.factory_calls import save_scan

CLASSES = (ModelConfig, TrainingConfig, PyTorchExecutionConfig)


@pytest.fixture(autouse=True)
def run(_legacy_dictionary_is_restored: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text("[execution]\nseed = 3\nnum_workers = 2\n")
    flags = {"nepochs": "5", "gradient_clip_val": "none", "output_dir": "run"}
    return recorded("run", None, flags=flags, file="mine.toml", recipe="standard")


def recorded(folder: str, output_dir: str | None, **levels: Any) -> Path:
    """The record of a training."""
    payload = create_training_payload(save_scan(Path("a$b.npz"), nphotons=2e6), output_dir, **levels)
    Path(folder).mkdir()
    write_configuration(
        Path(folder), payload.tf_training_config, payload.execution_config, payload.sources, {}, {}, []
    )
    return Path(folder)


@pytest.mark.parametrize("place", ["run", "run/", "run/config.json"])
def test_a_run_is_a_file_of_what_it_recorded(place: str):
    answer = Request(CLASSES, file=place, recipe="none").answer()
    knobs = answer[PyTorchExecutionConfig]
    assert (answer[TrainingConfig].nepochs, answer[ModelConfig].gridsize) == (5, 2)
    assert (knobs.seed, knobs.num_workers, knobs.gradient_clip_val) == (3, 2, None)
    assert PyTorchExecutionConfig.from_file(place) == knobs
    path = str(Path("run", "config.json"))
    assert str(answer.sources["training.nepochs"]) == f"{path} (flag --nepochs)"
    assert str(answer.sources["model.gridsize"]) == f"{path} (recipe standard)"
    assert str(knobs.sources["seed"]) == f"{path} (mine.toml:2)"
    assert str(knobs.sources["pin_memory"]) == f"{path} (default)"


@pytest.mark.parametrize("place", ["run", "run/config.json"])
def test_a_run_may_be_a_recipe(place: str):
    answer = Request(CLASSES, flags={"nepochs": "3"}, recipe=place).answer()
    path = str(Path("run", "config.json"))
    assert (answer[TrainingConfig].nepochs, answer[PyTorchExecutionConfig].seed) == (3, 3)
    origin = answer.sources["training.nepochs"]
    assert [str(beaten) for beaten in origin.shadowed] == [f"recipe {path} (flag --nepochs)"]
    assert answer.sources["training.output_dir"].kind == "default"


def test_data_and_folder_of_the_run_are_left_to_the_command():
    answer = Request(CLASSES, file="run").answer()
    for name in ("train_data_file", "output_dir", "nphotons"):
        assert answer.sources[f"training.{name}"].kind == "default"
    assert answer.sources["model.N"].kind == "default"


def test_a_run_stands_among_the_files_where_it_is_named(monkeypatch: pytest.MonkeyPatch):
    def seed(*files: str) -> int:
        return Request(CLASSES, file=files).answer()[PyTorchExecutionConfig].seed

    Path("other.toml").write_text("seed = 8\n")
    assert (seed("run", "other.toml"), seed("other.toml", "run")) == (8, 3)
    monkeypatch.setenv("PTYCHO_CONFIG", "run")
    assert (seed(), seed("other.toml")) == (3, 8)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ({"configuration": 3}, "configuration: expected a mapping; got 3. The record of the run is damaged."),
        ({"origins": None}, "origins: expected a mapping; got None."),
        ({"execution": {"seed": -1}}, "seed: expected an integer >= 0"),
        ({"execution": {"sed": 1}}, "sed: no such setting at run/config.json"),
        ({"origins": {"execution.seed": {"kind": 1, "value": 2, "shadowed": [3, {"kind": 4}]}}}, ""),
    ],
)
def test_a_damaged_record_is_refused_by_name(run: Path, damage: dict[str, Any], complaint: str):
    record = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(record | damage))
    if not complaint:
        Request(CLASSES, file="run").answer()
        return
    with pytest.raises(ConfigError) as caught:
        Request(CLASSES, file="run").answer()
    assert complaint in str(caught.value)


def test_what_a_user_sets_from_python_is_chosen_and_its_places_are_left_open(
    ptycho: Callable[..., tuple[int, str, str]],
):
    arguments = {"nepochs": 1, "batch_size": 8, "gridsize": 1, "n_groups": 16, "seed": 11}
    same = {"momentum": 0.9, "num_workers": 0}  # as without them
    levels = {"arguments": {**arguments, **same, "test_data_file": "a$b.npz"}, "recipe": "standard"}
    recorded("python", "python", **levels)
    answer = Request(CLASSES, file="python", recipe="standard").answer()
    origins = {**answer.sources, **answer[PyTorchExecutionConfig].sources}
    found = {name.rpartition(".")[2]: (origin.kind, origin.value) for name, origin in origins.items()}
    assert {name: found[name] for name in arguments} == {
        name: ("file", value) for name, value in arguments.items()
    }
    assert found["test_data_file"] == ("file", str(Path("a$b.npz").absolute()))
    assert {found[name][0] for name in ("train_data_file", "output_dir", "nphotons", "N")} == {"default"}
    Path("one.toml").write_text("[training]\nnepochs = 3\n")
    differ = json.loads(ptycho("config", "diff", "one.toml", "python", "--json")[1])["differ"]
    names = {name.rpartition(".")[2] for name in differ}
    assert names == {*arguments, "test_data_file", "lr_warmup_epochs"}  # which gave way to nepochs
    shown = create_training_payload("a$b.npz", "python", **levels)._repr_html_()
    assert all(f"* {name}<" in shown for name in arguments)
    assert not any(f"* {name}<" in shown for name in same)
    told = settings_in(json.loads(Path("python", "config.json").read_text()))
    page: Any = SimpleNamespace(settings=told)
    assert {name.rpartition(".")[2] for name in differences(page)} == {*arguments}
