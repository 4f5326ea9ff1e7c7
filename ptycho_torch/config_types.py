"""The kinds of values that only this backend's configurations hold."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from ptycho.config.canonical import NonNegativeFloat
from ptycho.config.fields import Exact, PositiveInt
from ptycho.config.validated import Rule

GridSize = Annotated[tuple[PositiveInt, PositiveInt], Rule("two integers >= 1")]
"""Neighbours in a group along y and x."""


def _is_probe_mask(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, Sequence) and not isinstance(value, str):
        rows: list[Any] = list(value)
        return bool(rows) and all(isinstance(row, Sequence) and len(row) == len(rows) for row in rows)
    shape = tuple(getattr(value, "shape", ()))
    return len(shape) == 2 and shape[0] == shape[1]


ProbeMask = Annotated[Any, Rule("true, false, none, or a square array", _is_probe_mask), Exact()]
"""Whether, or with what, to multiply the probe."""


Bounds = Annotated[
    tuple[NonNegativeFloat, NonNegativeFloat],
    Rule("two numbers, 0 <= lower < upper <= 1", lambda pair: 0 <= pair[0] < pair[1] <= 1),
]
"""Lower and upper end, as fractions of the scan range."""

Smoothness = Annotated[Literal["Total_Variation", "Mean_Deviation"] | None, Exact(synonyms=(("none", None),))]
"""What a loss on the object asks for: small steps between pixels, or values near their mean."""


Engine = Annotated[Literal["Lightning"], Exact()]


def only(value: int, reason: str) -> Rule:
    """The rule of a field that has one value, which others state.

    Args:
        value: that value.
        reason: why there is no other.
    """
    return Rule(f"{value}", lambda given: given == value, f"{reason} Leave it as it is.")
