"""Configuration files: TOML, YAML and JSON by suffix, with the line of every key."""

import io
import os
import re
import select
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from ptycho.config import formats
from ptycho.config.errors import (
    MOST_SHOWN,
    VERSION_KEY,
    ConfigError,
    Failure,
    named,
    near,
    path_of,
    printable,
    quote_line,
    show,
    unknown_name,
    up_to_value,
    written_by,
)
from ptycho.config.fields import NONE_WORDS
from ptycho.config.hints import meant_by
from ptycho.config.layer import Layer
from ptycho.config.origins import Origin
from ptycho.config.paths import VARIABLE, Files, ranked_paths
from ptycho.config.recorded import RECORD, damages, is_record, settings_in, version_of
from ptycho.config.section import TABLES, Section, section_of_table, tables_with
from ptycho.config.sources import read_values

ORIGINS_KEY: Final = "origins"
"""The key by which a file tells where values came from, for programs."""
SCHEMA_KEY: Final = "$schema"
"""The key by which a JSON file names its schema, for editors."""
LARGEST: Final = 4 * 2**20
"""Bytes of the record of a run; none is larger."""
LARGEST_FILE: Final = 2**19
"""Bytes of a file of settings in a format that people write, whose parsers take seconds for some megabytes."""
WAIT_S: Final = 5
"""Seconds to wait for a program that writes into a named pipe."""
_MOST_TOLD: Final = MOST_SHOWN - 1
"""Unknown names of a table that are told one by one."""
_NUMERIC: Final = re.compile(r"[-+.\d\s\[\],\"']*")
"""What can be no secret."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """One configuration file, read and parsed."""

    path: str
    """The path as the user gave it, as messages show it."""
    text: str
    """The file's text; kept so that lines are looked up only when someone asks."""
    content: Mapping[str, Any]
    """Key -> value; YAML scalars stay text, which the fields read by their own rules."""
    failures: tuple[Failure, ...] = ()
    """What is wrong with the file as a whole; it is among the failures of every layer."""
    level: int = 0
    """Standing among the files of a run: the higher wins; one below 0 is of the variable PTYCHO_CONFIG."""
    kind: str = "file"
    """The kind of its layers: `file`, or `recipe`."""
    title: str = ""
    """What messages call it, without its lines; empty: its path."""
    told: Mapping[str, Origin] = field(default_factory=dict[str, Origin])
    """`table.name` -> where the run whose record this is had a value from; empty: it is no record."""

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "ConfigFile":
        """Read a file.

        Args:
            path: A `.toml`, `.yaml`, `.yml` or `.json` file.

        Returns:
            The file.

        Raises:
            ConfigError: It is missing, unreadable, not UTF-8, not valid, or not a mapping; or a key is
                repeated.
        """
        file = cls._parsed(path)
        if file.failures:
            raise ConfigError(file.failures)
        return file

    @classmethod
    def collect(cls, path: str | os.PathLike[str], level: int = 0) -> "ConfigFile":
        """Read a file, and leave what is wrong to the layers to report; one that cannot be read is empty.

        Args:
            path: As of `read`.
            level: Standing among the files of a run.
        """
        try:
            return replace(cls._parsed(path), level=level)
        except ConfigError as error:
            mark = f"{VARIABLE}: " if level < 0 else ""
            failures = tuple(Failure(name, f"{mark}{message}") for name, message in error.failures)
            return cls(path_of(path), "", {}, failures, level)

    @classmethod
    def _parsed(cls, path: str | os.PathLike[str]) -> "ConfigFile":
        given = path_of(path)
        name = printable(given) or "''"
        text = _text_of(given, name)
        try:
            content, is_repeated = formats.parse(given, text)
        except formats.SyntaxFaultError as fault:
            line = text.split("\n")[fault.line - 1]
            message = f"{name}:{fault.line}: expected valid {_format_of(given)}; got {fault.reason}."
            hint, shown = _way_out(line, given), quote_line(_named_in(line.strip(), given), shown=True)
            raise ConfigError([Failure(name, f"{message}{hint}{shown}")]) from None
        return cls(name, text, content, tuple(_given_twice(name, text)) if is_repeated else ())

    def as_of_run(self) -> "ConfigFile":
        """Take the record of a run for a run file of what it recorded."""
        failures = (*self.failures, *damages(self.content, self.path))
        if failures:
            return replace(self, content={}, failures=failures)
        found = settings_in(self.content)
        content = {**found.as_file(), **version_of(self.content)}
        return replace(self, content=content, title=self.path, told=found.origins)

    @property
    def has_tables(self) -> bool:
        """Whether this is a run file (`[model] [training] [inference] [execution]`) or a flat one."""
        return any(table in self.content for table in TABLES)

    def layer(self, section: Section, *, nested: bool = False, beside: bool = False) -> Layer:
        """Read the file, or one table of a run file, into a layer.

        Args:
            section: The section whose settings are read; its table, or of a file without tables everything.
            nested: Whether the file sets fields of its own beside its tables.
            beside: Whether these fields are the ones to read.

        Returns:
            The layer. Unknown and repeated names are among its failures, with the line and its text.
        """
        table = None if beside else section.table
        failures = list(self.failures)
        content: Any = {
            key: value
            for key, value in self.content.items()
            if key not in (VERSION_KEY, SCHEMA_KEY, ORIGINS_KEY)
        }
        where: tuple[str, ...] = ()
        if nested and table is None:
            content = {key: value for key, value in content.items() if key not in TABLES}
        elif table is not None and (self.has_tables or nested):
            failures += [self._stray(key) for key in content if key not in TABLES and not nested]
            content, where = content.get(table), (table,)
            if _says_none(content):  # a YAML table whose lines are all comments
                content = {}
        if not isinstance(content, Mapping):
            got = "a list" if isinstance(content, list) else show(content)
            hint = _way_out(content, self.path) if isinstance(content, str) else ""
            what = f"{table}: expected a table; got {got}"
            failures.append(self._failure(what, where, hint or " Give it a line for each setting."))
            content = {}
        written = cast(Mapping[str, Any], content)
        known = {key: value for key, value in written.items() if section.field(key)}
        unknown = [key for key in written if key not in known]
        if len(unknown) > _MOST_TOLD:
            more = f"{self.path}: {len(unknown) - _MOST_TOLD} more names that are no settings."
            failures.append(Failure(self.path, f"{more} Name a file of settings."))
        for key in unknown[:_MOST_TOLD]:
            is_table = isinstance(written[key], Mapping) and not where
            failures.append(self._stray(key) if is_table else self._unknown((*where, key), section))
        read = read_values(
            self.kind,
            known,
            section,
            text=not self.told,
            folder=os.path.dirname(os.path.abspath(self.path)),
            locate=lambda key: self.place((*where, key)),
            quote=lambda key: self._quoted(
                (*where, key), shown=section.scalars[section.field(key) or key].is_shown
            ),
        )
        spelled = {name: (*where, read.locators.get(name, name)) for name in read.values}
        return read._replace(
            locators=_Lookup(self, spelled, False),
            raw={} if self.title else _Lookup(self, spelled, True),
            failures=(*failures, *read.failures),
            level=self.level,
        )

    def place(self, key: tuple[str, ...]) -> str:
        """Return `exec.toml:7` for a key given by its path of names."""
        if self.title:
            origin = self.told.get(".".join(key))
            return f"{self.title} ({origin})" if origin else self.title
        line = formats.line_of(self.path, self.text, key)
        return f"{self.path}:{line}" if line else self.path

    def line_text(self, key: tuple[str, ...], *, shown: bool = True) -> str:
        """Return what the line of a key says of it, without what stands beside it, which may be a secret."""
        return formats.excerpt(self.path, self.text, key, shown=shown)

    def _quoted(self, key: tuple[str, ...], *, shown: bool) -> str:
        """Quote below a message what the line of a key says of it; the value only where it may be shown."""
        return quote_line(self.line_text(key, shown=shown), shown=True)

    def _stray(self, key: str) -> Failure:
        if self._merges(key):
            return self._merge_key((key,))
        close = near(key, tuple(TABLES))
        if isinstance(self.content[key], Mapping):
            hint = f" Did you mean {close}?" if close else f" The tables are {', '.join(TABLES)}."
            return self._failure(f"{named(key)}: no such table", (key,), hint)
        home = next(iter(tables_with(key)), None)
        hint = f" Put it into [{home}]." if home else ""
        return self._failure(
            f"{named(key)}: expected inside a table ({', '.join(TABLES)}); got it outside", (key,), hint
        )

    def _unknown(self, key: tuple[str, ...], section: Section) -> Failure:
        if self._merges(key[-1]):
            return self._merge_key(key)
        tables = [table for table in tables_with(key[-1]) if table not in key]
        meant = f"[{tables[0]}] {_current(key[-1], tables[0])}" if tables else section.meant_by(key[-1])
        failure = unknown_name(key[-1], meant, place=f" at {self.place(key)}")
        return Failure(failure.name, f"{failure.message}{self._writer}")

    def _failure(self, what: str, key: tuple[str, ...], hint: str = "") -> Failure:
        shown = self._quoted(key, shown=bool(tables_with(key[-1])))
        return Failure(key[-1], f"{what} at {self.place(key)}.{hint}{self._writer}{shown}")

    def _merges(self, key: str) -> bool:
        return key == "<<" and formats.suffix(self.path) in (".yaml", ".yml")

    def _merge_key(self, key: tuple[str, ...]) -> Failure:
        return self._failure(
            f"{key[-1]}: expected keys that are written out; got a merge key, which is not supported,",
            key,
            " Write out the keys that it stands for.",
        )

    @property
    def _writer(self) -> str:
        """Which version wrote the file, where it says so."""
        writer = self.content.get(VERSION_KEY)
        return "" if writer is None else f" {written_by(writer, 'file')}"


@dataclass(frozen=True, slots=True)
class _Lookup(Mapping[str, str]):
    """The places, or the lines' text, of a layer's names, looked up when asked for."""

    file: ConfigFile
    keys_by_name: Mapping[str, tuple[str, ...]]
    as_text: bool

    def __getitem__(self, name: str) -> str:
        key = self.keys_by_name[name]
        return self.file.line_text(key) if self.as_text else self.file.place(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys_by_name)

    def __len__(self) -> int:
        return len(self.keys_by_name)


def _says_none(section: object) -> bool:
    return section is None or (isinstance(section, str) and section.strip().lower() in NONE_WORDS)


def _text_of(path: str, name: str) -> str:
    """Read the text of a file whose ending says a format."""
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


def _format_of(path: str) -> str:
    return {".toml": "TOML", ".json": "JSON"}.get(formats.suffix(path) or "", "YAML")


def _way_out(line: str, path: str) -> str:
    """What to do about a line that is not valid."""
    ending = formats.suffix(path) or ""
    if "\t" in line[: len(line) - len(line.lstrip())] and ending in (".yaml", ".yml"):
        return " Indent with blanks in place of the tab."
    meant = meant_by(line.strip(), ending)
    return f" {meant.way_out}".rstrip() if meant and tables_with(meant.name) else ""


def _named_in(line: str, path: str) -> str:
    """What a line that is not valid says before its first value; of one that names no setting, that it is there."""
    if _way_out(line, path):
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


def _given_twice(path: str, text: str) -> Iterator[Failure]:
    """Word the failures of the keys that a file gives more than once; only the values of settings are shown."""
    for key, spans in formats.repeats(path, text).items():
        places = " and ".join(dict.fromkeys(f"{path}:{formats.line_at(text, span)}" for span in spans))
        is_known = bool(tables_with(key[-1]))
        shown = "".join(
            quote_line(formats.excerpt_at(path, text, span, shown=is_known), shown=True) for span in spans
        )
        name = named(key[-1])
        yield Failure(key[-1], f"{name}: given twice, at {places}. Keep one of them.{shown}")


def _current(name: str, table: str) -> str:
    """The name of today of a field of a table."""
    return section_of_table(table).field(name) or name


def collect_files(files: Files | None, environ: Mapping[str, str]) -> list[ConfigFile]:
    """Read the files of a run: those of the variable PTYCHO_CONFIG, and above them those that are named.

    Args:
        files: A `.toml`, `.yaml`, `.yml` or `.json` file, or a run; or several, the last one strongest.
        environ: The environment.

    Returns:
        The files; what is wrong with one is among the failures of its layers.

    Raises:
        ConfigError: What is named is no path.
    """
    return [_run_or_file(path, level) for level, path in ranked_paths(files, environ)]


def _run_or_file(path: str, level: int) -> ConfigFile:
    """Read a file; of a run, which is its folder or `config.json`, what it recorded."""
    record = os.path.join(path, RECORD)
    file = ConfigFile.collect(record if os.path.isfile(record) else path, level)
    of_run = formats.suffix(file.path) == ".json" and is_record(file.content)
    return file.as_of_run() if of_run else file
