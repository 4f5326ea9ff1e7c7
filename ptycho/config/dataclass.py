"""Mutable dataclasses that stay valid: every construction and assignment is checked, or changes nothing.

The checking is pydantic's; the errors are `ConfigError`, in the words of the settings layer.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Self, cast, dataclass_transform

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from ptycho.config.errors import ConfigError, given_twice, path_of, unknown_name, warn_renamed
from ptycho.config.origins import Layer, Origin, laid_over
from ptycho.config.paths import Files
from ptycho.config.resolve import Resolution, fill, ranked, refusal, resolve
from ptycho.config.section import Section, jsonable, register, section_of
from ptycho.config.sources import read_arguments
from ptycho.config.views import Shown, Views


@dataclass_transform(field_specifiers=(dataclasses.field,))
class CheckedDataclass(Views, metaclass=Shown):
    """A dataclass that is valid whenever it is looked at; a class derived from it is one without a decorator.

    Construction and assignment raise ConfigError; a failed assignment leaves the old value. Options of the class:

        label: What messages put before a field's name: `label.field`.
        table: Its table in a run file, where it has one; it is the label as well.
        renamed: Old name -> field; the old name still works in every source and as an attribute, with a
            DeprecationWarning.
        also: Name that callers use -> field; it works in construction, and gives no warning.
        recipe_omits: Tables that a recipe leaves alone in a run that reads this section.
    """

    __slots__ = ("_layers",)
    __section__: ClassVar[Section]
    _layers: Sequence[Layer]

    def __init_subclass__(
        cls,
        *,
        label: str = "",
        table: str = "",
        renamed: Mapping[str, str] = {},
        also: Mapping[str, str] = {},
        recipe_omits: Collection[str] = (),
    ) -> None:
        """Make the class a dataclass, and register its section; options that are left out are as in the parent."""
        super().__init_subclass__()
        above: Section = getattr(cls, "__section__", Section(cls))
        told = label or table or above.label, table or above.table, {**above.renamed, **renamed}
        config = ConfigDict(extra="forbid", hide_input_in_errors=True)
        # by name, a field without a default may come last; `_construct` takes all of them by place as well
        pydantic_dataclass(config=config, kw_only=True)(cls)
        made: Any = cls
        made.__init__, made.__match_args__ = _construct, tuple(made.__pydantic_fields__)
        omits = recipe_omits or above.recipe_omits
        register(Section(cls, *told, {**above.also, **also}, recipe_omits=omits))
        for old, new in renamed.items():
            setattr(cls, old, _renamed_field(old, new))

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign a field, checked."""
        section = section_of(type(self))
        if name in section.renamed:
            warn_renamed(name, section.renamed[name])
            name = section.renamed[name]
        if name == "_layers":  # of a copy
            return self._keep(value)
        if name not in section.all_fields:
            label = section.labelled(name)
            raise ConfigError([unknown_name(label, section.suggest(name))])
        try:
            cast(Any, self).__pydantic_validator__.validate_assignment(self, name, value)
        except ValidationError as error:
            origin = Origin("assignment", value=value)
            raise ConfigError(
                refusal(section, origin, why) for why in error.errors(include_url=False)
            ) from None
        return self._keep(laid_over(Layer("assignment", {name: value}), self._spoken()))

    def __delattr__(self, name: str) -> None:
        """Refuse it."""
        label = section_of(type(self)).labelled(name)
        raise ConfigError.of(label, "expected a value; got a deletion. Assign the default instead.")

    @classmethod
    def from_file(cls, path: Files) -> Self:
        """Read a run file (TOML, YAML or JSON): the tables of these settings, and of those that they hold.

        Args:
            path: The file; of several the last one is strongest.

        Returns:
            The configuration; what the file does not set has its default.

        Raises:
            ConfigError: The file cannot be read, or a name or value in it is wrong.
        """
        from ptycho.config.files import collect_files  # the parsers load with the first file

        files = collect_files(path if isinstance(path, (list, tuple)) else [path_of(path)])
        section = section_of(cls)
        found: dict[str, Resolution[Any]] = {
            name: resolve(part.cls, ranked([file.layer(part) for file in files]))
            for name, part in {**section.nested, "": section}.items()
        }
        if failures := [failure for one in found.values() for failure in one.failures]:
            raise ConfigError(failures)
        config = found.pop("").config
        for name, held in found.items():
            setattr(config, name, held.config)
        return config

    def _keep(self, layers: Sequence[Layer]) -> None:
        object.__setattr__(self, "_layers", layers)

    def _spoken(self) -> Sequence[Layer]:
        try:
            return self._layers
        except AttributeError:
            section = section_of(type(self))
            values = {name: getattr(self, name) for name in section.fields}
            stated = {name for name, value in values.items() if section.defaults.get(name, ...) != value}
            return [Layer("argument", {name: values[name] for name in stated})]

    def to_dict(self) -> dict[str, Any]:
        """Return field -> plain value, paths as text; a section that is held is a mapping of its own.

        Of a subclass, secrets are left out.
        """
        section = section_of(type(self))
        held = {name: getattr(self, name).to_dict() for name in section.nested}
        shown = [name for name in section.fields if name not in section.secrets]
        return held | {name: jsonable(getattr(self, name)) for name in shown}


def _construct(self: CheckedDataclass, *values: Any, **named: Any) -> None:
    section = section_of(type(self))
    if len(values) > len(section.all_fields):
        name, most = type(self).__name__, len(section.all_fields)
        raise ConfigError.of(name, f"expected at most {most} values; got more. Name them: field=value.")
    given = dict(zip(section.all_fields, values, strict=False))
    if twice := given.keys() & named.keys():
        raise ConfigError(given_twice(section.labelled(name), "its place", name) for name in sorted(twice))
    if named.keys() > section.all_fields.keys():  # `dataclasses.replace` names every field besides
        changed = {section.renamed[old] for old in named.keys() & section.renamed.keys()}
        named = {name: value for name, value in named.items() if name not in changed}
    fill(self, section, [read_arguments("argument", given | named, section)])


def _renamed_field(old: str, new: str) -> property:
    def read(self: Any) -> Any:
        warn_renamed(old, new)
        return getattr(self, new)

    return property(read, doc=f"Old name of `{new}`.")
