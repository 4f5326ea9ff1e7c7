"""Mutable dataclasses that stay valid: every construction and assignment is checked, or changes nothing.

The checking is pydantic's; the errors are `ConfigError`, in the words of the settings layer.
"""

import copy
import dataclasses
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self, cast, dataclass_transform

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from ptycho.config.errors import ConfigError, Failure, unknown_name
from ptycho.config.layer import Layer
from ptycho.config.origins import PRECEDENCE, Origin
from ptycho.config.paths import Files
from ptycho.config.resolve import Resolution, fill, kinds_of, refusal, resolve, sources_of
from ptycho.config.section import TABLES, Section, recorded, register, section_of
from ptycho.config.sources import given_twice, read_values, warn_renamed
from ptycho.config.views import Described, Views, signature_of


@dataclass_transform(field_specifiers=(dataclasses.field,))
class CheckedDataclass(Views):
    """A dataclass that is valid whenever it is looked at; a class derived from it is one without a decorator.

    Construction and assignment raise ConfigError; a failed assignment leaves the old value. Options of the class:

        label: What messages put before a field's name: `label.field`.
        table: Its table in a run file, where it has one; it is the label as well.
        renamed: Old name -> field; the old name still works everywhere, with a DeprecationWarning.
        also: Name that callers use -> field; it works in construction, without a word.
        as_trained: Whether a trained model gives the sections that it holds, and a recipe leaves them alone.
    """

    __slots__ = ("_layers",)
    __section__: ClassVar[Section]
    _layers: tuple[Layer, ...]
    """What the sources said, the strongest first."""

    def __init_subclass__(
        cls,
        *,
        label: str = "",
        table: str = "",
        renamed: Mapping[str, str] = {},
        also: Mapping[str, str] = {},
        as_trained: bool = False,
    ) -> None:
        """Make the class a dataclass, and register its section; what is not given is as in the parent."""
        super().__init_subclass__()
        above: Section = getattr(cls, "__section__", Section(cls))
        told = label or table or above.label, table or above.table, {**above.renamed, **renamed}
        config = ConfigDict(extra="forbid", hide_input_in_errors=True)
        summary = vars(cls).get("__doc__")
        pydantic_dataclass(config=config)(cls)
        construct: Any = _construct
        cls.__init__ = construct
        trained = as_trained or above.as_trained
        register(Section(cls, *told, {**above.also, **also}, as_trained=trained))
        cls.__doc__ = Described(summary)  # pyright: ignore[reportAttributeAccessIssue]
        cls.__signature__ = _Signature()  # pyright: ignore[reportAttributeAccessIssue]
        for old, new in renamed.items():
            setattr(cls, old, _renamed_field(old, new))

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign a field, checked."""
        section = section_of(type(self))
        if name in section.renamed:
            warn_renamed(name, section.renamed[name])
            name = section.renamed[name]
        if name not in section.all_fields:
            if name == "_layers":
                return object.__setattr__(self, name, value)
            label = section.labelled(name)
            raise ConfigError([unknown_name(label, section.suggest(name))])
        try:
            cast(Any, self).__pydantic_validator__.validate_assignment(self, name, value)
        except ValidationError as error:
            origin = Origin("assignment", value=value)
            raise ConfigError(
                refusal(section, origin, why) for why in error.errors(include_url=False)
            ) from None
        below = self._spoken()
        assigned = {layer.kind: layer.values for layer in below}.get("assignment", {})
        others = (layer for layer in below if layer.kind != "assignment")
        self._layers = (Layer("assignment", {**assigned, name: value}), *others)
        return None

    def __delattr__(self, name: str) -> None:
        """Refuse it."""
        label = section_of(type(self)).labelled(name)
        message = f"{label}: expected a value; got a deletion. Assign the default instead."
        raise ConfigError([Failure(label, message)])

    @classmethod
    def from_file(cls, path: Files) -> Self:
        """Read a file (TOML, YAML or JSON).

        Args:
            path: A run file, of which the tables of these settings are read; or a file with these fields and, nested,
                the tables of the settings that they hold, such as [model]. Of several the last one is strongest.

        Returns:
            The configuration; what the file does not set has its default.

        Raises:
            ConfigError: The file cannot be read, or a name or value in it is wrong.
        """
        found: dict[type, Resolution[Any]] = {
            part: resolve(part, layers) for part, layers in layers_in(cls, path).items()
        }
        if failures := [failure for one in found.values() for failure in one.failures]:
            raise ConfigError(failures)
        config = cast(Self, found[cls].config)
        for name, held in section_of(cls).nested.items():
            setattr(config, name, found[held.cls].config)
        return config

    @classmethod
    def _from_layers(cls, layers: Iterable[Layer], order: Sequence[str] = PRECEDENCE) -> Self:
        instance = cls.__new__(cls)
        fill(instance, section_of(cls), layers, order)
        return instance

    def replace(self, **changes: Any) -> Self:
        """Return a changed copy, validated; a section that is held is copied as well.

        Args:
            **changes: Field -> value.

        Raises:
            ConfigError: Everything that is wrong with the changes.
        """
        below = self._spoken()
        held = {name: copy.deepcopy(getattr(self, name)) for name in section_of(type(self)).nested}
        level = 1 + max((layer.level for layer in below), default=-1)
        given = _read("override", held | changes, section_of(type(self)))._replace(level=level)
        return self._from_layers([given, *below], ("override", *kinds_of(below)))

    @property
    def sources(self) -> dict[str, Origin]:
        """Field -> where its value came from and what it shadowed; of a section that is held, as `model.N`."""
        section = section_of(type(self))
        held = {name: getattr(self, name).sources for name in section.nested}
        within = {
            f"{name}.{inner}": origin for name, found in held.items() for inner, origin in found.items()
        }
        return sources_of(section, self._spoken(), self) | within

    def _spoken(self) -> tuple[Layer, ...]:
        """The layers; an instance that another model made was given its values as arguments."""
        try:
            return self._layers
        except AttributeError:
            section = section_of(type(self))
            values = {name: getattr(self, name) for name in section.fields}
            changed = {name: value for name, value in values.items() if value != section.defaults[name]}
            return (Layer("argument", changed),)

    def to_dict(self) -> dict[str, Any]:
        """Return field -> plain value, paths as text; a section that is held is a mapping of its own."""
        section = section_of(type(self))
        held = {name: getattr(self, name).to_dict() for name in section.nested}
        return held | {name: recorded(getattr(self, name)) for name in section.fields}


def layers_in(cls: type[CheckedDataclass], files: Files) -> dict[type, list[Layer]]:
    """Read what files set of the sections that a class holds, and after them of its own.

    Raises:
        ConfigError: A file is no path.
    """
    from ptycho.config.files import collect_files  # the parsers load with the first file

    section = section_of(cls)
    held = list(section.nested.values())
    layers: dict[type, list[Layer]] = {one.cls: [] for one in (*held, section)}
    for file in collect_files(files, {}):
        nested = file.content.keys().isdisjoint({*TABLES} - {one.table for one in held})
        for one in held:
            layers[one.cls].append(file.layer(one, nested=nested))
        layers[cls].append(file.layer(section, nested=nested, beside=nested))
    return layers


def _construct(self: CheckedDataclass, *values: Any, **named: Any) -> None:
    section = section_of(type(self))
    if len(values) > len(section.all_fields):
        name, most = type(self).__name__, len(section.all_fields)
        message = f"{name}: expected at most {most} values; got more. Name them: field=value."
        raise ConfigError([Failure(name, message)])
    given = dict(zip(section.all_fields, values, strict=False))
    if twice := given.keys() & named.keys():
        raise ConfigError(given_twice(section.labelled(name), "its place", name) for name in sorted(twice))
    if named.keys() > section.all_fields.keys():  # `dataclasses.replace` names every field besides
        changed = {section.renamed[old] for old in named.keys() & section.renamed.keys()}
        named = {name: value for name, value in named.items() if name not in changed}
    fill(self, section, [_read("argument", given | named, section)])


def _read(kind: str, given: Mapping[str, Any], section: Section) -> Layer:
    """Read values from Python; those of sections that are held are taken as they are."""
    held = {name: given[name] for name in section.nested if name in given}
    layer = read_values(kind, {name: value for name, value in given.items() if name not in held}, section)
    return layer._replace(values={**held, **layer.values})


class _Signature:
    """The signature of the class, and none of its instances."""

    def __get__(self, instance: object, cls: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        return signature_of(cls, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _renamed_field(old: str, new: str) -> property:
    def read(self: Any) -> Any:
        warn_renamed(old, new)
        return getattr(self, new)

    return property(read, doc=f"Old name of `{new}`.")
