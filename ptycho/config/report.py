"""What is wrong with the layers of one load: looked for in every layer, and worded for a person."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails, core_schema

from ptycho.config.errors import ConfigError, Failure, quote_line, show
from ptycho.config.fields import OWN_ERRORS, plain
from ptycho.config.origins import Origin
from ptycho.config.resolve import stack
from ptycho.config.sources import Checks, Layer

_OURS: Final = {*get_args(core_schema.ErrorType), *OWN_ERRORS} - {"value_error", "assertion_error"}
"""Types of what the rules of pydantic, and ours, refuse: the rule of the field words these."""


def find_failures(layers: Sequence[Layer], checks: Checks) -> Iterator[Failure]:
    """Find everything that is wrong with a load.

    Args:
        layers: The layers in order, the strongest first. A value that loses is checked as one that wins.
        checks: How values are checked.

    Yields:
        The failures of reading and of single values, layer by layer; then values that do not go together,
        judged over those that are valid by themselves.
    """
    accepted: list[Mapping[str, Any]] = []
    for layer in layers:
        good, refused = _sorted(layer, checks)
        accepted.append(good)
        yield from layer.failures
        yield from (_refusal(layer, name, checks, refused[name]) for name in layer.values if name in refused)
    holders = stack(layers)
    valid = dict(checks.defaults)
    for layer, good in zip(reversed(layers), reversed(accepted), strict=True):
        valid = {name: value for name, value in valid.items() if name not in layer.values} | dict(good)

    def origin_of(name: str) -> Origin:
        return holders[name][0].origin(name) if name in holders else Origin("default")

    def is_plain(name: str) -> bool:
        return checks.vocabulary.scalars[name].is_plain

    yield from with_lines(lambda word: checks.conflicts(valid, word), origin_of, is_plain)


def with_lines(
    conflicts: Callable[[Callable[[str], str]], Iterable[Failure]],
    origin_of: Callable[[str], Origin],
    is_plain: Callable[[str], bool] = lambda name: True,
) -> Iterator[Failure]:
    """Word values that do not go together, and quote below each failure the lines of files that it speaks of.

    Args:
        conflicts: Finds the failures, given what words the origin of a name.
        origin_of: Tells the origin of a name.
        is_plain: Tells whether a message may repeat the value of a name.
    """
    lines: dict[str, str] = {}

    def word(name: str) -> str:
        origin = origin_of(name)
        if origin.kind == "file":
            lines[quote_line(origin.raw or "", shown=is_plain(name))] = str(origin)
        return str(origin)

    for failure in conflicts(word):
        found = {
            line: re.search(rf"{re.escape(place)}(?!\d)", failure.message) for line, place in lines.items()
        }
        spoken_of = [(match.start(), line) for line, match in found.items() if match]
        spoken_of.sort(key=lambda place: place[0])
        yield Failure(failure.name, "".join([failure.message, *(line for _, line in spoken_of)]))


def _sorted(layer: Layer, checks: Checks) -> tuple[Mapping[str, Any], dict[str, ErrorDetails]]:
    """Return the values of a layer that are valid by themselves, and what is wrong with each of the others."""
    try:
        return checks.check(layer.values), {}
    except ValidationError as error:
        refused = {str(problem["loc"][0]): problem for problem in error.errors(include_url=False)}
    return checks.check({name: value for name, value in layer.values.items() if name not in refused}), refused


def _refusal(layer: Layer, name: str, checks: Checks, problem: ErrorDetails) -> Failure:
    """Word the failure of one value; a value that is not a plain scalar's is not repeated."""
    field = checks.vocabulary.scalars[name]
    origin = layer.origin(name)
    from_file = layer.kind == "file"
    value = origin.value if from_file or origin.raw is None else origin.raw
    shown = show(plain(value)) if field.is_plain else "another value"
    close = field.meant_by(value)
    hint = f" Did you mean {close}?" if close else ""
    line = quote_line(origin.raw or "", shown=field.is_plain) if from_file else ""
    rule = own_words(problem) or f"expected {field.broken_by(value)}"
    return Failure(name, f"{name}: {rule}; got {shown} from {origin}.{hint}{line}")


def own_words(problem: ErrorDetails) -> str:
    """The words of a validator that a subclass adds; empty where another rule is broken, which has ours."""
    kind = problem["type"]
    if kind in _OURS:
        return ""
    is_raised = kind in ("value_error", "assertion_error")
    words = str(problem.get("ctx", {}).get("error", "")) if is_raised else problem["msg"]
    return " ".join(words.split()).rstrip(".")


def pydantic_failures(error: ValidationError, layers: Sequence[Layer], checks: Checks) -> Iterator[Failure]:
    """Word what a subclass's own validators refuse of all values together.

    Args:
        error: What pydantic found.
        layers: The layers in order, the strongest first.
        checks: How values are checked.

    Yields:
        The failures; the value is repeated where it is of one field.
    """
    holders = stack(layers)
    for problem in error.errors(include_url=False, include_input=False):
        cause = problem.get("ctx", {}).get("error")
        place = str(problem["loc"][0]) if len(problem["loc"]) == 1 else ""
        if isinstance(cause, ConfigError):
            yield from cause.failures
        elif place in holders:
            yield _refusal(holders[place][0], place, checks, problem)
        else:
            name = ".".join(str(part) for part in problem["loc"]) or error.title
            yield Failure(name, f"{name}: {own_words(problem) or problem['msg']}.")
