"""The one mechanism: layers of a section, each value checked alone, merged by precedence, checked together.

The winners are validated first, as that is all a sound load needs; what is wrong is looked for only where that fails.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails, core_schema

from ptycho.config.errors import ConfigError, Failure, quote_line, show, unknown_name
from ptycho.config.fields import OWN_ERRORS, plain, scalar, text
from ptycho.config.origins import PRECEDENCE, Layer, Origin
from ptycho.config.section import Conflict, Section, annotation_of, jsonable, recorded, section_of
from ptycho.config.sources import Environment, read_environment

T = TypeVar("T")

_OURS: Final = {*get_args(core_schema.ErrorType), *OWN_ERRORS} - {"value_error", "assertion_error"}
"""Types of what the rules of pydantic, and ours, refuse: the rule of the field words these."""


# Who wins --------------------------------------------------------------------------------------------------------


def ranked(layers: Sequence[Layer], order: Sequence[str] = PRECEDENCE) -> tuple[Layer, ...]:
    """Put layers in order, the strongest first, whatever order they are listed in.

    Raises:
        ValueError: A kind is not in the order, or two layers have the same standing.
    """
    standing = {(order.index(layer.kind), -layer.level): layer for layer in layers}
    if len(standing) < len(layers):
        raise ValueError(
            f"layers: expected one of each kind and level; got {[layer.kind for layer in layers]}."
        )
    return tuple([standing[rank] for rank in sorted(standing)])


def merge(layers: Iterable[Layer]) -> dict[str, Origin]:
    """Pick the winner of layers, the strongest first, for every name that one speaks of, with those it shadows."""
    stacked: dict[str, list[Layer]] = {}
    for layer in layers:
        for name in layer.values:
            stacked.setdefault(name, []).append(layer)
    return {
        name: winner.origin(name, tuple(layer.origin(name) for layer in beaten))
        for name, (winner, *beaten) in stacked.items()
    }


def with_ambient(
    section: Section, layers: Sequence[Layer], environ: Environment, *, strict: bool = False
) -> tuple[Layer, ...]:
    """Add the sources that no call names, the environment and those of a subclass, and put all in order.

    A section whose environment is not read gets nothing. If strict, an unknown variable is always an error.
    """
    if section.prefix is None:
        return ranked(layers)
    environment = read_environment(environ, section, strict=strict)
    if not section.adds_sources:
        return ranked([*layers, environment])
    from ptycho.config.subclass_sources import add_sources  # loads with the first such class

    return ranked(*add_sources(section, layers, environment))


# Resolving one section -------------------------------------------------------------------------------------------


def fill(instance: Any, section: Section, layers: Sequence[Layer]) -> None:
    """Validate the winners of layers, the strongest first, into a bare instance, and every value that lost.

    Raises:
        ConfigError: Everything that is wrong with any of the layers.
    """
    values: dict[str, Any] = {}
    lost: dict[str, Any] = {}
    is_sound = True
    try:
        for layer in reversed(layers):
            for name in values.keys() & layer.values.keys():
                if name in lost:
                    section.check({name: lost[name]})
                lost[name] = values[name]
            values.update(layer.values)
            is_sound = is_sound and not layer.failures
        if lost:
            section.check(lost)
        instance.__pydantic_validator__.validate_python(
            values, self_instance=instance, by_alias=True, by_name=True
        )
    except ValidationError as error:
        raise refused(section, layers, error) from None
    if not is_sound:
        raise refused(section, layers)
    instance._keep([layer for layer in layers if layer.values])


class Resolution(NamedTuple, Generic[T]):
    """One section, resolved from layers, be they right or wrong."""

    section: Section
    layers: Sequence[Layer]
    """The layers in order, the strongest first."""
    made: T | None
    """The settings; None where anything is wrong."""
    failures: tuple[Failure, ...] = ()
    """What is wrong with the layers, in the winning and the losing values alike."""

    @property
    def config(self) -> T:
        """The settings.

        Raises:
            ConfigError: any layer has a failure.
        """
        if self.made is None:
            raise ConfigError(self.failures)
        return self.made

    @property
    def valid(self) -> dict[str, Any]:
        """Every field with the value in force, but for the wrong ones."""
        if self.made is None:
            return _examined(self.section, self.layers)[0]
        return {name: getattr(self.made, name) for name in self.section.fields}

    @property
    def sources(self) -> dict[str, Origin]:
        """Every field's origin, with the value in force."""
        return sources_of(self.section, self.layers, self.config)


def resolve(cls: type[T], layers: Sequence[Layer]) -> Resolution[T]:
    """Resolve one section, from layers in order, the strongest first."""
    section, made = section_of(cls), cls.__new__(cls)
    try:
        fill(made, section, layers)
    except ConfigError as error:
        return Resolution(section, layers, None, error.failures)
    return Resolution(section, layers, made)


def sources_of(section: Section, layers: Sequence[Layer], values: object) -> dict[str, Origin]:
    """Say where every value in force came from, and what it shadowed, by the layers, the strongest first."""
    merged = merge(layers)
    sources: dict[str, Origin] = {}
    for name, accepts in section.scalars.items():
        kind, locator, raw, shadowed, _ = merged.get(name) or Origin("default")
        if not accepts.is_shown:
            raw, shadowed = None, ()
        beaten = tuple(loser._replace(value=recorded(accepts.exact(loser.value))) for loser in shadowed)
        sources[name] = Origin(kind, locator, raw, beaten, jsonable(getattr(values, name)))
    return sources


def in_force(found: Iterable[Resolution[Any]]) -> tuple[dict[str, Any], dict[str, Origin]]:
    """The values of sections that share no name, but for the wrong ones; and the origins of those that are given."""
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for one in found:
        values |= one.valid
        origins |= merge(one.layers)
    return values, origins


# What is wrong ---------------------------------------------------------------------------------------------------


def refused(section: Section, layers: Sequence[Layer], error: ValidationError | None = None) -> ConfigError:
    """Everything that is wrong with the layers of a section, or else what pydantic found of all values together.

    A value that loses is checked as one that wins.

    Returns:
        The failures of reading and of single values, layer by layer; then values that do not go together, judged over
        those that are valid by themselves.
    """
    valid, failures = _examined(section, layers)
    origins = merge(layers)
    failures += worded(section.conflicts(valid), valid, Origins([section], origins))
    return ConfigError(failures or (_beyond_rules(error, section, origins) if error else ()))


def _examined(section: Section, layers: Sequence[Layer]) -> tuple[dict[str, Any], list[Failure]]:
    """The values in force that are valid by themselves, and the failures of reading and of single values."""
    failures: list[Failure] = []
    wrong: list[list[ErrorDetails]] = []
    for layer in layers:
        wrong.append(_wrong(section, layer))
        failures += layer.failures
        failures += [refusal(section, layer.origin(f"{why['loc'][0]}"), why) for why in wrong[-1]]
    valid = dict(section.defaults)
    for layer, whys in zip(reversed(layers), reversed(wrong), strict=True):
        names = {why["loc"][0] for why in whys}
        good = section.check({name: value for name, value in layer.values.items() if name not in names})
        valid = {name: value for name, value in valid.items() if name not in names} | dict(good)
    return valid, [*failures, *_missing(section, layers)]


def _missing(section: Section, layers: Sequence[Layer]) -> Iterator[Failure]:
    """The fields without a default, as a subclass may have, that no layer speaks of."""
    given = {name for layer in layers for name in layer.values}
    for name, info in section.all_fields.items():
        if info.is_required() and name not in given:
            held, label = section.nested.get(name), section.labelled(name)
            rule = f"a {held.cls.__name__}" if held else section.scalars[name].rule
            yield Failure.of(label, f"expected {rule}; got none. Set it.")


def _wrong(section: Section, layer: Layer) -> list[ErrorDetails]:
    """What pydantic says of every wrong value in a layer, in the order of the layer."""
    try:
        section.check(layer.values)
    except ValidationError as error:
        by_name: dict[Any, list[ErrorDetails]] = {name: [] for name in layer.values}
        for why in error.errors(include_url=False):
            by_name[why["loc"][0]].append(why)
        one_each = [whys if name in section.nested else whys[:1] for name, whys in by_name.items()]
        return [why for whys in one_each for why in whys]
    return []


def refusal(section: Section, origin: Origin, why: ErrorDetails) -> Failure:
    """Word what pydantic says of one value; one that may be a secret is not repeated."""
    name, *inner = (str(part) for part in why["loc"])
    held = section.nested.get(name)
    if held and inner:
        if inner[0] not in held.scalars:
            return unknown_name(held.labelled(inner[0]), held.suggest(inner[0]))
        within = why.copy()
        within["loc"] = tuple(inner)
        return refusal(held, origin._replace(value=cast(object, why["input"])), within)
    accepts, label = scalar(annotation_of(section.all_fields[name])), section.labelled(name)
    value = plain(origin.value if origin.in_file or origin.raw is None else origin.raw)
    meant = accepts.meant_by(value)
    advice = accepts.advice if why["type"] == "not_accepted" else ""
    hint = f" Did you mean {meant}?" if meant else f" {advice}".rstrip()
    may_show = held is not None or accepts.is_shown or not isinstance(value, (str, int, float))
    shown = show(value) if may_show else "another value"
    line = quote_line(origin.raw or "") if origin.in_file and may_show else ""
    rule = own_words(why) or f"expected {f'a {held.cls.__name__}' if held else accepts.broken_by(value)}"
    return Failure.of(label, f"{rule}; got {shown} from {origin}.{hint}{line}")


def own_words(why: ErrorDetails) -> str:
    """The words of a validator that a subclass adds; empty where another rule is broken, which has ours."""
    kind = why["type"]
    if kind in _OURS:
        return ""
    is_raised = kind in ("value_error", "assertion_error")
    words = str(why.get("ctx", {}).get("error", "")) if is_raised else why["msg"]
    return " ".join(words.split()).rstrip(".")


def _beyond_rules(
    error: ValidationError, section: Section, origins: Mapping[str, Origin]
) -> Iterator[Failure]:
    """Word what a subclass's own validators refuse of all values together."""
    for why in error.errors(include_url=False, include_input=False):
        cause = why.get("ctx", {}).get("error")
        place = str(why["loc"][0]) if len(why["loc"]) == 1 else ""
        if isinstance(cause, ConfigError):
            yield from cause.failures
        elif place in origins:
            yield refusal(section, origins[place], why)
        else:
            name = ".".join(str(part) for part in why["loc"]) or error.title
            yield Failure.of(name, f"{own_words(why) or why['msg']}.")


class Origins(NamedTuple):
    """Where values are from, and how messages speak of them: what turns a conflict into a failure."""

    sections: Sequence[Section]
    """The sections that have the names, the first of several meant."""
    known: Mapping[str, Origin]
    """Name -> origin, of those that are no defaults."""

    def of(self, name: str) -> Origin:
        """The origin of a value."""
        return self.known.get(name) or Origin("default")

    def labelled(self, name: str) -> str:
        """A name as messages say it."""
        return next((one.labelled(name) for one in self.sections if name in one.fields), name)

    def line(self, name: str) -> str:
        """The line of a file that a value is from, as it is quoted below a message."""
        origin = self.of(name)
        shown = all(one.scalars[name].is_shown for one in self.sections if name in one.fields)
        return quote_line(origin.raw or "") if origin.in_file and shown else ""


def worded(conflicts: Iterable[Conflict], values: Mapping[str, Any], origins: Origins) -> list[Failure]:
    """Word values that do not go together, above the lines of files that they are from."""
    return [_worded(conflict, values, origins) for conflict in conflicts]


def _worded(conflict: Conflict, values: Mapping[str, Any], origins: Origins) -> Failure:
    name, other = conflict.name, conflict.other
    label, value, lines = origins.labelled(name), _said(values[name]), origins.line(name)
    if other:
        against = f"{other} is {_said(values[other])} ({origins.of(other)})"
        words = f"{value} ({origins.of(name)}) needs {conflict.rule}; {against}. {conflict.way_out}"
        lines = "".join(dict.fromkeys((lines, origins.line(other))))
    else:
        words = f"expected {conflict.rule}; got {value} from {origins.of(name)}. {conflict.way_out}"
    return Failure.of(label, f"{words}{lines}")


def _said(value: object) -> str:
    return f"{value}" if isinstance(value, bool) else text(value)
