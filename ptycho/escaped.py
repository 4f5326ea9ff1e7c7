"""The last line of defence against names and texts of others that would steer a terminal or forge lines of a log."""

import logging
from types import TracebackType

from ptycho.config.errors import printable

_QUOTED = "\n    "
"""How a message begins the line of a file that it quotes."""


def spelled_out(message: str) -> str:
    """Spell out what steers a terminal or breaks lines, but for the quoted lines of a message, which are indented."""
    return _QUOTED.join(printable(part) for part in message.split(_QUOTED))


class LineFormatter(logging.Formatter):
    """Formats a record as one line of printable text; a traceback follows on lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return printable(super().formatMessage(record))

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """Return a traceback."""
        return "\n".join(map(printable, super().formatException(ei).split("\n")))
