"""The text of a YAML file: to a mapping in which scalars stay text, and where in the text a key stands."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

Key = tuple[str, ...]
"""A key of a file by its path of names: `("execution", "num_workers")`."""
Named = tuple[Key, int, int]
"""A key, where its name starts, and where the sign after it ends."""
Parsed = tuple[object, bool, Iterator[Named]]
"""The content of a text, whether a key is repeated, and the keys, which are found one by one."""
_TAGS: Final = {None, *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))}
"""What the tag of a value may be; most have none."""
_FORBIDDEN: Final = r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
_DEEP: Final = 100
"""Most levels of mappings and lists; composing nests on the C stack, which more of them could overflow."""
_REPEATED: Final = 0
"""Stands among the identities of nodes, none of which is 0, for a repeated key."""


class SyntaxFaultError(Exception):
    """The text of a file is not valid, by what the parser says of a line, counted from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line, self.reason = line, reason


class _TaggedError(Exception):
    """A YAML value is not a plain one; the argument says where it starts in the text."""


class _Resolver:
    """What yaml asks of every node: its kind, which is not guessed here. Where nodes nest too deep, it is stopped."""

    depth = 0

    def resolve(self, *told: object) -> None:
        """Guess nothing."""

    def descend_resolver(self, *told: object) -> None:
        """Go into a node; the innermost ones are single values."""
        self.depth += 1
        if self.depth > _DEEP + 1:
            raise RecursionError

    def ascend_resolver(self) -> None:
        """Leave a node."""
        self.depth -= 1


@cache
def _loader() -> Any:
    """What composes YAML, with libyaml where it is there."""
    import yaml

    base: Any = vars(yaml)["cyaml"].CParser if yaml.__with_libyaml__ else yaml.BaseLoader
    return type("Loader", (_Resolver, base), {})


def _root(text: str) -> Any:
    """Compose the text into nodes, which know their lines."""
    import yaml

    try:
        return _loader()(text).get_single_node()
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


def parse(text: str) -> Parsed:
    """Return the content, whether a key is repeated (the first value counts then), and the keys, found one by one.

    Raises:
        SyntaxFaultError: The text is not valid, or a value has a tag.
    """
    root, seen = _root(text), dict[int, object]()
    try:
        content = None if root is None else _value(root, seen)
    except _TaggedError as tagged:
        reason = "a tag (!), which is not supported: quote the value if it is text"
        raise SyntaxFaultError(text.count("\n", 0, *tagged.args) + 1, reason) from None
    is_empty = content in (None, "null", "Null", "NULL")
    return {} if is_empty else content, _REPEATED in seen, _keys_in(root, (), set(), text)


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


def _keys_in(node: Any, path: Key, seen: set[int], text: str) -> Iterator[Named]:
    """Yield the keys in a node; what an alias stands for again below the tables of a file is known already."""
    if node is None or node.id == "scalar" or (id(node) in seen and len(path) > 1) or len(path) > _DEEP:
        return
    seen.add(id(node))
    if node.id == "sequence":
        for item in node.value:
            yield from _keys_in(item, (*path, f"{item.start_mark.index}"), seen, text)
        return
    sign = re.compile(r"[ \t]*:")
    for key, value in node.value:
        inner, found = (*path, _name(key)), sign.match(text, key.end_mark.index)
        yield inner, key.start_mark.index, found.end() if found else key.end_mark.index
        if value.id != "scalar":
            yield from _keys_in(value, inner, seen, text)


def _name(key: Any) -> str:
    """Return a key's text; a list or mapping used as a key has none."""
    if key.tag not in _TAGS:
        raise _TaggedError(key.start_mark.index)
    return key.value if key.id == "scalar" else "?"
