"""What every section offers to people, whatever its class is made of: where its values are from, and its text."""

import copy
import inspect
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Self, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from ptycho.config.errors import ConfigError
from ptycho.config.origins import Layer, Origin, laid_over
from ptycho.config.resolve import fill, sources_of
from ptycho.config.section import jsonable, recorded, section_of
from ptycho.config.sources import read_arguments

if TYPE_CHECKING:
    from ptycho.config.render import Entry, Row


class Views:
    """The views of the settings of one section, and of those that it holds."""

    @classmethod
    def _from_layers(cls, layers: Sequence[Layer]) -> Self:
        """Resolve layers that are in order, the strongest first."""
        instance = cls.__new__(cls)
        fill(instance, section_of(cls), layers)
        return instance

    @abstractmethod
    def _keep(self, layers: Sequence[Layer]) -> None:
        """Remember what the sources said, the strongest first."""

    @abstractmethod
    def _spoken(self) -> Sequence[Layer]:
        """Return what the sources said; an instance that another model made was given its values as arguments."""

    @property
    def sources(self) -> dict[str, Origin]:
        """Name -> where its value came from and what it shadowed; of a section that is held, as `model.N`."""
        section = section_of(type(self))
        sources = sources_of(section, self._spoken(), self)
        for held in section.nested:
            sources |= {f"{held}.{name}": origin for name, origin in getattr(self, held).sources.items()}
        return sources

    def replace(self, /, **changes: Any) -> Self:
        """Return a changed copy, validated; a section that is held is copied as well.

        Args:
            **changes: Setting -> value.

        Raises:
            ConfigError: Everything that is wrong with the result.
        """
        section = section_of(type(self))
        held = {name: copy.deepcopy(getattr(self, name)) for name in section.nested}
        given = read_arguments("override", held | changes, section)
        return self._from_layers(laid_over(given, self._spoken()))

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return name -> plain value."""

    def explain(self) -> str:
        """Return a table of every setting: its value, where it came from, and what that shadowed."""
        render = _render()
        return render.table(render.HEAD, render.lines(self._rows()))

    def diff(self, other: Self) -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ: name -> (value here, value there), None where one of the two lacks it.

        Raises:
            TypeError: the other is something else.
        """
        if type(self) is not type(other):
            raise TypeError(f"other: expected a {type(self).__name__}; got {type(other).__name__}.")
        here, there = _flat(self), _flat(other)
        both = {name: (here.get(name), there.get(name)) for name in here | there}
        return {name: pair for name, pair in both.items() if pair[0] != pair[1]}

    def to_toml(self) -> str:
        """Return the text of a TOML file, with what each setting means, that reads back equal.

        A relative path is written as the absolute one that it means.

        Raises:
            ConfigError: A path is no text, so that no file can hold it.
        """
        return _render().file_text(self._entries(), as_yaml=False)

    def to_yaml(self) -> str:
        """Return the text of a YAML file; all else as of `to_toml`."""
        return _render().file_text(self._entries(), as_yaml=True)

    def _repr_html_(self) -> str:
        return _render().html(type(self).__name__, self._rows())

    def _rows(self) -> "list[Row]":
        """The rows of the table; those of a section that is held come last."""
        section, sources, row = section_of(type(self)), self.sources, _render().Row
        defaults = {name: jsonable(value) for name, value in section.defaults.items()}
        rows = [
            row(section.group(name), name, sources[name], sources[name].value != defaults.get(name))
            for name in _shown_order(type(self))
        ]
        return rows + [line for name in section.nested for line in getattr(self, name)._rows()]

    def _entries(self) -> "list[Entry]":
        """What a file of the settings holds; the tables of sections that are held come last."""
        section, entry, held = section_of(type(self)), _render().Entry, self.to_dict()
        table = "" if section.is_flat else section.table
        entries: list[Entry] = []
        for name in filter(held.__contains__, _shown_order(type(self))):
            value, default = held[name], recorded(section.defaults.get(name))
            if name in section.paths and value == default is not None:
                continue  # a relative one, which has another folder in a file
            value = section.in_file(name, value)
            entries.append(entry(table, section.group(name), name, value, section.help[name]))
        for name, declared in section.nested.items():
            held = getattr(self, name)
            if more := sorted(section_of(type(held)).fields.keys() - declared.fields):
                rule = f"expected a {declared.cls.__name__}, which {type(self).__name__} declares"
                got = f"got a {type(held).__name__} with {', '.join(more)}"
                way_out = (
                    f"Declare {name}: {type(held).__name__} in a class derived from {type(self).__name__}."
                )
                raise ConfigError.of(name, f"{rule}, in a file; {got}. {way_out}")
            entries += held._entries()
        return entries


def _flat(settings: object) -> dict[str, Any]:
    """Every value by its name; of a section that is held, after the name of that."""
    section = section_of(type(settings))
    flat = {name: getattr(settings, name) for name in section.fields}
    for held in section.nested:
        flat |= {f"{held}.{name}": value for name, value in _flat(getattr(settings, held)).items()}
    return flat


def _shown_order(cls: type) -> list[str]:
    """The fields, those that the nearest of the bases declares first."""
    line = [*enumerate(cls.__mro__)][::-1]
    place: Mapping[str, int] = {
        name: place for place, base in line for name in vars(base).get("__annotations__", ())
    }
    return sorted(section_of(cls).fields, key=lambda name: place[name])


def _render() -> Any:
    from ptycho.config import render  # loads with the first use

    return render


class Shown(type):
    """The class of classes of settings: what help() and ? show of them is written when somebody asks.

    help() passes over what stands in a class itself when that has a class of its own; so these are properties here.
    What pydantic and dataclasses find, the rules of every type among it, is left out.
    """

    @property
    def __doc__(cls) -> str | None:
        """The docstring, with the sentence of every setting."""
        summary, section = vars(cls).get("__doc__"), vars(cls).get("__section__")
        if section is None:
            return summary
        lines = [f"    {name}: {section.help[name]}" for name in section.all_fields]
        return "\n".join([inspect.cleandoc(summary or cls.__name__), "", "Attributes:", *lines])

    @__doc__.setter
    def __doc__(cls, found: object) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Leave what is found."""

    @property
    def __signature__(cls) -> inspect.Signature:
        """The parameters, with plain types."""
        if not hasattr(cls, "__section__"):
            raise AttributeError("__signature__")
        fields = section_of(cls).all_fields
        is_named = hasattr(cls, "model_fields") or any(info.is_required() for info in fields.values())
        kind = inspect.Parameter.KEYWORD_ONLY if is_named else inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature([_parameter(name, info, kind) for name, info in fields.items()])

    @__signature__.setter
    def __signature__(cls, found: object) -> None:
        """Leave what is found."""


def _parameter(name: str, info: FieldInfo, kind: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if info.is_required() else info.get_default(call_default_factory=True)
    return inspect.Parameter(name, kind, default=default, annotation=_plain_type(info.annotation))


def _plain_type(annotation: Any) -> Any:
    """A type without its rules; a path may be text."""
    if annotation is Path:
        return str | Path
    if get_origin(annotation) is Annotated:
        return _plain_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return Union[tuple(_plain_type(part) for part in get_args(annotation))]  # noqa: UP007
    return annotation
