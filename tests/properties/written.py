"""What can be written for a field in every source, rightly and wrongly, and what it means there."""

import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from tests.properties.fields import FALSE, FIELDS, KNOBS, LARGEST, TRUE, Field, line

SOURCES = ("overrides", "flags", "arguments", "inferred", "environment", "file", "recipe", "cli_defaults")
"""The strongest first."""
KINDS = ("override", "override", "argument", "inferred", "environment", "file", "recipe", "cli-default")
"""What the origins of each source are called."""
IN_FILES = ("file", "recipe")
FROM_PYTHON = ("overrides", "arguments", "inferred", "cli_defaults")
ALL = KNOBS | FIELDS
THIRD = st.sampled_from([False, False, True])
BLANK = st.sampled_from(["", " ", " \t\n"])
FORMATS = ("toml", "yaml", "json")


def examples(share: float) -> settings:
    """So many examples, of those that the profile asks for."""
    return settings(max_examples=max(1, round(settings().max_examples * share)))


# What is written ------------------------------------------------------------------------------------------------

WORDS = (
    "",
    "many",
    "abacus",
    "auto",
    "warn",
    "norm",
    "none",
    "true",
    "off",
    "nan",
    "inf",
    "-inf",
    "[]",
    "1 2",
)
NUMERALS = (
    *("-2", "-1", "0", "1", "2", "64", "0x10", "1.", "1.5", "-0.5", "1e999", "4294967296"),
    str(LARGEST + 1),
)
OBJECTS = (None, True, False, math.nan, math.inf, -math.inf, 2**32, 2**63, [], [1], {}, (), b"1", 1j)
ODD_TEXTS = st.sampled_from(WORDS) | st.sampled_from(NUMERALS)
ODD_VALUES = st.sampled_from(OBJECTS) | st.integers(-3, 3) | st.floats() | ODD_TEXTS
ODD_LITERALS: dict[str, list[tuple[str, Any]]] = {
    name: [(json.dumps(value), value) for value in (True, False, -2, -1, 0, 1, 1.5, -0.5, 2**63, [], [1], {})]
    + [(literal, meaning) for literal, meaning in others]
    for name, others in {
        "toml": [("nan", math.nan), ("inf", math.inf), ("2020-01-01", ())],
        "yaml": [("null", None), ("nan", "nan"), ("many", "many")],
        "json": [("null", None), ("NaN", math.nan), ("-Infinity", -math.inf)],
    }.items()
}
"""Format -> literals, with what they mean."""


class Said(NamedTuple):
    """What one source says about one field."""

    written: Any
    value: Any
    is_right: bool
    is_blank: bool = False
    """Whether it counts as nothing said: a variable without text."""


def texts(draw: st.DrawFn, accepted: Field, value: Any) -> str:
    """A text that means a value."""
    if value is None:
        text = draw(st.sampled_from(["none", "null"]))
    elif isinstance(value, bool):
        text = draw(st.sampled_from(TRUE if value else FALSE))
    elif not isinstance(value, str):
        return draw(st.sampled_from([repr(value), f" {value!r}\t"]))
    elif accepted is line:
        return value
    else:
        meant = [word for word, meaning in accepted.other_words.items() if meaning == value]
        text = draw(st.sampled_from([value, *meant]))
    change = draw(st.sampled_from([str, str.upper, str.lower, " {} ".format]))
    return change(text)


def clothed(draw: st.DrawFn, accepted: Field, value: Any) -> Any:
    """A Python object that is a value."""
    if isinstance(value, str) and accepted is not line:
        return draw(st.sampled_from([value, value.upper(), value.title()]))
    if isinstance(value, bool):
        return draw(st.sampled_from([value, np.bool_(value)]))
    if isinstance(value, float):
        return draw(st.sampled_from([value, np.float64(value)]))
    if isinstance(value, int):
        return draw(st.sampled_from([value, np.int64(value)]))
    return value


def literals(draw: st.DrawFn, accepted: Field, value: Any, suffix: str) -> str:
    """A literal of a file that means a value."""
    quoted = json.dumps(texts(draw, accepted, value), ensure_ascii=False)
    if value is None:
        return quoted if suffix == "toml" else draw(st.sampled_from(["null", quoted]))
    if isinstance(value, bool):
        return draw(st.sampled_from([json.dumps(value), quoted, str(int(value))]))
    return quoted if isinstance(value, str) else draw(st.sampled_from([json.dumps(value), quoted]))


@functools.cache
def _odd_literals(name: str, suffix: str) -> st.SearchStrategy[str]:
    accepted = ALL[name]

    def is_wrong(literal: str, meaning: Any) -> bool:
        if isinstance(meaning, str) or (suffix == "yaml" and not isinstance(meaning, list | dict)):
            return not accepted.reads(meaning if isinstance(meaning, str) else literal)
        counts_as_switch = meaning in (0, 1) and accepted.accepts(True) and type(meaning) is int
        return not (accepted.accepts(meaning) or counts_as_switch)

    texts = _odd_texts(name, "file").map(json.dumps)
    others = [literal for literal, meaning in ODD_LITERALS[suffix] if is_wrong(literal, meaning)]
    return texts | st.sampled_from(others)


@functools.cache
def _odd_values(name: str) -> st.SearchStrategy[Any]:
    return ODD_VALUES.filter(lambda value: not ALL[name].accepts(value))


@functools.cache
def _odd_texts(name: str, source: str) -> st.SearchStrategy[str]:
    odd = ODD_TEXTS.filter(lambda text: not ALL[name].reads(text))
    return odd.filter(bool) if source == "environment" else odd  # an empty variable counts as unset


def _flag(name: str, value: Any, text: str) -> str:
    """A flag as it is typed."""
    spelled = name.replace("_", "-")
    if ALL[name].is_switch:
        return f"--{spelled}" if value else f"--no-{spelled}"
    return f"--{spelled}={text}"


@functools.cache
def statements(name: str, source: str, suffix: str, mistakes: bool) -> st.SearchStrategy[Said]:
    """What a source may say about a field: something right, or now and then a mistake."""
    return _statements(name, source, suffix, mistakes)


@st.composite
def _statements(draw: st.DrawFn, name: str, source: str, suffix: str, mistakes: bool) -> Said:
    accepted = ALL[name]
    if source == "environment" and draw(THIRD):
        return Said(draw(BLANK), None, True, is_blank=True)
    wrong = mistakes and draw(THIRD) and not (source == "flags" and accepted.is_switch)
    value = None if wrong else draw(accepted.valid)
    if source in FROM_PYTHON:
        written = draw(_odd_values(name)) if wrong else clothed(draw, accepted, value)
    elif source in IN_FILES:
        written = draw(_odd_literals(name, suffix)) if wrong else literals(draw, accepted, value, suffix)
    else:
        written = draw(_odd_texts(name, source)) if wrong else texts(draw, accepted, value)
        if source == "flags":
            written = _flag(name, value, written)
    return Said(written, value, not wrong)


# One load -------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """What every source says, and the form of the file."""

    said: Mapping[str, Mapping[str, Said]]
    """Source -> field -> what it says."""
    suffix: str

    def values(self, source: str) -> dict[str, Any] | None:
        """What a source says, as it is handed over; None where it is silent."""
        said = self.said.get(source, {})
        return {name: given.written for name, given in said.items()} or None

    def levels(self, name: str) -> list[tuple[str, Said]]:
        """The sources that speak of a field, the strongest first, with what they say."""
        spoken = [(s, self.said[s][name]) for s in SOURCES if name in self.said.get(s, {})]
        return [(source, said) for source, said in spoken if not said.is_blank]

    def is_stated(self, name: str) -> bool:
        """Whether the value in force is right, and somebody stated it: above the recipe."""
        source, said = next(iter(self.levels(name)), ("", Said(None, None, False)))
        return said.is_right and SOURCES.index(source) < SOURCES.index("recipe")

    def is_of_recipe(self, name: str) -> bool:
        """Whether the value in force is right, and the recipe's."""
        source, said = next(iter(self.levels(name)), ("", Said(None, None, False)))
        return said.is_right and source == "recipe"

    def mistakes(self) -> list[tuple[str, str]]:
        """Every mistake, by field and source."""
        return [
            (name, source) for source, said in self.said.items() for name in said if not said[name].is_right
        ]

    def write(
        self, folder: Path, tables: Mapping[str, str], source: str = "file"
    ) -> tuple[Path | None, dict[str, int]]:
        """Write the file, or the recipe.

        Args:
            folder: where.
            tables: field -> table; empty for a flat file.
            source: which of the two.

        Returns:
            The file, None where it says nothing; and field -> line.
        """
        said = self.said.get(source, {})
        if not said:
            return None, {}
        path = folder / f"{source}.{self.suffix}"
        by_table: dict[str, list[str]] = {}
        for name in said:
            by_table.setdefault(tables.get(name, ""), []).append(name)
        lines, places = _WRITERS[self.suffix](
            {table: {name: said[name].written for name in names} for table, names in by_table.items()}
        )
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
        return path, places


def quoted(message: str, path: Path, line: int) -> bool:
    """Whether a message ends with a line of a file; a long one is cut, and what does not print is spelled out."""
    text = path.read_bytes().decode().split("\n")[line - 1].strip()
    start = next((end for end, sign in enumerate(text) if not sign.isprintable()), len(text))
    return message.partition("\n    ")[2].startswith(text[: min(start, 200)])


def one(source: str, name: str, written: Any, value: Any = None, *, is_right: bool = False) -> Case:
    """A case in which one source says one thing: a mistake, unless said otherwise."""
    return Case({source: {name: Said(written, value, is_right)}}, "toml")


_SUFFIXES = st.sampled_from(FORMATS)
Tables = Mapping[str, Mapping[str, str]]


def _plain_lines(tables: Tables, head: str, item: str) -> tuple[list[str], dict[str, int]]:
    lines: list[str] = []
    places: dict[str, int] = {}
    for table, literals in tables.items():
        lines += [head.format(table)] if table else []
        for name, literal in literals.items():
            lines.append(("  " if table else "") + item.format(name, literal))
            places[name] = len(lines)
    return lines, places


def _json_lines(tables: Tables) -> tuple[list[str], dict[str, int]]:
    lines = ["{"]
    places: dict[str, int] = {}
    for table, literals in tables.items():
        lines += [f'"{table}": {{'] if table else []
        for name, literal in literals.items():
            lines.append(f'"{name}": {literal},')
            places[name] = len(lines)
        lines[-1] = lines[-1].removesuffix(",")
        lines += ["},"] if table else []
    lines[-1] = lines[-1].removesuffix(",")
    return [*lines, "}"], places


_WRITERS: dict[str, Callable[[Tables], tuple[list[str], dict[str, int]]]] = {
    "toml": lambda tables: _plain_lines(tables, "[{}]", "{} = {}"),
    "yaml": lambda tables: _plain_lines(tables, "{}:", "{}: {}"),
    "json": _json_lines,
}


@functools.cache
def _subsets(names: tuple[str, ...], most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=most)


@st.composite
def cases(draw: st.DrawFn, fields: Iterable[str], sources: Iterable[str], *, mistakes: bool = False) -> Case:
    """What some sources say about some fields, each in an order of its own."""
    suffix = draw(_SUFFIXES)
    said: dict[str, dict[str, Said]] = {}
    for name in draw(_subsets(tuple(fields), 4)):
        for source in draw(_subsets(tuple(sources), len(SOURCES))):
            said.setdefault(source, {})[name] = draw(statements(name, source, suffix, mistakes))
    return Case(said, suffix)
