"""Types of the fields of the canonical configurations, and what a field that holds a path takes."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AllowInfNan, BeforeValidator, Strict
from pydantic_core import PydanticCustomError

from ptycho.config.fields import LARGEST, Exact, Rule


def is_pattern_size(value: int) -> bool:
    """Whether a network takes patterns of so many pixels a side; 0 leaves that to the data."""
    return value == 0 or (value >= 32 and value % 16 == 0)


PatternSize = Annotated[
    int,
    Strict(),
    Ge(0),
    Le(LARGEST),
    Rule(
        "a multiple of 16 from 32 up, or 0 (from the data)",
        is_pattern_size,
        "Set crop or pad of [data], or reconstruct without a model, which takes any size.",
    ),
    Exact(),
]
"""Side of a diffraction pattern, in pixels."""
NonNegativeFloat = Annotated[float, Strict(), Ge(0), AllowInfNan(False), Exact()]
"""A finite number >= 0."""
Fraction = Annotated[float, Strict(), Ge(0), Le(1), AllowInfNan(False), Exact()]
"""A number from 0 to 1."""
Share = Annotated[float, Strict(), Ge(0), Lt(1), AllowInfNan(False), Exact()]
"""A number from 0 to below 1."""
ShrinkFactor = Annotated[float, Strict(), Gt(0), Lt(1), AllowInfNan(False), Exact()]
"""A number between 0 and 1, neither of them."""
PositionsProvided = Annotated[
    bool, Strict(), Rule("true", bool, "Only scans with positions are supported."), Exact()
]
"""True."""


def _is_path(value: Path | None) -> bool:
    """Whether the system can take a path: not with a NUL, or a half of a surrogate pair."""
    try:
        return value is None or b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _not_blank(value: Any) -> Any:
    """Refuse blank text, which a path would read as the current folder; use Path() for that."""
    if isinstance(value, str) and not value.strip():
        raise PydanticCustomError("not_accepted", "Input should not be blank")
    return value


if TYPE_CHECKING:

    class File:
        """A path, or its text."""

        def __get__(self, instance: object, owner: object) -> Path: ...
        def __set__(self, instance: object, value: str | Path) -> None: ...

    class OptionalFile:
        """A path, or its text; or None."""

        def __get__(self, instance: object, owner: object) -> Path | None: ...
        def __set__(self, instance: object, value: str | Path | None) -> None: ...

else:
    File = Annotated[Path, BeforeValidator(_not_blank), Rule("a path", _is_path)]
    OptionalFile = Annotated[Path | None, BeforeValidator(_not_blank), Rule("a path", _is_path)]


def path(default: str | None) -> Any:
    """Declare a field that holds a path, and takes its text as well."""
    return None if default is None else Path(default)


Activation = Annotated[Literal["sigmoid", "swish", "silu", "softplus", "relu"], Exact()]
Domain = Annotated[Literal["auto", "amplitude", "intensity"], Exact()]
Backend = Annotated[Literal["pytorch", "tensorflow"], Exact()]
SaveFormat = Annotated[Literal["none", "h5", "cxi", "tiff", "all"], Exact()]
"""A format that other programs read, or all of them."""
