"""One reader per source; each gives a `Layer`: values by name, where they stand, what was wrong."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, cast

from ptycho.config.errors import (
    ConfigError,
    Failure,
    UnknownVariableWarning,
    named,
    near,
    show,
    unknown_name,
    warn_caller,
)
from ptycho.config.fields import Scalar
from ptycho.config.origins import Origin

NEAR_ENOUGH: Final = 0.75
"""Similarity from which an unknown name among others (a variable, an override) is taken for a misspelt one."""
FLAG_LEVEL: Final = -1
"""Standing of flags among the overrides."""


class Vocabulary(NamedTuple):
    """The names that sources may use, and how text is read for each."""

    scalars: Mapping[str, Scalar]
    """Name -> what the field accepts."""
    renamed: Mapping[str, str] = {}
    """Old or foreign name -> name; using one gives a DeprecationWarning."""
    what: str = "knob"
    """What a name stands for, in messages."""
    aliases: Mapping[str, str] = {}
    """A second name of a field -> its name; one is as good as the other."""
    variables: Mapping[str, str] = {}
    """An environment variable of an alias, in lower case -> name."""

    def names(self) -> tuple[str, ...]:
        """Return every name that may be written, the old ones last."""
        return (*self.scalars, *self.aliases, *self.renamed)

    def field(self, written: str) -> str | None:
        """Return the name of the field that is written; None where there is none."""
        name = self.renamed.get(written) or self.aliases.get(written, written)
        return name if name in self.scalars else None

    def meant_by(self, written: str, cutoff: float = 0.6) -> str | None:
        """Return the current name that a misspelt one is near to."""
        close = near(written, self.names(), cutoff)
        return close if close is None else self.renamed.get(close, close)


class Checks(NamedTuple):
    """How the values of one class are checked."""

    vocabulary: Vocabulary
    """The names there are."""
    defaults: Mapping[str, Any]
    """Name -> default."""
    check: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """Validates any of the fields, each by itself; raises pydantic's ValidationError."""
    conflicts: Callable[[Mapping[str, Any], Callable[[str], str]], Iterable[Failure]]
    """Finds what does not go together, given the valid values and the wording of a value's origin."""


class Layer(NamedTuple):
    """What one source says. A name it does not hold is one it is silent about."""

    kind: str
    """One of `origins.PRECEDENCE`, or the class name of a source that a subclass added."""
    values: Mapping[str, Any]
    """Name -> value; text is already read into the field's type where it spells one."""
    locators: Mapping[str, str] = {}
    """Name -> the place in the source."""
    raw: Mapping[str, str] = {}
    """Name -> the text as written."""
    failures: tuple[Failure, ...] = ()
    """What was wrong in reading the source: unknown, repeated or misplaced names."""
    level: int = 0
    """Standing among layers of one kind: the higher wins."""

    def origin(self, name: str, shadowed: tuple[Origin, ...] = ()) -> Origin:
        """Describe where this layer has a name from, and the origins it beats."""
        locator, raw = self.locators.get(name, ""), self.raw.get(name)
        return Origin(self.kind, locator, raw, shadowed, self.values[name])


def as_mapping(cls: type, content: object) -> dict[str, Any]:
    """Return a copy of a mapping of a class's knobs, or refuse what is none."""
    if not isinstance(content, Mapping):
        message = f"{cls.__name__}: expected a mapping of knobs to values; got {show(content)}."
        raise ConfigError([Failure(cls.__name__, message)])
    return dict(cast(Mapping[str, Any], content))


def read_values(
    kind: str,
    written: Mapping[str, Any],
    vocabulary: Vocabulary,
    *,
    text: bool = False,
    locate: Callable[[str], str] = str,
    quote: Callable[[str], str] = lambda spelling: "",
    level: int = 0,
) -> Layer:
    """Read named values: arguments, overrides, flags, command-line defaults, a table of a file.

    Args:
        kind: The kind of the layer.
        written: Name as written -> value.
        vocabulary: The names there are.
        text: Whether str values are text to be read (flags, files), rather than values (from Python).
        locate: Words the place of a name as written, for messages.
        quote: Quotes the line of a name as written, for messages.
        level: Standing among layers of one kind.

    Returns:
        The layer; names that do not exist and names given twice are among its failures.
    """
    scalars = vocabulary.scalars
    if not text and scalars.keys() >= written.keys():
        return Layer(kind, dict(written), level=level)
    values: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    raw: dict[str, str] = {}
    failures: list[Failure] = []
    for spelling, value in written.items():
        name = vocabulary.field(spelling)
        if name is None:
            place = "" if kind == "argument" else f" ({kind})"
            meant = vocabulary.meant_by(str(spelling))
            failures.append(unknown_name(str(spelling), meant, what=vocabulary.what, place=place))
        elif name in values:
            first = spelled.get(name, name)
            lines = f"{quote(first)}{quote(spelling)}"
            failures.append(given_twice(name, _called(first, locate), _called(spelling, locate), lines))
        else:
            if spelling in vocabulary.renamed:
                warn_renamed(_called(spelling, locate), name)
            if name != spelling:
                spelled[name] = spelling
            if text:
                values[name] = scalars[name].read(value)
                if isinstance(value, str):
                    raw[name] = value
            else:
                values[name] = value
    return Layer(kind, values, spelled, raw, tuple(failures), level)


def _called(spelling: str, locate: Callable[[str], str]) -> str:
    """Word a name as written, with its place where it has one."""
    place = locate(spelling)
    return spelling if place == spelling else f"{spelling} ({place})"


def read_flags(written: Mapping[str, Any], vocabulary: Vocabulary) -> Layer:
    """Read command-line flags that were passed: overrides, below those of a caller.

    Args:
        written: Name -> value; str values are read as text.
        vocabulary: The names there are.

    Returns:
        The layer; the place of a name is its flag.
    """
    layer = read_values("override", written, vocabulary, text=True, level=FLAG_LEVEL)
    return layer._replace(locators={name: f"--{name.replace('_', '-')}" for name in layer.values})


def read_environment(
    environ: Mapping[str, str], prefix: str, vocabulary: Vocabulary, *, strict: bool = False
) -> Layer:
    """Read the variables that start with the prefix, or that are of an alias, in either case.

    An empty or blank variable counts as unset. A variable that is no knob's is an error where its name is
    near a knob's, else a warning (people keep variables of their own); its value is never repeated.

    Args:
        environ: The environment.
        prefix: The prefix in upper case.
        vocabulary: The names there are.
        strict: Whether any unknown variable is an error.

    Returns:
        The environment layer.
    """
    if not _is_of_names(environ):
        message = f"environ: expected a mapping of variables to text; got {show(environ)}."
        return Layer("environment", {}, failures=(Failure("environ", message),))
    values: dict[str, Any] = {}
    locators: dict[str, str] = {}
    raw: dict[str, str] = {}
    failures: list[Failure] = []
    for variable, spelling in _variables(environ, prefix, vocabulary.variables):
        name = vocabulary.field(spelling)
        try:
            text = environ[variable]
        except KeyError:  # another thread has removed it since it was listed
            continue
        is_text = isinstance(cast(object, text), str)
        if is_text and not text.strip():
            continue
        if name is None:
            meant = vocabulary.meant_by(spelling, NEAR_ENOUGH)
            if meant or strict:
                failures.append(unknown_name(variable, meant and f"{prefix}{meant.upper()}"))
            else:
                warn_caller(
                    f"{named(variable)}: no such knob; the variable is ignored.", UnknownVariableWarning
                )
            continue
        if spelling in vocabulary.renamed:
            warn_renamed(variable, f"{prefix}{name.upper()}")
        if name in values:
            failures.append(given_twice(name, locators[name], variable))
            continue
        if not is_text:
            shown = show(text) if vocabulary.scalars[name].is_plain else "another value"
            message = f"{name}: expected text; got {shown} from environment variable {variable}."
            failures.append(Failure(name, message))
            continue
        values[name] = vocabulary.scalars[name].read(text)
        locators[name] = variable
        raw[name] = text
    return Layer("environment", values, locators, raw, tuple(failures))


def _is_of_names(environ: object) -> bool:
    """Tell whether these may be variables: a mapping whose every key is text."""
    if environ is os.environ:
        return True
    return isinstance(environ, Mapping) and all(
        isinstance(name, str) for name in cast(Mapping[object, object], environ)
    )


def _variables(
    environ: Mapping[str, str], prefix: str, of_aliases: Mapping[str, str]
) -> list[tuple[str, str]]:
    """List the variables that start with the prefix, or that are of an alias, in any case.

    Returns:
        The variable, and what it calls the field, in alphabetic order.
    """
    names, found = list(environ), dict[str, str]()
    if prefix in "\n".join(names).upper():
        found = {n: n[len(prefix) :].lower() for n in names if n[: len(prefix)].upper() == prefix}
    if of_aliases:
        found |= {name: of_aliases[name.lower()] for name in names if name.lower() in of_aliases}
    return sorted(found.items())


def warn_renamed(written: str, name: str) -> None:
    """Warn that a name is an old or foreign one."""
    warn_caller(f"{written} is an old name; use {name}.", DeprecationWarning)


def immutable(written: str, vocabulary: Vocabulary) -> ConfigError:
    """Word the refusal to assign or delete a name."""
    name = vocabulary.field(written)
    if name is None:
        return ConfigError([unknown_name(written, vocabulary.meant_by(written), what=vocabulary.what)])
    message = f"{name}: settings are immutable. Use replace({name}=...), which returns a changed copy."
    return ConfigError([Failure(name, message)])


def given_twice(name: str, first: str, second: str, lines: str = "") -> Failure:
    """Word the failure for a name that one source gives twice, above the lines where it does."""
    return Failure(name, f"{name}: given twice, as {first} and as {second}. Keep one of them.{lines}")
