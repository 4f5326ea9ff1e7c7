"""ConfigError, the one error of the settings layer, and the wording its messages share."""

import inspect
import os
import warnings
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple, cast

from ptycho.version import installed_version

VERSION_KEY = "ptycho_version"
"""The key of a snapshot, or of a file, for the version of the package that wrote it; not a setting."""
NEAR_ENOUGH = 0.75
"""Similarity from which an unknown name among others (a variable, an override) is taken for a misspelt one."""
SHOWN_LENGTH = 60
"""Longest text of a value that a message repeats, in characters."""
LINE_LENGTH = 200
"""Longest line of a file that a message quotes, in characters."""
_QUOTED = "\n    "
"""How a message begins the line of a file that it quotes."""


_FOREIGN = {
    **dict.fromkeys(
        ("device", "gpu", "gpus", "n_gpus", "num_gpus", "ngpus", "cuda"), ("accelerator", "n_devices")
    ),
    **dict.fromkeys(("device_count", "num_devices"), ("n_devices",)),
    **dict.fromkeys(("bf16", "fp16", "16", "amp"), ("precision",)),
    **dict.fromkeys(("max_epochs", "epochs"), ("nepochs",)),
    **dict.fromkeys(("iterations", "num_iterations", "n_iter", "max_iter"), ("n_iterations",)),
    **dict.fromkeys(("modes", "n_modes", "num_modes"), ("probe_modes",)),
    "patience": ("early_stop_patience",),
    "random_seed": ("seed",),
    "detector_distance": ("distance",),
    "pixel_size": ("detector_pixel", "object_pixel"),
}
"""What others call a setting -> the names here that may be meant."""

_HANDS_ON = ("ptycho", "ptycho_torch", "pydantic", "pydantic_settings", "contextlib", "dataclasses")
"""Packages whose code is no caller, but for the command line."""


class Failure(NamedTuple):
    """One thing that is wrong with a load."""

    name: str
    """The field, variable, table or file that is wrong."""
    message: str
    """The whole message as printed: it starts with the name and may span several lines."""

    @classmethod
    def of(cls, name: str, words: str) -> "Failure":
        """Word what is wrong with something: its name, then mostly `expected <rule>; got <value>. <what to do>.`."""
        return cls(name, f"{name}: {words}")


MOST_SHOWN = 20
"""Failures whose messages are printed."""


class ConfigError(ValueError):
    """Every failure of one load, in the order they were found, with messages that any terminal takes.

    Args:
        failures: What is wrong; repeats are dropped.
    """

    def __init__(self, failures: Iterable[Failure]) -> None:
        told = (failure._replace(message=spelled_out(failure.message)) for failure in failures)
        self.failures: tuple[Failure, ...] = tuple(dict.fromkeys(told))
        super().__init__(self.failures)

    @classmethod
    def of(cls, name: str, words: str) -> "ConfigError":
        """The error of one failure, as of `Failure.of`."""
        return cls([Failure.of(name, words)])

    @property
    def messages(self) -> list[str]:
        """What to print: the messages of the first 20 failures, and how many more there are."""
        shown = [failure.message for failure in self.failures[:MOST_SHOWN]]
        more = len(self.failures) - len(shown)
        return [*shown, f"{more} more, not shown. Correct these first."] if more else shown

    def __str__(self) -> str:
        return "\n".join(self.messages)


class UnknownVariableWarning(UserWarning):
    """An environment variable carries our prefix, but its name is no knob's and near none."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line of the caller: the first one outside the library and what calls it back.

    The command line is a caller, but for the helpers that it offers to scripts.
    """
    level, frame = 1, inspect.currentframe()
    while frame and _hands_on(f"{frame.f_globals.get('__name__')}"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _hands_on(module: str) -> bool:
    """Whether code of a module only hands on what its caller wrote."""
    if module.startswith("ptycho_torch.cli."):
        return module == "ptycho_torch.cli.shared"
    return module.partition(".")[0] in _HANDS_ON


def show(value: object) -> str:
    """Word a value for a message: short, on one line, and never through a foreign `__repr__`.

    Returns:
        The literal for plain scalars (long text is cut), the type's name for anything else.
    """
    if isinstance(value, str):
        text = str(value)
        return repr(text) if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]!r}..."
    if isinstance(value, int) and value.bit_length() > 256:
        return "an integer of more than 77 digits"
    if value is None or type(value) in (bool, int, float):
        return repr(value)
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    return f"an object of type {type(value).__name__}"


def quote_line(text: str) -> str:
    """Word what a line of a file says of a known setting, below a message; nothing for an empty text."""
    text = printable(text.replace("\t", " "))
    text = text if len(text) <= LINE_LENGTH else f"{text[:LINE_LENGTH]} ..."
    return f"{_QUOTED}{text}" if text else ""


def printable(text: str) -> str:
    """Return text in which everything that would not print, or that steers a terminal, is spelled out."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def spelled_out(message: str) -> str:
    """Spell out what steers a terminal or breaks lines, but for the quoted lines of a message, which are indented."""
    return _QUOTED.join(printable(part) for part in message.split(_QUOTED))


def named(written: str) -> str:
    """Word a name that somebody else wrote: short, printable, and `''` where it is empty."""
    short = written if len(written) <= SHOWN_LENGTH else f"{written[:SHOWN_LENGTH]}..."
    return printable(short) or "''"


def fold(name: str) -> str:
    """Reduce a name to what spelling variants share: lower case, `_` for `-`."""
    return name.strip().lower().replace("-", "_")


def names_meant(written: str) -> tuple[str, ...]:
    """The names that may be meant by one that is not known: what others call a setting comes before spelling."""
    return _FOREIGN.get(fold(written), (written,))


def near(name: str, known: tuple[str, ...], cutoff: float = 0.6) -> str | None:
    """Find the known name that a misspelt one probably means, or None; the cutoff is a similarity from 0 to 1."""
    return None if len(name) > LINE_LENGTH else _nearest(fold(name), known, cutoff)


@lru_cache(maxsize=256)
def _nearest(folded: str, known: tuple[str, ...], cutoff: float) -> str | None:
    from difflib import get_close_matches

    by_folded = {fold(candidate): candidate for candidate in known}
    matches = get_close_matches(folded, by_folded, n=1, cutoff=cutoff)
    return by_folded[matches[0]] if matches else None


def unknown_name(written: str, suggestion: str | None, *, place: str = "") -> Failure:
    """Word the failure for a name that does not exist, with its place, as in ` (exec.toml:7)`, if it has one."""
    hint = f" Did you mean {suggestion}?" if suggestion else ""
    return Failure(written, f"{named(written)}: no such setting{place}.{hint}")


def warn_renamed(written: str, name: str) -> None:
    """Warn that a name is an old or foreign one."""
    warn_caller(f"{written} is an old name; use {name}.", DeprecationWarning)


def given_twice(name: str, first: str, second: str, lines: str = "") -> Failure:
    """Word the failure for a name that one source gives twice, above the lines where it does."""
    return Failure.of(name, f"given twice, as {first} and as {second}. Keep one of them.{lines}")


def written_by(version: object, what: str) -> str:
    """Word which version wrote something (`snapshot`, `file`), by its `VERSION_KEY`, and which one reads it."""
    writer = f"ptychopinn {version}" if isinstance(version, str) else "an unknown version"
    return f"The {what} was written by {writer}; this is {installed_version()}."


def path_of(path: object, name: str = "file") -> str:
    """Return the text of a path, which is a str or a path object; messages call it by its name.

    Raises:
        ConfigError: It is anything else; no path is no file, rather than the choice of none.
    """
    is_path = isinstance(path, (str, os.PathLike))
    text = os.fspath(cast(os.PathLike[Any], path)) if is_path else None
    if not isinstance(text, str):
        raise ConfigError.of(name, f"expected a path; got {show(path)}.")
    return text
