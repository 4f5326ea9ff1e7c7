"""Where values come from: the layer that one source gives, and the origin of one value."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from ptycho.config.errors import Failure

PRECEDENCE: Final = (
    "override",
    "argument",
    "inferred",
    "environment",
    "file",
    "recipe",
    "cli-default",
    "default",
)
"""The kinds of source, the strongest first; a command-line flag is an override that any other one beats. A kind
that is silent about a name shadows nothing."""

_WORDING: Final = {
    "environment": "environment variable",
    "inferred": "",
    "file": "",
    "cli-default": "command-line default",
}


def is_origin(told: object) -> bool:
    """Whether this is an origin as `Origin.to_dict` gives one."""
    return isinstance(told, Mapping) and {"kind", "value"} <= told.keys()


class Origin(NamedTuple):
    """The source of one value."""

    kind: str
    """One of `PRECEDENCE`, or the class name of a source that a subclass added."""
    locator: str = ""
    """The place in the source: `PTYCHO_EXEC_NUM_WORKERS`, `exec.toml:7`, `--num-workers`; empty where the
    kind says it all."""
    raw: str | None = None
    """The text as written (a variable's value, a file's line); None for a value given from Python."""
    shadowed: tuple["Origin", ...] = ()
    """The origins this one beat, the strongest first; the field's default is not among them."""
    value: Any = None
    """The value this source gives."""

    def __str__(self) -> str:
        """Word the origin for a message."""
        word = "flag" if self.is_flag else _WORDING.get(self.kind, self.kind)
        return f"{word} {self.locator}".strip()

    @property
    def in_file(self) -> bool:
        """Whether the value stands in a file: one that was named, or a recipe."""
        return self.kind in ("file", "recipe")

    @property
    def is_flag(self) -> bool:
        """Whether the value was passed as a command-line flag."""
        return self.kind == "override" and self.locator.startswith("--")

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Origin":
        """Read back what `to_dict` gave."""
        shadowed, raw = told.get("shadowed"), told.get("raw")
        listed = cast(list[Any], shadowed if isinstance(shadowed, list) else [])
        beaten = tuple(cls.from_dict(origin) for origin in listed if is_origin(origin))
        locator = f"{told.get('locator') or ''}"
        return cls(f"{told['kind']}", locator, None if raw is None else f"{raw}", beaten, told["value"])

    def to_dict(self) -> dict[str, Any]:
        """Return the origin as plain dictionaries, lists and scalars that JSON can hold."""
        return {
            "kind": self.kind,
            "locator": self.locator,
            "raw": self.raw,
            "value": self.value,
            "shadowed": [origin.to_dict() for origin in self.shadowed],
        }


class Layer(NamedTuple):
    """What one source gives: values by name, where they stand, and what was wrong.

    A name it does not hold is one it is silent about.
    """

    kind: str
    """One of `PRECEDENCE`, or the class name of a source that a subclass added."""
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


def laid_over(given: Layer, layers: Sequence[Layer]) -> list[Layer]:
    """Put values above layers, the strongest first.

    What an earlier layer of the same standing still decides joins them, and the rest of it is forgotten: however often
    values are laid over, the layers do not add up.
    """
    values, decided, kept = dict(given.values), set(given.values), list[Layer]()
    for layer in layers:
        if (layer.kind, layer.level) == (given.kind, given.level):
            values |= {name: value for name, value in layer.values.items() if name not in decided}
        else:
            kept.append(layer)
        decided |= layer.values.keys()
    return [given._replace(values=values), *kept]
