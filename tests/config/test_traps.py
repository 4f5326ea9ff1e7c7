"""One test for each known trap of pydantic-settings and its neighbours: here, none of them is open."""

import contextlib
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from ptycho.config import formats
from ptycho.config.config import PyTorchExecutionConfig, TrainingConfig, load_yaml_config
from ptycho.config.errors import ConfigError
from tests.refusals import message, refused, told

PREFIX = "PTYCHO_EXEC_"


class Holder(BaseModel):
    execution: PyTorchExecutionConfig


@pytest.fixture
def misleading(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that differs from everything saved, one variable of it invalid."""
    monkeypatch.setenv(f"{PREFIX}SEED", "7")
    monkeypatch.setenv(f"{PREFIX}NUM_WORKERS", "many")


@pytest.mark.usefixtures("misleading")
def test_model_validate_does_not_read_the_environment_for_missing_keys():
    assert PyTorchExecutionConfig.model_validate({}).seed == 42
    assert PyTorchExecutionConfig.model_validate_json("{}").seed == 42


@pytest.mark.usefixtures("misleading")
def test_a_type_adapter_does_not_read_the_environment():
    assert TypeAdapter(PyTorchExecutionConfig).validate_python({}).seed == 42
    assert TypeAdapter(PyTorchExecutionConfig).validate_json("{}").seed == 42


@pytest.mark.usefixtures("misleading")
def test_a_nested_field_does_not_read_the_environment():
    assert Holder.model_validate({"execution": {}}).execution.seed == 42


@pytest.mark.usefixtures("misleading")
def test_a_dump_without_defaults_loads_to_the_saved_values():
    saved = PyTorchExecutionConfig.from_snapshot({"learning_rate": 0.5})
    dump = saved.model_dump(exclude_defaults=True)
    assert dump == {"learning_rate": 0.5}
    assert PyTorchExecutionConfig.model_validate(dump) == saved


@pytest.mark.usefixtures("misleading")
def test_an_old_partial_snapshot_loads_under_a_bad_variable():
    assert PyTorchExecutionConfig.from_snapshot({"learning_rate": 0.5}).num_workers == 0


@pytest.mark.usefixtures("misleading")
def test_copies_and_replacements_do_not_read_the_environment():
    saved = PyTorchExecutionConfig.from_snapshot({})
    assert saved.replace(accum_steps=2).model_copy(update={"accum_steps": 3}).seed == 42


def test_a_misspelt_variable_is_not_ignored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"{PREFIX}NUM_WORKER", "4")
    with pytest.raises(ConfigError, match=f"Did you mean {PREFIX}NUM_WORKERS"):
        PyTorchExecutionConfig()


def test_an_old_name_keeps_the_prefix(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DEVICES", "5")
    assert PyTorchExecutionConfig().n_devices == 1
    monkeypatch.setenv(f"{PREFIX}DEVICES", "5")
    with pytest.warns(DeprecationWarning, match="N_DEVICES"):
        assert PyTorchExecutionConfig().n_devices == 5


@pytest.mark.parametrize("copy", ["model_copy", "copy"])
def test_a_copy_validates_its_update(copy: str):
    config = PyTorchExecutionConfig()
    update = {"update": {"num_workers": -1}}
    assert refused(lambda: getattr(config, copy)(**update)) == [("num_workers", "override")]
    wrong = refused(lambda: getattr(config, copy)(update={"persistent_workers": True}))
    assert wrong == [("persistent_workers", "override", "default")]


def test_a_refused_assignment_leaves_no_bad_value_in_place():
    config = PyTorchExecutionConfig()
    with pytest.raises(ConfigError, match=r"^persistent_workers: .*replace\("):
        config.persistent_workers = True
    assert config.persistent_workers is False


def test_a_missing_file_is_not_skipped(tmp_path: Path):
    path = tmp_path / "absent.yaml"
    assert refused(lambda: PyTorchExecutionConfig.from_file(path)) == [(f"{path}",)]


@pytest.mark.parametrize("text", ["- num_workers\n", "num_workers\n"])
def test_a_yaml_list_or_scalar_is_a_clear_error(tmp_path: Path, text: str):
    (tmp_path / "a.yaml").write_text(text)
    wrong = refused(lambda: PyTorchExecutionConfig.from_file(tmp_path / "a.yaml"))
    assert wrong == [(f"{tmp_path / 'a.yaml'}",)]


def test_duplicate_keys_are_not_silent(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("seed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match=r"^seed: .*:1 and .*:2"):
        PyTorchExecutionConfig.from_file(tmp_path / "a.yaml")


@pytest.mark.parametrize("load", [PyTorchExecutionConfig.from_file, load_yaml_config])
def test_aliases_of_aliases_stay_small_and_fast(tmp_path: Path, load: Any):
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    (tmp_path / "a.yaml").write_text("\n".join(["a0: &a0 [1]", *levels]))
    started_s = time.process_time()
    with contextlib.suppress(ConfigError):
        load(tmp_path / "a.yaml")
    assert time.process_time() - started_s < 5  # written out, it would be 9 ** 29 numbers


@pytest.mark.parametrize(
    ("line", "knob", "value"),
    [
        ("learning_rate: 5e-4", "learning_rate", 5e-4),
        ("num_workers: 010", "num_workers", 10),
        ("pin_memory: on", "pin_memory", True),
        ("checkpoint_monitor_metric: on", "checkpoint_monitor_metric", "on"),
    ],
)
def test_yaml_means_what_it_says(tmp_path: Path, line: str, knob: str, value: Any):
    (tmp_path / "a.yaml").write_text(line)
    assert PyTorchExecutionConfig.from_file(tmp_path / "a.yaml").to_dict()[knob] == value


def test_yaml_reads_no_number_to_base_sixty(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("num_workers: 1:30")
    with pytest.raises(ConfigError, match="got '1:30'"):
        PyTorchExecutionConfig.from_file(tmp_path / "a.yaml")


@pytest.mark.parametrize("cls", [PyTorchExecutionConfig, TrainingConfig])
def test_what_a_type_adapter_refuses_is_not_repeated(cls: type):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(cls).validate_python({"password": "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)


def test_validating_strings_reads_text_and_words_what_is_wrong():
    read = PyTorchExecutionConfig.model_validate_strings({"num_workers": " 3", "pin_memory": "on"})
    assert (read.num_workers, read.pin_memory) == (3, True)
    wrong = {"password": "hunter2", "num_workers": "many"}
    text = message(lambda: PyTorchExecutionConfig.model_validate_strings(wrong))
    assert told(text) == [("password",), ("num_workers", "argument")]
    assert "hunter2" not in text


@pytest.mark.parametrize("options", [{}, {"strict": True}, {"context": {}}])
def test_an_option_of_pydantic_changes_no_message(options: dict[str, Any]):
    wrong = {"num_workers": "x", "password": "hunter2"}
    text = message(lambda: PyTorchExecutionConfig.model_validate(wrong, **options))
    assert text == message(lambda: PyTorchExecutionConfig.model_validate(wrong))
    assert told(text) == [("password",), ("num_workers", "argument")]
    assert "hunter2" not in text


def test_true_is_not_one():
    assert refused(lambda: PyTorchExecutionConfig(num_workers=True)) == [("num_workers", "argument")]


def test_infinity_is_no_learning_rate():
    wrong = refused(lambda: PyTorchExecutionConfig(learning_rate=math.inf))
    assert wrong == [("learning_rate", "argument")]


def test_a_union_is_refused_once():
    assert refused(lambda: PyTorchExecutionConfig(n_devices="some")) == [("n_devices", "argument")]
    with pytest.raises(ValidationError) as caught_inside:
        TypeAdapter(list[PyTorchExecutionConfig]).validate_python([{"n_devices": "some"}])
    assert [problem["msg"] for problem in caught_inside.value.errors()] == [
        "Input should be an integer >= 1 or auto"
    ]


def test_a_variable_of_blanks_is_unset(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"{PREFIX}NUM_WORKERS", "  ")
    assert PyTorchExecutionConfig().num_workers == 0


@pytest.mark.parametrize("text", ["none", "None", "NULL", " null "])
def test_none_has_more_than_one_spelling(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv(f"{PREFIX}LOGGER_BACKEND", text)
    assert PyTorchExecutionConfig().logger_backend is None


def test_a_flag_that_was_not_passed_does_not_mask_the_environment():
    config = PyTorchExecutionConfig.resolve(flags={}, environ={f"{PREFIX}SEED": "7"})
    assert config.seed == 7


def test_construction_does_not_parse_the_command_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["ptycho", "--seed", "7", "--help"])
    assert PyTorchExecutionConfig().seed == 42


def test_a_checkpoint_carries_the_dictionary(tmp_path: Path):
    torch.save(PyTorchExecutionConfig(seed=7).to_dict(), tmp_path / "a.ckpt")
    loaded = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert PyTorchExecutionConfig.from_snapshot(loaded).seed == 7


def test_annotations_are_inspected_once(monkeypatch: pytest.MonkeyPatch):
    PyTorchExecutionConfig()

    def inspected(*args: Any) -> None:
        raise AssertionError("the fields were inspected again")

    monkeypatch.setattr("ptycho.config.section.scalar", inspected)
    monkeypatch.setattr("ptycho.config.section.annotation_of", inspected)
    assert PyTorchExecutionConfig(seed=7).seed == 7


@pytest.mark.skipif(not hasattr(yaml, "CBaseLoader"), reason="needs a PyYAML built with libyaml")
def test_yaml_is_read_with_libyaml(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(yaml, "BaseLoader")
    monkeypatch.setattr(yaml, "BaseLoader", None, raising=False)
    assert formats.parse("a.yaml", "seed: 7")[:2] == ({"seed": "7"}, False)


def test_importing_the_door_loads_no_framework():
    code = "import sys; from ptycho.config.config import *; print({'torch', 'lightning', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_model_config_and_fields_are_those_of_a_settings_class():
    assert PyTorchExecutionConfig.model_config["env_prefix"] == PREFIX
    assert PyTorchExecutionConfig.model_fields["num_workers"].default == 0
    assert PyTorchExecutionConfig(seed=7).model_dump()["seed"] == 7
