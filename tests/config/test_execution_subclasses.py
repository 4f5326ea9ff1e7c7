"""What a subclass adds: sources, and checks of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import (
    Field,
    SecretStr,
    TypeAdapter,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
    YamlConfigSettingsSource,
)

from ptycho.config.config import PyTorchExecutionConfig
from ptycho.config.errors import ConfigError, Failure, UnknownVariableWarning
from tests.refusals import meant, message, refused, told

PREFIX = "PTYCHO_EXEC_"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "exec.toml"
    path.write_text("# how to run\nnum_workers = 5\nseed = 5\n")
    return path


# Sources --------------------------------------------------------------------------------------------------


class Registry(PydanticBaseSettingsSource):
    """What a cluster might say."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return {"num_workers": "6", "seed": "6", "precision": "bf16-mixed"}


class OnCluster(PyTorchExecutionConfig):
    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: Any, env_settings: Any, **others: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, Registry(settings_cls), env_settings


def test_a_source_of_a_subclass_stands_where_it_is_listed(monkeypatch: pytest.MonkeyPatch, file: Path):
    monkeypatch.setenv(f"{PREFIX}NUM_WORKERS", "4")
    monkeypatch.setenv(f"{PREFIX}ACCUM_STEPS", "4")
    config = OnCluster.resolve(arguments={"seed": 1}, file=file, cli_defaults={"num_workers": 7})
    assert (config.seed, config.num_workers, config.accum_steps) == (1, 6, 4)
    origin = config.sources["num_workers"]
    assert origin.kind == "Registry"
    assert [beaten.kind for beaten in origin.shadowed] == ["environment", "file", "cli-default"]
    assert config.replace(seed=2).sources["num_workers"] == origin


@pytest.mark.parametrize(
    "load", [OnCluster.from_snapshot, OnCluster.model_validate, TypeAdapter(OnCluster).validate_python]
)
def test_what_was_saved_is_loaded_without_asking_any_source(
    load: Callable[[Any], OnCluster], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(f"{PREFIX}ACCUM_STEPS", "4")
    saved = PyTorchExecutionConfig.model_validate({"learning_rate": 0.5})
    assert load({"learning_rate": 0.5}).to_dict() == saved.to_dict()


def test_a_source_of_a_subclass_sees_what_the_stronger_ones_said(monkeypatch: pytest.MonkeyPatch):
    class Copies(Registry):
        def __call__(self) -> dict[str, Any]:
            stronger = self.settings_sources_data["EnvSettingsSource"]
            return {"val_split_seed": self.current_state["seed"], "accum_steps": stronger["num_workers"]}

    class Copying(PyTorchExecutionConfig):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], init_settings: Any, env_settings: Any, **others: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, Copies(settings_cls)

    monkeypatch.setenv(f"{PREFIX}NUM_WORKERS", "4")
    monkeypatch.setenv(f"{PREFIX}SEED", "9")  # which the argument beats
    config = Copying(seed=7)
    assert (config.val_split_seed, config.accum_steps) == (7, 4)


def test_an_environment_that_a_subclass_leaves_out_is_not_read(monkeypatch: pytest.MonkeyPatch):
    class Deaf(PyTorchExecutionConfig):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], init_settings: Any, **others: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (init_settings,)

    monkeypatch.setenv(f"{PREFIX}NUM_WORKERS", "many")
    assert Deaf(seed=1).num_workers == 0


def test_a_secrets_folder_of_a_subclass_is_read(tmp_path: Path):
    (tmp_path / "ptycho_exec_seed").write_text("9\n")

    class WithSecrets(PyTorchExecutionConfig):
        model_config = SettingsConfigDict(secrets_dir=tmp_path)

    assert WithSecrets().sources["seed"].kind == "SecretsSettingsSource"
    assert WithSecrets().seed == 9


def test_a_secret_that_a_subclass_adds_is_never_shown():
    class WithToken(PyTorchExecutionConfig):
        token: SecretStr = SecretStr("")

    config = WithToken.resolve(arguments={"token": "swordfish"}, environ={f"{PREFIX}TOKEN": "hunter2"})
    assert config.token.get_secret_value() == "swordfish"
    shown = [repr(config), config.explain(), config._repr_html_(), str(config.sources), config.to_toml()]
    with pytest.raises(ConfigError) as caught:
        WithToken(token=["hunter2"])
    assert not [text for text in (*shown, str(caught.value)) if "hunter2" in text or "swordfish" in text]


class WithSecret(PyTorchExecutionConfig):
    token: SecretStr = SecretStr("")


def test_no_file_or_record_is_given_a_secret(tmp_path: Path):
    config = WithSecret(token="swordfish", seed=7)
    (tmp_path / "exec.toml").write_text(config.to_toml())
    for again in (
        WithSecret.from_snapshot(config.to_snapshot()),
        WithSecret.from_file(tmp_path / "exec.toml"),
        WithSecret.resolve(environ=config.to_env()),
    ):
        assert (again.seed, again.token.get_secret_value()) == (7, "")
    assert config.replace(seed=8).token.get_secret_value() == "swordfish"
    told = json.dumps({name: origin.to_dict() for name, origin in config.sources.items()})
    assert "swordfish" not in told


def test_what_stands_for_a_secret_is_not_read_as_one(tmp_path: Path):
    (tmp_path / "exec.yaml").write_text("token: '**********'\n")
    for read in (
        lambda: WithSecret.from_file(tmp_path / "exec.yaml"),
        lambda: WithSecret(token="**********"),
        lambda: WithSecret.from_snapshot({"token": "**********"}),
        lambda: WithSecret.resolve(environ={f"{PREFIX}TOKEN": "**********"}),
    ):
        assert [name for name, *_ in refused(read)] == ["token"]


def test_a_secret_that_is_refused_is_not_repeated(tmp_path: Path):
    class WithLongToken(PyTorchExecutionConfig):
        token: SecretStr = Field(SecretStr("x" * 20), min_length=20)

    path = tmp_path / "exec.toml"
    path.write_text('token = "hunter2"\n')
    sources = {"arguments": {"token": "hunter2"}, "environ": {f"{PREFIX}TOKEN": "hunter2"}, "file": path}
    text = message(lambda: WithLongToken.resolve(**sources))
    assert told(text) == [
        ("token", "argument"),
        ("token", f"environment variable {PREFIX}TOKEN"),
        ("token", f"{path}:1"),
    ]
    assert "hunter2" not in text


def with_dotenv(tmp_path: Path, text: str) -> Callable[..., PyTorchExecutionConfig]:
    path = tmp_path / "cluster.env"
    path.write_text(text)

    class WithDotenv(PyTorchExecutionConfig):
        model_config = SettingsConfigDict(env_file=path)

    return WithDotenv


def with_secrets(tmp_path: Path, **files: str) -> Callable[[], PyTorchExecutionConfig]:
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    class WithSecrets(PyTorchExecutionConfig):
        model_config = SettingsConfigDict(secrets_dir=tmp_path)

    return WithSecrets


def test_a_dotenv_file_of_a_subclass_is_read_as_the_environment_is(tmp_path: Path):
    text = f"{PREFIX}NUM_WORKERS=' 4 '\n{PREFIX}SEED='  '\n{PREFIX}ACCUM_STEPS\nTOKEN=hunter2\n"
    config = with_dotenv(tmp_path, text)()
    assert (config.num_workers, config.seed, config.accum_steps) == (4, 42, 1)
    origin = config.sources["num_workers"]
    assert (origin.kind, origin.raw) == ("DotEnvSettingsSource", " 4 ")
    assert origin.locator == f"{PREFIX}NUM_WORKERS in {tmp_path / 'cluster.env'}"
    assert config.sources["seed"].kind == "default"


def test_a_wrong_value_in_a_dotenv_file_is_refused_with_variable_and_file(tmp_path: Path):
    text = message(with_dotenv(tmp_path, f"{PREFIX}NUM_WORKERS=many\n"))
    place = f"DotEnvSettingsSource {PREFIX}NUM_WORKERS in {tmp_path / 'cluster.env'}"
    assert text.startswith("num_workers: ")
    assert text.endswith(f"got 'many' from {place}.")


def test_a_dotenv_file_that_is_no_text_is_refused_with_everything_else(tmp_path: Path):
    load = with_dotenv(tmp_path, "")
    (tmp_path / "cluster.env").write_bytes(b"PTYCHO_EXEC_SEED=\xff\n")
    text = message(lambda: load(num_workers=-1))
    assert told(text) == [("num_workers", "argument"), ("env_file",)]
    assert f" {tmp_path / 'cluster.env'};" in text


def test_an_encoding_that_there_is_not_is_refused(tmp_path: Path):
    class Odd(with_dotenv(tmp_path, "")):
        model_config = SettingsConfigDict(env_file_encoding="utf-9")

    text = message(Odd)
    assert told(text) == [("env_file",)]
    assert f" {tmp_path / 'cluster.env'};" in text
    assert "utf-9" in text


def test_a_blank_secret_counts_as_unset(tmp_path: Path):
    config = with_secrets(tmp_path, ptycho_exec_seed=" \n", PTYCHO_EXEC_NUM_WORKERS="3\n")()
    assert config.sources["seed"].kind == "default"
    assert config.sources["num_workers"].locator == (
        f"{PREFIX}NUM_WORKERS in {tmp_path / 'PTYCHO_EXEC_NUM_WORKERS'}"
    )


def test_a_link_that_leaves_the_secrets_folder_is_not_followed(tmp_path: Path):
    folder = tmp_path / "secrets"
    folder.mkdir()
    # pydantic-settings refuses such a link by itself where it has the current name of a knob
    links = {"ptycho_exec_seed": folder / "inside", "ptycho_exec_devices": tmp_path / "outside"}
    for name, target in links.items():
        target.write_text("9")
        (folder / name).symlink_to(target)
    config = with_secrets(folder)()
    assert (config.seed, config.n_devices) == (9, 1)


def test_an_old_name_in_the_files_of_a_subclass_says_the_new_one(tmp_path: Path):
    for load in (
        with_dotenv(tmp_path, f"{PREFIX}DEVICES=2\n"),
        with_secrets(tmp_path, PTYCHO_EXEC_DEVICES="2"),
    ):
        with pytest.warns(DeprecationWarning, match=rf"^{PREFIX}DEVICES\b.*\b{PREFIX}N_DEVICES\.$"):
            assert load().n_devices == 2


def test_a_misspelt_name_in_the_files_of_a_subclass_is_refused_with_the_near_one(tmp_path: Path):
    for load in (
        with_dotenv(tmp_path, f"{PREFIX}NUM_WORKR=2\n"),
        with_secrets(tmp_path, PTYCHO_EXEC_NUM_WORKR="2"),
    ):
        text = message(load)
        assert (told(text), meant(text)) == ([(f"{PREFIX}NUM_WORKR",)], [f"{PREFIX}NUM_WORKERS"])


def test_a_foreign_name_in_the_files_of_a_subclass_is_a_warning_without_its_value(tmp_path: Path):
    with pytest.warns(UnknownVariableWarning, match=f"^{PREFIX}TOKEN: no such setting") as caught:
        with_dotenv(tmp_path, f"{PREFIX}TOKEN=hunter2\n")()
    assert "hunter2" not in str(caught[0].message)


def test_a_source_of_a_subclass_that_gives_no_mapping_is_refused_by_name():
    class Lists(PyTorchExecutionConfig):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], init_settings: Any, **others: Any
        ) -> Any:
            def registry() -> Any:
                return [1]

            return init_settings, registry

    assert refused(Lists) == [("registry",)]


@pytest.mark.parametrize(
    "error",
    [
        OSError("the share is gone"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        SettingsError("the registry is empty"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_source_of_a_subclass_that_fails_is_refused_with_everything_else(error: Exception):
    class Failing(PyTorchExecutionConfig):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], init_settings: Any, **others: Any
        ) -> Any:
            def registry() -> dict[str, Any]:
                raise error

            return init_settings, registry

    text = message(lambda: Failing(num_workers=-1))
    assert told(text) == [("num_workers", "argument"), ("registry",)]
    assert f"{error}" in text


def test_the_near_name_of_a_variable_has_the_prefix_of_the_subclass(monkeypatch: pytest.MonkeyPatch):
    class Renamed(PyTorchExecutionConfig):
        model_config = SettingsConfigDict(env_prefix="beamline_")

    monkeypatch.setenv("BEAMLINE_NUM_WORKER", "3")
    text = message(Renamed)
    assert (told(text), meant(text)) == ([("BEAMLINE_NUM_WORKER",)], ["BEAMLINE_NUM_WORKERS"])


# Checks ---------------------------------------------------------------------------------------------------


def test_what_a_validator_of_a_subclass_refuses_is_worded():
    class EvenSeed(PyTorchExecutionConfig):
        @field_validator("seed")
        @classmethod
        def is_even(cls, seed: int) -> int:
            if seed % 2:
                raise ValueError("must be even")
            return seed

    text = message(lambda: EvenSeed(seed=3))
    assert told(text) == [("seed", "argument")]
    assert "must be even" in text


class Cautious(PyTorchExecutionConfig):
    @field_validator("num_workers")
    @classmethod
    def is_small(cls, count: int) -> int:
        if count > 4:
            raise ValueError(f"too many for {count}.")
        return count

    @field_validator("seed", mode="wrap")
    @classmethod
    def is_lucky(cls, seed: Any, rest: ValidatorFunctionWrapHandler) -> int:
        if rest(seed) == 13:
            raise PydanticCustomError("unlucky", "expected a lucky number")
        return seed

    @field_validator("accum_steps")
    @classmethod
    def goes_with_the_workers(cls, steps: int, info: ValidationInfo) -> int:
        if info.data["num_workers"] == 4 and steps > 1:
            raise ValueError("one at a time")
        return steps


def test_a_losing_value_that_a_validator_of_a_subclass_refuses_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"{PREFIX}NUM_WORKERS", "5")
    text = message(lambda: Cautious(num_workers=1))
    assert told(text) == [("num_workers", f"environment variable {PREFIX}NUM_WORKERS")]
    assert "too many for 5" in text


def test_what_a_validator_of_a_subclass_refuses_comes_with_everything_else(file: Path):
    text = message(lambda: Cautious.from_file(file, seed=13, accum_steps=0, middle_trim=-1))
    assert told(text) == [
        ("seed", "argument"),
        ("accum_steps", "argument"),
        ("middle_trim", "argument"),
        ("num_workers", f"{file}:2"),
    ]
    assert all(own in text for own in ("a lucky number", "too many for 5", "\n    num_workers = 5"))


def test_a_validator_that_asks_for_other_fields_is_asked_about_what_wins(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"{PREFIX}ACCUM_STEPS", "2")
    assert Cautious(accum_steps=1, num_workers=4).accum_steps == 1
    text = message(lambda: Cautious(num_workers=4))
    assert told(text) == [("accum_steps", f"environment variable {PREFIX}ACCUM_STEPS")]
    assert "one at a time" in text


class FromFile(PyTorchExecutionConfig):
    """Reads a file in the very call that lists the sources, as the sources of pydantic-settings do."""

    @classmethod
    def settings_customise_sources(cls, settings_cls: Any, **sources: Any) -> tuple[Any, ...]:
        reader = YamlConfigSettingsSource if cls.file.suffix == ".yaml" else TomlConfigSettingsSource
        return (sources["init_settings"], sources["env_settings"], reader(settings_cls, cls.file))

    file: ClassVar[Path]


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.toml", "seed = 1 2"), ("a.yaml", "seed: [1\ntoken: 'hunter2"), ("a.yaml", "seed: \x0b")],
)
def test_a_source_that_cannot_be_read_is_refused_with_everything_else(name: str, text: str, tmp_path: Path):
    class Wrong(FromFile):
        file = tmp_path / name

    Wrong.file.write_text("seed: 3" if name.endswith("yaml") else "seed = 3")
    assert Wrong().seed == 3
    Wrong.file.write_text(text)
    text = message(lambda: Wrong.resolve(arguments={"num_workers": -1}, environ={}))
    assert [name for name, *_ in told(text)] == ["num_workers", "Wrong.settings_customise_sources"]
    assert "hunter2" not in text


def test_what_a_source_says_is_wrong_stands_beside_everything_else():
    class Wrong(PyTorchExecutionConfig):
        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, **sources: Any) -> tuple[Any, ...]:
            def registry() -> dict[str, Any]:
                raise ConfigError([Failure("a", "a: wrong."), Failure("b", "b: wrong.")])

            return (*sources.values(), registry)

    wrong = refused(lambda: Wrong(num_workers=-1))
    assert wrong == [("num_workers", "argument"), ("a",), ("b",)]
