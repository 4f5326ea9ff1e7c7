"""The three file formats: text to a mapping, and where in the text a key stands.

Parsing is on the path of every load and stays cheap; places are found only for messages and origins.
"""

import json
import re
import tomllib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, cast

from ptycho.config import yaml_text
from ptycho.config.errors import ConfigError
from ptycho.config.yaml_text import Key, Named, Parsed, SyntaxFaultError
from ptycho.loading import loading

_JSON_TOKEN: Final = r'"(?:[^"\\]++|\\.)*+"|[{}\[\]:]'
_TOML_NAME: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_TOML_KEY: Final = rf"({_TOML_NAME}(?:[ \t]*\.[ \t]*{_TOML_NAME})*)[ \t]*="
_TOML_TABLE: Final = rf"\[\[?[ \t]*({_TOML_NAME}(?:[ \t]*\.[ \t]*{_TOML_NAME})*)[ \t]*\]\]?"
_TOML_TOKEN: Final = (
    r'''(?s)"""(?:\\.|.)*?(?:"""|\Z)|\'{3}.*?(?:\'{3}|\Z)|"(?:[^"\\\n]++|\\.)*+"?|\'[^\'\n]*\'?|'''
    r"#[^\n]*|[ \t]+|\w+|."
)
"""Patterns are compiled where a key is looked for; text that is not closed is one token."""
_MOST_DOTS: Final = 2**20
"""Most steps over the parts of dotted names, of which a TOML parser takes a square."""

_MOST_REPEATS: Final = 100
"""Repeats after which the search ends."""


Span = tuple[int, int]
"""Where a key is named, from and to: the header of a table, or a name with the sign after it."""


@lru_cache(maxsize=64)
def suffix(path: str) -> str | None:
    """Return the ending of a file's name that says its format, or None."""
    ending = f".{path.lower().rpartition('.')[2]}"
    return ending if ending in _PARSERS else None


def parse(path: str, text: str) -> Parsed:
    """Parse a file's text in the format that its name says.

    Returns:
        The content, mostly a mapping, in which YAML scalars stay text; whether a key is repeated; and the keys with
        their places. Of a repeated key the first value counts; a TOML file that repeats one gives nothing.

    Raises:
        SyntaxFaultError: The text is not valid.
        ConfigError: It nests too deep.
    """
    if not text.strip(" \t\r\n"):
        return {}, False, iter(())
    try:
        with loading():
            return _PARSERS[suffix(path) or ""](text)
    except SyntaxFaultError as fault:
        # where a file ends too early, parsers name the line after
        last = text.rstrip(" \t\r\n").count("\n") + 1
        raise SyntaxFaultError(min(fault.line, last), fault.reason) from None
    except RecursionError:
        raise ConfigError.of(path, "expected a table of values; got deep nesting.") from None


class Places:
    """Where the keys of a file, as `parse` gives them, stand in its text; looked for no further than is needed."""

    def __init__(self, text: str, keys: Iterable[Named] = ()) -> None:
        self.text, self._ahead = text, iter(keys)
        self._named: dict[Key, Span] = {}
        self._again: dict[Key, list[Span]] = {}
        """Of keys that are named more than once, all places."""
        self._tables: dict[Key, Span] = {}
        """Of tables that a dotted name names, before their own, its place."""
        self._starts: list[int] = []

    def line_of(self, key: Key) -> int:
        """The line on which a key is first named, from 1; of one that is not its innermost table's that is, else 0."""
        for end in range(len(key), 0, -1):
            outer = key[:end]
            while outer not in self._named and outer not in self._tables and self._read_on():
                pass
            if place := self._tables.get(outer) or self._named.get(outer):
                return self.line_at(place)
        return 0

    def excerpt(self, key: Key) -> str:
        """Quote what a file says of a key, from its name to the end of the line; nothing where it is not found.

        What stands beside it on the line, which may be a secret, is left out.
        """
        while key not in self._named and self._read_on():
            pass
        return self.excerpt_at(self._named[key]) if key in self._named else ""

    def repeats(self) -> dict[Key, list[Span]]:
        """Find keys that are given more than once; not those within a table that is itself repeated.

        Of very many the first are found.
        """
        while len(self._starts) - len(self._named) < _MOST_REPEATS and self._read_on():
            pass
        found = sorted(self._again.items(), key=lambda one: one[1])
        return {
            key: spans
            for key, spans in found
            if not any(key[:end] in self._again for end in range(1, len(key)))
        }

    def line_at(self, span: Span) -> int:
        """The line of a place, from 1. Lines end as they do in editors, not in YAML 1.1."""
        return self.text.count("\n", 0, span[0]) + 1

    def excerpt_at(self, span: Span) -> str:
        """Quote what a file says at one of the places of a key, as `excerpt` does."""
        start, end = span
        name, line_end = self.text[start:end], self.text.find("\n", end)
        line_end = len(self.text) if line_end < 0 else line_end
        while self._starts[-1] < end and self._read_on():
            pass
        self._starts.sort()  # an alias of YAML stands for earlier ones
        following = self._starts[bisect_left(self._starts, end) :][:1]
        stop = min([line_end, *following])
        value, beside = self.text[end:stop].rstrip(), stop < line_end
        if name.startswith("["):  # a header, beside which only a comment can stand
            return name
        return f"{name}{value} ..." if beside else f"{name}{value}"

    def _read_on(self) -> bool:
        """Find the next key; within a list, the place of an item stands for its name."""
        for key, start, end in self._ahead:
            if key in self._named:
                self._again.setdefault(key, [self._named[key]]).append((start, end))
            else:
                self._named[key] = start, end
            while (key := key[:-1]) and key not in self._named and key not in self._tables:
                self._tables[key] = start, end  # a dotted name names its tables as well
            self._starts.append(start)
            return True
        return False


def _parse_toml(text: str) -> Parsed:
    dots = [line.count(".") for line in text.split("\n")]
    if (most := max(dots)) * (sum(dots) + len(dots)) > _MOST_DOTS:
        raise SyntaxFaultError(dots.index(most) + 1, "too many dots to read. Write fewer names on the line")
    try:
        return tomllib.loads(text), False, _toml_keys(text)
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).rpartition(" (at ")
        if reason.startswith("Cannot ") and Places(text, _toml_keys(text)).repeats():
            return {}, True, _toml_keys(text)
        found = re.match(r"line (\d+)", place)
        before = text[: text.rindex("'")] if reason.startswith("Expected \"'") else text
        line = int(found[1]) if found else before.count("\n") + 1
        if re.fullmatch(r"""Unterminated string|.*character '\\n'|Expected "'+\"""", reason):
            raise SyntaxFaultError(line, "a quote that is not closed. Close it") from None
        raise SyntaxFaultError(line, repr(reason)) from None
    except ValueError:
        raise SyntaxFaultError(1, "a number too long to read") from None


def _toml_keys(text: str) -> Iterator[Named]:
    """Yield the headers and keys, those of tables in braces too; the text need not be valid to its end."""
    a_table, a_key, a_token = map(re.compile, (_TOML_TABLE, _TOML_KEY, _TOML_TOKEN))
    table: Key = ()
    key: Key = ()
    opened: list[Key | None] = []  # for every open brace its table; for a bracket, none
    lists: set[Key] = set()
    place, names_come, is_item = 0, True, False
    while place < len(text):
        inside = opened[-1] if opened else table
        header = None if opened or not names_come else a_table.match(text, place)
        named = None if inside is None or not names_come else header or a_key.match(text, place)
        if named:
            names = _toml_path(named[1])
            key = names if header else (*(inside or ()), *names)
            if header:
                is_item = header[0].startswith("[[")
                table = (*names, f"{place}") if is_item else names
            if key not in lists:
                yield key, place, named.end()
            if header and is_item:
                lists.add(key)
        token = named or a_token.match(text, place)
        symbol = "" if named or not token else token[0]
        if symbol == "{":
            opened.append((*key, f"{place}") if opened and inside is None else key)
        elif symbol == "[":
            opened.append(None)
        elif symbol in ("]", "}") and opened:
            key = opened.pop() or key
        names_come = (
            symbol in ("{", ",") or (symbol == "\n" and not opened) or (names_come and symbol.isspace())
        )
        place = token.end() if token else len(text)


def _toml_path(written: str) -> Key:
    """Return the names in a header or a dotted key; none where they are not valid."""
    if re.fullmatch(r"[\w-]+", written):
        return (written,)
    names: list[str] = []
    try:
        content: object = tomllib.loads(f"[{written}]")
    except tomllib.TOMLDecodeError:
        return ()
    while isinstance(content, dict) and content:
        ((name, content),) = cast(dict[str, object], content).items()
        names.append(name)
    return tuple(names)


def _parse_json(text: str) -> Parsed:
    is_repeated = False

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal is_repeated
        content = dict(pairs)
        if len(content) != len(pairs):
            is_repeated = True
            content |= dict(reversed(pairs))
        return content

    try:
        return json.loads(text, object_pairs_hook=once), is_repeated, _json_keys(text)
    except json.JSONDecodeError as error:
        # where Python sees it differs by version
        before = text[: error.pos + text.startswith(",", error.pos)].rstrip()
        if re.search(r"[^\s{\[,:]\s*,$", before) and text[len(before) :].lstrip()[:1] in ("}", "]"):
            reason = "a comma after the last value. Remove the comma"
            raise SyntaxFaultError(before.count("\n") + 1, reason) from None
        raise SyntaxFaultError(error.lineno, repr(error.msg)) from None
    except ValueError:
        raise SyntaxFaultError(1, "a number too long to read") from None


def _json_keys(text: str) -> Iterator[Named]:
    opened: list[tuple[Key, bool]] = []  # for every open bracket its key, and whether it is a list's
    last, start = "", 0
    decode: Callable[[str], str] = json.JSONDecoder(strict=False).decode
    for token in re.finditer(_JSON_TOKEN, text):
        symbol = token[0]
        if symbol in "{[":
            outer, in_list = opened[-1] if opened else ((), False)
            inner = f"{token.start()}" if in_list else last
            opened.append(((*outer, inner) if opened else (), symbol == "["))
        elif symbol in "}]":
            opened.pop()
        elif symbol == ":":
            last = decode(last) if "\\" in last else last[1:-1]
            yield (*opened[-1][0], last), start, token.end()
        else:
            last, start = symbol, token.start()


_PARSERS: Final[dict[str, Callable[[str], Parsed]]] = {
    ".toml": _parse_toml,
    ".yaml": yaml_text.parse,
    ".yml": yaml_text.parse,
    ".json": _parse_json,
}
