"""What a refusal says, without its prose: whole messages are in tests/cli/messages.txt."""

import contextlib
import re
from collections.abc import Callable, Generator

import pytest

from ptycho.config.errors import ConfigError

_COMMAND = re.compile(r"^ptycho(?: [a-z]+)*: ")
_ORIGIN = re.compile(
    r"(?:\b(?:from|at|as|and) |\()((?:flag|environment variable|recipe|command-line default) [^\s;)]+?|"
    r"[^\s(]+:\d+|argument|override|assignment|default|snapshot)(?=[.,;)]*(?:\s|$))"
)
_MEANT = re.compile(r"Did you mean (.*)\?$", re.MULTILINE)


def message(build: Callable[[], object]) -> str:
    """The message of the ConfigError that a call raises."""
    with pytest.raises(ConfigError) as caught:
        build()
    return str(caught.value)


def told(text: str) -> list[tuple[str, ...]]:
    """What is wrong, line by line: the name, and the origins that are told; quoted lines of files are left out."""
    lines = (line for line in _COMMAND.sub("", text).splitlines() if not line.startswith("    "))
    return [(line.partition(": ")[0], *_ORIGIN.findall(line)) for line in lines]


def refused(build: Callable[[], object]) -> list[tuple[str, ...]]:
    """What the ConfigError that a call raises tells."""
    return told(message(build))


@contextlib.contextmanager
def refusing(*names: str) -> Generator[pytest.ExceptionInfo[ConfigError]]:
    """Expect a ConfigError about just these."""
    with pytest.raises(ConfigError) as caught:
        yield caught
    assert [failure.name for failure in caught.value.failures] == [*names]


def meant(text: str) -> list[str]:
    """What is suggested."""
    return _MEANT.findall(text)
