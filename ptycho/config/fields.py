"""What a field accepts: named scalar types, their rule in words, and how text is read for them."""

import contextlib
import inspect
import json
import math
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import astuple
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    GetCoreSchemaHandler,
    Json,
    Strict,
    StringConstraints,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema, from_json

from ptycho.config.errors import SHOWN_LENGTH, near

BOOL_WORDS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "off", "0"), False
)
NONE_WORDS = frozenset({"none", "null"})
_PLAIN = (bool, int, float, str, type(None))
_SHOWN = frozenset({*_PLAIN, Path})
LARGEST = (1 << 63) - 1
"""The largest integer every file format holds; a bound too far away to be worth wording."""


def plain(value: object) -> object:
    """Turn a number or text of a foreign type (numpy, an enum) into the plain Python scalar.

    Returns:
        bool, int, float or str where the value is one of these in other clothes; else the value itself.
    """
    kind = type(value)
    if kind in (int, float, str, bool) or value is None:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Integral):  # numpy counts spans of time among these
        return value if kind.__name__ == "timedelta64" else int(value)
    if isinstance(value, Real):
        return _as_float(value)
    if kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"):
        return bool(value)
    if kind.__module__ == "numpy" and getattr(value, "shape", None) == ():  # of one value, as NPZ files hold
        return plain(cast(Any, value).item())
    return value


def _as_float(value: Real | int) -> float:
    """Convert a number; one beyond the range is infinite, and refused as such."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def text(value: object) -> str:
    """Write a value as text that an environment variable or a file reads back: lists and mappings as JSON."""
    if value is None:
        return "none"
    if isinstance(value, (list, dict)):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


class Exact:
    """Annotation marker: accept the type itself in any clothes, and nothing that must be converted.

    True is not an integer, '3' is not an integer; numpy scalars and integer-valued enums are what they are.
    Words of a Literal are matched without regard to case.

    It goes last in the Annotated, so that the bounds stay with the type.

    Args:
        synonyms: Other words for a value, e.g. (("Cosine", "WarmupCosine"),).
    """

    def __init__(self, synonyms: tuple[tuple[str, str | None], ...] = ()) -> None:
        self.synonyms = synonyms

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        accepts, schema = scalar(Annotated[source, self]), handler(source)
        if get_origin(source) in (Union, types.UnionType):  # one error, rather than one for each alternative
            message = f"Input should be {accepts.rule}"
            schema = core_schema.custom_error_schema(schema, "not_accepted", custom_error_message=message)

        is_plain, words = accepts.is_plain, accepts.words
        is_as_it_is = {bool, float, type(None), int if int in accepts.kinds else bool}

        def exact(value: object, info: core_schema.ValidationInfo) -> object:
            if type(value) in is_as_it_is:
                return value
            if type(value) is str and str(info.mode) != "string":
                return words.get(value.lower(), value) if words else value
            value = accepts.exact(accepts.read(value) if str(info.mode) == "string" else value)
            # what has a __float__ (an array, a tensor) would be converted
            if is_plain and type(value) not in _PLAIN:
                raise PydanticCustomError("not_accepted", "Input should be {rule}", {"rule": accepts.rule})
            return value

        return core_schema.with_info_before_validator_function(exact, schema)


class Rule:
    """Annotation marker: a rule that bounds cannot say, in words, with the check that enforces it.

    Args:
        text: The rule as a message says it after "expected".
        holds: Whether a value of the right type keeps the rule.
        advice: What to do about a value that does not.
    """

    def __init__(
        self, text: str, holds: Callable[[Any], bool] = lambda value: True, advice: str = ""
    ) -> None:
        self.text, self.holds, self.advice = text, holds, advice

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        if not self.holds(value):
            raise PydanticCustomError("not_accepted", "Input should be {rule}", {"rule": self.text})
        return value


DECIMAL_COMMA: Final = r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?"
"""A number with a comma where a point belongs."""


class Scalar(NamedTuple):
    """What one field accepts, read off its annotation once."""

    kinds: frozenset[type]
    """The plain types among bool, int, float, str and NoneType."""
    words: Mapping[str, str | None]
    """Folded word -> the value it stands for."""
    rule: str
    """The rule in words: 'an integer >= 0'."""
    spelled: Mapping[str, bool | str | None] = {}
    """Folded word -> the value that it spells in text: the words, and true, false and none where these are meant."""
    reads_json: bool = False
    """Whether text may be JSON: of a list, a mapping or a model, where it may not be just text."""
    advice: str = ""
    """What to do about a value that breaks the rule."""

    def exact(self, value: object) -> object:
        """Reduce a Python value to the plain scalar it is; words to their canonical spelling."""
        value = plain(value)
        if isinstance(value, str):
            return self.words.get(value.lower(), value) if self.words else value
        if float in self.kinds and int not in self.kinds and type(value) is int:
            return _as_float(value)
        return value

    def read(self, written: object) -> object:
        """Read what an environment variable, a flag or a file says; text that fits nothing stays text.

        Args:
            written: Text, or the value that a file format gives.

        Returns:
            The value in the field's type where the text spells one, else the trimmed text, which the
            field's validation then refuses. 1 and 0 say true and false where only these are meant.
        """
        if not isinstance(written, str):
            is_switch = (
                type(written) is int and written in (0, 1) and {bool, int, float} & self.kinds == {bool}
            )
            return bool(written) if is_switch else written
        text = written.strip()
        folded = text.lower()
        if folded in self.spelled:
            return self.spelled[folded]
        for kind in (int, float) if text.isascii() else ():
            if kind in self.kinds:
                try:
                    return kind(text)
                except ValueError:
                    continue
        if self.reads_json and text.startswith(("[", "{")):
            with contextlib.suppress(ValueError, TypeError):  # a TypeError for text that is not Unicode
                return from_json(text, allow_inf_nan=False)
        return text

    def broken_by(self, value: object) -> str:
        """The rule in words, with the part on printable text if a value breaks only that part."""
        value = plain(value)
        if int in self.kinds and type(value) is int and value > LARGEST and "<=" not in self.rule:
            return f"{self.rule} (at most {LARGEST})"
        if str in self.kinds and isinstance(value, str) and not value.strip().isprintable():
            return f"{self.rule} (printable)"
        return self.rule

    @property
    def is_plain(self) -> bool:
        """Whether every value is a plain scalar."""
        return self.kinds <= {*_PLAIN}

    @property
    def is_shown(self) -> bool:
        """Whether a message may repeat every value: scalars, paths and pairs of these are not secrets."""
        others = self.kinds - _SHOWN
        parts = [part for one in others for part in (get_args(one) if get_origin(one) is tuple else (one,))]
        return all(scalar(part).kinds <= _SHOWN for part in parts)

    @property
    def choices(self) -> tuple[str, ...]:
        """The words the field accepts, in the order of its annotation, without synonyms."""
        return tuple(dict.fromkeys(word for word in self.words.values() if word is not None))

    def meant_by(self, value: object) -> str | None:
        """The word nearest to a misspelt or shortened one, if any, or the number; never one of another meaning."""
        if isinstance(value, str) and len(value) > SHOWN_LENGTH:
            return None
        if float in self.kinds and isinstance(value, str) and re.fullmatch(DECIMAL_COMMA, value.strip()):
            return value.strip().replace(",", ".")
        written = str(value).strip().lower() if isinstance(value, str | int) and self.words else ""
        longer = [word for word in self.words if written and word.startswith(f"{written}-")]
        close = longer[0] if longer else near(written, tuple(self.words)) if isinstance(value, str) else None
        if close is None:
            return None
        numbers = re.findall(r"\d+", written)
        is_same = numbers in ([], re.findall(r"\d+", close)) and ("false" in written) == ("false" in close)
        return self.words[close] if is_same else None


@lru_cache(maxsize=512)
def scalar(annotation: Any) -> Scalar:
    """Describe what an annotation accepts.

    Args:
        annotation: bool, int, float, str, None, a Literal of words, Annotated bounds on these, or a union.

    Returns:
        The plain types, words and rule. A type outside these gives its own name as the rule and takes text
        as it is.
    """
    kinds: list[type] = []
    words: dict[str, str | None] = {}
    synonyms: dict[str, str | None] = {}
    rules: list[str] = []
    reads_json = False
    own: Rule | None = None
    for base, metadata in _alternatives(annotation, ()):
        # of a Json field the text is the value
        reads_json |= _holds_values(base) and not any(type(marker) is Json for marker in metadata)
        for marker in metadata:
            if isinstance(marker, Exact):
                synonyms |= {word.lower(): value for word, value in marker.synonyms}
            own = marker if isinstance(marker, Rule) else own
        if get_origin(base) is Literal:
            names = [str(word) for word in get_args(base)]
            words |= {name.lower(): name for name in names}
            rules.append(f"one of {', '.join(names)}" if len(names) > 1 else names[0])
        else:
            kinds.append(base)
            rules += ["true", "false"] if base is bool else [_rule(base, metadata)]
    rules.sort(key=lambda rule: rule == "none")
    rule = " or ".join(filter(None, (", ".join(rules[:-1]), rules[-1])))
    reads_json = reads_json and str not in kinds
    spelled = BOOL_WORDS if bool in kinds else {}
    spelled = spelled | (dict.fromkeys(NONE_WORDS) if type(None) in kinds else {}) | words | synonyms
    if own:
        also = " or none" if type(None) in kinds else ""
        rule = f"{own.text}{',' if also and ',' in own.text else ''}{also}"
    advice = own.advice if own else ""
    return Scalar(frozenset(kinds), words | synonyms, rule, spelled, reads_json, advice)


def _holds_values(kind: Any) -> bool:
    """Whether a type is one of lists, mappings or models, which JSON can spell."""
    base = get_origin(kind) or kind
    if not inspect.isclass(base) or issubclass(base, (str, bytes)):
        return False
    return issubclass(base, (Mapping, Sequence, Set, BaseModel)) or hasattr(base, "__dataclass_fields__")


def _alternatives(annotation: Any, metadata: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield every alternative of a union with the constraints that hold for it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        base, *more = get_args(annotation)
        yield from _alternatives(base, (*more, *metadata))
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _alternatives(part, metadata)
    else:
        yield annotation, metadata


_BOUNDS: Final = {Ge: ">=", Gt: ">", Le: "<=", Lt: "<", MinLen: "of length >=", MaxLen: "of length <="}
"""Marker of a bound -> its words."""


def _rule(base: Any, metadata: tuple[Any, ...]) -> str:
    """Word the rule of one alternative."""
    bounds = [
        f"{_BOUNDS[type(marker)]} {astuple(marker)[0]}"
        for marker in metadata
        if type(marker) in _BOUNDS and marker != Le(LARGEST)
    ]
    names = {
        int: "an integer",
        float: "a finite number",
        str: "a line of text that is not empty" if _is_line(metadata) else "text",
        type(None): "none",
    }
    kind = base if get_origin(base) else base.__name__
    name = names.get(base) or f"a value of type {kind}{', in text as JSON' if _holds_values(base) else ''}"
    return f"{name} {' and '.join(bounds)}".rstrip()


def _is_line(metadata: tuple[Any, ...]) -> bool:
    return any(isinstance(marker, StringConstraints) and marker.min_length for marker in metadata)


OWN_ERRORS = ("not_accepted", "not_printable", "path_type")
"""Types of the errors that the rules in this module raise themselves, and of those that pydantic lists nowhere."""


def _one_line(text: str) -> str:
    """Refuse text that would not survive a line of a file or an environment variable."""
    if not text.isprintable():
        raise PydanticCustomError("not_printable", "has characters that cannot be printed")
    return text


Flag = Annotated[bool, Strict(), Exact()]
"""True or False; from text true/false, yes/no, on/off, 1/0."""
NonNegativeInt = Annotated[int, Strict(), Ge(0), Le(LARGEST), Exact()]
"""An integer >= 0."""
PositiveInt = Annotated[int, Strict(), Ge(1), Le(LARGEST), Exact()]
"""An integer >= 1."""
PositiveFloat = Annotated[float, Strict(), Gt(0), AllowInfNan(False), Exact()]
"""A finite number > 0."""
Seed = Annotated[int, Strict(), Ge(0), Le((1 << 32) - 1), Exact()]
"""A seed that every generator takes: an integer from 0 to 2^32 - 1."""
TextLine = Annotated[
    str, Strict(), StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_one_line), Exact()
]
"""One line of text, trimmed, not empty, printable."""
