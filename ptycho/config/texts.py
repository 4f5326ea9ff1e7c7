"""The text of a file of settings: read once, whole, and within bounds of size and time."""

import io
import os
import select
import stat
import sys
from collections.abc import Iterator
from typing import Final

from ptycho.config import formats
from ptycho.config.errors import ConfigError, Failure

LARGEST: Final = 4 * 2**20
"""Bytes of the record of a run; none is larger."""
LARGEST_FILE: Final = 2**19
"""Bytes of a file of settings in a format that people write, whose parsers take seconds for some megabytes."""
WAIT_S: Final = 5
"""Seconds to wait for a program that writes into a named pipe."""


def text_of(path: str, name: str) -> str:
    """Read the text of a file whose ending tells its format.

    Args:
        path: The file.
        name: What messages call it.

    Raises:
        ConfigError: It is missing, of another kind, too large, or no UTF-8 text.
    """
    rule = "expected a file that ends in .toml, .yaml, .yml or .json"
    if path == "-":
        raise _refused(name, f"{rule}, which tells its format; got standard input. Name a file.")
    if formats.suffix(path) is None:
        if not os.path.lexists(path):
            raise _no_such_file(name)
        if os.path.isdir(path):
            raise _refused(name, f"{rule}; got a folder. Name a file.")
        raise _refused(name, f"{rule}. Rename the file to say its format.")
    try:
        largest = LARGEST if formats.suffix(path) == ".json" else LARGEST_FILE
        content = _content_of(path, name, largest + 1)
        if len(content) > largest:
            rule = f"expected settings, at most {largest} bytes"
            raise _refused(name, f"{rule}; got a larger file. Name another one.")
        return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig").read()  # with one kind of line end
    except ConfigError:
        raise
    except FileNotFoundError:
        raise _no_such_file(name) from None
    except UnicodeDecodeError:
        raise _refused(name, "expected UTF-8 text; got other bytes. Save it as UTF-8.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _refused(name, f"expected a readable file; got: {reason}.") from None


def _content_of(path: str, name: str, most: int) -> bytes:
    """Read a file, or what a program writes into a named pipe, once; at most so many bytes."""
    kind = os.stat(path).st_mode
    if stat.S_ISFIFO(kind) and sys.platform != "win32":
        return b"".join(_pieces(path, name, most))
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise _refused(name, "expected a file or a named pipe; got another kind of file. Name a file.")
    with open(path, "rb") as stream:
        return stream.read(most)


def _pieces(path: str, name: str, left: int) -> Iterator[bytes]:
    """What is written into a named pipe, piece by piece; a program that writes nothing is not waited for for ever."""
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        writer = select.poll()
        writer.register(pipe, select.POLLIN)
        while left > 0:
            if not (events := writer.poll(WAIT_S * 1000)):
                what = f"expected settings from a named pipe; got nothing within {WAIT_S} s"
                raise _refused(name, f"{what}. Start the program that writes into it.")
            piece = os.read(pipe, left) if events[0][1] & select.POLLIN else b""
            if not piece:
                return
            left -= len(piece)
            yield piece
    finally:
        os.close(pipe)


def _refused(name: str, message: str) -> ConfigError:
    return ConfigError([Failure(name, f"{name}: {message}")])


def _no_such_file(name: str) -> ConfigError:
    return _refused(name, "no such file. Check the path.")
