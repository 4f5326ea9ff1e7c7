"""The three file formats: text to a mapping, and the line on which a key stands.

Parsing is on the path of every load and stays cheap; lines are found only for messages and origins.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, cast

from ptycho.config.errors import ConfigError, Failure, quote_line

_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]')
_TOML_NAME: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_TOML_KEY: Final = re.compile(rf"\s*({_TOML_NAME}(?:\s*\.\s*{_TOML_NAME})*)\s*=")
_TOML_TABLE: Final = re.compile(rf"\s*\[\[?\s*({_TOML_NAME}(?:\s*\.\s*{_TOML_NAME})*)\s*\]")
_LONG: Final = 8_000
_DEEP: Final = 100

Key = tuple[str, ...]
"""A key by its path of names: `("execution", "num_workers")`."""


class _RepeatedKeyError(Exception):
    """A mapping of the file holds a key twice."""


class _SyntaxFaultError(Exception):
    """The text is not valid.

    Args:
        line: The line, counted from 1.
        reason: What the parser says.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line, self.reason = line, reason


def suffix(path: str) -> str | None:
    """Return the ending of a file's name that says its format, or None."""
    ending = f".{path.lower().rpartition('.')[2]}"
    return ending if ending in _PARSERS else None


def parse(path: str, text: str) -> dict[str, Any]:
    """Parse a file's text in the format that its name says.

    Args:
        path: The file.
        text: Its text.

    Returns:
        The top mapping. YAML scalars stay text.

    Raises:
        ConfigError: The text is not valid, not a mapping, or repeats a key.
    """
    parser = _PARSERS[suffix(path) or ""]
    try:
        content: object = parser(text) if text.strip() else {}
    except _RepeatedKeyError:
        raise ConfigError(_repeated(path, text)) from None
    except _SyntaxFaultError as fault:
        shown = quote_line(text.split("\n")[fault.line - 1].strip(), shown=False)
        message = f"{path}:{fault.line}: expected valid {parser.__name__[7:].upper()}; got {fault.reason}."
        raise ConfigError([Failure(path, f"{message}{shown}")]) from None
    except RecursionError:
        raise ConfigError([Failure(path, f"{path}: expected a table of values; got deep nesting.")]) from None
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a single value"
        rule = f"expected a mapping of names to values; got {kind}"
        raise ConfigError([Failure(path, f"{path}: {rule}. See ptycho config init for a file to edit.")])
    return cast(dict[str, Any], content)


def line_of(path: str, text: str, key: Key) -> int:
    """Find the line on which a key stands.

    Args:
        path: The file, whose name says the format.
        text: Its text.
        key: The key.

    Returns:
        The line, counted from 1; that of the innermost table found where the key itself is not, else 0.
    """
    lines = _lines(path, text)
    return next((lines[key[:end]][0] for end in range(len(key), 0, -1) if key[:end] in lines), 0)


@lru_cache(maxsize=8)
def _lines(path: str, text: str) -> dict[Key, list[int]]:
    """Find every line of every key of the two upper levels."""
    lines: dict[Key, list[int]] = {}
    for key, line in _KEYS[suffix(path) or ""](text):
        lines.setdefault(key, []).append(line)
    return lines


def _repeated(path: str, text: str) -> Iterator[Failure]:
    """Word the failures of the keys that a file gives more than once."""
    found = {key: lines for key, lines in _lines(path, text).items() if len(lines) > 1}
    for key, lines in found.items():
        places = " and ".join(f"{path}:{line}" for line in dict.fromkeys(lines))
        shown = "".join(
            quote_line(text.split("\n")[line - 1].strip(), shown=False) for line in dict.fromkeys(lines)
        )
        yield Failure(key[-1], f"{key[-1]}: given twice, at {places}. Keep one of them.{shown}")
    if not found:
        yield Failure(path, f"{path}: expected every key once; got one twice in a nested table.")


def _parse_toml(text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).rpartition(" (at ")
        if reason.startswith("Cannot ") and any(len(found) > 1 for found in _lines(".toml", text).values()):
            raise _RepeatedKeyError from None
        found = re.match(r"line (\d+)", place)
        raise _SyntaxFaultError(int(found[1]) if found else text.count("\n") + 1, repr(reason)) from None
    except ValueError:
        raise _SyntaxFaultError(1, "a number too long to read") from None


def _toml_keys(text: str) -> Iterator[tuple[Key, int]]:
    table: Key = ()
    lines = text.split("\n")
    start = 0
    for number, line in enumerate(lines):
        header, key = _TOML_TABLE.match(line), _TOML_KEY.match(line)
        if not (header or key) or not _is_toml("\n".join(lines[start:number])):
            continue
        start = number
        if header:
            table = _toml_path(f"[{header[1]}]")
            yield table, number + 1
        elif key:
            yield (*table, *_toml_path(f"{key[1]} = 0")), number + 1


def _is_toml(text: str) -> bool:
    """Tell whether text ends where a statement ends, rather than inside a string or an array."""
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True


def _toml_path(statement: str) -> Key:
    """Return the names in a header or a dotted key."""
    names: list[str] = []
    content: object = tomllib.loads(statement)
    while isinstance(content, dict) and content:
        ((name, content),) = cast(dict[str, object], content).items()
        names.append(name)
    return tuple(names)


def _parse_json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise _SyntaxFaultError(error.lineno, repr(error.msg)) from None
    except ValueError:
        raise _SyntaxFaultError(1, "a number too long to read") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise _RepeatedKeyError
    return content


def _json_keys(text: str) -> Iterator[tuple[Key, int]]:
    path: list[str] = []
    last, start = "", 0
    for token in _JSON_TOKEN.finditer(text):
        symbol = token[0]
        if symbol in "{[":
            path.append(last)
        elif symbol in "}]":
            path.pop()
        elif symbol == ":":
            yield (*path[1:], last), text.count("\n", 0, start) + 1
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
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _SyntaxFaultError(min(line, text.count("\n") + 1), repr(error.problem)) from None
    except yaml.YAMLError:
        raise _SyntaxFaultError(1, "characters that YAML does not allow") from None


def _parse_yaml(text: str) -> object:
    root = _yaml_root(text)
    return {} if root is None else _yaml_value(root, {})


def _yaml_value(node: Any, seen: dict[int, object]) -> object:
    """Turn a node into mappings, lists and text; an alias gives the very object of its anchor."""
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
            raise _RepeatedKeyError
        content[name] = _yaml_value(value, seen)
    return content


def _yaml_keys(text: str) -> Iterator[tuple[Key, int]]:
    for key, value in _yaml_root(text).value:
        yield (_yaml_name(key),), key.start_mark.line + 1
        if value.id == "mapping":
            for inner, _ in value.value:
                yield (_yaml_name(key), _yaml_name(inner)), inner.start_mark.line + 1


def _yaml_name(key: Any) -> str:
    """Return a key's text; a list or mapping used as a key has none."""
    return key.value if key.id == "scalar" else "?"


_PARSERS: Final[dict[str, Callable[[str], object]]] = {
    ".toml": _parse_toml,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".json": _parse_json,
}
_KEYS: Final[dict[str, Callable[[str], Iterator[tuple[Key, int]]]]] = {
    ".toml": _toml_keys,
    ".yaml": _yaml_keys,
    ".yml": _yaml_keys,
    ".json": _json_keys,
}
