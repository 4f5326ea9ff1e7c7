"""Configuration files: TOML, YAML and JSON by suffix, with the line of every key."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from ptycho.config import formats
from ptycho.config.errors import (
    VERSION_KEY,
    ConfigError,
    Failure,
    given_twice,
    named,
    near,
    path_of,
    printable,
    quote_line,
    unknown_name,
    written_by,
)
from ptycho.config.fields import NONE_WORDS
from ptycho.config.file_text import no_mapping, not_valid, repeated_keys, text_of, way_out
from ptycho.config.origins import Layer, Origin
from ptycho.config.paths import VARIABLE, Files, Variable, paths_in
from ptycho.config.record import RECORD, damages, is_record, settings_in, version_of
from ptycho.config.section import OF_READING, TABLES, Section, tables_with
from ptycho.config.sources import Environment, Writing, first_of, read_values
from ptycho.config.yaml_text import SyntaxFaultError

ORIGINS_KEY: Final = "origins"
"""The key by which a file tells where values came from, for programs."""
SCHEMA_KEY: Final = "$schema"
"""The key by which a JSON file names its schema, for editors."""
_NO_SETTINGS: Final = (VERSION_KEY, SCHEMA_KEY, ORIGINS_KEY)


class ConfigFile(NamedTuple):
    """One configuration file, read and parsed."""

    path: str
    """The path as messages show it, with what does not print spelled out."""
    places: formats.Places
    """Where in its text the keys stand."""
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
    told: Mapping[str, Origin] = {}
    """`table.name` -> where the run whose record this is had a value from; empty: it is no record."""
    variable: Variable = os.environ.get
    """Gives the text of a variable that a path in it names."""
    given: str = ""
    """The path as the user gave it."""

    @classmethod
    def collect(cls, path: str | os.PathLike[str], level: int = 0) -> "ConfigFile":
        """Read a file, and leave what is wrong to the layers to report; one that cannot be read is empty."""
        given = path_of(path)
        name = printable(given) or "''"
        places, content, failures = formats.Places(""), dict[str, Any](), ()
        try:
            places = formats.Places(text := text_of(given, name))
            found, is_repeated, keys = formats.parse(given, text)
            places = formats.Places(text, keys)
            failures = tuple(repeated_keys(name, places)) if is_repeated else ()
            if isinstance(found, dict):
                content = cast(dict[str, Any], found)
            else:
                failures = (no_mapping(name, found, text),)
        except SyntaxFaultError as fault:
            failures = (not_valid(name, places.text, fault),)
        except ConfigError as error:
            failures = error.failures
        if level < 0 and not content:
            failures = tuple(Failure(name, f"{VARIABLE}: {message}") for name, message in failures)
        return cls(name, places, content, failures, level, given=given)

    @property
    def is_of_run(self) -> bool:
        """Whether this is the record of a run, be it damaged."""
        return formats.suffix(self.path) == ".json" and is_record(self.content)

    def as_of_run(self) -> "ConfigFile":
        """Take the record of a run for a run file of what it recorded."""
        failures = (*self.failures, *damages(self.content, self.path))
        if failures:
            return self._replace(content={}, failures=failures)
        found = settings_in(self.content)
        content = {**found.as_file(), **version_of(self.content)}
        return self._replace(content=content, title=self.path, told=found.origins)

    @property
    def has_tables(self) -> bool:
        """Whether this is a run file (`[model] [training] [inference] [execution]`) or a flat one."""
        return not TABLES.keys().isdisjoint(self.content)

    def layer(self, section: Section) -> Layer:
        """Read the file, or one table of a run file, into a layer.

        Args:
            section: The section whose settings are read: its table, or everything in a file without tables where the
                section is written so.

        Returns:
            The layer. Unknown and repeated names are among its failures, with the line and its text.
        """
        written, where, failures = self.settings, (), [*self.failures]
        if self.has_tables or not section.is_flat:
            strays = [name for name in self.settings if name not in TABLES]
            failures += first_of(strays, self._stray, self.path)
            where = (section.table,)
            written = self._table(section.table, failures)
            if section.table == "data":
                written = {name: value for name, value in written.items() if name not in OF_READING}
        if not written.keys() <= section.scalars.keys():
            known = {name: value for name, value in written.items() if section.field(name)}
            unknown = [name for name in written if name not in known]
            failures += first_of(unknown, lambda name: self._unknown((*where, name), section), self.path)
            written = known
        lent = self._of_reading(section)
        for name in lent.keys() & written.keys():
            places = (self.place((*table, name)) for table in (where, ("data",)))
            failures.append(given_twice(section.labelled(name), *places))

        def key(spelling: str) -> tuple[str, ...]:
            return (*(("data",) if spelling in lent else where), spelling)

        def locate(spelling: str) -> str:
            return self.place(key(spelling))

        def line(spelling: str) -> str:
            return self.places.excerpt(key(spelling))

        def quote(spelling: str) -> str:
            is_shown = section.scalars[section.field(spelling) or spelling].is_shown
            return quote_line(line(spelling)) if is_shown else ""

        how = Writing(not self.told, self.variable, self.given, locate, quote)
        read = read_values(self.kind, {**written, **lent}, section, how)
        places = _Lookup(read, locate)
        lines: Mapping[str, str] = {} if self.title else _Lookup(read, line)
        return Layer(self.kind, read.values, places, lines, (*failures, *read.failures), self.level)

    def _of_reading(self, section: Section) -> Mapping[str, Any]:
        """What [data] sets of the settings `OF_READING` that a section has."""
        content = self.content.get("data")
        if not isinstance(content, Mapping):
            return {}
        found = cast(Mapping[str, Any], content)
        return {name: found[name] for name in OF_READING if name in found and name in section.fields}

    @property
    def settings(self) -> Mapping[str, Any]:
        """The content without what is there for programs."""
        if self.content.keys().isdisjoint(_NO_SETTINGS):
            return self.content
        return {name: value for name, value in self.content.items() if name not in _NO_SETTINGS}

    def _table(self, table: str, failures: list[Failure]) -> Mapping[str, Any]:
        """The values of a table; empty where it has none, and where it is no table, which is a failure."""
        content = self.content.get(table)
        if isinstance(content, Mapping):
            return cast(Mapping[str, Any], content)
        if not _says_none(content):
            hint = way_out(content, self.path) if isinstance(content, str) else ""
            got = "a list" if isinstance(content, list) else "a single value"
            what = f"{table}: expected a table; got {got}"
            failures.append(self._failure(what, (table,), hint or " Give it a line for each setting."))
        return {}

    def place(self, key: tuple[str, ...]) -> str:
        """Return `exec.toml:7` for a key given by its path of names."""
        if self.title:
            origin = self.told.get(".".join(key))
            return f"{self.title} ({origin})" if origin else self.title
        line = self.places.line_of(key)
        return f"{self.path}:{line}" if line else self.path

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
        if len(key) == 1 and isinstance(self.content[key[0]], Mapping):
            return self._stray(key[0])
        if self._merges(key[-1]):
            return self._merge_key(key)
        meant = section.suggest(key[-1], in_file=True)
        failure = unknown_name(key[-1], meant, place=f" at {self.place(key)}")
        return Failure(failure.name, f"{failure.message}{self._writer}")

    def _failure(self, what: str, key: tuple[str, ...], hint: str = "") -> Failure:
        shown = quote_line(self.places.excerpt(key)) if tables_with(key[-1]) else ""
        return Failure(key[-1], f"{what} at {self.place(key)}.{hint}{self._writer}{shown}")

    def _merges(self, key: str) -> bool:
        return key == "<<" and formats.suffix(self.path) in (".yaml", ".yml")

    def _merge_key(self, key: tuple[str, ...]) -> Failure:
        return self._failure(
            f"{key[-1]}: expected plain keys; got a merge key, which is not supported,",
            key,
            " Write the keys themselves.",
        )

    @property
    def _writer(self) -> str:
        """The sentence about the version that wrote the file, where the file has one."""
        writer = self.content.get(VERSION_KEY)
        return "" if writer is None else f" {written_by(writer, 'file')}"


class _Lookup(Mapping[str, str]):
    """The places, or the lines' text, of a layer's names, looked up when asked for."""

    def __init__(self, layer: Layer, find: Callable[[str], str]) -> None:
        self._layer, self._find = layer, find

    def __getitem__(self, name: str) -> str:
        if name not in self._layer.values:
            raise KeyError(name)
        return self._find(self._layer.locators.get(name, name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._layer.values)

    def __reduce__(self) -> tuple[type, tuple[dict[str, str]]]:
        return dict, (dict(self),)

    def __len__(self) -> int:
        return len(self._layer.values)


def _says_none(section: object) -> bool:
    return section is None or (isinstance(section, str) and section.strip().lower() in NONE_WORDS)


def collect_files(files: Files | None, environ: Environment | None = None) -> list[ConfigFile]:
    """Read the files of a run: those of the variable PTYCHO_CONFIG, and above them those that are named.

    Args:
        files: A `.toml`, `.yaml`, `.yml` or `.json` file, or a run; or several, the last one strongest.
        environ: What has the variable, and the others in paths; None: that of the process, and no PTYCHO_CONFIG.

    Returns:
        The files; what is wrong with one is among the failures of its layers.

    Raises:
        ConfigError: What is named is no path.
    """
    variable = environ.get if environ else os.environ.get
    ambient = paths_in(environ and environ.get(VARIABLE), variable)
    asked = files if isinstance(files, (list, tuple)) else [] if files is None else [files]
    places = enumerate([*ambient, *map(path_of, asked)], -len(ambient))
    found = [file_or_record(path, level) for level, path in places]
    return [file.as_of_run() if file.is_of_run else file._replace(variable=variable) for file in found]


def file_or_record(path: str, level: int = 0) -> ConfigFile:
    """Read a file, or the record in the folder of a run."""
    file = ConfigFile.collect(path, level)
    if not file.places.text and os.path.isfile(record := os.path.join(path, RECORD)):
        return ConfigFile.collect(record, level)
    return file
