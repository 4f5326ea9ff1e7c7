"""The execution configuration against short oracles, for everything that can be written anywhere."""

import json
import math
import pickle
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

import ptycho.params
from ptycho.config.config import PyTorchExecutionConfig
from ptycho.config.errors import ConfigError
from ptycho.config.origins import PRECEDENCE, Layer
from ptycho.config.reconstructions import unread_by_reconstructions
from ptycho.config.resolve import merge, ranked
from ptycho_torch.cli.main import build_parser
from ptycho_torch.cli.options import CommandLine
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from tests.legacy_dictionary import legacy_dictionary_restored
from tests.properties.fields import KNOBS
from tests.properties.written import IN_FILES, KINDS, SOURCES, Case, Said, cases, examples, one, quoted
from tests.torch.factory_calls import save_model, save_scan

DEFAULTS = PyTorchExecutionConfig().to_dict()
HERE = tuple(source for source in SOURCES if source != "inferred")
PARSER = build_parser()

RIGHT_ABOVE_WRONG = Case(
    {
        "file": {"persistent_workers": Said("true", True, True)},
        "cli_defaults": {"persistent_workers": Said(None, None, False)},
    },
    "toml",
)
"""A value in force that needs what is absent, above a wrong one."""

GAVE_WAY = Case(
    {
        "flags": {"num_workers": Said("--num-workers=0", 0, True)},
        "recipe": {"prefetch_factor": Said("2", 2, True)},
    },
    "toml",
)
"""A recipe that needs what somebody stated otherwise."""

right = cases(KNOBS, HERE)
right_or_wrong = cases(KNOBS, HERE, mistakes=True)
all_values = st.fixed_dictionaries(
    {"num_workers": st.integers(1, 64)},  # so that what needs them is right
    optional={name: knob.valid for name, knob in KNOBS.items() if name != "num_workers"},
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def variable(name: str) -> str:
    return f"PTYCHO_EXEC_{name.upper()}"


def load(case: Case, folder: Path, *, table: bool = False, backwards: bool = False) -> PyTorchExecutionConfig:
    """Load a case as a user would: flags through the parser, the file from disk."""
    words = list((case.values("flags") or {}).values())
    path, _ = case.write(folder, dict.fromkeys(KNOBS, "execution") if table else {})
    given = {
        "overrides": case.values("overrides"),
        "flags": CommandLine.of(PARSER.parse_args(["train", *words])).flags if words else None,
        "arguments": case.values("arguments"),
        "environ": {variable(name): text for name, text in (case.values("environment") or {}).items()},
        "file": path,
        "recipe": case.write(folder, dict.fromkeys(KNOBS, "execution") if table else {}, "recipe")[0],
        "cli_defaults": case.values("cli_defaults"),
    }
    if backwards:
        given = {
            name: dict(reversed(said.items())) if isinstance(said, dict) else said
            for name, said in reversed(given.items())
        }
    return PyTorchExecutionConfig.resolve(**given)


def place(name: str, source: str, case: Case, folder: Path, tables: dict[str, str]) -> str:
    """How a message words where a value came from."""
    if source in IN_FILES:
        path, lines = case.write(folder, tables, source)
        return f"{'recipe ' if source == 'recipe' else ''}{path}:{lines[name]}"
    return {
        "overrides": "override",
        "flags": f"flag --{name.replace('_', '-')}",
        "arguments": "argument",
        "environment": f"environment variable {variable(name)}",
        "cli_defaults": "command-line default",
    }[source]


def without_workers(case: Case) -> list[str]:
    """The knobs of loading processes that are set where there are none."""

    def winner(name: str) -> Any:
        levels = case.levels(name)
        return DEFAULTS[name] if not levels or not levels[0][1].is_right else levels[0][1].value

    workers = case.levels("num_workers")
    if winner("num_workers") != 0 or (workers and not workers[0][1].is_right):
        return []
    idle = [name for name in ("persistent_workers", "prefetch_factor") if winner(name) != DEFAULTS[name]]
    return [name for name in idle if not gives_way(case, name)]


def gives_way(case: Case, name: str) -> bool:
    """Whether the recipe sets a knob of loading processes where somebody stated that there are none."""
    asks_for_none = case.is_stated("num_workers") and case.levels("num_workers")[0][1].value == 0
    says = case.is_of_recipe(name) and case.levels(name)[0][1].value != DEFAULTS[name]
    return name in ("persistent_workers", "prefetch_factor") and asks_for_none and says


def test_the_account_of_the_knobs_is_complete():
    assert list(KNOBS) == [*PyTorchExecutionConfig.__annotations__, *_additions()]


def _additions() -> list[str]:
    return [name for name in DEFAULTS if name not in PyTorchExecutionConfig.__annotations__]


@example(case=GAVE_WAY, table=True)
@given(right, st.booleans())
def test_the_strongest_source_that_speaks_wins(folder: Path, case: Case, table: bool):
    assume(not without_workers(case))
    config = load(case, folder, table=table)
    sources, plain = config.sources, config.to_dict()
    for name, default in DEFAULTS.items():
        said = [(KINDS[SOURCES.index(source)], given.value) for source, given in case.levels(name)]
        said = [("recipe", DEFAULTS[name])] * gives_way(case, name) + said
        (kind, value), *beaten = said or [("default", default)]
        origin = sources[name]
        assert (origin.kind, origin.value, plain[name], type(plain[name])) == (
            kind,
            value,
            value,
            type(value),
        )
        assert [(loser.kind, loser.value) for loser in origin.shadowed] == beaten


@example(case=one("arguments", "learning_rate", math.inf), table=False)
@example(case=one("environment", "learning_rate", "nan"), table=False)
@example(case=one("file", "gradient_clip_val", "inf"), table=True)
@example(case=one("overrides", "val_split", math.nan), table=False)
@example(case=one("arguments", "prefetch_factor", 2, 2, is_right=True), table=False)
@example(case=RIGHT_ABOVE_WRONG, table=False)
@example(case=RIGHT_ABOVE_WRONG, table=True)
@given(right_or_wrong, st.booleans())
def test_errors_name_every_culprit_and_never_another(folder: Path, case: Case, table: bool):
    mistakes, idle = case.mistakes(), without_workers(case)
    assume(mistakes or idle)
    with pytest.raises(ConfigError) as caught:
        load(case, folder, table=table)
    failures = list(caught.value.failures)
    assert sorted(failure.name for failure in failures) == sorted([*(name for name, _ in mistakes), *idle])
    tables = dict.fromkeys(KNOBS, "execution") if table else {}
    clashes = list(failures)
    for name, source in mistakes:
        at = f" from {place(name, source, case, folder, tables)}."
        blamed = [f for f in failures if f.message.startswith(f"{name}: expected ") and at in f.message]
        assert len(blamed) == 1
        clashes.remove(blamed[0])
        if source in IN_FILES:
            path, lines = case.write(folder, tables, source)
            assert path is not None
            assert quoted(blamed[0].message, path, lines[name])
    assert sorted(failure.name for failure in clashes) == sorted(idle)
    for failure in (clash for clash in clashes if case.levels(clash.name)[0][0] in IN_FILES):
        path, lines = case.write(folder, tables, case.levels(failure.name)[0][0])
        assert path is not None
        assert quoted(failure.message, path, lines[failure.name])


@given(right_or_wrong)
def test_the_order_in_which_sources_and_names_are_written_does_not_matter(folder: Path, case: Case):
    def outcome(backwards: bool) -> Any:
        try:
            return load(case, folder, backwards=backwards).sources
        except ConfigError as error:
            return sorted(error.failures)

    assert outcome(backwards=False) == outcome(backwards=True)


@given(
    st.dictionaries(
        st.sampled_from(PRECEDENCE), st.dictionaries(st.sampled_from("abc"), st.integers()), min_size=1
    ).flatmap(lambda said: st.permutations([Layer(kind, values) for kind, values in said.items()]))
)
def test_merging_does_not_depend_on_the_order_of_layers(layers: list[Layer]):
    merged = merge(ranked(layers))
    assert merged == merge(ranked(sorted(layers, key=lambda layer: layer.kind)))
    for name in "abc":
        spoken = {layer.kind: layer.values[name] for layer in layers if name in layer.values}
        strongest = next((kind for kind in PRECEDENCE if kind in spoken), None)
        assert (name in merged) == bool(spoken)
        assert not spoken or (merged[name].kind, merged[name].value) == (strongest, spoken[strongest])


@given(right)
def test_resolving_what_was_resolved_changes_nothing(folder: Path, case: Case):
    assume(not without_workers(case))
    config = load(case, folder)
    assert load(case, folder).sources == config.sources
    for again in (
        PyTorchExecutionConfig.from_snapshot(config.to_snapshot()),
        PyTorchExecutionConfig.model_validate(config),
        config.replace(**config.to_dict()),
        config.replace(),
    ):
        assert (again, hash(again), again.diff(config)) == (config, hash(config), {})


@given(all_values, all_values)
def test_overrides_are_laid_over_one_after_the_other(first: dict[str, Any], second: dict[str, Any]):
    config = PyTorchExecutionConfig(**first)
    changed = config.with_overrides(second)
    assert changed.to_dict() == DEFAULTS | first | second
    assert set(config.diff(changed)) <= set(second)
    sources = changed.sources
    for name in second:
        kinds = [origin.kind for origin in sources[name].shadowed]
        assert kinds == (["argument"] if name in first else [])
    assert changed.with_overrides(second) == changed


@examples(0.5)
@given(all_values)
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
    assert pickle.loads(pickle.dumps(config)).sources == config.sources


@examples(0.5)
@given(all_values)
def test_the_line_of_every_origin_sets_the_knob(folder: Path, values: dict[str, Any]):
    path = folder / "lines.toml"
    path.write_text("[execution]\n" + PyTorchExecutionConfig(**values).to_toml(), encoding="utf-8")
    lines = path.read_text(encoding="utf-8").split("\n")
    for name, origin in PyTorchExecutionConfig.from_file(path).sources.items():
        if origin.kind == "file":
            number = int(origin.locator.rpartition(":")[2])
            assert lines[number - 1].startswith(f"{name} = ")


@given(right_or_wrong)
def test_execution_settings_never_enter_the_legacy_dictionary(folder: Path, case: Case):
    before = dict(ptycho.params.cfg)
    try:
        config = load(case, folder)
        config.explain()
        PyTorchExecutionConfig.from_snapshot(config.replace(seed=1).to_snapshot())
    except ConfigError:
        pass
    assert ptycho.params.cfg == before


@pytest.fixture(scope="module")
def scan(folder: Path) -> Path:
    """All that resolving a configuration reads of a scan."""
    return save_scan(folder / "scan.npz")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """All that resolving a configuration reads of a model."""
    return save_model(folder / "model", N=64)


@examples(0.5)
@given(all_values, st.booleans())
def test_a_factory_that_fills_the_legacy_dictionary_puts_no_knob_into_it(
    folder: Path, scan: Path, model: Path, values: dict[str, Any], as_overrides: bool
):
    values |= {"middle_trim": values.get("middle_trim", 0) % 65, "scheduler": "Default"}
    config, knobs = (None, values) if as_overrides else (PyTorchExecutionConfig(**values), {})
    idle = unread_by_reconstructions(with_model=True)
    read = {name: value for name, value in knobs.items() if name not in idle}
    training, inference = (
        partial(create_training_payload, scan),
        partial(create_inference_payload, model, scan),
    )
    for fill, named in ((training, knobs), (inference, read)):
        with legacy_dictionary_restored() as legacy:
            fill(folder, {"n_groups": 4})
            without = dict(legacy)
            fill(folder, {"n_groups": 4, **named}, config)
            assert legacy == without
            assert legacy.keys().isdisjoint(KNOBS)
