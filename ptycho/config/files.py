"""Configuration files: TOML, YAML and JSON by suffix, with the line of every key."""

import os
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
    written_by,
)
from ptycho.config.fields import NONE_WORDS
from ptycho.config.file_text import format_of, named_in, repeated_keys, text_of, way_out
from ptycho.config.layer import Layer
from ptycho.config.origins import Origin
from ptycho.config.paths import VARIABLE, Files, ranked_paths
from ptycho.config.recorded import RECORD, damages, is_record, settings_in, version_of
from ptycho.config.section import TABLES, Section, tables_with
from ptycho.config.sources import read_values

ORIGINS_KEY: Final = "origins"
"""The key by which a file tells where values came from, for programs."""
SCHEMA_KEY: Final = "$schema"
"""The key by which a JSON file names its schema, for editors."""
_MOST_TOLD: Final = MOST_SHOWN - 1
"""Unknown names of a table that are told one by one."""


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
        text = text_of(given, name)
        try:
            content, is_repeated = formats.parse(given, text)
        except formats.SyntaxFaultError as fault:
            line = text.split("\n")[fault.line - 1]
            message = f"{name}:{fault.line}: expected valid {format_of(given)}; got {fault.reason}."
            hint, shown = way_out(line, given), quote_line(named_in(line.strip(), given), shown=True)
            raise ConfigError([Failure(name, f"{message}{hint}{shown}")]) from None
        return cls(name, text, content, tuple(repeated_keys(name, text)) if is_repeated else ())

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
            hint = way_out(content, self.path) if isinstance(content, str) else ""
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
        meant = section.suggest(key[-1], in_file=True)
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
