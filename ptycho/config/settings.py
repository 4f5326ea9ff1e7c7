"""Settings that know where each value came from: the machinery below `PyTorchExecutionConfig`."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from pydantic import ValidationError, model_validator
from pydantic_core import from_json
from pydantic_settings import BaseSettings, SettingsConfigDict

from ptycho.config.errors import (
    VERSION_KEY,
    ConfigError,
    Failure,
    given_twice,
    path_of,
    unknown_name,
    warn_renamed,
    written_by,
)
from ptycho.config.origins import Layer, Origin
from ptycho.config.paths import VARIABLE, Files, written
from ptycho.config.resolve import Origins, Resolution, fill, refused, resolve, with_ambient, worded
from ptycho.config.section import Conflict, Section, is_mask, register, section_of
from ptycho.config.sources import (
    TEXT,
    Environment,
    Writing,
    as_flags,
    as_mapping,
    read_arguments,
    read_values,
)
from ptycho.config.views import Shown, Views
from ptycho.version import installed_version

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _Class

    from ptycho.config.recipes import Recipe
else:

    class _Class(Shown, type(BaseSettings)):
        __doc__ = vars(Shown)["__doc__"]


class ResolvedSettings(Views, BaseSettings, metaclass=_Class):
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
        env_ignore_empty=True,
    )

    old_names: ClassVar[Mapping[str, str]] = {}
    """Old or foreign name -> knob; using one gives a DeprecationWarning."""
    table: ClassVar[str] = ""
    """The table of a run file that holds these settings."""

    if not TYPE_CHECKING:  # which takes the parameters from the fields

        def __init__(self, /, **arguments: Any) -> None:
            """Resolve arguments, environment and defaults.

            Raises:
                ConfigError: Everything that is wrong with them.
            """
            section = section_of(type(self))
            given = read_arguments("argument", arguments, section)
            environ = Environment(os.environ)
            layers = [given, *_file_layers(section, None, environ)]
            fill(self, section, with_ambient(section, layers, environ))

        # Validation does not go through __init__, which would read the environment.
        __init__.__pydantic_base_init__ = True

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Register the class as a section."""
        super().__pydantic_init_subclass__(**options)
        prefix = cls.model_config.get("env_prefix", "").upper()
        register(Section(cls, "", cls.table, cls.old_names, {}, prefix, cls.conflicts))

    @classmethod
    def conflicts(cls, values: Mapping[str, Any]) -> Iterable[Conflict]:
        """Find values that do not go together.

        Args:
            values: The values that are valid by themselves; others are absent.

        Returns:
            The conflicts; none here.
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
        for name in section_of(type(self)).secrets:
            if is_mask(self.__dict__[name]):  # elsewhere each value is checked alone, and its origin is told
                words = "expected a secret; got the asterisks that replace it in output. Set the secret."
                raise ConfigError.of(name, words)
        if found := tuple(self.conflicts(self.__dict__)):
            section, given = section_of(type(self)), Origin("argument")
            origins = Origins([section], dict.fromkeys(self.model_fields_set, given))
            raise ConfigError(worded(found, self.__dict__, origins))
        return self

    @classmethod
    def resolve(
        cls,
        *,
        overrides: Mapping[str, Any] | None = None,
        flags: Mapping[str, Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        file: Files | None = None,
        recipe: "Recipe" = None,
        cli_defaults: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        strict: bool = False,
    ) -> Self:
        """Resolve every source; the order of the parameters, with the environment before the file, is who wins.

        Args:
            overrides: What a caller sets above everything.
            flags: Command-line flags that were passed, by knob; str values are read as text.
            arguments: Arguments from Python.
            file: A flat file, or a run file that holds these settings in a table; or several, the last one
                strongest. Those of the variable PTYCHO_CONFIG are below them.
            recipe: The name of a recipe, or a run file that is one; its values give way to what the others state.
            cli_defaults: Defaults that the command line states.
            environ: The environment; by default that of the process.
            strict: Whether any unknown variable with our prefix is an error, rather than a warning.

        Returns:
            The validated settings.

        Raises:
            ConfigError: Everything that is wrong with any of the sources.
        """
        section, environment = section_of(cls), Environment(os.environ if environ is None else environ)
        layers: list[Layer] = []
        for kind, given in (("override", overrides), ("argument", arguments), ("cli-default", cli_defaults)):
            if given is not None:
                layers.append(read_values(kind, as_mapping(cls.__name__, given), section))
        if flags is not None:
            text = Writing(is_text=True, variable=environment.get)
            layers.append(as_flags(read_values("override", as_mapping(cls.__name__, flags), section, text)))
        layers += _file_layers(section, file, environment, recipe)
        standing = with_ambient(section, layers, environment, strict=strict)
        if recipe is None:
            return cls._from_layers(standing)
        from ptycho.config.recipes import suited  # with the parsers, which load with the first file

        found: dict[type, Resolution[Self]] = {cls: resolve(cls, standing)}
        return suited(found, section.conflicts)[cls].config

    @classmethod
    def from_file(cls, path: Files, **arguments: Any) -> Self:
        """Resolve a file together with arguments and the environment, both of which beat it.

        Args:
            path: A `.toml`, `.yaml`, `.yml` or `.json` file, flat or a run file; or several, the last one strongest.
            **arguments: Knobs.

        Raises:
            ConfigError: Everything that is wrong; the file is missing, unreadable, not a mapping, repeats a
                key, or sets an unknown one.
        """
        return cls.resolve(
            file=path if isinstance(path, (list, tuple)) else [path_of(path)], arguments=arguments
        )

    @classmethod
    def from_snapshot(cls, snapshot: Mapping[str, Any]) -> Self:
        """Rebuild saved settings exactly; the environment of this machine is not read.

        Args:
            snapshot: What `to_snapshot` or `to_dict` gave. Absent knobs take their defaults.

        Raises:
            ConfigError: A value is invalid, or a knob is unknown to this version; the message says which
                version wrote the snapshot.
        """
        content = as_mapping(cls.__name__, snapshot)
        writer = content.pop(VERSION_KEY, None)
        layer, told = read_values("argument", content, section_of(cls)), written_by(writer, "snapshot")
        failures = tuple(Failure(name, f"{message} {told}") for name, message in layer.failures)
        places = dict.fromkeys(layer.values, "snapshot")
        return cls._from_layers([layer._replace(locators=places, failures=failures)])

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate a mapping, or return an instance; the environment is not read.

        Args:
            obj: A mapping of knobs, or an instance.
            **options: pydantic's own (`strict`, `context`, ...).

        Raises:
            ConfigError: Everything that is wrong.
        """
        section = section_of(cls)
        if not isinstance(obj, cls) and not options:
            return cls._from_layers([read_values("argument", as_mapping(cls.__name__, obj), section)])
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            given = as_mapping(cls.__name__, cast(object, obj)) if isinstance(obj, Mapping) else {}
            raise refused(section, [read_values("argument", given, section)], error) from None

    @classmethod
    def model_validate_strings(cls, obj: Any, **options: Any) -> Self:
        """Validate a mapping of knobs to text, which is read as that of a variable is."""
        layer = read_values("argument", as_mapping(cls.__name__, obj), section_of(cls), TEXT)
        return cls._from_layers([layer]) if layer.failures else cls.model_validate(layer.values, **options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Validate JSON text as `model_validate` validates a mapping."""
        try:
            content = from_json(json_data)
        except ValueError as error:
            raise ConfigError.of(cls.__name__, f"expected JSON; got: {error}.") from None
        return cls.model_validate(content, **options)

    def with_overrides(self, overrides: Mapping[str, Any]) -> Self:
        """Return validated settings in which a mapping of knobs to values beats what was resolved, as of `replace`."""
        return self.replace(**as_mapping(type(self).__name__, overrides))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy; an update is validated, as by `replace`."""
        return self.with_overrides(update) if update else super().model_copy(deep=deep)

    copy = model_copy  # pyright: ignore[reportAssignmentType, reportDeprecated]

    def _keep(self, layers: Sequence[Layer]) -> None:
        private = {**(self.__pydantic_private__ or {}), "layers": layers}  # goes with copies and pickles
        object.__setattr__(self, "__pydantic_private__", private)

    def _spoken(self) -> Sequence[Layer]:
        private = self.__pydantic_private__
        if private is None or "layers" not in private:
            return [Layer("argument", {name: self.__dict__[name] for name in self.model_fields_set})]
        return private["layers"]

    def to_dict(self) -> dict[str, Any]:
        """Return knob -> plain Python scalar: safe for JSON and for `torch.load(weights_only=True)`.

        Of a subclass, fields that are excluded from dumps are left out, and so are computed ones, and secrets.
        """
        secrets = set(section_of(type(self)).secrets)
        return self.model_dump(mode="json", by_alias=False, exclude=secrets, exclude_computed_fields=True)

    def to_snapshot(self) -> dict[str, Any]:
        """Return `to_dict()` with the version of this package, for `from_snapshot`."""
        return {VERSION_KEY: installed_version(), **self.to_dict()}

    def to_env(self) -> dict[str, str]:
        """Return environment variables that read back equal."""
        from ptycho.config.fields import text

        section, values = section_of(type(self)), self.to_dict()
        values |= {name: written(values[name]) for name in section.paths if values.get(name) is not None}
        return {f"{section.variable(name)}": text(value) for name, value in values.items()}

    def __str__(self) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ResolvedSettings):
            return NotImplemented
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).__private_attributes__:  # of a subclass
            raise _immutable(self, name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise _immutable(self, name)


def _file_layers(
    section: Section, files: Files | None, environ: Environment, recipe: "Recipe" = None
) -> list[Layer]:
    """Read the files that are named, those of the variable PTYCHO_CONFIG, and a recipe into layers of one section."""
    if environ.get(VARIABLE) is files is recipe is None:
        return []
    from ptycho.config.recipes import read_files  # the parsers load with the first file

    return [file.layer(section) for file in read_files(files, recipe, environ)]


def _immutable(settings: ResolvedSettings, written: str) -> ConfigError:
    """Word the refusal to assign or delete a name."""
    section = section_of(type(settings))
    name = section.field(written)
    if name is None:
        return ConfigError([unknown_name(written, section.suggest(written))])
    return ConfigError.of(
        name, f"settings are immutable. Use replace({name}=...), which returns a changed copy."
    )
