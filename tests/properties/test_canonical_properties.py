"""The canonical fields, resolved as the factories resolve them, against short oracles."""

import dataclasses
import math
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.data import DataConfig
from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Layer
from ptycho.config.request import Answer, Request
from ptycho.config.section import section_of
from ptycho_torch.cli.main import build_parser
from ptycho_torch.cli.options import CommandLine
from tests.properties.fields import FIELDS, MODEL, TRAINING, paths, places
from tests.properties.written import IN_FILES, KINDS, SOURCES, Case, Said, cases, one, quoted

HERE = tuple(source for source in SOURCES if source != "environment")
HOMES = {ModelConfig: MODEL, TrainingConfig: TRAINING}
SECTION = dict.fromkeys(MODEL, "model") | dict.fromkeys(TRAINING, "training")
DEFAULTS = {field.name: field.default for cls in HOMES for field in dataclasses.fields(cls)}
PARSER = build_parser()
ints = st.integers(1, 9)


class AtCluster(PyTorchExecutionConfig):
    """Settings with a path."""

    scratch: Path | None = None


GAVE_WAY = Case(
    {
        "flags": {"nepochs": Said("--nepochs=2", 2, True), "gridsize": Said("--gridsize=4", 4, True)},
        "recipe": {"lr_warmup_epochs": Said("3", 3, True), "neighbor_count": Said("8", 8, True)},
    },
    "yaml",
)
"""A recipe that does not go with what somebody stated."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def resolve(case: Case, folder: Path) -> Answer:
    words = list((case.values("flags") or {}).values())
    path, _ = case.write(folder, SECTION)
    request = Request(
        [*HOMES, PyTorchExecutionConfig],
        overrides=case.values("overrides"),
        flags=CommandLine.of(PARSER.parse_args(["train", *words])).flags,
        file=path,
        recipe=case.write(folder, SECTION, "recipe")[0],
        cli_defaults=case.values("cli_defaults"),
    )
    for source, kind in (("arguments", "argument"), ("inferred", "inferred")):
        said = case.values(source) or {}
        for cls, fields in HOMES.items():
            values = {name: value for name, value in said.items() if name in fields}
            places = dict.fromkeys(values, "the data") if kind == "inferred" else {}
            request.add(cls, Layer(kind, values, places))
    return request.answer()


def clashes(case: Case) -> dict[str, tuple[str, Any]]:
    """The fields that another one contradicts, with that one and the nearest value that it does not contradict.

    A field whose value in force is wrong contradicts none.
    """
    winners = {name: levels[0][1] for name in FIELDS if (levels := case.levels(name))}
    wrong = {name for name, said in winners.items() if not said.is_right}
    given = {name: said.value for name, said in winners.items()}
    right = {name: value for name, value in (DEFAULTS | given).items() if name not in wrong}

    def known(*names: str) -> bool:
        return right.keys() >= set(names)

    found: dict[str, tuple[str, Any]] = {}
    if known("lr_warmup_epochs", "nepochs") and right["lr_warmup_epochs"] >= right["nepochs"]:
        found["lr_warmup_epochs"] = "nepochs", right["nepochs"] - 1
    if known("model_type", "torch_loss_mode", "nll_weight", "mae_weight"):
        by_patterns = (right["model_type"], right["torch_loss_mode"]) == ("pinn", "poisson")
        if by_patterns and right["nll_weight"] == right["mae_weight"] == 0:
            found["nll_weight"] = "", None
    if known("probe_trainable", "model_type", "architecture"):
        network = (right["model_type"], right["architecture"])
        if right["probe_trainable"] and network == ("supervised", "cnn"):
            found["probe_trainable"] = "architecture", False
    if known("n_subsample", "gridsize"):
        drawn, members = right["n_subsample"], right["gridsize"] ** 2
        if drawn is not None and drawn < members:
            found["n_subsample"] = "gridsize", members
    if known("neighbor_count", "gridsize", "neighbor_pool_size"):
        pool = "neighbor_count" if right["neighbor_pool_size"] is None else "neighbor_pool_size"
        if right[pool] + 1 < right["gridsize"] ** 2:
            found[pool] = "gridsize", right["gridsize"] ** 2 - 1
    if known("backend") and right["backend"] == "tensorflow":
        found["backend"] = "", None
    return found


def given_way(case: Case) -> dict[str, Any]:
    """The fields of which the recipe's value gives way to what was stated, and to which value."""
    return {
        name: nearest
        for name, (other, nearest) in clashes(case).items()
        if other and case.is_of_recipe(name) and case.is_stated(other)
    }


@example(GAVE_WAY)
@given(cases(FIELDS, HERE))
def test_the_strongest_source_that_speaks_wins(folder: Path, case: Case):
    changed = given_way(case)
    assume(clashes(case).keys() == changed.keys())
    answer = resolve(case, folder)
    sources = answer.sources
    for cls, fields in HOMES.items():
        config = answer[cls]
        for name in fields:
            said = [(KINDS[SOURCES.index(source)], given.value) for source, given in case.levels(name)]
            said = ([("recipe", changed[name])] if name in changed else []) + said
            (kind, value), *beaten = said or [("default", DEFAULTS[name])]
            origin = sources[f"{SECTION[name]}.{name}"]
            assert (origin.kind, origin.value, getattr(config, name)) == (kind, value, value)
            assert type(getattr(config, name)) is type(value)
            assert [(loser.kind, loser.value) for loser in origin.shadowed] == beaten


@example(one("arguments", "N", 16))
@example(one("overrides", "N", 40))
@example(one("file", "N", "33"))
@example(one("arguments", "probe_scale", math.inf))
@example(one("inferred", "nphotons", math.nan))
@example(one("flags", "nll_weight", "--nll-weight=inf"))
@given(cases(FIELDS, HERE, mistakes=True))
def test_errors_name_every_culprit_and_never_another(folder: Path, case: Case):
    mistakes = case.mistakes()
    clashing = [f"training.{name}" for name in clashes(case).keys() - given_way(case).keys()]
    assume(mistakes or clashing)
    with pytest.raises(ConfigError) as caught:
        resolve(case, folder)
    written = {source: case.write(folder, SECTION, source) for source in IN_FILES}
    expected = {
        "overrides": "override",
        "flags": "flag --{flag}",
        "arguments": "argument",
        "inferred": "the data",
        "file": "{path}:{line}",
        "recipe": "recipe {path}:{line}",
        "cli_defaults": "command-line default",
    }
    blamed = [failure.message for failure in caught.value.failures]
    assert len(blamed) == len(mistakes) + len(clashing)
    assert all(sum(message.startswith(f"{name}: ") for message in blamed) >= 1 for name in clashing)
    for name, source in mistakes:
        path, lines = written.get(source, (None, {}))
        at = expected[source].format(flag=name.replace("_", "-"), path=path, line=lines.get(name))
        full = f"{SECTION[name]}.{name}: expected "
        (said,) = [message for message in blamed if message.startswith(full) and f" from {at}." in message]
        assert path is None or quoted(said, path, lines[name])


def some(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Values for any of these fields."""
    return st.fixed_dictionaries({}, optional=values)


@given(
    some(**{name: field.valid for name, field in MODEL.items()}),
    some(**{name: field.valid for name, field in TRAINING.items()}),
    some(**dict.fromkeys(section_of(TrainingConfig).paths, paths)),
    some(**dict.fromkeys(("patterns", "positions", "probe", "mask"), places), mask_file=paths),
)
def test_what_is_written_reads_back_equal(
    folder: Path, model: dict[str, Any], values: dict[str, Any], files: dict[str, Path], data: dict[str, Any]
):
    config = TrainingConfig(ModelConfig(**model), **values, **files, data=DataConfig(**data))
    for name, text in (("run.toml", config.to_toml()), ("run.yaml", config.to_yaml())):
        (folder / name).write_text(text, encoding="utf-8")
        found = TrainingConfig.from_file(folder / name)
        # a relative path in a file is one in its folder, so that none is written
        meant = config.replace(**{name: path.absolute() for name, path in files.items()})
        if "output_dir" not in files or files["output_dir"] == DEFAULTS["output_dir"]:
            meant.output_dir = DEFAULTS["output_dir"]
        if config.data.mask_file is not None:
            meant.data.mask_file = config.data.mask_file.absolute()
        assert found == meant
    assert config.replace() == dataclasses.replace(config) == config


@given(st.none() | paths)
def test_a_path_reads_back_equal_from_files_and_variables(folder: Path, path: Path | None):
    config = AtCluster(scratch=path)
    assert AtCluster.resolve(environ=config.to_env()) == config
    whole = config.replace(scratch=path and path.absolute())
    for name, text in (("exec.toml", config.to_toml()), ("exec.yaml", config.to_yaml())):
        (folder / name).write_text(text, encoding="utf-8")
        assert AtCluster.resolve(file=folder / name, environ={}) == whole


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["replace", "assign"]), st.sampled_from(["nepochs", "batch_size", "seed"]), ints
        ),
        max_size=12,
    )
)
def test_the_last_change_wins_and_changes_do_not_add_up(changes: list[tuple[str, str, int]]):
    config, knobs = TrainingConfig(nepochs=1), PyTorchExecutionConfig(seed=1)
    said: dict[str, tuple[str, int]] = {"nepochs": ("argument", 1), "seed": ("argument", 1)}
    for way, name, value in changes:
        if name == "seed":
            knobs = knobs.replace(seed=value) if way == "replace" else knobs.with_overrides({"seed": value})
        elif way == "replace":
            config = config.replace(**{name: value})
        else:
            setattr(config, name, value)
        said[name] = "override" if name == "seed" or way == "replace" else "assignment", value
    sources = {**config.sources, **knobs.sources}
    assert {name: (sources[name].kind, sources[name].value) for name in said} == said
    assert config.replace() == pickle.loads(pickle.dumps(config)) == config
    assert all(len(sources[name].shadowed) <= 2 for name in said)
