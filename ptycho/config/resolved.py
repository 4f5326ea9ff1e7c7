"""Settings that know where each value came from: the machinery below `PyTorchExecutionConfig`."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Self, cast

from pydantic import PrivateAttr, ValidationError, model_validator
from pydantic_core import from_json
from pydantic_settings import BaseSettings, SettingsConfigDict

import ptycho
from ptycho.config.ambient import is_customised, prefix_of, vocabulary_of, with_ambient
from ptycho.config.errors import VERSION_KEY, ConfigError, Failure, path_of, written_by
from ptycho.config.fields import each_alone, group_of
from ptycho.config.origins import PRECEDENCE, Origin
from ptycho.config.resolve import merge, ranked
from ptycho.config.sources import (
    Checks,
    Layer,
    as_mapping,
    given_twice,
    immutable,
    read_flags,
    read_values,
    warn_renamed,
)


class ResolvedSettings(BaseSettings):
    """Immutable settings resolved from layers, where every value keeps its origin.

    Constructing an instance looks at the arguments and the environment; `resolve` looks at every source;
    `from_snapshot`, `model_validate` and use inside another model look at what they are given and nothing
    else. Two instances are equal when their values are, wherever these came from.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=False,
        defer_build=True,
        hide_input_in_errors=True,
        validate_by_name=True,
    )

    old_names: ClassVar[Mapping[str, str]] = {}
    """Old or foreign name -> knob; using one gives a DeprecationWarning."""
    table: ClassVar[str] = ""
    """The table of a run file that holds these settings."""

    _layers: tuple[Layer, ...] = PrivateAttr(default=())
    """What the sources said, the strongest first."""

    def __init__(self, /, **arguments: Any) -> None:
        """Resolve arguments, environment and defaults.

        Raises:
            ConfigError: Everything that is wrong with them.
        """
        cls = type(self)
        vocabulary = _checks(cls).vocabulary
        given = read_values("argument", arguments, vocabulary)
        customised = _is_customised(cls)
        self._fill(*with_ambient(cls, [given], vocabulary, os.environ, customised=customised))

    # Validation does not go through __init__, which would read the environment.
    __init__.__pydantic_base_init__ = True  # pyright: ignore[reportFunctionMemberAccess]

    def _fill(self, layers: Iterable[Layer], order: tuple[str, ...] = PRECEDENCE) -> None:
        """Validate the winners into this instance, and every value that lost."""
        standing = ranked(layers, order)
        checks = _checks(type(self))
        values: dict[str, Any] = {}
        sound = True
        try:
            for layer in standing:
                lost = values.keys() & layer.values.keys()
                if lost:
                    checks.check({name: layer.values[name] for name in lost})
                values = {**layer.values, **values}
                sound = sound and not layer.failures
            self.__pydantic_validator__.validate_python(
                values, self_instance=self, by_alias=True, by_name=True
            )
        except ValidationError as error:
            raise _refusal(standing, checks, error) from None
        if not sound:
            raise _refusal(standing, checks)
        self._layers = tuple(layer for layer in standing if layer.values)

    @classmethod
    def _from_layers(cls, layers: Iterable[Layer], order: tuple[str, ...] = PRECEDENCE) -> Self:
        instance = cls.__new__(cls)
        instance._fill(layers, order)
        return instance

    @classmethod
    def conflicts(cls, values: Mapping[str, Any], origin: Callable[[str], str]) -> Iterable[Failure]:
        """Find values that do not go together.

        Args:
            values: The values that are valid by themselves; others are absent.
            origin: Words where a name's value came from.

        Returns:
            The failures; none here.
        """
        return ()

    @model_validator(mode="before")
    @classmethod
    def _use_current_names(cls, data: Any) -> Any:
        if not isinstance(data, dict) or cls.old_names.keys().isdisjoint(cast(dict[str, Any], data)):
            return cast(object, data)
        content = dict(cast(dict[str, Any], data))
        for old in sorted(cls.old_names.keys() & content.keys()):
            name = cls.old_names[old]
            warn_renamed(old, name)
            if name in content:
                raise ConfigError([given_twice(name, old, name)])
            content[name] = content.pop(old)
        return content

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if failures := tuple(self.conflicts(self.__dict__, self._said)):
            raise ConfigError(failures)
        return self

    def _said(self, name: str) -> str:
        return "argument" if name in self.model_fields_set else "default"

    @classmethod
    def resolve(
        cls,
        *,
        overrides: Mapping[str, Any] | None = None,
        flags: Mapping[str, Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        file: str | os.PathLike[str] | None = None,
        cli_defaults: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        strict: bool = False,
    ) -> Self:
        """Resolve every source; the order of the parameters, with the environment before the file, is who wins.

        Args:
            overrides: What a caller sets above everything.
            flags: Command-line flags that were passed, by knob; str values are read as text.
            arguments: Arguments from Python.
            file: A flat file, or a run file that holds these settings in a table.
            cli_defaults: Defaults that the command line states.
            environ: The environment; by default that of the process.
            strict: Whether any unknown variable with our prefix is an error, rather than a warning.

        Returns:
            The validated settings.

        Raises:
            ConfigError: Everything that is wrong with any of the sources.
        """
        vocabulary = _checks(cls).vocabulary
        layers: list[Layer] = []
        for kind, given in (("override", overrides), ("argument", arguments), ("cli-default", cli_defaults)):
            if given is not None:
                layers.append(read_values(kind, as_mapping(cls, given), vocabulary))
        if flags is not None:
            layers.append(read_flags(as_mapping(cls, flags), vocabulary))
        if file is not None:
            from ptycho.config.files import read_file  # the parsers load with the first file

            layers.append(read_file(file, vocabulary, cls.table))
        environ = os.environ if environ is None else environ
        customised = _is_customised(cls)
        found = with_ambient(cls, layers, vocabulary, environ, customised=customised, strict=strict)
        return cls._from_layers(*found)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **arguments: Any) -> Self:
        """Resolve a file together with arguments and the environment, both of which beat it.

        Args:
            path: A `.toml`, `.yaml`, `.yml` or `.json` file, flat or a run file.
            **arguments: Knobs.

        Raises:
            ConfigError: Everything that is wrong; the file is missing, unreadable, not a mapping, repeats a
                key, or sets an unknown one.
        """
        return cls.resolve(file=path_of(path), arguments=arguments)

    @classmethod
    def from_snapshot(cls, snapshot: Mapping[str, Any], *, place: str | None = None) -> Self:
        """Rebuild saved settings exactly; the environment of this machine is not read.

        Args:
            snapshot: What `to_snapshot` or `to_dict` gave. Absent knobs take their defaults.
            place: The file it was read from, for origins and messages; None: none.

        Raises:
            ConfigError: A value is invalid, or a knob is unknown to this version; the message says which
                version wrote the snapshot.
        """
        content = as_mapping(cls, snapshot)
        writer = content.pop(VERSION_KEY, None)
        layer = read_values("argument", content, _checks(cls).vocabulary)
        said = f"{written_by(writer, 'snapshot')}{f' It is recorded in {place}.' if place else ''}"
        failures = tuple(Failure(name, f"{message} {said}") for name, message in layer.failures)
        places = dict.fromkeys(layer.values, place or "snapshot")
        kind = "file" if place else "argument"
        return cls._from_layers([layer._replace(kind=kind, locators=places, failures=failures)])

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate a mapping, or return an instance; the environment is not read.

        Args:
            obj: A mapping of knobs, or an instance.
            **options: pydantic's own (`strict`, `context`, ...).

        Raises:
            ConfigError: Everything that is wrong.
        """
        checks = _checks(cls)
        if not isinstance(obj, cls) and not options:
            return cls._from_layers([read_values("argument", as_mapping(cls, obj), checks.vocabulary)])
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            given = as_mapping(cls, cast(object, obj)) if isinstance(obj, Mapping) else {}
            raise _refusal([read_values("argument", given, checks.vocabulary)], checks, error) from None

    @classmethod
    def model_validate_strings(cls, obj: Any, **options: Any) -> Self:
        """Validate a mapping of knobs to text, which is read as that of a variable is."""
        layer = read_values("argument", as_mapping(cls, obj), _checks(cls).vocabulary, text=True)
        return cls._from_layers([layer]) if layer.failures else cls.model_validate(layer.values, **options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Validate JSON text as `model_validate` validates a mapping."""
        try:
            content = from_json(json_data)
        except ValueError as error:
            failure = Failure(cls.__name__, f"{cls.__name__}: expected JSON; got: {error}.")
            raise ConfigError([failure]) from None
        return cls.model_validate(content, **options)

    def with_overrides(self, overrides: Mapping[str, Any], *, flags: Mapping[str, Any] | None = None) -> Self:
        """Return validated settings in which the overrides beat, and shadow, what was resolved.

        Args:
            overrides: Knob -> value.
            flags: Command-line flags that were passed, by knob; below the overrides.

        Raises:
            ConfigError: Everything that is wrong with the result.
        """
        below, vocabulary = self._spoken(), _checks(type(self)).vocabulary
        level = 1 + max((layer.level for layer in below), default=-1)
        passed = read_flags(as_mapping(type(self), flags or {}), vocabulary)._replace(level=level)
        given = read_values("override", as_mapping(type(self), overrides), vocabulary, level=level + 1)
        return self._from_layers([given, passed, *below], ("override", *_kinds(below)))

    def replace(self, **changes: Any) -> Self:
        """Return a changed copy, validated; the way to change settings, which are immutable.

        Args:
            **changes: Knob -> value.

        Raises:
            ConfigError: Everything that is wrong with the result.
        """
        return self.with_overrides(changes)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; an update is validated, as by `replace`."""
        return self.with_overrides(update) if update else super().model_copy(deep=deep)

    copy = model_copy  # pyright: ignore[reportAssignmentType, reportDeprecated]

    @property
    def sources(self) -> dict[str, Origin]:
        """Knob -> where its value came from and what it shadowed."""
        layers = self._spoken()
        merged = merge(layers, _kinds(layers))
        vocabulary = _checks(type(self)).vocabulary
        sources: dict[str, Origin] = {}
        for name, field in vocabulary.scalars.items():
            value = self.__dict__[name]
            origin = merged.get(name) or Origin("default")
            if not field.is_plain:
                origin = Origin(origin.kind, origin.locator)
            beaten = tuple(loser._replace(value=field.exact(loser.value)) for loser in origin.shadowed)
            sources[name] = origin._replace(value=value, shadowed=beaten)
        return sources

    def _spoken(self) -> tuple[Layer, ...]:
        """Return the layers; an instance that another model validated was given its values as arguments."""
        given = {name: self.__dict__[name] for name in self.model_fields_set}
        return self._layers or (Layer("argument", given),)

    def explain(self) -> str:
        """Return a table of every knob: its value, where it came from, and what that shadowed."""
        return _views().explanation(self._rows())

    def diff(self, other: Self) -> dict[str, tuple[Any, Any]]:
        """Return the knobs that differ: name -> (value here, value there)."""
        return _views().differences(self, other)

    def to_dict(self) -> dict[str, Any]:
        """Return knob -> plain Python scalar: safe for JSON and for `torch.load(weights_only=True)`.

        Of a subclass, fields that are excluded from dumps are left out, and so are computed ones.
        """
        return self.model_dump(mode="json", by_alias=False, exclude_computed_fields=True)

    def to_snapshot(self) -> dict[str, Any]:
        """Return `to_dict()` with the version of this package, for `from_snapshot`."""
        return {VERSION_KEY: ptycho.__version__, **self.to_dict()}

    def to_toml(self) -> str:
        """Return the text of a flat TOML file, with what each knob means, that reads back equal."""
        return _views().toml_file(self.to_dict(), self._rows(), type(self).model_fields)

    def to_yaml(self) -> str:
        """Return the text of a flat YAML file, with what each knob means, that reads back equal."""
        return _views().yaml_file(self.to_dict(), self._rows(), type(self).model_fields)

    def to_env(self) -> dict[str, str]:
        """Return environment variables that read back equal."""
        prefix, text = prefix_of(type(self)), _views().text
        return {f"{prefix}{name.upper()}": text(value) for name, value in self.to_dict().items()}

    def _rows(self) -> list[Any]:
        fields = type(self).model_fields
        defaults, place = _checks(type(self)).defaults, _views().places(type(self))
        sources = sorted(self.sources.items(), key=lambda item: place[item[0]])
        return [
            _views().Row(group_of(fields[name]), name, origin, origin.value != defaults[name])
            for name, origin in sources
        ]

    def _repr_html_(self) -> str:
        return _views().html(type(self).__name__, self._rows())

    def __str__(self) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ResolvedSettings):
            return NotImplemented
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).__private_attributes__:
            super().__setattr__(name, value)
        else:
            raise immutable(name, _checks(type(self)).vocabulary)

    def __delattr__(self, name: str) -> None:
        raise immutable(name, _checks(type(self)).vocabulary)


def _views() -> Any:
    from ptycho.config import render  # loads with the first use, as `report` does

    return render


def _refusal(layers: Sequence[Layer], checks: Checks, error: ValidationError | None = None) -> ConfigError:
    """Everything that is wrong with the layers, or else what pydantic found."""
    from ptycho.config.report import find_failures, pydantic_failures

    failures = tuple(find_failures(layers, checks)) if layers else ()
    return ConfigError(failures or (pydantic_failures(error, layers, checks) if error else ()))


_is_customised = cache(is_customised)


@cache
def _checks(cls: type[ResolvedSettings]) -> Checks:
    """Read off a class, once, what it accepts."""
    vocabulary = vocabulary_of(cls, cls.old_names)
    defaults = {
        name: field.get_default(call_default_factory=True) for name, field in cls.model_fields.items()
    }
    return Checks(vocabulary, defaults, each_alone(cls), cls.conflicts)


def _kinds(layers: Iterable[Layer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layer.kind for layer in layers))
