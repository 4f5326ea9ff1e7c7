"""Who wins, where a value came from, and what is wrong with it."""

import os
from pathlib import Path
from typing import Any

import pytest

from ptycho.config.config import PyTorchExecutionConfig
from ptycho.config.errors import ConfigError, UnknownVariableWarning
from ptycho.config.origins import Layer, Origin
from ptycho.config.resolve import merge, ranked
from tests.refusals import meant, told

PREFIX = "PTYCHO_EXEC_"


def resolve(**sources: Any) -> PyTorchExecutionConfig:
    return PyTorchExecutionConfig.resolve(**{"environ": {}, **sources})


def message(**sources: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(**sources)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "exec.toml"
    path.write_text("# how to run\nnum_workers = 5\nseed = 5\n")
    return path


def test_environment_beats_file(file: Path):
    config = resolve(environ={f"{PREFIX}NUM_WORKERS": "4"}, file=file)
    assert config.num_workers == 4
    assert config.seed == 5


def test_argument_beats_environment():
    config = resolve(arguments={"num_workers": 3}, environ={f"{PREFIX}NUM_WORKERS": "4"})
    assert config.num_workers == 3


def test_flag_beats_argument():
    assert resolve(arguments={"seed": 3}, flags={"seed": "2"}).seed == 2


def test_override_beats_flag():
    assert resolve(flags={"seed": 2}, overrides={"seed": 1}).seed == 1


def test_file_beats_the_default_of_the_command_line(file: Path):
    config = resolve(file=file, cli_defaults={"seed": 6, "enable_progress_bar": True})
    assert config.seed == 5
    assert config.enable_progress_bar is True
    assert config.sources["enable_progress_bar"] == Origin("cli-default", value=True)


def test_an_argument_equal_to_the_default_beats_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"{PREFIX}NUM_WORKERS", "4")
    assert PyTorchExecutionConfig(num_workers=0).num_workers == 0


def test_a_level_that_is_silent_shadows_nothing():
    config = resolve(flags={}, arguments={}, environ={f"{PREFIX}SEED": "4"})
    assert config.sources["seed"] == Origin("environment", f"{PREFIX}SEED", "4", value=4)


def test_an_origin_has_place_text_and_what_it_shadowed(file: Path):
    config = resolve(
        flags={"num_workers": "2"},
        arguments={"num_workers": 3},
        environ={f"{PREFIX}NUM_WORKERS": " 4 "},
        file=file,
    )
    assert config.sources["num_workers"] == Origin(
        kind="override",
        locator="--num-workers",
        raw="2",
        value=2,
        shadowed=(
            Origin("argument", value=3),
            Origin("environment", f"{PREFIX}NUM_WORKERS", " 4 ", value=4),
            Origin("file", f"{file}:2", "num_workers = 5", value=5),
        ),
    )
    assert config.sources["pin_memory"] == Origin("default", value=False)


def test_the_winner_does_not_depend_on_the_order_of_the_layers():
    layers = [Layer("file", {"a": 1}), Layer("override", {"a": 2}), Layer("environment", {"b": 3, "a": 4})]
    assert merge(ranked(layers)) == merge(ranked(layers[::-1]))
    assert merge(ranked(layers))["a"].value == 2


def test_two_layers_of_one_standing_are_refused():
    with pytest.raises(ValueError, match=r"got \['file', 'file'\]"):
        ranked([Layer("file", {"a": 1}), Layer("file", {"a": 2})])


def test_an_invalid_value_that_loses_is_still_reported():
    text = message(arguments={"num_workers": 3}, environ={f"{PREFIX}NUM_WORKERS": "many"})
    assert told(text) == [("num_workers", f"environment variable {PREFIX}NUM_WORKERS")]


def test_all_failures_of_a_load_come_together(tmp_path: Path):
    path = tmp_path / "exec.toml"
    path.write_text('learning_rate = "fast"\n')
    text = message(
        overrides={"sede": 1},
        flags={"accelerator": "gpuu"},
        arguments={"persistent_workers": True},
        environ={f"{PREFIX}ACCUM_STEPS": "0", f"{PREFIX}NUM_WORKER": "3"},
        file=path,
    )
    assert told(text) == [
        ("sede", "override"),
        ("accelerator", "flag --accelerator"),
        (f"{PREFIX}NUM_WORKER",),
        ("accum_steps", f"environment variable {PREFIX}ACCUM_STEPS"),
        ("learning_rate", f"{path}:1"),
        ("persistent_workers", "argument", "default"),
    ]
    assert meant(text) == ["seed", "gpu", f"{PREFIX}NUM_WORKERS"]
    assert '\n    learning_rate = "fast"\n' in text


def test_a_refused_value_is_not_judged_against_the_other_knobs():
    text = message(arguments={"num_workers": -1, "persistent_workers": True}, cli_defaults={"num_workers": 0})
    assert told(text) == [("num_workers", "argument")]


@pytest.mark.parametrize(
    ("knob", "text", "value"),
    [
        ("num_workers", " 7\n", 7),
        ("num_workers", "+7", 7),
        ("learning_rate", "5e-4", 5e-4),
        ("pin_memory", "YES", True),
        ("pin_memory", "off", False),
        ("pin_memory", "1", True),
        ("deterministic", "0", False),
        ("deterministic", "WARN", "warn"),
        ("gradient_clip_val", "None", None),
        ("gradient_clip_val", "NULL", None),
        ("logger_backend", "MLflow", "mlflow"),
        ("checkpoint_monitor_metric", "none", "none"),
        ("n_devices", "Auto", "auto"),
        ("n_devices", "2", 2),
    ],
)
def test_a_variable_is_read_as_text(knob: str, text: str, value: Any):
    assert resolve(environ={PREFIX + knob.upper(): text}).to_dict()[knob] == value


@pytest.mark.parametrize(
    ("knob", "text"),
    [
        ("num_workers", "3.0"),
        ("num_workers", "none"),
        ("num_workers", "true"),
        ("num_workers", "\u0663"),
        ("num_workers", "9" * 5000),
        ("learning_rate", "nan"),
        ("learning_rate", "inf"),
        ("learning_rate", "1e999"),
        ("pin_memory", "2"),
        ("n_devices", "0"),
    ],
)
def test_a_variable_that_spells_no_value_is_refused_with_its_text(knob: str, text: str):
    shown = repr(text) if len(text) < 60 else repr(text[:60])
    assert f"got {shown}" in message(environ={PREFIX + knob.upper(): text})


@pytest.mark.parametrize("text", ["", "  ", "\t\n"])
def test_a_blank_variable_counts_as_unset(text: str):
    assert resolve(environ={f"{PREFIX}NUM_WORKERS": text}).sources["num_workers"].kind == "default"


def test_a_variable_may_be_written_in_lower_case():
    assert resolve(environ={"ptycho_exec_seed": "3"}).sources["seed"].locator == "ptycho_exec_seed"


def test_a_variable_in_two_spellings_is_refused():
    text = message(environ={f"{PREFIX}SEED": "1", "ptycho_exec_seed": "1"})
    assert text.startswith(f"seed: given twice, as {PREFIX}SEED and as ptycho_exec_seed.")


def test_a_variable_of_an_old_name_says_the_new_variable():
    with pytest.warns(DeprecationWarning, match=rf"^{PREFIX}DEVICES\b.*\b{PREFIX}N_DEVICES\.$"):
        assert resolve(environ={f"{PREFIX}DEVICES": "2"}).n_devices == 2


def test_a_foreign_variable_is_a_warning_without_its_value():
    with pytest.warns(UnknownVariableWarning, match=f"^{PREFIX}TOKEN: no such setting") as caught:
        resolve(environ={f"{PREFIX}TOKEN": "hunter2"})
    assert "hunter2" not in str(caught[0].message)


def test_a_variable_is_taken_for_a_misspelt_one_from_three_quarters_of_likeness():
    text = message(environ={f"{PREFIX}PRECISIONABCDEF": "1"})  # 18 of 24 letters
    assert (told(text), meant(text)) == ([(f"{PREFIX}PRECISIONABCDEF",)], [f"{PREFIX}PRECISION"])
    with pytest.warns(UnknownVariableWarning):
        resolve(environ={f"{PREFIX}DETERMINISTICABCDEFGHI": "1"})  # 26 of 35 letters


def test_a_foreign_variable_is_an_error_when_strict():
    text = message(environ={f"{PREFIX}TOKEN": "hunter2"}, strict=True)
    assert told(text) == [(f"{PREFIX}TOKEN",)]
    assert "hunter2" not in text


def test_the_value_of_an_unknown_argument_is_not_repeated():
    with pytest.raises(ConfigError) as caught:
        PyTorchExecutionConfig(api_key="hunter2", num_worker=3)
    text = str(caught.value)
    assert (told(text), meant(text)) == ([("api_key",), ("num_worker",)], ["num_workers"])
    assert "hunter2" not in text


@pytest.mark.parametrize("source", ["overrides", "flags", "arguments", "cli_defaults"])
def test_a_source_that_is_no_mapping_is_refused(source: str):
    assert told(message(**{source: [1]})) == [("PyTorchExecutionConfig",)]


@pytest.mark.parametrize("environ", [[1], ["PTYCHO_EXEC_SEED"], 3, {1: "2"}])
def test_an_environment_that_is_no_mapping_of_names_is_refused(environ: Any):
    assert told(message(environ=environ)) == [("environ",)]


@pytest.mark.parametrize(("value", "shown"), [(3, "3"), (None, "None"), (b"3", "an object of type bytes")])
def test_a_variable_that_is_no_text_is_refused(value: Any, shown: str):
    text = message(environ={f"{PREFIX}NUM_WORKERS": value})
    assert told(text) == [("num_workers", f"environment variable {PREFIX}NUM_WORKERS")]
    assert f"got {shown} from" in text


def test_the_value_of_a_foreign_variable_that_is_no_text_is_not_repeated():
    with pytest.warns(UnknownVariableWarning, match=f"^{PREFIX}TOKEN: .*ignored.$"):
        resolve(environ={f"{PREFIX}TOKEN": 5})


def test_a_later_override_takes_the_place_of_the_earlier():
    config = resolve(arguments={"seed": 1}).with_overrides({"seed": 2}).with_overrides({"seed": 3})
    assert config.seed == 3
    assert [origin.value for origin in config.sources["seed"].shadowed] == [1]


def test_every_source_may_be_given_at_once_and_leaves_the_environment_alone(file: Path):
    before = dict(os.environ)
    resolve(overrides={}, flags={}, arguments={}, file=file, cli_defaults={})
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("variable", "ways"),
    [
        ("PTYCHO_EXEC_NEPOCHS", ("--nepochs", "nepochs in [training]")),
        ("PTYCHO_EXEC_GRIDSIZE", ("--gridsize", "gridsize in [model]")),
        ("PTYCHO_EXEC_N", ("--N", "N in [model]")),
        ("PTYCHO_EXEC_N_IMAGES", ("--n-groups", "n_groups in [training]")),
    ],
)
def test_what_is_trained_on_what_is_not_read_from_the_environment(variable: str, ways: tuple[str, ...]):
    with pytest.raises(ConfigError) as caught:
        PyTorchExecutionConfig.resolve(environ={variable: "4"})
    assert [failure.name for failure in caught.value.failures] == [variable]
    assert all(way in str(caught.value) for way in ways)


@pytest.mark.parametrize("level", ["overrides", "flags", "arguments"])
def test_names_are_text(level: str):
    with pytest.raises(ConfigError) as caught:
        resolve(**{level: {3: 4}})
    assert [failure.name for failure in caught.value.failures] == ["PyTorchExecutionConfig"]
