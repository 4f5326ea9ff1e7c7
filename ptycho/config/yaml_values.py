"""Plain values of a YAML file, by YAML's own rules; where one is wrong, the line and never the text."""

from typing import Any, Final

import yaml
from yaml.reader import ReaderError

from ptycho.config.errors import ConfigError, Failure

_WRONG: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
"""What PyYAML raises for text that the tag it guesses does not fit; written ones are refused before."""


class _ValueFaultError(Exception):
    """A value does not fit its tag.

    Args:
        line: The line, counted from 1.
    """

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Loader(yaml.SafeLoader):
    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)  # pyright: ignore[reportUnknownMemberType]
        except _WRONG:
            raise _ValueFaultError(node.start_mark.line + 1) from None


def load(path: str, text: str) -> dict[str, Any]:
    """Construct the values of a file that holds a mapping.

    Args:
        path: The file, for messages.
        text: Its text.

    Raises:
        ConfigError: It is not valid YAML, or a value is not a plain one.
    """
    line = 0
    try:
        return _values(text)
    except _ValueFaultError as fault:
        line = fault.line
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
    except (yaml.YAMLError, RecursionError):
        pass  # no line is known
    place = f"{path}:{line}" if line else path
    raise ConfigError(
        [Failure(path, f"{place}: expected valid YAML of plain values; got another. Quote it if it is text.")]
    )


def _values(text: str) -> dict[str, Any]:
    loader = _Loader(text)
    try:
        return loader.get_single_data() or {}
    finally:
        loader.dispose()
