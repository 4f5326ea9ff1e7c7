"""The text of a configuration file, and what is wrong with it before anything is read of it."""

import io
import os
import re
import select
import stat
import sys
from collections.abc import Iterator
from typing import Final

from ptycho.config import formats
from ptycho.config.errors import MOST_SHOWN, ConfigError, Failure, named, quote_line, up_to_value
from ptycho.config.hints import meant_by
from ptycho.config.section import TABLES, tables_with

LARGEST: Final = 4 * 2**20
"""Bytes of the record of a run; none is larger."""
LARGEST_FILE: Final = 2**19
"""Bytes of a file of settings in a format that people write, whose parsers take seconds for some megabytes."""
WAIT_S: Final = 5
"""Seconds to wait for a program that writes into a named pipe."""
_MOST_KEYS: Final = MOST_SHOWN - 1
"""Keys given more than once that are told one by one."""
_MOST_PLACES: Final = 3
"""Places of such a key that are told."""
_NUMERIC: Final = re.compile(r"[-+.\d\s\[\],\"']*")
"""What can be no secret."""


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
    if "\0" not in path and os.path.isdir(path):
        raise _refused(name, f"{rule}; got a folder. Name a file.")
    if formats.suffix(path) is None:
        if not os.path.lexists(path):
            raise _no_such_file(name)
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
    if not stat.S_ISREG(kind):
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


def format_of(path: str) -> str:
    """The name of the format that the ending of a file tells."""
    return {".toml": "TOML", ".json": "JSON"}.get(formats.suffix(path) or "", "YAML")


def way_out(line: str, path: str) -> str:
    """What to do about a line that is not valid."""
    ending = formats.suffix(path) or ""
    if "\t" in line[: len(line) - len(line.lstrip())] and ending in (".yaml", ".yml"):
        return " Indent with blanks in place of the tab."
    meant = meant_by(line.strip(), ending)
    return f" {meant.way_out}".rstrip() if meant and tables_with(meant.name) else ""


def named_in(line: str, path: str) -> str:
    """What a line that is not valid says before its first value; of one that names no setting, that it is there."""
    if way_out(line, path):
        return line
    before = up_to_value(line)
    named = before.rstrip(" .=:").strip("'\"")
    if tables_with(named) and _NUMERIC.fullmatch(line[len(before.removesuffix(" ...")) :]):
        return line
    if before or not line:
        return before
    first, *rest = line.split()
    is_known = first in TABLES or bool(tables_with(first))
    return " ".join(filter(None, (first if is_known else "", "..." if rest or not is_known else "")))


def repeated_keys(path: str, text: str) -> Iterator[Failure]:
    """Word the failures of the keys that a file gives more than once; only the values of settings are shown.

    Of countless keys, and of countless places of one, the first are told.
    """
    repeats = [*formats.repeats(path, text).items()]
    if len(repeats) > _MOST_KEYS:
        more = f"{path}: {len(repeats) - _MOST_KEYS} more names that are given more than once."
        yield Failure(path, f"{more} Keep each in one place.")
    for key, spans in repeats[:_MOST_KEYS]:
        first = spans[:_MOST_PLACES]
        places = " and ".join(dict.fromkeys(f"{path}:{formats.line_at(text, span)}" for span in first))
        more = f" and {len(spans) - len(first)} more places" if len(spans) > len(first) else ""
        is_known = bool(tables_with(key[-1]))
        shown = "".join(
            quote_line(formats.excerpt_at(path, text, span, shown=is_known), shown=True) for span in first
        )
        name = named(key[-1])
        yield Failure(key[-1], f"{name}: given twice, at {places}{more}. Keep one of them.{shown}")
