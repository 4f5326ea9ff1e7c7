"""The text of a YAML file: to a mapping in which scalars stay text, and where in the text a key stands."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

Key = tuple[str, ...]
"""A key of a file by its path of names: `("execution", "num_workers")`."""
_TAGS: Final = {None, *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))}
"""What the tag of a value may be; most have none."""
_FORBIDDEN: Final = r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
_LONG: Final = 8_000
_DEEP: Final = 100
_REPEATED: Final = 0
"""Stands among the identities of nodes, none of which is 0, for a repeated key."""


class SyntaxFaultError(Exception):
    """The text of a file is not valid.

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


@cache
def _loader() -> Any:
    """What composes YAML, with libyaml where it is there, and does not guess the kind of a value."""
    import yaml

    base: Any = vars(yaml)["cyaml"].CParser if yaml.__with_libyaml__ else yaml.BaseLoader
    passed: Callable[..., None] = lambda *told: None  # noqa: E731
    return type("Loader", (base,), dict.fromkeys(("resolve", "descend_resolver", "ascend_resolver"), passed))


def _root(text: str) -> Any:
    """Compose the text into nodes, which know their lines.

    Composing nests on the C stack, which a long text could overflow: that one is measured first.
    """
    import yaml

    loader = _loader()
    try:
        if len(text) > _LONG:
            _measure(loader(text))
        return loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark.index if error.problem_mark else 0
        said = ", ".join(filter(None, (error.context, error.problem)))
        # of what is in quotes only signs: a name may be a secret
        reason = re.sub(r""" b?('[^']{2,}'|"[^"]{2,}")""", "", said)
        raise SyntaxFaultError(text.count("\n", 0, place) + 1, repr(reason)) from None
    except yaml.YAMLError:
        place = next((found.start() for found in re.finditer(_FORBIDDEN, text)), 0)
        raise SyntaxFaultError(
            text.count("\n", 0, place) + 1, "a character that YAML does not allow"
        ) from None


def _measure(events: Any) -> None:
    """Refuse deep nesting."""
    import yaml

    depth = 0
    while event := events.get_event():
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEP:
            raise RecursionError


def parse(text: str) -> tuple[object, bool]:
    """Return the content, and whether a key is repeated; the first value counts then.

    Raises:
        SyntaxFaultError: The text is not valid, or a value has a tag.
    """
    root, seen = _root(text), dict[int, object]()
    try:
        content = None if root is None else _value(root, seen)
    except _TaggedError as tagged:
        reason = "a tag (!), which is not supported: quote the value if it is text"
        raise SyntaxFaultError(text.count("\n", 0, tagged.index) + 1, reason) from None
    return {} if content in (None, "null", "Null", "NULL") else content, _REPEATED in seen


def _value(node: Any, seen: dict[int, object]) -> object:
    """Turn a node into mappings, lists and text; an alias gives the very object of its anchor.

    A repeated key is noted in `seen`.
    """
    if node.tag not in _TAGS:
        raise _TaggedError(node.start_mark.index)
    if node.id == "scalar":
        return node.value if node.style or node.value not in ("", "~") else None
    if id(node) in seen:
        return seen[id(node)]
    if node.id == "sequence":
        items: list[object] = []
        seen[id(node)] = items
        items += [_value(item, seen) for item in node.value]
        return items
    content: dict[str, object] = {}
    seen[id(node)] = content
    for key, value in node.value:
        name = _name(key)
        if name in content:
            seen[_REPEATED] = True
        else:
            content[name] = _value(value, seen)
    return content


def keys(text: str) -> Iterator[tuple[Key, int, int]]:
    """Yield every key, with where its name starts and the sign after it ends."""
    yield from _keys_in(_root(text), (), set(), text)


def _keys_in(node: Any, path: Key, seen: set[int], text: str) -> Iterator[tuple[Key, int, int]]:
    """Yield the keys in a node; what an alias stands for again below the tables of a file is known already."""
    if node.id == "scalar" or (id(node) in seen and len(path) > 1) or len(path) > _DEEP:
        return
    seen.add(id(node))
    if node.id == "sequence":
        for item in node.value:
            yield from _keys_in(item, (*path, f"{item.start_mark.index}"), seen, text)
        return
    for key, value in node.value:
        inner = (*path, _name(key))
        end = key.end_mark.index
        sign = next((at for at in range(end, len(text)) if text[at] not in " \t"), end)
        yield inner, key.start_mark.index, sign + 1 if text[sign : sign + 1] == ":" else end
        yield from _keys_in(value, inner, seen, text)


def _name(key: Any) -> str:
    """Return a key's text; a list or mapping used as a key has none."""
    if key.tag not in _TAGS:
        raise _TaggedError(key.start_mark.index)
    return key.value if key.id == "scalar" else "?"
