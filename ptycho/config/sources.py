"""One reader per source; each gives a `Layer`."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from ptycho.config.errors import (
    MOST_SHOWN,
    NEAR_ENOUGH,
    ConfigError,
    Failure,
    UnknownVariableWarning,
    given_twice,
    named,
    names_meant,
    near,
    show,
    unknown_name,
    warn_caller,
    warn_renamed,
)
from ptycho.config.origins import Layer
from ptycho.config.paths import PathError, Variable, expanded
from ptycho.config.section import Section, section_of_table, tables_with

BY_PLACE: Final[Mapping[str, str]] = {"train_data_file": "DATA", "model_path": "MODEL", "data_file": "DATA"}
"""Setting that a command has no flag for -> what stands for it in its usage."""


def as_mapping(what: str, content: object) -> dict[str, Any]:
    """Return a copy of a mapping of names to values, or refuse anything else; messages call it what it is."""
    if not isinstance(content, Mapping):
        raise ConfigError.of(what, f"expected a mapping of names to values; got {show(content)}.")
    found = dict(cast(Mapping[Any, Any], content))
    if odd := [name for name in found if not isinstance(name, str)]:
        raise ConfigError.of(what, f"expected names that are text; got {show(odd[0])}.")
    return found


class Writing(NamedTuple):
    """How a source writes values, and how messages speak of the places in it."""

    is_text: bool = False
    """Whether str values are text to be read (flags, files), rather than values (from Python)."""
    variable: Variable = os.environ.get
    """Gives the text of a variable that a path in text names."""
    file: str = ""
    """The file that it is, from whose folder relative paths in text begin; empty: from the working directory."""
    locate: Callable[[str], str] = str
    """Words the place of a name as written."""
    quote: Callable[[str], str] = lambda spelling: ""
    """Quotes the line of a name as written."""


PYTHON: Final = Writing()
TEXT: Final = Writing(is_text=True)


def read_values(kind: str, written: Mapping[str, Any], section: Section, how: Writing = PYTHON) -> Layer:
    """Read named values of one section: arguments, overrides, flags, a table of a file; as `sort_values` does."""
    scalars = section.scalars
    if scalars.keys() >= written.keys() and not (how.is_text and section.paths & written.keys()):
        if not how.is_text:
            return Layer(kind, dict(written))
        raw = {name: value for name, value in written.items() if isinstance(value, str)}
        return Layer(kind, {name: scalars[name].read(value) for name, value in written.items()}, {}, raw)
    (layer,) = sort_values(kind, written, [section], how)
    return layer


def read_arguments(kind: str, given: Mapping[str, Any], section: Section) -> Layer:
    """Read values from Python, by name; a section that is held is taken as it is."""
    held = {name: given[name] for name in section.nested if name in given}
    if not held:
        return read_values(kind, given, section)
    layer = read_values(kind, {name: value for name, value in given.items() if name not in held}, section)
    return layer._replace(values={**held, **layer.values})


def sort_values(
    kind: str,
    written: Mapping[str, Any],
    sections: Sequence[Section],
    how: Writing = PYTHON,
    synonyms: Mapping[str, str] = {},
) -> list[Layer]:
    """Read named values, and sort them by the section that they are of.

    Args:
        kind: The kind of the layers.
        written: Name as written -> value.
        sections: The sections; of a name that several have, the first is meant.
        how: How they are written.
        synonyms: Other name -> field.

    Returns:
        A layer for each section. Names that do not exist are among the failures of the first, and a name given twice
        among those of its section.
    """
    found = [_Reading() for _ in sections]
    for spelling, value in written.items():
        at, name = _home(synonyms.get(spelling, spelling), sections)
        reading, section = found[at], sections[at]
        if name is None:
            reading.failures.append(_unknown(kind, f"{spelling}", sections, synonyms))
        elif name in reading.values:
            first = reading.spelled.get(name, name)
            lines = f"{how.quote(first)}{how.quote(spelling)}"
            label = section.labelled(name) if len(sections) == 1 else name
            reading.failures.append(
                given_twice(label, _called(first, how.locate), _called(spelling, how.locate), lines)
            )
        else:
            if spelling in section.renamed:
                warn_renamed(_called(spelling, how.locate), name)
            if name != spelling:
                reading.spelled[name] = spelling
            if how.is_text and isinstance(value, str):
                reading.raw[name] = value
            try:
                reading.values[name] = read_text(name, value, section, how) if how.is_text else value
            except PathError as error:
                place = how.locate(spelling)
                place = f"flag --{spelling.replace('_', '-')}" if place == spelling else place
                reading.failures.append(
                    _unplaced(section.labelled(name), value, place, error, how.quote(spelling))
                )
    return [
        Layer(kind, reading.values, reading.spelled, reading.raw, tuple(reading.failures))
        for reading in found
    ]


def read_text(name: str, written: object, section: Section, how: Writing) -> object:
    """Read what a file, a flag or a variable says of a field; in a path `~` and `$NAME` are replaced.

    Raises:
        PathError: A path names a variable that is not set, or an unknown user.
    """
    value = section.scalars[name].read(written)
    if name in section.paths and isinstance(value, str) and value:
        folder = os.path.dirname(os.path.abspath(how.file)) if how.file else ""
        return expanded(value, folder, how.variable)
    return value


def _unplaced(label: str, written: object, place: str, error: PathError, lines: str = "") -> Failure:
    what, _, way_out = f"{error}".partition(". ")
    return Failure.of(label, f"{what}; got {show(written)} from {place}. {way_out}.{lines}")


class _Reading:
    """What is found for one section."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.spelled: dict[str, str] = {}
        self.raw: dict[str, str] = {}
        self.failures: list[Failure] = []


def _home(spelling: str, sections: Sequence[Section]) -> tuple[int, str | None]:
    """Find the section of a name as written, and the field; of one that there is not, the first, and None."""
    for at, section in enumerate(sections):
        if name := section.field(spelling):
            return at, name
    return 0, None


def _unknown(kind: str, written: str, sections: Sequence[Section], synonyms: Mapping[str, str]) -> Failure:
    """Word the failure of a name that no section has."""
    place = "" if kind == "argument" else f" ({kind})"
    if len(sections) == 1:
        (section,) = sections
        return unknown_name(section.labelled(written), section.suggest(written), place=place)
    current = {old: new for section in sections for old, new in section.renamed.items()}
    known = (*(name for section in sections for name in section.names), *synonyms)
    close = (near(name, known, NEAR_ENOUGH) for name in names_meant(written))
    return unknown_name(written, " or ".join(current.get(name, name) for name in close if name), place=place)


def _called(spelling: str, locate: Callable[[str], str]) -> str:
    """Word a name as written, with its place where it has one."""
    place = locate(spelling)
    return spelling if place == spelling else f"{spelling} ({place})"


def read_saved(
    kind: str, saved: Mapping[str, Any], section: Section, place: str, writer: str, *, level: int = 0
) -> Layer:
    """Read what a run or a model recorded at a place; a sentence about the writer follows unknown names."""

    def strange(spelling: str) -> Failure:
        name, message = unknown_name(
            section.labelled(spelling), section.suggest(spelling), place=f" at {place}"
        )
        return Failure(name, f"{message} {writer}".rstrip())

    known = {name: value for name, value in saved.items() if section.field(name)}
    layer = read_values(kind, known, section)
    failures = (*first_of([name for name in saved if name not in known], strange, place), *layer.failures)
    return layer._replace(locators=dict.fromkeys(layer.values, place), failures=failures, level=level)


def first_of(names: Sequence[str], wrong: Callable[[str], Failure], place: str) -> list[Failure]:
    """What is wrong with names that are no settings in a place; of very many, how many they are, and the first."""
    failures = [wrong(name) for name in names[: MOST_SHOWN - 1]]
    if len(names) == len(failures):
        return failures
    words = "names are not settings here. Correct the first, which follow, or name another file."
    return [Failure.of(place, f"{len(names)} {words}"), *failures]


def as_flags(layer: Layer) -> Layer:
    """Make a layer that of command-line flags: overrides, below those of a caller; the place of a name is its flag."""
    places = {
        name: f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
        for name, value in layer.values.items()
    }
    return layer._replace(kind="override", locators=places, level=-1)


class Environment:
    """The variables of a process, by name, listed once."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables
        self.names = _names_in(variables)
        """All names, with a NUL before and behind each; empty where these cannot be variables."""

    def get(self, name: str) -> object:
        """The text of a variable; None where it is not set."""
        return self.variables.get(name) if f"\0{name}\0" in self.names else None


def _names_in(variables: object) -> str:
    found = cast(Mapping[str, str], variables)
    is_of_text = variables is os.environ or (
        isinstance(variables, Mapping) and all(isinstance(cast(object, name), str) for name in found)
    )
    return "\0".join(["", *found, ""]) if is_of_text else ""


def read_environment(environ: Environment, section: Section, *, strict: bool = False) -> Layer:
    """Read the variables that start with the prefix of a section, in either case.

    An empty or blank variable counts as unset. A variable of no setting is an error where its name is near a
    setting's, or if strict, else a warning (people keep variables of their own); its value is never repeated.
    """
    if not environ.names:
        words = f"expected a mapping of variables to text; got {show(environ.variables)}."
        return Layer("environment", {}, failures=(Failure.of("environ", words),))
    prefix, how = section.prefix or "", Writing(variable=environ.get)
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    raw: dict[str, str] = {}
    failures: list[Failure] = []
    for variable in section.variables_in(environ.names):
        lower = variable[len(prefix) :].lower()
        spelling = section.names_in_lower_case.get(lower, lower)
        try:
            text = environ.variables[variable]
        except KeyError:  # another thread has removed it since it was listed
            continue
        is_text = isinstance(cast(object, text), str)
        if is_text and not text.strip():
            continue
        if (name := section.field(spelling)) is None:
            failures += _of_no_setting(variable, spelling, section, strict=strict)
            continue
        if name != spelling:
            warn_renamed(variable, f"{prefix}{name.upper()}")
        if name in places:
            failures.append(given_twice(name, places[name], variable))
        elif not is_text:
            shown = show(text) if section.scalars[name].is_plain else "another value"
            words = f"expected text; got {shown} from environment variable {variable}."
            failures.append(Failure.of(name, words))
        else:
            places[name], raw[name] = variable, text
            try:
                values[name] = read_text(name, text, section, how)
            except PathError as error:
                place = f"environment variable {variable}"
                failures.append(_unplaced(section.labelled(name), text, place, error))
    return Layer("environment", values, places, raw, tuple(failures))


def _of_no_setting(variable: str, spelling: str, section: Section, *, strict: bool) -> list[Failure]:
    """What is wrong with a variable that sets nothing; one that is near no name is warned of, if not strict.

    What is trained on what is never read from the environment: it does not depend on a shell. Without a prefix, a
    variable may be of any program.
    """
    if not section.prefix:
        return []
    names = names_meant(spelling)
    setting = names[0] if tables_with(names[0]) else names[0].upper()  # as N
    if section.field(setting) is None and (homes := tables_with(setting)):
        name = section_of_table(homes[0]).field(setting) or setting
        way = BY_PLACE.get(name) or f"--{name.replace('_', '-')}"
        ways = f"Use {way}, or {name} in [{homes[0]}] of a file."
        return [Failure(variable, f"{named(variable)}: {name} is not read from the environment. {ways}")]
    close = (near(name, section.names, NEAR_ENOUGH) for name in names)
    meant = " or ".join(f"{section.variable(section.field(name) or name)}" for name in close if name)
    if meant or strict:
        return [unknown_name(variable, meant)]
    warn_caller(f"{named(variable)}: no such setting; the variable is ignored.", UnknownVariableWarning)
    return []
