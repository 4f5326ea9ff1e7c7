"""Flags of the parameters of a function."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from ptycho.config.errors import ConfigError, Failure, show
from ptycho.config.fields import scalar
from ptycho_torch.cli.commands import spell
from ptycho_torch.cli.console import Refusal
from ptycho_torch.cli.flags import Flag

T = TypeVar("T")


def parameter_flags(function: Callable[..., Any], group: str) -> list[Flag]:
    """The flags of a function's parameters; their help is the function's docstring."""
    texts = _argument_texts(inspect.getdoc(function) or "")
    return [
        Flag(name, scalar(parameter.annotation), partial(texts.__getitem__, name), parameter.default, group)
        for name, parameter in inspect.signature(function).parameters.items()
    ]


def _argument_texts(docstring: str) -> dict[str, str]:
    """The entries of a Google-style `Args:` section, on one line each."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n|\n)*)", f"{docstring}\n", re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE)
    return {name: " ".join(f"{words[:1].upper()}{words[1:]}".split()) for name, words in entries}


def read_parameters(flags: Iterable[Flag], passed: Mapping[str, str]) -> dict[str, Any]:
    """Read the text that was passed for a function's parameters into their values, by name.

    Raises:
        ConfigError: everything that does not read as its parameter.
    """
    values: dict[str, Any] = {}
    failures = []
    for flag in flags:
        if flag.name in passed:
            written, accepts = passed[flag.name], flag.accepts
            value = values[flag.name] = accepts.read(written)
            is_word = str in accepts.kinds or value in accepts.words.values()
            if isinstance(value, str) and not is_word:
                words = f"expected {accepts.rule}; got {show(written)} from flag {flag.spelling}."
                failures.append(Failure.of(flag.name, words))
    if failures:
        raise ConfigError(failures)
    return values


def call(function: Callable[..., T], parameters: Mapping[str, Any]) -> T:
    """Call a function; a parameter that it refuses is named by its flag.

    Raises:
        Refusal: what the function raises as a ValueError.
    """
    try:
        return function(**parameters)
    except ValueError as error:
        name, colon, rest = str(error).partition(":")
        raise Refusal(f"{spell(name) if name in parameters else name}{colon}{rest}") from error
