"""The text of a configuration file, and what is wrong with it before anything is read of it."""

import os
import re
import select
import stat
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Final

from ptycho.config import formats
from ptycho.config.errors import ConfigError, Failure, named, quote_line
from ptycho.config.record import LARGEST
from ptycho.config.section import tables_with
from ptycho.config.yaml_text import SyntaxFaultError

LARGEST_FILE: Final = 2**19
"""Bytes of a file of settings in a format that people write, whose parsers take seconds for some megabytes."""
WAIT_S: Final = 5
"""Seconds to wait for a program that writes into a named pipe."""
_AT_ONCE: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""How to open: without waiting for a program that writes into a pipe, and without another kind of line ends."""
_PIECE: Final = 2**16
"""Bytes to read at a time."""
_PLACES_TOLD: Final = 4
"""Places of a key that are told one by one."""
_MOST_PARTS: Final = 1000
"""Parts of a line in which a mistake is looked for."""
_NUMERIC: Final = r"[-+.\d\s\[\]{},\"']*"
"""What can be no secret."""


def text_of(path: str, name: str) -> str:
    """Read the text of a file whose ending tells its format; messages call it by its name.

    Raises:
        ConfigError: It is missing, of another kind, too large, or no UTF-8 text.
    """
    if formats.suffix(path) is None:
        raise _without_format(path, name)
    try:
        largest = LARGEST if formats.suffix(path) == ".json" else LARGEST_FILE
        content = _content_of(path, name, largest + 1)
        if len(content) > largest:
            rule = f"expected settings, at most {largest} bytes"
            raise ConfigError.of(name, f"{rule}; got a larger file. Name another one.")
        text = content.removeprefix(BOM_UTF8).decode()
        return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    except ConfigError:
        raise
    except FileNotFoundError:
        raise _no_such_file(name) from None
    except UnicodeDecodeError:
        raise ConfigError.of(name, "expected UTF-8 text; got other bytes. Save it as UTF-8.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError.of(name, f"expected a readable file; got: {reason}.") from None


def _content_of(path: str, name: str, most: int) -> bytes:
    """Read a file, or what a program writes into a named pipe, once; at most so many bytes."""
    found = os.stat(path)  # opening a device may already act on it
    if stat.S_ISDIR(found.st_mode):
        raise _without_format(path, name)
    is_pipe = stat.S_ISFIFO(found.st_mode)
    if not is_pipe and not stat.S_ISREG(found.st_mode):
        raise ConfigError.of(name, "expected a file or a named pipe; got another kind of file. Name a file.")
    if not is_pipe and not found.st_size:  # what has no end tells no size
        return b""
    opened = os.open(path, os.O_RDONLY | _AT_ONCE)
    try:
        pieces: list[bytes] = []
        while most > 0 and (not is_pipe or _holds_more(opened, name)):
            wanted = min(most, _PIECE)
            pieces.append(os.read(opened, wanted))
            is_last = not pieces[-1] if is_pipe else len(pieces[-1]) < wanted
            most = 0 if is_last else most - len(pieces[-1])
        return b"".join(pieces)
    finally:
        os.close(opened)


def _holds_more(pipe: int, name: str) -> bool:
    """Wait for more from a pipe, but not for ever where a program writes nothing; False where it has ended."""
    writer = select.poll()
    writer.register(pipe, select.POLLIN)
    if not (events := writer.poll(WAIT_S * 1000)):
        what = f"expected settings from a named pipe; got nothing within {WAIT_S} s"
        raise ConfigError.of(name, f"{what}. Start the program that writes into it.")
    return bool(events[0][1] & select.POLLIN)


def _without_format(path: str, name: str) -> ConfigError:
    """Word the refusal of what has no format that its name tells."""
    rule = "expected a file that ends in .toml, .yaml, .yml or .json"
    if path == "-":
        return ConfigError.of(name, f"{rule}, which tells its format; got standard input. Name a file.")
    if os.path.isdir(path):
        return ConfigError.of(name, f"{rule}; got a folder. Name a file.")
    if not os.path.lexists(path):
        return _no_such_file(name)
    return ConfigError.of(name, f"{rule}. Rename the file.")


def _no_such_file(name: str) -> ConfigError:
    return ConfigError.of(name, "no such file. Check the path.")


def not_valid(path: str, text: str, fault: SyntaxFaultError) -> Failure:
    """Word the failure of a text that is not valid, with what its line says of a known setting."""
    lines, at = text.split("\n"), fault.line
    if at > 1 and "a colon and a space" in way_out(
        lines[at - 2], path
    ):  # which goes on as text on the next line
        at -= 1
    hint, shown = way_out(lines[at - 1], path), quote_line(_known_part(lines[at - 1].strip(), path))
    return Failure(path, f"{path}:{at}: expected valid {_language(path)}; got {fault.reason}.{hint}{shown}")


def _language(path: str) -> str:
    """The name of the format that the ending of a file tells."""
    return {".toml": "TOML", ".json": "JSON"}.get(formats.suffix(path) or "", "YAML")


def way_out(line: str, path: str) -> str:
    """What to do about a line that is not valid."""
    if "\t" in line[: len(line) - len(line.lstrip())] and _language(path) == "YAML":
        return " Indent with spaces, without tabs."
    return f" {_hint(line, _language(path))[1]}".rstrip()


def _hint(line: str, language: str) -> tuple[str, str]:
    """The part of a line that is wrong, and what to do about it; two empty texts where that is not known."""
    from ptycho.config.hints import hint_for  # loads with the first mistake

    inner = re.split(r"[\[\]{},]", line, maxsplit=_MOST_PARTS) if language != "YAML" else []
    for part in (line, line.partition(" #")[0], *inner[:_MOST_PARTS]):
        name, hint = hint_for(part.strip(), language)
        if hint and tables_with(name):
            return part.strip(), hint
    return "", ""


def _known_part(line: str, path: str) -> str:
    """What a line that is not valid says of a known setting; nothing of any other, which may be a secret."""
    if wrong := _hint(line, _language(path))[0]:
        return wrong
    found = re.match(r"""[{\s]*["']?([\w-]+)["']?[ \t]*[=:]?""", line)
    if not found or not tables_with(found[1]):
        return ""
    return line if re.fullmatch(_NUMERIC, line[found.end() :]) else f"{found[0]} ..."


def no_mapping(path: str, content: object, text: str) -> Failure:
    """Word the failure of a file that holds a list, or one value."""
    first, kind = text.strip().split("\n")[0], "a list" if isinstance(content, list) else "a single value"
    hint = "" if isinstance(content, list) else way_out(first, path)
    shown = quote_line(first) if hint else ""
    hint = hint or " See ptycho config init for a file to edit."
    return Failure.of(path, f"expected a mapping of names to values; got {kind}.{hint}{shown}")


def repeated_keys(path: str, places: formats.Places) -> Iterator[Failure]:
    """Word the failures of the keys that a file gives more than once; only the lines of settings are shown.

    Of very many keys, or places of one, the first are told.
    """
    for key, spans in places.repeats().items():
        told, more = spans[:_PLACES_TOLD], " and more" if spans[_PLACES_TOLD:] else ""
        lines = " and ".join(dict.fromkeys(f"{path}:{places.line_at(span)}" for span in told))
        shown = "".join(quote_line(places.excerpt_at(span)) for span in told if tables_with(key[-1]))
        name = named(key[-1])
        yield Failure(key[-1], f"{name}: given twice, at {lines}{more}. Keep one of them.{shown}")
