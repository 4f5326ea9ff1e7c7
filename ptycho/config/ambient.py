"""The sources that nobody names in a call: the environment, and what a subclass adds."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsError,
)

from ptycho.config.errors import Failure
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
        values: dict[str, Any] = source() or {}
    except SettingsError as error:
        return Layer(kind, {}, failures=(Failure(kind, f"{kind}: {error}."),))
    return read_values(kind, values, vocabulary, text=True)
