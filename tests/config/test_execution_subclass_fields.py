"""The names and types of the fields that a subclass adds."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, Json, TypeAdapter, computed_field
from pydantic.alias_generators import to_camel
from pydantic_settings import SettingsConfigDict

from ptycho.config.config import PyTorchExecutionConfig
from tests.refusals import message

PREFIX = "PTYCHO_EXEC_"


class WithAliases(PyTorchExecutionConfig):
    depth: int = Field(1, alias="at")
    shutter: int = Field(2, validation_alias="BEAMLINE_SHUTTER")
    gain: int = Field(3, validation_alias=AliasChoices("amplification", "BEAMLINE_GAIN"))


NAMES = [
    (name, field)
    for field, names in {
        "depth": ("depth", "at"),
        "shutter": ("shutter", "BEAMLINE_SHUTTER"),
        "gain": ("gain", "amplification", "BEAMLINE_GAIN"),
    }.items()
    for name in names
]


@pytest.mark.parametrize(("name", "field"), NAMES)
def test_an_alias_of_a_subclass_is_as_good_as_the_name_of_its_field(name: str, field: str, tmp_path: Path):
    path = tmp_path / "exec.toml"
    path.write_text(f"{name} = 7\n")
    configs = [
        WithAliases(**{name: 7}),
        WithAliases.from_file(path),
        WithAliases.model_validate({name: 7}),
        WithAliases.model_validate_json(f'{{"{name}": 7}}'),
        TypeAdapter(WithAliases).validate_python({name: 7}),
        WithAliases.resolve(overrides={name: 7}, environ={}),
        WithAliases.resolve(environ={f"{PREFIX}{name.upper()}": "7"}),
        WithAliases().replace(**{name: 7}),
    ]
    assert all(getattr(config, field) == 7 for config in configs)
    assert all(config == configs[0] for config in configs)


@pytest.mark.parametrize(("name", "field"), NAMES)
def test_a_wrong_value_under_an_alias_is_refused_with_the_alias(name: str, field: str):
    by_name = "" if name == field else f" {name}"
    assert message(lambda: WithAliases(**{name: "x"})) == (
        f"{field}: expected an integer; got 'x' from argument{by_name}."
    )


def test_only_a_validation_alias_names_a_variable_whole():
    environ = {"BEAMLINE_SHUTTER": "5", "beamline_gain": "6", "AT": "7", "DEPTH": "8"}
    config = WithAliases.resolve(environ=environ)
    assert (config.shutter, config.gain, config.depth) == (5, 6, 1)
    assert config.sources["gain"].locator == "beamline_gain"


def test_a_name_and_its_alias_in_one_source_are_refused():
    assert message(lambda: WithAliases(at=1, depth=1)) == (
        "depth: given twice, as at and as depth. Keep one of them."
    )


def test_what_a_subclass_with_aliases_writes_reads_back_equal(tmp_path: Path):
    config = WithAliases(at=5, BEAMLINE_GAIN=6)
    assert WithAliases.from_snapshot(config.to_snapshot()) == config
    assert WithAliases.model_validate(config.model_dump(by_alias=True)) == config
    assert WithAliases.resolve(environ=config.to_env()) == config


def test_an_alias_in_the_files_of_a_subclass_is_read(tmp_path: Path):
    (tmp_path / "cluster.env").write_text(f"{PREFIX}AT=4\n")
    (tmp_path / "beamline_shutter").write_text("5\n")

    class OfFiles(WithAliases):
        model_config = SettingsConfigDict(env_file=tmp_path / "cluster.env", secrets_dir=tmp_path)

    config = OfFiles()
    assert (config.depth, config.shutter) == (4, 5)
    assert config.sources["depth"].locator == f"{PREFIX}AT in {tmp_path / 'cluster.env'}"


def test_an_alias_generator_gives_names_that_keep_the_prefix():
    class Camel(PyTorchExecutionConfig):
        model_config = SettingsConfigDict(alias_generator=to_camel)

    assert Camel(numWorkers=3) == Camel(num_workers=3)
    environ = {f"{PREFIX}NUMWORKERS": "3", "NUMWORKERS": "many"}
    assert Camel.resolve(environ=environ).num_workers == 3


@pytest.mark.parametrize(
    ("alias", "owner"),
    [("num_workers", "num_workers"), ("lr", "learning_rate"), ("Seed", "seed"), ("z", "first")],
)
def test_an_alias_that_is_a_name_of_another_field_is_refused(alias: str, owner: str):
    class Taken(PyTorchExecutionConfig):
        first: int = Field(1, alias="z")
        second: int = Field(1, alias=alias)

    expected = f"Taken.second: the alias {alias} is a name of {owner}. Choose another."
    assert message(lambda: Taken.resolve(environ={f"{PREFIX}NUM_WORKERS": "3"})) == expected


def test_a_whole_variable_of_another_field_is_refused():
    class Taken(PyTorchExecutionConfig):
        second: int = Field(1, validation_alias=f"{PREFIX}SEED")

    assert message(Taken) == f"Taken.second: the alias {PREFIX}SEED is a name of seed. Choose another."


class WithLists(PyTorchExecutionConfig):
    beams: list[int] = Field([])
    words: dict[str, str | None] = Field({})
    texts: list[str] = Field([])


def test_a_list_of_a_subclass_is_json_where_it_is_text():
    environ = {f"{PREFIX}BEAMS": " [1, 2] ", f"{PREFIX}WORDS": '{"a": null}'}
    config = WithLists.resolve(environ=environ)
    assert (config.beams, config.words) == ([1, 2], {"a": None})
    variable = f"another value from environment variable {PREFIX}BEAMS"
    for text in ("[1,", "1, 2", '["x"]', "{}"):
        assert message(lambda text=text: WithLists.resolve(environ={f"{PREFIX}BEAMS": text})) == (
            f"beams: expected a value of type list[int], in text as JSON; got {variable}."
        )


def test_lists_of_a_subclass_read_back_equal_from_every_format(tmp_path: Path):
    config = WithLists(beams=[1], words={"a": 'b "c" #', "d": None}, texts=["none", "", "1"])
    files = {"toml": config.to_toml(), "yaml": config.to_yaml(), "json": json.dumps(config.to_dict())}
    for suffix, text in files.items():
        path = tmp_path / f"exec.{suffix}"
        path.write_text(text)
        assert WithLists.from_file(path) == config
    assert WithLists.resolve(environ=config.to_env()) == config


class WithTexts(PyTorchExecutionConfig):
    json_text: Json[list[int]] = Field([], validate_default=False)
    either: list[int] | str = Field("")


def test_text_that_a_field_takes_as_it_is_stays_text(tmp_path: Path):
    environ = {f"{PREFIX}JSON_TEXT": "[1, 2]", f"{PREFIX}EITHER": "[3]"}
    config = WithTexts.resolve(environ=environ)
    assert (config.json_text, config.either) == ([1, 2], "[3]")
    path = tmp_path / "exec.toml"
    path.write_text(config.replace(json_text="[]").to_toml().replace("json_text", "#"))
    assert WithTexts.from_file(path).either == "[3]"


class Beam(BaseModel):
    energy: float = Field(1.0, alias="keV")


class WithModel(PyTorchExecutionConfig):
    beam: Beam = Beam()


def test_a_model_with_aliases_reads_back_equal_from_every_format(tmp_path: Path):
    config = WithModel(beam=Beam(keV=3.0))
    files = {"toml": config.to_toml(), "yaml": config.to_yaml(), "json": json.dumps(config.to_dict())}
    for suffix, text in files.items():
        path = tmp_path / f"exec.{suffix}"
        path.write_text(text)
        assert WithModel.from_file(path) == config
    assert WithModel.from_snapshot(config.to_snapshot()) == config
    assert WithModel.resolve(environ=config.to_env(), arguments={"seed": 42}) == config
    assert WithModel.resolve(environ=config.to_env(), overrides={"beam": {"keV": 3.0}}) == config


def test_a_model_by_the_names_of_its_fields_is_not_among_what_is_wrong():
    class Needed(BaseModel):
        energy: float = Field(alias="keV")

    class WithNeeded(PyTorchExecutionConfig):
        beam: Needed | None = None

    assert message(lambda: WithNeeded(beam={"energy": 3.0}, num_workers=-1)) == (
        "num_workers: expected an integer >= 0; got -1 from argument."
    )


def test_a_class_that_takes_aliases_alone_reads_back_what_it_writes():
    class ByAlias(PyTorchExecutionConfig):
        model_config = SettingsConfigDict(validate_by_name=False, validate_by_alias=True)
        depth: int = Field(1, alias="at")

    config = ByAlias(at=5)
    assert ByAlias.from_snapshot(config.to_snapshot()) == config.replace(seed=42)


class WithMore(PyTorchExecutionConfig):
    hidden: int = Field(3, exclude=True)

    @computed_field
    @property
    def doubled(self) -> int:
        return 2 * self.seed


def test_what_is_written_has_the_fields_that_are_not_excluded_and_no_computed_ones(tmp_path: Path):
    config = WithMore(seed=7)
    assert "hidden" not in config.to_dict()
    assert "doubled" not in config.to_dict()
    assert WithMore.from_snapshot(config.to_snapshot()) == config
    for suffix, text in {"toml": config.to_toml(), "yaml": config.to_yaml()}.items():
        (tmp_path / f"exec.{suffix}").write_text(text)
        assert WithMore.from_file(tmp_path / f"exec.{suffix}") == config
        assert "hidden" not in text
    assert "hidden" in config.explain()
    assert config.diff(WithMore(seed=7, hidden=4)) == {"hidden": (3, 4)}


def test_an_alias_that_is_a_path_is_refused():
    class Path(PyTorchExecutionConfig):
        port: int = Field(1, validation_alias=AliasChoices("door", AliasPath("ports", 0)))

    assert message(Path) == "Path.port: an AliasPath has no effect here. Name the field, or give it an alias."


def test_a_default_that_asks_for_other_fields_is_refused():
    class Follows(PyTorchExecutionConfig):
        next_seed: int = Field(default_factory=lambda values: values["seed"] + 1)

    assert message(Follows) == (
        "Follows.next_seed: a default factory that takes the other fields has no part here. Give a default, or "
        "compute the value in a property."
    )


@pytest.mark.parametrize("text", ["\x85", "\u2028", "\U0001f52c"])
def test_any_text_in_a_list_reads_back_equal(text: str, tmp_path: Path):
    config = WithLists(texts=[text], words={text: text})
    for suffix, written in {"toml": config.to_toml(), "yaml": config.to_yaml()}.items():
        (tmp_path / f"exec.{suffix}").write_text(written)
        assert WithLists.from_file(tmp_path / f"exec.{suffix}") == config
    assert WithLists.resolve(environ=config.to_env()) == config


def test_text_that_is_no_unicode_is_refused_as_other_text_is():
    assert message(lambda: WithLists.resolve(environ={f"{PREFIX}BEAMS": "[\udc80"})).startswith(
        "beams: expected"
    )


@pytest.mark.parametrize("option", ["cli_parse_args", "env_nested_delimiter", "env_parse_none_str"])
def test_an_option_that_is_off_is_taken(option: str):
    class Plain(PyTorchExecutionConfig):
        model_config = SettingsConfigDict(**{option: False if option == "cli_parse_args" else ""})

    assert Plain() == Plain(num_workers=0)


@pytest.mark.parametrize(
    "option",
    [
        {"case_sensitive": True},
        {"cli_parse_args": True},
        {"enable_decoding": False},
        {"env_nested_delimiter": "__"},
        {"env_parse_none_str": "nil"},
        {"env_prefix_target": "all"},
        {"nested_model_default_partial_update": True},
    ],
    ids=lambda option: next(iter(option)),
)
def test_an_option_that_has_no_effect_is_refused(option: Any):
    class Hopeful(PyTorchExecutionConfig):
        model_config = SettingsConfigDict(**option)

    assert message(Hopeful) == (
        f"Hopeful: model_config sets {next(iter(option))}, which has no effect here. Drop it."
    )
