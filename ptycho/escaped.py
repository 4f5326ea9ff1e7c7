"""The last line of defence against names and texts of others that would steer a terminal or forge lines of a log."""

import logging
from types import TracebackType

from ptycho.config.errors import printable


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
