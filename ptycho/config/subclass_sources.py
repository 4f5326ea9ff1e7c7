"""The sources that a class derived from PyTorchExecutionConfig adds, and the options that it may not set."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from ptycho.config.errors import ConfigError, Failure, printable, show
from ptycho.config.origins import PRECEDENCE, Layer
from ptycho.config.section import Section
from ptycho.config.sources import TEXT, Environment, as_mapping, read_environment, read_values


def adds_sources(cls: type[BaseSettings]) -> bool:
    """Tell whether a subclass adds sources: by `settings_customise_sources`, a dotenv file or a secrets folder."""
    return _has_hook(cls) or any(cls.model_config.get(key) for key in ("env_file", "secrets_dir"))


def _has_hook(cls: type[BaseSettings]) -> bool:
    """Tell whether a subclass has a `settings_customise_sources` of its own."""
    hook: Any = cls.settings_customise_sources
    plain: Any = BaseSettings.settings_customise_sources
    return hook.__func__ is not plain.__func__


def refuse_without_effect(cls: type[BaseSettings]) -> None:
    """Refuse options of pydantic that have no part in settings which are resolved here.

    Raises:
        ConfigError: The class, or one of its fields, has any.
    """
    if failures := [*_options_without_effect(cls)] or [*_fields_without_effect(cls)]:
        raise ConfigError(failures)


def _options_without_effect(cls: type[BaseSettings]) -> Iterator[Failure]:
    """Refuse options that change nothing, but for those that are as in the class above."""
    config = cast(Mapping[str, Any], cls.model_config)
    above = cast(Mapping[str, Any], cast(Any, super(cls, cls)).model_config)
    idle = (f"{source}_" for source in ("env_file", "secrets_dir") if not config.get(source))
    of_sources = () if _has_hook(cls) else (*_OF_OTHER_SOURCES, *idle)
    stated = [name for name, value in config.items() if not _is_as_above(name, value, above)]
    if refused := sorted(
        name for name in stated if name.startswith((*_WITHOUT_EFFECT, *of_sources)) or name not in _OPTIONS
    ):
        words = f"model_config sets {', '.join(refused)}, which has no effect here. Drop it."
        yield Failure.of(cls.__name__, words)
    if not isinstance(prefix := config.get("env_prefix"), str):
        words = f"expected text for env_prefix in model_config; got {show(prefix)}. Drop it, or write text."
        yield Failure.of(cls.__name__, words)


def _is_as_above(name: str, value: object, above: Mapping[str, object]) -> bool:
    """Whether an option says nothing, or what the class above says; the words for off are one."""
    return (value or None) == (above[name] or None) if name in above else value is None


def _fields_without_effect(cls: type[BaseSettings]) -> Iterator[Failure]:
    """Refuse another table, other names of fields, and fields that follow from others: each is resolved by itself."""
    own, above = cast(Any, cls), cast(Any, super(cls, cls))
    if own.table != above.table:
        words = f"table is {show(own.table)}; run files have these settings in [{above.table}]. Drop it."
        yield Failure.of(cls.__name__, words)
    for name, field in cls.model_fields.items():
        place = f"{cls.__name__}.{name}"
        if field.default_factory_takes_validated_data:
            rule = "a default factory that takes the other fields is not supported"
            way_out = "Give a default, or compute the value in a property."
            yield Failure(name, f"{place}: {rule}. {way_out}")
        if field.alias or field.validation_alias or field.serialization_alias:
            way_out = "Name the field as it is written, or list the other name in old_names."
            yield Failure(name, f"{place}: an alias has no effect here. {way_out}")


_WITHOUT_EFFECT: Final = (
    "alias_generator",
    "case_sensitive",
    "cli_parse_args",
    "dotenv_filtering",
    "enable_decoding",
    "env_ignore_empty",
    "env_nested",
    "env_parse",
    "env_prefix_target",
    "extra",
    "from_attributes",
    "frozen",
    "hide_input_in_errors",
    "loc_by_alias",
    "nested_model_default_partial_update",
    "populate_by_name",
    "serialize_by_alias",
    "str_",
    "validate_assignment",
    "validate_by_",
)
"""How options begin that are for what is decided here, or by each field: names, how variables are spelt and read."""
_OF_OTHER_SOURCES: Final = (
    "cli_",
    "json_file",
    "pyproject_toml_",
    "secrets_case",
    "secrets_nested",
    "secrets_prefix",
    "toml_",
    "yaml_",
)
"""How options begin of sources that a class has only where `settings_customise_sources` names them."""
_OPTIONS: Final = SettingsConfigDict.__optional_keys__ | SettingsConfigDict.__required_keys__
"""All options that there are."""


def add_sources(
    section: Section, layers: Sequence[Layer], environment: Layer
) -> tuple[Sequence[Layer], Sequence[str]]:
    """Add the environment, and the sources of a subclass in the order it gives them.

    The sources of a subclass stand between the command line and the file; each is one kind of layer, named
    by its class.

    Returns:
        The layers, and the order of their kinds, the strongest first.
    """
    cls: type[BaseSettings] = section.cls
    found = list(layers)
    dotenv, failed = _dotenv_of(cls)
    arguments = {
        name: layer.values[name] for layer in found if layer.kind == "argument" for name in layer.values
    }
    init, env = InitSettingsSource(cls, init_kwargs=arguments), EnvSettingsSource(cls)
    try:
        sources = cls.settings_customise_sources(
            cls,
            init_settings=init,
            env_settings=env,
            dotenv_settings=dotenv,
            file_secret_settings=SecretsSettingsSource(cls),
        )
    except _unreadable() as error:
        name = f"{cls.__name__}.settings_customise_sources"
        unread = _failures(error, f"{name}: expected readable sources; got")
        failures = (*environment.failures, *failed, *unread)
        return [*layers, environment._replace(failures=failures)], PRECEDENCE
    order = ["override"]
    state: dict[str, Any] = {}
    by_source: dict[str, dict[str, Any]] = {}
    for source in sources:
        if source is init:
            kind, values = "argument", arguments
        elif source is env:
            kind, values = "environment", environment.values
            found.append(environment)
        else:
            kind = getattr(source, "__name__", type(source).__name__)
            kind = kind if kind not in order else f"{kind} {len(order)}"
            _tell(source, state, by_source)
            read = _read(kind, source, section)
            found.append(read._replace(failures=failed) if source is dotenv and failed else read)
            values = found[-1].values
        order.append(kind)
        by_source[type(source).__name__] = dict(values)
        state = {**values, **state}
    order += [kind for kind in PRECEDENCE if kind not in order and kind not in ("argument", "environment")]
    return [layer for layer in found if layer.kind in order], order


def _dotenv_of(cls: type[BaseSettings]) -> tuple[DotEnvSettingsSource, tuple[Failure, ...]]:
    """Read the dotenv files of a class; if one cannot be read, the source is empty, with a failure."""
    try:
        return DotEnvSettingsSource(cls), ()
    except (OSError, UnicodeDecodeError, LookupError) as error:
        files = cls.model_config.get("env_file")
        paths = [files] if isinstance(files, (str, Path)) else files or []
        names = ", ".join(printable(os.fspath(path)) for path in paths)
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, UnicodeDecodeError):
            reason = f"text that is not {error.encoding}"
        words = f"expected readable text in {names}; got: {reason}."
        return DotEnvSettingsSource(cls, env_file=None), (Failure.of("env_file", words),)


def _unreadable() -> tuple[type[Exception], ...]:
    """What a source raises for a file that cannot be read, or is not valid; looked up where one raises."""
    from json import JSONDecodeError
    from tomllib import TOMLDecodeError

    from yaml import YAMLError

    return (
        ConfigError,
        SettingsError,
        OSError,
        UnicodeDecodeError,
        JSONDecodeError,
        TOMLDecodeError,
        YAMLError,
    )


def _failures(error: Exception, what: str) -> tuple[Failure, ...]:
    """Word what a source raised, without what it quotes of a file, which may be a secret."""
    if isinstance(error, ConfigError):
        return error.failures
    mark: Any = getattr(error, "problem_mark", None)
    words = f"{error}" if mark is None else f"{getattr(error, 'problem', '')} at line {mark.line + 1}"
    return (Failure(what.partition(":")[0], f"{what}: {' '.join(words.split())}."),)


def _tell(source: object, state: dict[str, Any], by_source: dict[str, dict[str, Any]]) -> None:
    """Tell a source what the stronger ones said, as pydantic-settings does: `current_state` and its kin."""
    if isinstance(source, PydanticBaseSettingsSource):
        source._set_current_state(state)  # pyright: ignore[reportPrivateUsage]
        source._set_settings_sources_data(by_source)  # pyright: ignore[reportPrivateUsage]


def _read(kind: str, source: Any, section: Section) -> Layer:
    try:
        if type(source) is DotEnvSettingsSource:
            return _read_variables(kind, _of_dotenv(source), section)
        content = as_mapping(kind, source() or {})
        if type(source) is SecretsSettingsSource:
            return _read_variables(kind, dict(_of_secrets(source)), section)
    except _unreadable() as error:
        return Layer(kind, {}, failures=_failures(error, kind))
    return read_values(kind, content, section, TEXT)


def _read_variables(kind: str, found: Mapping[str, tuple[str, str]], section: Section) -> Layer:
    """Read variables that are kept in files, each with its text and its file, by the rules of the environment."""
    texts = {variable: text for variable, (text, _) in found.items()}
    layer = read_environment(Environment(texts), section)
    places = {
        name: f"{variable} in {found[variable][1]}".removesuffix(" in ")
        for name, variable in layer.locators.items()
    }
    return layer._replace(kind=kind, locators=places)


def _of_dotenv(source: DotEnvSettingsSource) -> dict[str, tuple[str, str]]:
    """The variables of a dotenv file, in upper case; one of several files is not known by name."""
    file = source.env_file
    place = os.fspath(file) if isinstance(file, (str, Path)) else ""
    return {name.upper(): (text or "", place) for name, text in source.env_vars.items()}


def _of_secrets(source: SecretsSettingsSource) -> Iterator[tuple[str, tuple[str, str]]]:
    """The files in the secrets folders that are named like variables of ours; none that a link takes elsewhere."""
    prefix = source.env_prefix.upper()
    for folder in cast(list[Path], getattr(source, "secrets_paths", [])):
        for path in sorted(folder.iterdir()):
            is_inside = folder.resolve() in path.resolve().parents
            is_ours = path.name.upper().startswith(prefix)
            if is_ours and is_inside and path.is_file():
                yield path.name, (path.read_text(encoding="utf-8").strip(), str(path))
