"""The execution configuration against short oracles, for any input."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

import ptycho.params
from ptycho.config.config import PyTorchExecutionConfig
from ptycho.config.errors import ConfigError, UnknownVariableWarning
from ptycho.config.execution import OLD_NAMES
from ptycho.config.render import text

FIELDS = PyTorchExecutionConfig.model_fields
DEFAULTS = PyTorchExecutionConfig().to_dict()
VALID: dict[str, st.SearchStrategy[Any]] = {
    "accelerator": st.sampled_from(["auto", "cpu", "gpu", "cuda", "mps", "tpu"]),
    "n_devices": st.integers(1, 64) | st.just("auto"),
    "deterministic": st.booleans() | st.just("warn"),
    "persistent_workers": st.booleans(),
    "prefetch_factor": st.none() | st.integers(1, 8),
    "learning_rate": st.floats(0, exclude_min=True, allow_infinity=False),
    "scheduler": st.sampled_from(["Default", "Exponential", "MultiStage", "Adaptive", "WarmupCosine"]),
    "gradient_clip_val": st.none() | st.floats(0, exclude_min=True, allow_infinity=False),
    "checkpoint_save_top_k": st.integers(-1, 9),
    "checkpoint_monitor_metric": st.text(min_size=1).map(str.strip).filter(lambda t: t and t.isprintable()),
    "logger_backend": st.sampled_from([None, "csv", "tensorboard", "wandb", "mlflow"]),
    "seed": st.integers(0, 2**32 - 1),
    "val_split": st.floats(0, 1, exclude_max=True),
}
SOURCES = ("overrides", "flags", "arguments", "environment", "file", "cli_defaults")
KINDS = ("override", "flag", "argument", "environment", "file", "cli-default")
INVALID = {"num_workers": -1, "learning_rate": 0.0, "accelerator": "abacus", "seed": -7, "n_devices": 0}

WORKERS = {"num_workers": st.integers(1, 64)}  # every source sets them, so that what needs them is valid
some_values = st.fixed_dictionaries(WORKERS, optional=VALID)
some_sources = st.fixed_dictionaries({}, optional=dict.fromkeys(SOURCES, some_values))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
names = st.sampled_from([*FIELDS, *OLD_NAMES]) | st.text()
mapping = st.dictionaries(names, anything, max_size=5)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def environment(values: dict[str, Any]) -> dict[str, str]:
    return {f"PTYCHO_EXEC_{name.upper()}": text(value) for name, value in values.items()}


def resolve(sources: dict[str, dict[str, Any]], folder: Path) -> PyTorchExecutionConfig:
    given_here = {name: values for name, values in sources.items() if name not in ("environment", "file")}
    path = folder / "exec.json"
    path.write_text(json.dumps(sources.get("file", {})))
    environ = environment(sources.get("environment", {}))
    return PyTorchExecutionConfig.resolve(**given_here, environ=environ, file=path)


@given(some_sources)
def test_the_strongest_source_that_speaks_wins(folder: Path, sources: dict[str, dict[str, Any]]):
    config = resolve(sources, folder)
    for name, default in DEFAULTS.items():
        said = [
            (kind, sources[s][name])
            for s, kind in zip(SOURCES, KINDS, strict=True)
            if name in sources.get(s, {})
        ]
        (kind, value), *beaten = said or [("default", default)]
        origin = config.sources[name]
        assert (origin.kind, origin.value, config.to_dict()[name]) == (kind, value, value)
        assert [(loser.kind, loser.value) for loser in origin.shadowed] == beaten


@given(some_sources, st.sampled_from(SOURCES), st.sampled_from(sorted(INVALID)))
def test_an_invalid_value_is_reported_wherever_it_stands(
    folder: Path, sources: dict[str, dict[str, Any]], source: str, name: str
):
    sources = {**sources, source: {**sources.get(source, {}), name: INVALID[name]}}
    with pytest.raises(ConfigError, match=f"^{name}: expected .*; got ") as caught:
        resolve(sources, folder)
    assert [failure.name for failure in caught.value.failures] == [name]


@given(some_sources, st.permutations(SOURCES))
def test_the_order_in_which_sources_are_given_does_not_matter(
    folder: Path, sources: dict[str, dict[str, Any]], order: list[str]
):
    shuffled = {name: sources[name] for name in order if name in sources}
    assert resolve(shuffled, folder).sources == resolve(sources, folder).sources


@given(some_values)
def test_every_format_reads_back_equal(folder: Path, values: dict[str, Any]):
    config = PyTorchExecutionConfig(**values)
    dumps = {
        "exec.toml": config.to_toml(),
        "exec.yaml": config.to_yaml(),
        "exec.json": json.dumps(config.to_dict()),
        "run.json": json.dumps({"training": {}, "execution": config.to_dict()}),
    }
    for name, dump in dumps.items():
        (folder / name).write_text(dump, encoding="utf-8")
        assert PyTorchExecutionConfig.from_file(folder / name) == config
    assert PyTorchExecutionConfig.resolve(environ=config.to_env()) == config
    assert PyTorchExecutionConfig.from_snapshot(json.loads(json.dumps(config.to_snapshot()))) == config
    assert TypeAdapter(PyTorchExecutionConfig).validate_json(config.model_dump_json()) == config


@given(some_values)
def test_the_line_of_every_origin_sets_the_knob(folder: Path, values: dict[str, Any]):
    path = folder / "lines.toml"
    path.write_text("[execution]\n" + PyTorchExecutionConfig(**values).to_toml(), encoding="utf-8")
    lines = path.read_text(encoding="utf-8").split("\n")
    for name, origin in PyTorchExecutionConfig.from_file(path).sources.items():
        if origin.kind == "file":
            number = int(origin.locator.rpartition(":")[2])
            assert lines[number - 1].startswith(f"{name} = ")


@given(some_values, some_values)
def test_a_snapshot_is_free_of_the_environment(saved: dict[str, Any], around: dict[str, Any]):
    variables = environment(around)
    os.environ.update(variables)
    try:
        config = PyTorchExecutionConfig.from_snapshot(saved)
        validated = PyTorchExecutionConfig.model_validate(saved)
    finally:
        for name in variables:
            del os.environ[name]
    assert config == validated
    assert config.to_dict() == DEFAULTS | saved


@given(some_values, some_values)
def test_replacing_is_resolving_with_overrides(first: dict[str, Any], second: dict[str, Any]):
    config = PyTorchExecutionConfig(**first)
    assert config.replace(**second).to_dict() == DEFAULTS | first | second
    assert set(config.diff(config.replace(**second))) <= set(second)


@settings(max_examples=60)
@given(mapping, mapping, mapping, st.dictionaries(names, st.text(), max_size=4))
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", f"ignore::{UnknownVariableWarning.__module__}.UnknownVariableWarning"
)
def test_no_values_raise_anything_but_a_configuration_error(
    overrides: dict[str, Any], flags: dict[str, Any], arguments: dict[str, Any], variables: dict[str, str]
):
    environ = {f"PTYCHO_EXEC_{name.upper()}": value for name, value in variables.items()}
    for load in (
        lambda: PyTorchExecutionConfig.resolve(
            overrides=overrides, flags=flags, arguments=arguments, environ=environ
        ),
        lambda: PyTorchExecutionConfig.from_snapshot(arguments),
        lambda: PyTorchExecutionConfig.model_validate(arguments),
    ):
        with suppress(ConfigError):
            config = load()
            assert "\n" not in repr(config)
            json.dumps([origin.to_dict() for origin in config.sources.values()])


@settings(max_examples=150)
@given(
    st.text() | st.from_regex(r"(?:(?:seed|num_workers|\[execution\]|-|\{|\"|:|=| |\n|[0-9]){1,12}\n?){1,4}"),
    st.sampled_from(["toml", "yaml", "json"]),
)
def test_no_file_raises_anything_but_a_configuration_error(folder: Path, content: str, suffix: str):
    path = folder / f"any.{suffix}"
    path.write_text(content, encoding="utf-8", errors="surrogatepass", newline="")
    with suppress(ConfigError):
        PyTorchExecutionConfig.from_file(path).explain()


@given(some_values)
def test_execution_settings_never_enter_the_legacy_dictionary(values: dict[str, Any]):
    before = dict(ptycho.params.cfg)
    PyTorchExecutionConfig(**values).replace(seed=1).explain()
    assert ptycho.params.cfg == before
