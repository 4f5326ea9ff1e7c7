"""The names and types of the fields that a subclass adds."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, Json, TypeAdapter, computed_field
from pydantic.alias_generators import to_camel
from pydantic_settings import SettingsConfigDict, TomlConfigSettingsSource

from ptycho.config.config import PyTorchExecutionConfig, TrainingConfig
from tests.refusals import message, refused, told

PREFIX = "PTYCHO_EXEC_"


@pytest.mark.parametrize(
    "alias",
    [
        {"alias": "at"},
        {"validation_alias": "BEAMLINE_SHUTTER"},
        {"validation_alias": AliasChoices("amplification", "BEAMLINE_GAIN")},
        {"validation_alias": AliasPath("ports", 0)},
        {"serialization_alias": "at"},
    ],
    ids=str,
)
def test_an_alias_of_a_field_is_refused_at_class_creation(alias: Any):
    def create() -> None:
        class WithAlias(PyTorchExecutionConfig):
            depth: int = Field(1, **alias)

    assert message(create).startswith("WithAlias.depth: an alias ")


def test_an_alias_generator_is_refused_at_class_creation():
    def create() -> None:
        class Camel(PyTorchExecutionConfig):
            model_config = SettingsConfigDict(alias_generator=to_camel)

    assert message(create).startswith("Camel: model_config sets alias_generator,")


def test_an_old_name_of_a_subclass_is_read_from_every_source(tmp_path: Path):
    class Renamed(PyTorchExecutionConfig):
        old_names: ClassVar = {**PyTorchExecutionConfig.old_names, "at": "depth"}
        depth: int = 1

    path = tmp_path / "exec.toml"
    path.write_text("at = 7\n")
    with pytest.warns(DeprecationWarning, match="use "):
        configs = [
            Renamed(at=7),
            Renamed.from_file(path),
            Renamed.model_validate({"at": 7}),
            TypeAdapter(Renamed).validate_python({"at": 7}),
            Renamed.resolve(overrides={"at": 7}, environ={}),
            Renamed.resolve(environ={f"{PREFIX}AT": "7"}),
        ]
    assert all(config.depth == 7 for config in configs)


class WithLists(PyTorchExecutionConfig):
    beams: list[int] = Field([])
    words: dict[str, str | None] = Field({})
    texts: list[str] = Field([])


def test_a_field_with_capitals_is_read_from_its_variable():
    class Queue(PyTorchExecutionConfig):
        Hours: int = 1

    assert Queue.resolve(environ={f"{PREFIX}HOURS": "3"}).Hours == 3
    assert Queue.resolve(environ=Queue(Hours=4).to_env()).Hours == 4


def test_a_list_of_a_subclass_is_json_where_it_is_text():
    environ = {f"{PREFIX}BEAMS": " [1, 2] ", f"{PREFIX}WORDS": '{"a": null}'}
    config = WithLists.resolve(environ=environ)
    assert (config.beams, config.words) == ([1, 2], {"a": None})
    for text in ("[1,", "1, 2", '["x"]', "{}"):
        said = message(lambda text=text: WithLists.resolve(environ={f"{PREFIX}BEAMS": text}))
        assert told(said) == [("beams", f"environment variable {PREFIX}BEAMS")]
        assert "list[int]" in said
        assert text not in said


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

    wrong = refused(lambda: WithNeeded(beam={"energy": 3.0}, num_workers=-1))
    assert wrong == [("num_workers", "argument")]


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


def test_a_default_that_asks_for_other_fields_is_refused():
    def create() -> None:
        class Follows(PyTorchExecutionConfig):
            next_seed: int = Field(default_factory=lambda values: values["seed"] + 1)

    assert message(create).startswith("Follows.next_seed: a default factory ")


@pytest.mark.parametrize("text", ["\x85", "\u2028", "\U0001f52c"])
def test_any_text_in_a_list_reads_back_equal(text: str, tmp_path: Path):
    config = WithLists(texts=[text], words={text: text})
    for suffix, written in {"toml": config.to_toml(), "yaml": config.to_yaml()}.items():
        (tmp_path / f"exec.{suffix}").write_text(written)
        assert WithLists.from_file(tmp_path / f"exec.{suffix}") == config
    assert WithLists.resolve(environ=config.to_env()) == config


def test_text_that_is_no_unicode_is_refused_as_other_text_is():
    wrong = refused(lambda: WithLists.resolve(environ={f"{PREFIX}BEAMS": "[\udc80"}))
    assert wrong == [("beams", f"environment variable {PREFIX}BEAMS")]


def test_an_option_that_says_what_holds_anyway_is_taken():
    class Plain(PyTorchExecutionConfig):
        model_config = SettingsConfigDict(**{**PyTorchExecutionConfig.model_config, "case_sensitive": False})

    class Same(Plain):
        model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True, extra="forbid")

    assert Same(num_workers=3).num_workers == 3


@pytest.mark.parametrize("prefix", [None, 3])
def test_a_prefix_that_is_no_text_is_refused_at_class_creation(prefix: Any):
    def create() -> None:
        class Silent(PyTorchExecutionConfig):
            model_config = SettingsConfigDict(env_prefix=prefix)

    assert message(create).startswith("Silent: expected text for env_prefix in model_config; got ")


def test_without_a_prefix_only_the_names_of_settings_are_read(recwarn: pytest.WarningsRecorder):
    class Bare(PyTorchExecutionConfig):
        model_config = SettingsConfigDict(env_prefix="")

    shell = {"OMP_NUM_THREADS": "2", "PATH": "/bin", "NEPOCHS": "3", "NUM_WORKERS": "4"}
    assert Bare.resolve(environ=shell, strict=True).num_workers == 4
    assert not recwarn.list


@pytest.mark.parametrize("names", [{"workers": "num_worker"}, {"seed": "num_workers"}])
def test_an_old_name_that_cannot_be_is_refused_at_class_creation(names: dict[str, str]):
    def execution() -> None:
        class Mine(PyTorchExecutionConfig):
            old_names: ClassVar[dict[str, str]] = names

    def training() -> None:
        class Mine(TrainingConfig, renamed={old: f"{name}s" for old, name in names.items()}):
            pass

    for create in (execution, training):
        assert message(create).startswith(f"Mine: {next(iter(names))}: expected ")


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
        {"env_file_encoding": "utf-8"},
        {"env_ignore_empty": False},
        {"env_parse_none_str": "nil"},
        {"env_prefix_target": "all"},
        {"extra": "allow"},
        {"nested_model_default_partial_update": True},
        {"cli_prog_name": "mine"},
        {"cli_kebab_case": True},
        {"env_nested_max_split": 1},
        {"env_parse_enums": True},
        {"frozen": False},
        {"frozen": None},
        {"case_sensitve": False},
        {"from_attributes": True},
        {"hide_input_in_errors": False},
        {"json_file": "a.json"},
        {"secrets_prefix": "mine"},
        {"str_max_length": 3},
        {"toml_file": "a.toml"},
        {"validate_assignment": True},
        {"validate_by_name": True},
        {"validate_by_name": False},
        {"validate_by_alias": False},
        {"populate_by_name": False},
        {"serialize_by_alias": True},
        {"loc_by_alias": False},
        {"str_strip_whitespace": False},
        {"dotenv_filtering": "match_prefix", "env_file": "cluster.env"},
        {"yaml_file": "a.yaml"},
    ],
    ids=lambda option: next(iter(option)),
)
def test_an_option_that_has_no_effect_is_refused(option: Any) -> None:
    def create() -> None:
        class Hopeful(PyTorchExecutionConfig):
            model_config = SettingsConfigDict(**option)

    assert message(create).startswith(f"Hopeful: model_config sets {next(iter(option))},")


def test_another_table_is_refused():
    def create() -> None:
        class Mine(PyTorchExecutionConfig):
            table: ClassVar = "mine"

    assert message(create).startswith("Mine: table is 'mine'; ")


def test_a_field_without_a_default_is_missed_beside_everything_else():
    class AtSite(PyTorchExecutionConfig):
        site: str

    assert refused(lambda: AtSite(num_workers=-1)) == [("num_workers", "argument"), ("site",)]
    assert message(AtSite) == "site: expected text; got none. Set it."
    assert AtSite(site="P06").replace(seed=1).site == "P06"


def test_the_length_of_a_text_is_told():
    class Named(PyTorchExecutionConfig):
        name: str = Field("abc", min_length=2, max_length=3)

    assert message(lambda: Named(name="abcd")).startswith(
        "name: expected text of length >= 2 and of length <= 3; got 'abcd'"
    )


def test_an_option_of_a_source_that_the_class_names_is_taken(tmp_path: Path):
    (tmp_path / "site.toml").write_text("num_workers = 3\n")

    class Site(PyTorchExecutionConfig):
        model_config = SettingsConfigDict(toml_file=tmp_path / "site.toml")

        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, **sources: Any) -> tuple[Any, ...]:
            return (*sources.values(), TomlConfigSettingsSource(settings_cls))

    assert Site().num_workers == 3
