"""What is wrong with the layers of one load: looked for in every layer, and worded for a person."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ptycho.config.errors import ConfigError, Failure, quote_line, show
from ptycho.config.fields import plain
from ptycho.config.resolve import stack
from ptycho.config.sources import Checks, Layer


def find_failures(layers: Sequence[Layer], checks: Checks) -> Iterator[Failure]:
    """Find everything that is wrong with a load.

    Args:
        layers: The layers in order, the strongest first. A value that loses is checked as one that wins.
        checks: How values are checked.

    Yields:
        The failures of reading and of single values, layer by layer; then values that do not go together,
        judged over those that are valid by themselves.
    """
    accepted = [_accepted(layer, checks) for layer in layers]
    for layer, good in zip(layers, accepted, strict=True):
        yield from layer.failures
        yield from (_refusal(layer, name, checks) for name in layer.values if name not in good)
    holders = stack(layers)
    valid = dict(checks.defaults)
    for layer, good in zip(reversed(layers), reversed(accepted), strict=True):
        valid = {name: value for name, value in valid.items() if name not in layer.values} | dict(good)

    def origin(name: str) -> str:
        return str(holders[name][0].origin(name)) if name in holders else "default"

    yield from checks.conflicts(valid, origin)


def _accepted(layer: Layer, checks: Checks) -> Mapping[str, Any]:
    """Return the values of a layer that are valid by themselves."""
    try:
        return checks.check(layer.values)
    except ValidationError as error:
        refused = {problem["loc"][0] for problem in error.errors(include_url=False)}
    return checks.check({name: value for name, value in layer.values.items() if name not in refused})


def _refusal(layer: Layer, name: str, checks: Checks) -> Failure:
    """Word the failure of one value; a value that is not a plain scalar's is not repeated."""
    field = checks.vocabulary.scalars[name]
    origin = layer.origin(name)
    from_file = layer.kind == "file"
    value = origin.value if from_file or origin.raw is None else origin.raw
    shown = show(plain(value)) if field.is_plain else "another value"
    close = field.meant_by(value)
    hint = f" Did you mean {close}?" if close else ""
    line = quote_line(origin.raw or "", shown=field.is_plain) if from_file else ""
    return Failure(name, f"{name}: expected {field.rule}; got {shown} from {origin}.{hint}{line}")


def pydantic_failures(error: ValidationError) -> Iterator[Failure]:
    """Word what a subclass's own validators refuse; values are not repeated."""
    for problem in error.errors(include_url=False, include_input=False):
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            yield from cause.failures
        else:
            name = ".".join(str(part) for part in problem["loc"]) or error.title
            yield Failure(name, f"{name}: {problem['msg']}.")
