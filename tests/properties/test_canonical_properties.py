"""The canonical fields, resolved as the factories resolve them, against short oracles."""

import dataclasses
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Layer
from ptycho.config.request import Answer, Request
from ptycho_torch.cli.main import build_parser
from ptycho_torch.cli.options import CommandLine
from tests.properties.fields import FIELDS, MODEL, TRAINING
from tests.properties.written import IN_FILES, KINDS, SOURCES, Case, Said, cases, one, quoted

HERE = tuple(source for source in SOURCES if source != "environment")
HOMES = {ModelConfig: MODEL, TrainingConfig: TRAINING}
SECTION = dict.fromkeys(MODEL, "model") | dict.fromkeys(TRAINING, "training")
DEFAULTS = {field.name: field.default for cls in HOMES for field in dataclasses.fields(cls)}
PARSER = build_parser()

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


@given(st.fixed_dictionaries({}, optional={name: field.valid for name, field in FIELDS.items()}))
def test_a_run_file_reads_back_equal(folder: Path, values: dict[str, Any]):
    model = ModelConfig(**{name: value for name, value in values.items() if name in MODEL})
    config = TrainingConfig(model, **{name: value for name, value in values.items() if name in TRAINING})
    tables = {"training": dataclasses.asdict(config)}
    tables |= {held: tables["training"].pop(held) for held in ("model", "data")}
    path = folder / "run.json"
    path.write_text(json.dumps(tables, default=str), encoding="utf-8")
    # a path in a file is relative to the folder of that file
    assert TrainingConfig.from_file(path) == dataclasses.replace(
        config, output_dir=folder / config.output_dir
    )
    assert dataclasses.replace(config) == config


@given(cases(FIELDS, ("overrides",), mistakes=True))
def test_a_refused_assignment_changes_nothing(case: Case):
    configs = {name: cls() for cls, fields in HOMES.items() for name in fields}
    for name, said in case.said["overrides"].items():
        before = getattr(configs[name], name)
        if said.is_right:
            setattr(configs[name], name, said.written)
            assert getattr(configs[name], name) == said.value
        else:
            with pytest.raises(ConfigError, match=f"^{SECTION[name]}.{name}: expected "):
                setattr(configs[name], name, said.written)
            assert getattr(configs[name], name) == before
