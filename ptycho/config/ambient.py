"""The sources that nobody names in a call: the environment, and what a subclass adds."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsError,
)

from ptycho.config.errors import Failure, show
from ptycho.config.origins import PRECEDENCE
from ptycho.config.sources import Layer, Vocabulary, read_environment, read_values


def prefix_of(cls: type[BaseSettings]) -> str:
    """Return the prefix of a class's environment variables, in upper case."""
    return cls.model_config.get("env_prefix", "").upper()


def is_customised(cls: type[BaseSettings]) -> bool:
    """Tell whether a subclass adds sources: by `settings_customise_sources`, a dotenv file or a secrets folder."""
    hook: Any = cls.settings_customise_sources
    plain: Any = BaseSettings.settings_customise_sources
    config = cls.model_config
    return hook.__func__ is not plain.__func__ or any(config.get(key) for key in ("env_file", "secrets_dir"))


def with_ambient(
    cls: type[BaseSettings],
    layers: Iterable[Layer],
    vocabulary: Vocabulary,
    environ: Mapping[str, str],
    *,
    customised: bool = False,
    strict: bool = False,
) -> tuple[list[Layer], tuple[str, ...]]:
    """Add the environment, and the sources of a subclass in the order it gives them.

    The sources of a subclass stand between the command line and the file; each is one kind of layer, named
    by its class.

    Args:
        cls: The settings class.
        layers: The layers that were named in the call.
        vocabulary: The names there are.
        environ: The environment.
        customised: Whether the class adds sources.
        strict: Whether an unknown variable is always an error.

    Returns:
        The layers, and the kinds from the strongest.
    """
    environment = read_environment(environ, prefix_of(cls), vocabulary, strict=strict)
    if not customised:
        return [*layers, environment], PRECEDENCE
    found = list(layers)
    arguments = {
        name: layer.values[name] for layer in found if layer.kind == "argument" for name in layer.values
    }
    init, env = InitSettingsSource(cls, init_kwargs=arguments), EnvSettingsSource(cls)
    sources = cls.settings_customise_sources(
        cls,
        init_settings=init,
        env_settings=env,
        dotenv_settings=DotEnvSettingsSource(cls),
        file_secret_settings=SecretsSettingsSource(cls),
    )
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
            found.append(_read(kind, source, vocabulary))
            values = found[-1].values
        order.append(kind)
        by_source[type(source).__name__] = dict(values)
        state = {**values, **state}
    order += [kind for kind in PRECEDENCE if kind not in order and kind not in ("argument", "environment")]
    return [layer for layer in found if layer.kind in order], tuple(order)


def _tell(source: object, state: dict[str, Any], by_source: dict[str, dict[str, Any]]) -> None:
    """Tell a source what the stronger ones said, as pydantic-settings does: `current_state` and its kin."""
    if isinstance(source, PydanticBaseSettingsSource):
        source._set_current_state(state)  # pyright: ignore[reportPrivateUsage]
        source._set_settings_sources_data(by_source)  # pyright: ignore[reportPrivateUsage]


def _read(kind: str, source: Any, vocabulary: Vocabulary) -> Layer:
    try:
        if type(source) is DotEnvSettingsSource:
            return _read_variables(kind, source, _of_dotenv(source), vocabulary)
        content: object = source() or {}
        if type(source) is SecretsSettingsSource:
            return _read_variables(kind, source, dict(_of_secrets(source)), vocabulary)
    except (SettingsError, OSError, UnicodeDecodeError) as error:
        return Layer(kind, {}, failures=(Failure(kind, f"{kind}: {error}."),))
    if not isinstance(content, Mapping):
        message = f"{kind}: expected a mapping of names to values; got {show(content)}."
        return Layer(kind, {}, failures=(Failure(kind, message),))
    return read_values(kind, cast(Mapping[str, Any], content), vocabulary, text=True)


def _read_variables(
    kind: str,
    source: DotEnvSettingsSource | SecretsSettingsSource,
    found: Mapping[str, tuple[str, str]],
    vocabulary: Vocabulary,
) -> Layer:
    """Read variables that are kept in files, by the rules of the environment.

    Args:
        kind: The kind of the layer.
        source: Where they are from.
        found: Variable -> its text, and its file.
        vocabulary: The names there are.
    """
    texts = {variable: text for variable, (text, _) in found.items()}
    layer = read_environment(texts, source.env_prefix.upper(), vocabulary)
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
            if path.name.upper().startswith(prefix) and is_inside and path.is_file():
                yield path.name, (path.read_text(encoding="utf-8").strip(), str(path))
