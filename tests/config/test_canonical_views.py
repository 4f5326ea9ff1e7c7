"""What the canonical configurations offer to people, and that classes derived from them work as they do."""

import copy
import dataclasses
import inspect
import json
import pickle
import pydoc
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig, validate_training_config
from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.solver import SolverConfig
from tests.refusals import message, refused, refusing

CLASSES = [ModelConfig, TrainingConfig, InferenceConfig, SolverConfig]
CHANGED = TrainingConfig(model=ModelConfig(N=128), nepochs=3, train_data_file="a.npz", probe_trainable=True)


class Beamline(TrainingConfig):
    """A training at our beamline."""

    shutter: str = "open"
    """What the shutter does."""


class Deep(ModelConfig):
    """A network of our own."""

    depth: int = 1
    """How deep it is."""


class DeepTraining(TrainingConfig):
    """A training of it."""

    model: Deep = dataclasses.field(default_factory=Deep)


def test_a_section_that_is_held_may_have_more_settings_than_is_declared():
    plain, deep = TrainingConfig(nepochs=3), TrainingConfig(model=Deep(depth=7))
    assert deep.diff(plain) == {"model.depth": (7, None), "nepochs": (50, 3)}
    assert plain.diff(deep) == {"nepochs": (3, 50), "model.depth": (None, 7)}
    assert deep.sources["model.depth"].value == 7
    assert all("depth" in shown for shown in (deep.explain(), deep._repr_html_(), repr(deep)))
    for write in (deep.to_toml, deep.to_yaml):
        with refusing("model"):
            write()


def test_a_class_that_declares_a_section_of_its_own_reads_it_back(tmp_path: Path):
    deep, path = DeepTraining(model=Deep(depth=7)), tmp_path / "run.toml"
    path.write_text(deep.to_toml())
    assert DeepTraining.from_file(path) == deep
    assert deep.diff(DeepTraining()) == {"model.depth": (7, 1)}


class Locked(TrainingConfig):
    """A training that needs a key."""

    key: SecretStr | None = None
    """Opens the beamline."""
    day: date | None = None
    """When it was measured."""


def test_no_file_or_dictionary_is_given_a_secret(tmp_path: Path):
    config, path = Locked(key="swordfish", day=date(2026, 1, 2), nepochs=3), tmp_path / "run.toml"
    path.write_text(config.to_toml())
    again = Locked.from_file(path)
    assert (again.key, again.day, again.nepochs) == (None, date(2026, 1, 2), 3)
    assert "key" not in config.to_dict()
    assert json.loads(json.dumps(config.to_dict()))["day"] == "2026-01-02"


def test_origins_of_any_value_can_be_written_as_json():
    config = Locked(key="swordfish", day=date(2026, 1, 2))
    told = json.dumps({name: origin.to_dict() for name, origin in config.sources.items()})
    assert "swordfish" not in told
    assert json.loads(told)["day"]["value"] == "2026-01-02"


def test_a_value_tells_where_it_came_from_and_what_it_beat(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text("[training]\nnepochs = 3\n[model]\nN = 128\n")
    config = TrainingConfig.from_file(path)
    config.nepochs = 4
    assert str(config.sources["model.N"]) == f"{path}:4"
    assert (config.sources["nepochs"].kind, config.sources["batch_size"].kind) == ("assignment", "default")
    assert [(str(beaten), beaten.value) for beaten in config.sources["nepochs"].shadowed] == [
        (f"{path}:2", 3)
    ]
    config.batch_size = 8
    kinds = {name: config.sources[name].kind for name in ("nepochs", "batch_size")}
    assert kinds == {"nepochs": "assignment", "batch_size": "assignment"}


def test_a_section_that_is_held_is_replaced_as_a_whole():
    changed = CHANGED.replace(model=ModelConfig(N=64, gridsize=2))
    assert (changed.model.N, changed.model.gridsize, CHANGED.model.N) == (64, 2, 128)


def test_a_conflict_names_the_line_that_it_is_about(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text("[training]\ntrain_data_file = 'a.npz'\nneighbor_count = 2\n[model]\ngridsize = 2\n")
    wrong = refused(lambda: validate_training_config(TrainingConfig.from_file(path)))
    assert wrong == [("training.neighbor_count", f"{path}:3", f"{path}:5")]


@pytest.mark.parametrize("suffix", ["toml", "yaml"])
@pytest.mark.parametrize(
    "config",
    [
        CHANGED,
        CHANGED.model,
        InferenceConfig(debug=True),
        SolverConfig(n_iterations=7, refine_probe=False),
        Beamline(shutter="x"),
    ],
)
def test_what_is_written_reads_back_equal(config: TrainingConfig, suffix: str, tmp_path: Path):
    path = tmp_path / f"a.{suffix}"
    path.write_text(config.to_toml() if suffix == "toml" else config.to_yaml())
    if isinstance(config, TrainingConfig) and config.train_data_file:
        config = config.replace(train_data_file=config.train_data_file.absolute())
    assert type(config).from_file(path) == config


def test_what_is_copied_keeps_its_origins():
    for other in (copy.deepcopy(CHANGED), pickle.loads(pickle.dumps(CHANGED))):
        assert other == CHANGED
        assert other.sources == CHANGED.sources


def test_replace_gives_a_changed_copy_that_shares_nothing():
    other = CHANGED.replace(nepochs=5)
    other.model.gridsize = 2
    assert (other.nepochs, other.model.N, CHANGED.nepochs, CHANGED.model.gridsize) == (5, 128, 3, 1)
    assert other.sources["nepochs"].shadowed[0].value == 3
    assert message(lambda: CHANGED.replace(nepochs=0)).startswith(
        "training.nepochs: expected an integer >= 1"
    )
    assert other.diff(CHANGED) == {"nepochs": (5, 3), "model.gridsize": (2, 1)}


@pytest.mark.parametrize("settings", [TrainingConfig(batch_size=8), PyTorchExecutionConfig(num_threads=2)])
def test_settings_that_are_changed_again_and_again_stay_as_small(settings: Any):
    name, before = ("nepochs", "batch_size") if hasattr(settings, "nepochs") else ("seed", "num_threads")
    first = settings.replace(**{name: 1})
    again = first
    for value in range(2, 5):
        again = again.replace(**{name: value})
    assert getattr(again, name) == 4
    assert len(pickle.dumps(again)) <= len(pickle.dumps(first)) + 8
    assert again.sources[before].kind == "argument"
    assert {one.kind for one in again.sources[name].shadowed} == set()


def test_the_last_change_wins_however_it_is_made():
    config = TrainingConfig(nepochs=1).replace(nepochs=2, batch_size=2)
    config.nepochs = 3
    config = config.replace(batch_size=4)
    assert (config.nepochs, config.batch_size) == (3, 4)
    assert (config.sources["nepochs"].kind, config.sources["batch_size"].kind) == ("assignment", "override")
    config = config.replace(nepochs=5)
    config.batch_size = 6
    assert config.replace() == config
    assert (config.sources["nepochs"].kind, config.sources["nepochs"].value) == ("override", 5)
    with pytest.raises(ConfigError, match=r"training\.nepochs: .*; got 0 from assignment\."):
        config.nepochs = 0


def test_the_dictionary_is_plain_and_the_tables_name_every_setting():
    assert CHANGED.to_dict()["train_data_file"] == "a.npz"
    assert CHANGED.to_dict()["model"] == CHANGED.model.to_dict()
    for text in (CHANGED.explain(), CHANGED._repr_html_()):
        assert all(name in text for name in (*CHANGED.to_dict(), *CHANGED.model.to_dict()) if name != "model")


@pytest.mark.parametrize("cls", [*CLASSES, PyTorchExecutionConfig, Beamline])
def test_help_and_signature_show_every_setting_with_a_plain_type(cls: type):
    parameters = inspect.signature(cls).parameters
    for shown in (cls.__doc__ or "", pydoc.render_doc(cls, renderer=pydoc.plaintext)):
        assert all(f"    {name}: " in shown for name in parameters)
    assert not any("Annotated" in str(parameter.annotation) for parameter in parameters.values())
    if "output_dir" in parameters:
        assert parameters["output_dir"].annotation == str | Path


def test_a_class_derived_from_a_canonical_one_works_as_it_does(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text("[training]\nshutter = 'shut'\nnepochs = 3\ntrain_data_file = 'a.npz'\n")
    config = Beamline.from_file(path)
    assert (type(config), config.shutter, config.nepochs) == (Beamline, "shut", 3)
    validate_training_config(config)
    assert refused(lambda: Beamline(shutter=3)) == [("training.shutter", "argument")]
    with pytest.warns(DeprecationWarning, match="n_images"):
        assert Beamline(n_images=3).n_groups == 3
