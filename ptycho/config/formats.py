"""The three file formats: text to a mapping, and where in the text a key stands.

Parsing is on the path of every load and stays cheap; places are found only for messages and origins.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

from ptycho.config.errors import ConfigError, Failure

_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]')
_TOML_NAME: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_TOML_KEY: Final = re.compile(rf"({_TOML_NAME}(?:[ \t]*\.[ \t]*{_TOML_NAME})*)[ \t]*=")
_TOML_TABLE: Final = re.compile(rf"\[\[?[ \t]*({_TOML_NAME}(?:[ \t]*\.[ \t]*{_TOML_NAME})*)[ \t]*\]\]?")
_TOML_TOKEN: Final = re.compile(
    r'''"""(?:[^\\]|\\.)*?"""|\'{3}.*?\'{3}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[ \t]+|\w+|.''',
    re.DOTALL,
)
_YAML_SIGN: Final = re.compile(r"[ \t]*:")
_YAML_TAGS: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))
"""What the parser takes a value for whose kind is not written out."""
_YAML_FORBIDDEN: Final = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LONG: Final = 8_000
_DEEP: Final = 100
_REPEATED: Final = 0
"""Stands among the identities of nodes, none of which is 0, for a repeated key."""

Key = tuple[str, ...]
"""A key by its path of names: `("execution", "num_workers")`."""


class Span(NamedTuple):
    """Where a key is named: the header of a table, or a name with the sign after it."""

    start: int
    end: int


class SyntaxFaultError(Exception):
    """The text is not valid.

    Args:
        line: The line, counted from 1.
        reason: What the parser says.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line, self.reason = line, reason


class _TaggedError(Exception):
    """A YAML value is not a plain one.

    Args:
        index: Where it starts in the text.
    """

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


def suffix(path: str) -> str | None:
    """Return the ending of a file's name that says its format, or None."""
    ending = f".{path.lower().rpartition('.')[2]}"
    return ending if ending in _PARSERS else None


def parse(path: str, text: str) -> tuple[dict[str, Any], bool]:
    """Parse a file's text in the format that its name says.

    Args:
        path: The file.
        text: Its text.

    Returns:
        The top mapping, in which YAML scalars stay text; and whether a key is repeated. Of a repeated key the
        first value counts; a TOML file that repeats one gives nothing.

    Raises:
        SyntaxFaultError: The text is not valid.
        ConfigError: It is not a mapping, or nests too deep.
    """
    if not text.strip():
        return {}, False
    try:
        content, is_repeated = _PARSERS[suffix(path) or ""](text)
    except SyntaxFaultError as fault:
        last = text.rstrip().count("\n") + 1  # where a file ends too early, parsers name the line after
        raise SyntaxFaultError(min(fault.line, last), fault.reason) from None
    except RecursionError:
        raise ConfigError([Failure(path, f"{path}: expected a table of values; got deep nesting.")]) from None
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a single value"
        rule = f"expected a mapping of names to values; got {kind}"
        raise ConfigError([Failure(path, f"{path}: {rule}. See ptycho config init for a file to edit.")])
    return cast(dict[str, Any], content), is_repeated


def line_of(path: str, text: str, key: Key) -> int:
    """Find the line on which a key stands.

    Args:
        path: The file, whose name says the format.
        text: Its text.
        key: The key.

    Returns:
        The line, counted from 1; that of the innermost table found where the key itself is not, else 0.
    """
    found = _nearest(path, text, key)
    return line_at(text, _spans(path, text)[found][0]) if found else 0


def line_at(text: str, span: Span) -> int:
    """The line of a place in the text, counted from 1. Lines end as they do in editors, not in YAML 1.1."""
    return text.count("\n", 0, span.start) + 1


def excerpt(path: str, text: str, key: Key, *, shown: bool = True) -> str:
    """Quote what a file says of a key, from its name to the end of the line.

    Args:
        path: The file, whose name says the format.
        text: Its text.
        key: The key; where it is not found, its innermost table that is, without what this holds.
        shown: Whether the value may be repeated; that of a foreign key may be a secret.

    Returns:
        The name and the value; what stands beside it on the line, which may be a secret too, is left out.
    """
    found = _nearest(path, text, key)
    return excerpt_at(path, text, _spans(path, text)[found][0], shown=shown and found == key) if found else ""


def excerpt_at(path: str, text: str, span: Span, *, shown: bool) -> str:
    """Quote what a file says at one of the places of a key, as `excerpt` does."""
    name = text[span.start : span.end]
    end = text.find("\n", span.end)
    end = len(text) if end < 0 else end
    following = (other.start for spans in _spans(path, text).values() for other in spans)
    stop = min((start for start in following if span.end <= start < end), default=end)
    value, beside = text[span.end : stop].rstrip(), stop < end
    if name.startswith("["):  # a header, beside which only a comment can stand
        return name
    if not shown:
        return f"{name} ..." if value or beside else name
    return f"{name}{value} ..." if beside else f"{name}{value}"


def repeats(path: str, text: str) -> dict[Key, list[Span]]:
    """Find the keys that a file gives more than once; not those within a table that is itself repeated."""
    found = {key: spans for key, spans in _spans(path, text).items() if len(spans) > 1}
    return {
        key: spans
        for key, spans in found.items()
        if not any(key[:end] in found for end in range(1, len(key)))
    }


def _nearest(path: str, text: str, key: Key) -> Key:
    spans = _spans(path, text)
    return next((key[:end] for end in range(len(key), 0, -1) if key[:end] in spans), ())


@lru_cache(maxsize=8)
def _spans(path: str, text: str) -> Mapping[Key, list[Span]]:
    """Find every place of every key; within a list, the place of an item stands for its name."""
    spans: dict[Key, list[Span]] = {}
    for key, start, end in _KEYS[suffix(path) or ""](text):
        spans.setdefault(key, []).append(Span(start, end))
    return spans


def _parse_toml(text: str) -> tuple[object, bool]:
    try:
        return tomllib.loads(text), False
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).rpartition(" (at ")
        if reason.startswith("Cannot ") and repeats(".toml", text):
            return {}, True
        found = re.match(r"line (\d+)", place)
        raise SyntaxFaultError(int(found[1]) if found else text.count("\n") + 1, repr(reason)) from None
    except ValueError:
        raise SyntaxFaultError(1, "a number too long to read") from None


def _toml_keys(text: str) -> Iterator[tuple[Key, int, int]]:
    """Yield the headers and keys, those of tables in braces too; the text need not be valid to its end."""
    table: Key = ()
    key: Key = ()
    opened: list[Key | None] = []  # for every open brace its table; for a bracket, none
    lists: set[Key] = set()
    place, names_come, is_item = 0, True, False
    while place < len(text):
        inside = opened[-1] if opened else table
        header = None if opened or not names_come else _TOML_TABLE.match(text, place)
        named = None if inside is None or not names_come else header or _TOML_KEY.match(text, place)
        if named:
            names = _toml_path(f"[{named[1]}]")
            key = names if header else (*(inside or ()), *names)
            if header:
                is_item = header[0].startswith("[[")
                table = (*names, f"{place}") if is_item else names
            if key not in lists:
                yield key, place, named.end()
            if header and is_item:
                lists.add(key)
        token = named or _TOML_TOKEN.match(text, place)
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


def _toml_path(statement: str) -> Key:
    """Return the names in a header or a dotted key; none where they are not valid."""
    names: list[str] = []
    try:
        content: object = tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return ()
    while isinstance(content, dict) and content:
        ((name, content),) = cast(dict[str, object], content).items()
        names.append(name)
    return tuple(names)


def _parse_json(text: str) -> tuple[object, bool]:
    is_repeated = False

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal is_repeated
        content = dict(pairs)
        if len(content) != len(pairs):
            is_repeated, content = True, dict(reversed(pairs))
        return content

    try:
        return json.loads(text, object_pairs_hook=once), is_repeated
    except json.JSONDecodeError as error:
        before = text[
            : error.pos + text.startswith(",", error.pos)
        ].rstrip()  # where Python sees it differs by version
        if re.search(r"[^\s{\[,:]\s*,$", before) and text[len(before) :].lstrip()[:1] in ("}", "]"):
            reason = "a comma after the last value. Remove the comma"
            raise SyntaxFaultError(before.count("\n") + 1, reason) from None
        raise SyntaxFaultError(error.lineno, repr(error.msg)) from None
    except ValueError:
        raise SyntaxFaultError(1, "a number too long to read") from None


def _json_keys(text: str) -> Iterator[tuple[Key, int, int]]:
    opened: list[tuple[Key, bool]] = []  # for every open bracket its key, and whether it is a list's
    last, start = "", 0
    for token in _JSON_TOKEN.finditer(text):
        symbol = token[0]
        if symbol in "{[":
            outer, in_list = opened[-1] if opened else ((), False)
            inner = f"{token.start()}" if in_list else last
            opened.append(((*outer, inner) if opened else (), symbol == "["))
        elif symbol in "}]":
            opened.pop()
        elif symbol == ":":
            yield (*opened[-1][0], last), start, token.end()
        else:
            last, start = json.loads(symbol, strict=False), token.start()


def _yaml_root(text: str) -> Any:
    """Compose the text into nodes, which know their lines, with libyaml where it is there.

    Composing nests on the C stack, which a long text could overflow: that one is measured first.
    """
    import yaml

    loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        events, depth = loader(text), 0
        while len(text) > _LONG and (event := events.get_event()):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEP:
                raise RecursionError
        return loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark.index if error.problem_mark else 0
        said = ", ".join(filter(None, (error.context, error.problem)))
        # of what is in quotes only signs: a name may be a secret
        reason = re.sub(r""" b?('[^']{2,}'|"[^"]{2,}")""", "", said)
        raise SyntaxFaultError(text.count("\n", 0, place) + 1, repr(reason)) from None
    except yaml.YAMLError:
        place = next((found.start() for found in _YAML_FORBIDDEN.finditer(text)), 0)
        raise SyntaxFaultError(
            text.count("\n", 0, place) + 1, "a character that YAML does not allow"
        ) from None


def _parse_yaml(text: str) -> tuple[object, bool]:
    root, seen = _yaml_root(text), dict[int, object]()
    try:
        content = None if root is None else _yaml_value(root, seen)
    except _TaggedError as tagged:
        reason = "a tag (!), which is not supported: quote the value if it is text"
        raise SyntaxFaultError(text.count("\n", 0, tagged.index) + 1, reason) from None
    return {} if content in (None, "null", "Null", "NULL") else content, _REPEATED in seen


def _yaml_value(node: Any, seen: dict[int, object]) -> object:
    """Turn a node into mappings, lists and text; an alias gives the very object of its anchor.

    A repeated key is noted in `seen`.
    """
    if node.tag not in _YAML_TAGS:
        raise _TaggedError(node.start_mark.index)
    if node.id == "scalar":
        return node.value if node.style or node.value not in ("", "~") else None
    if id(node) in seen:
        return seen[id(node)]
    if node.id == "sequence":
        items: list[object] = []
        seen[id(node)] = items
        items += [_yaml_value(item, seen) for item in node.value]
        return items
    content: dict[str, object] = {}
    seen[id(node)] = content
    for key, value in node.value:
        name = _yaml_name(key)
        if name in content:
            seen[_REPEATED] = True
        else:
            content[name] = _yaml_value(value, seen)
    return content


def _yaml_keys(text: str) -> Iterator[tuple[Key, int, int]]:
    return _yaml_keys_in(_yaml_root(text), (), set(), text)


def _yaml_keys_in(node: Any, path: Key, seen: set[int], text: str) -> Iterator[tuple[Key, int, int]]:
    """Yield the keys in a node; what an alias stands for again below the tables of a file is known already."""
    if node.id == "scalar" or (id(node) in seen and len(path) > 1) or len(path) > _DEEP:
        return
    seen.add(id(node))
    if node.id == "sequence":
        for item in node.value:
            yield from _yaml_keys_in(item, (*path, f"{item.start_mark.index}"), seen, text)
        return
    for key, value in node.value:
        inner = (*path, _yaml_name(key))
        sign = _YAML_SIGN.match(text, key.end_mark.index)
        yield inner, key.start_mark.index, sign.end() if sign else key.end_mark.index
        yield from _yaml_keys_in(value, inner, seen, text)


def _yaml_name(key: Any) -> str:
    """Return a key's text; a list or mapping used as a key has none."""
    if key.tag not in _YAML_TAGS:
        raise _TaggedError(key.start_mark.index)
    return key.value if key.id == "scalar" else "?"


_PARSERS: Final[dict[str, Callable[[str], tuple[object, bool]]]] = {
    ".toml": _parse_toml,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".json": _parse_json,
}
_KEYS: Final[dict[str, Callable[[str], Iterator[tuple[Key, int, int]]]]] = {
    ".toml": _toml_keys,
    ".yaml": _yaml_keys,
    ".yml": _yaml_keys,
    ".json": _json_keys,
}
