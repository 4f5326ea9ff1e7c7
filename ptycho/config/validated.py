"""Mutable dataclasses that stay valid: every construction and assignment is checked, or changes nothing.

The checking is pydantic's; the errors are `ConfigError`, in the words of the settings layer.
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from ptycho.config.errors import ConfigError, Failure, near, quote_line, show, unknown_name
from ptycho.config.fields import Scalar, annotation_of, plain, scalar
from ptycho.config.origins import Origin
from ptycho.config.resolve import merge
from ptycho.config.sources import Layer, Vocabulary, warn_renamed

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Rule:
    """Annotation marker: a rule that bounds cannot say, in words, with the check that enforces it.

    Attributes:
        text: The rule as a message says it after "expected".
        holds: Whether a value of the right type keeps the rule.
        advice: What to do about a value that does not.
    """

    text: str
    holds: Callable[[Any], bool] = lambda value: True
    advice: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        if not self.holds(value):
            raise ValueError(self.text)
        return value


@dataclasses.dataclass(frozen=True)
class _Section:
    """What `validated` was told about a class."""

    name: str
    renamed: Mapping[str, str]
    also: Mapping[str, str]


_SECTIONS: dict[type, _Section] = {}


@dataclass_transform(field_specifiers=(dataclasses.field,))
def validated(
    section: str, renamed: Mapping[str, str] | None = None, also: Mapping[str, str] | None = None
) -> Callable[[type[T]], type[T]]:
    """Make a class a validated dataclass.

    Args:
        section: What messages put before a field's name: `section.field`.
        renamed: Old name -> field; the old name still works everywhere, with a DeprecationWarning.
        also: Name that callers use -> field; it works in construction, without a word.

    Returns:
        The class decorator. Construction and assignment raise ConfigError; a failed assignment leaves the old
        value.
    """

    def decorate(cls: type[T]) -> type[T]:
        config = ConfigDict(validate_assignment=True, extra="forbid", hide_input_in_errors=True)
        made = cast(type[T], pydantic_dataclass(config=config)(cls))
        _SECTIONS[made] = _Section(section, renamed or {}, also or {})
        _word_construction(made)
        _word_assignment(made)
        for old, new in (renamed or {}).items():
            setattr(made, old, _renamed_field(old, new))
        return made

    return decorate


def _word_construction(cls: type) -> None:
    construct: Callable[..., None] = cls.__init__

    @functools.wraps(construct)
    def __init__(self: Any, *values: Any, **named: Any) -> None:
        named = _with_current_names(cls, named)
        try:
            construct(self, *values, **named)
        except ValidationError as error:
            origins = {name: Origin("argument", value=value) for name, value in named.items()}
            raise ConfigError(_worded(error, cls, origins)) from None

    setattr(cls, "__init__", __init__)  # noqa: B010 (a plain assignment is a type error)


def _word_assignment(cls: type) -> None:
    assign: Callable[..., None] = cls.__setattr__
    renamed = _SECTIONS[cls].renamed

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if name in renamed:
            warn_renamed(name, renamed[name])
            name = renamed[name]
        try:
            assign(self, name, value)
        except ValidationError as error:
            raise ConfigError(_worded(error, cls, {name: Origin("assignment", value=value)})) from None

    def __delattr__(self: Any, name: str) -> None:
        message = f"{section_of(cls)}.{name}: expected a value; got a deletion. Assign the default instead."
        raise ConfigError([Failure(f"{section_of(cls)}.{name}", message)])

    setattr(cls, "__setattr__", __setattr__)  # noqa: B010
    setattr(cls, "__delattr__", __delattr__)  # noqa: B010


def _renamed_field(old: str, new: str) -> property:
    def read(self: Any) -> Any:
        warn_renamed(old, new)
        return getattr(self, new)

    return property(read, doc=f"Old name of `{new}`.")


def _with_current_names(cls: type, named: Mapping[str, Any]) -> dict[str, Any]:
    section = _SECTIONS[cls]
    if named.keys() > pydantic_fields(cls).keys():
        named = _without_replaced(cls, named)
    current: dict[str, Any] = {}
    for written, value in named.items():
        name = section.renamed.get(written) or section.also.get(written, written)
        if written in section.renamed:
            warn_renamed(written, name)
        if name in current:
            old = next(old for old, new in {**section.renamed, **section.also}.items() if new == name)
            message = f"{section.name}.{name}: given twice, also by its old name {old}. Drop {old}."
            raise ConfigError([Failure(f"{section.name}.{name}", message)])
        current[name] = value
    return current


def _without_replaced(cls: type, named: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out the fields that an old name changes, as `dataclasses.replace` names every field besides."""
    changed = {_SECTIONS[cls].renamed[old] for old in named.keys() & _SECTIONS[cls].renamed.keys()}
    return {name: value for name, value in named.items() if name not in changed}


def pydantic_fields(cls: type) -> dict[str, FieldInfo]:
    """The fields of a validated class, by name."""
    return cast(Any, cls).__pydantic_fields__


def section_of(cls: type) -> str:
    """The word that stands before the field names of a validated class in messages and run files."""
    return _SECTIONS[cls].name


@functools.cache
def vocabulary(cls: type) -> Vocabulary:
    """The names that a source may set in a validated class; a nested one is a section of its own."""
    fields = pydantic_fields(cls).items()
    scalars = {name: _scalar(info) for name, info in fields if cast(type, info.annotation) not in _SECTIONS}
    return Vocabulary(scalars, _SECTIONS[cls].renamed, "field")


def _scalar(info: FieldInfo) -> Scalar:
    found = scalar(annotation_of(info))
    rule = next((marker.text for marker in info.metadata if isinstance(marker, Rule)), None)
    kind = cast(type, info.annotation)
    if kind in _SECTIONS:
        rule = f"a {kind.__name__}"
    return Scalar(found.kinds, found.words, rule) if rule else found


@functools.cache
def help_texts(cls: type) -> dict[str, str]:
    """The text under every field of a class, on one line each."""
    body = cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]).body
    texts: dict[str, str] = {}
    for field, text in itertools.pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                texts[name] = " ".join(words.split())
            case _:
                pass
    return texts


class Resolution(Generic[T]):
    """The fields of one validated class, resolved from layers by precedence.

    Attributes:
        merged: the origin of what the layers gave, by field.
        values: what the layers gave, by field.
        failures: what was wrong with the layers, in the winning and the losing values alike.
    """

    def __init__(self, cls: type[T], layers: Sequence[Layer]) -> None:
        self._cls = cls
        self.merged = merge(layers)
        self.values = {name: origin.value for name, origin in self.merged.items()}
        self.failures = [failure for layer in layers for failure in (*layer.failures, *_refusals(cls, layer))]

    @property
    def valid(self) -> dict[str, Any]:
        """Every field with the value in force, but for those that a layer gives a wrong value."""
        wrong, plain = {failure.name for failure in self.failures}, self._cls()
        return {
            name: accepts.exact(self.values.get(name, getattr(plain, name)))
            for name, accepts in vocabulary(self._cls).scalars.items()
            if f"{section_of(self._cls)}.{name}" not in wrong
        }

    @property
    def config(self) -> T:
        """A new configuration.

        Raises:
            ConfigError: any layer has a failure.
        """
        if self.failures:
            raise ConfigError(self.failures)
        return self._cls(**self.values)

    @property
    def sources(self) -> dict[str, Origin]:
        """Every field's origin, with the value in force."""
        config = self.config
        return {name: self._source(name, getattr(config, name)) for name in vocabulary(self._cls).scalars}

    def _source(self, name: str, value: object) -> Origin:
        origin, accepts = self.merged.get(name, Origin("default")), vocabulary(self._cls).scalars[name]
        beaten = tuple(loser._replace(value=accepts.exact(loser.value)) for loser in origin.shadowed)
        return origin._replace(value=recorded(value), shadowed=beaten)


def recorded(value: Any) -> Any:
    """A value as a record of it holds it: paths are text, numbers plain Python."""
    return os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, os.PathLike) else plain(value)


def _refusals(cls: type, layer: Layer) -> list[Failure]:
    """What a validated class refuses of one layer."""
    try:
        cast(Any, cls).__pydantic_validator__.validate_python(dict(layer.values))
    except ValidationError as error:
        return list(_worded(error, cls, {name: layer.origin(name) for name in layer.values}))
    return []


def _worded(error: ValidationError, cls: type, origins: Mapping[str, Origin]) -> Iterator[Failure]:
    """Word every error pydantic found in a class; a field without an origin is an argument."""
    for detail in error.errors(include_url=False, include_context=False):
        place, *inner = detail["loc"]
        names = list(pydantic_fields(cls))
        if isinstance(place, int):
            if place >= len(names):
                yield _too_many(cls, len(names))
                continue
            place = names[place]
        owner, origin = cls, origins.get(place, Origin("argument"))
        nested = cast(type, pydantic_fields(cls)[place].annotation) if inner else None
        if nested in _SECTIONS:
            owner, place = nested, str(inner[0])
            origin = origin._replace(value=detail["input"])
        value = detail["input"] if origin.value is None else origin.value  # as it was given
        yield _refused(owner, place, detail["type"], value, origin)


def _refused(cls: type, field: str, why: str, value: object, origin: Origin) -> Failure:
    """Word what is wrong with one field of a class."""
    name = f"{section_of(cls)}.{field}"
    if why in ("unexpected_keyword_argument", "no_such_attribute"):
        place = f" at {origin.locator}" if origin.locator else ""
        return unknown_name(name, suggest(field, [cls]), what="field", place=place)
    info = pydantic_fields(cls)[field]
    accepts = _scalar(info)
    advice = next((marker.advice for marker in info.metadata if isinstance(marker, Rule)), "")
    meant = accepts.meant_by(value)
    hint = f"Did you mean {meant}?" if meant else advice
    from_file = origin.kind == "file"
    shown = show(value if from_file or origin.raw is None else origin.raw)
    message = f"{name}: expected {accepts.broken_by(value)}; got {shown} from {origin}. {hint}".rstrip()
    line = quote_line(origin.raw or "", shown=True) if from_file else ""
    return Failure(name, f"{message}{line}")


def suggest(written: str, classes: Sequence[type]) -> str | None:
    """The field, as `section.field`, that a misspelt name probably means, in these classes or nested ones."""
    homes: dict[str, str] = {}
    for cls in classes:
        for name, info in pydantic_fields(cls).items():
            nested = cast(type, info.annotation)
            if nested in _SECTIONS:
                homes |= dict.fromkeys(pydantic_fields(nested), section_of(nested))
            homes[name] = section_of(cls)
        homes |= {old: section_of(cls) for old in _SECTIONS[cls].renamed}
    found = near(written, tuple(homes))
    return f"{homes[found]}.{found}" if found else None


def _too_many(cls: type, most: int) -> Failure:
    return Failure(
        cls.__name__, f"{cls.__name__}: expected at most {most} values; got more. Name them: field=value."
    )
