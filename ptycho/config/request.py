"""One request of a command: the settings of several sections, resolved together from the same levels."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from ptycho.config.errors import VERSION_KEY, ConfigError, Failure, named, show, written_by
from ptycho.config.files import ConfigFile
from ptycho.config.origins import Layer, Origin
from ptycho.config.paths import Files
from ptycho.config.recipes import Recipe, read_files, suited
from ptycho.config.record import damages, is_of_terminal, settings_in, version_of
from ptycho.config.resolve import Origins, Resolution, in_force, merge, ranked, resolve, with_ambient, worded
from ptycho.config.rules import conflicts
from ptycho.config.section import (
    OF_READING,
    TABLES,
    Conflict,
    Section,
    recorded,
    section_of,
    section_of_table,
)
from ptycho.config.sources import Environment, Writing, as_flags, as_mapping, read_saved, sort_values

T = TypeVar("T")

_MOST_NAMED: Final = 8
"""Settings of one table that a run does nothing with, told by name."""


@dataclass(frozen=True)
class Answer:
    """What a request resolves to."""

    found: Mapping[type, Resolution[Any]]
    """Class -> its section, resolved."""
    failures: tuple[Failure, ...]
    """All that is wrong with any level."""
    unused: tuple[str, ...]
    """Of each file that was named, what it sets and the run does nothing with."""

    def __getitem__(self, cls: type[T]) -> T:
        """The settings of a class, or of the one derived from it that was asked for."""
        return self.resolution(cls).config

    def resolution(self, cls: type[T]) -> Resolution[T]:
        """The section of a class, or of the one derived from it that was asked for, be it right or wrong."""
        return next(found for asked, found in self.found.items() if issubclass(asked, cls))

    @property
    def sources(self) -> dict[str, Origin]:
        """The origin of every setting with a label: `training.nepochs`."""
        return {
            found.section.labelled(name): origin
            for found in self.found.values()
            if found.section.label
            for name, origin in found.sources.items()
        }


class Request:
    """What a caller asks for, name by name.

    Args:
        classes: The classes of the sections whose settings may be named, and with them those that they hold; no two
            share a name.
        overrides: The strongest level.
        arguments: Arguments from Python.
        flags: Command-line flags that were passed, by name; text is read as the field says.
        file: A run file, or a flat file of the section without a label; or several, the last one strongest. Those of
            the variable PTYCHO_CONFIG are below them.
        recipe: The name of a recipe, or a run file that is one.
        files: What was read of all files and of the recipe before, in place of the two.
        cli_defaults: What the command line states without a flag.
        synonyms: Other name -> field.
        environ: The environment, for the sections that read it; None: that of the process.
        strict: Whether any unknown variable is an error.
        n_is_settled: Whether N is as it says, and not waiting for the data or a model.
        unread: Settings that the run does nothing with: name -> why one that is asked for by name is refused.
        beside: Classes of sections that the same command reads by another request.
    """

    def __init__(
        self,
        classes: Sequence[type],
        *,
        overrides: Mapping[str, Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        flags: Mapping[str, Any] | None = None,
        file: Files | None = None,
        recipe: Recipe = None,
        files: Sequence[ConfigFile] | None = None,
        cli_defaults: Mapping[str, Any] | None = None,
        synonyms: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        strict: bool = False,
        n_is_settled: bool = False,
        unread: Mapping[str, str] = {},
        beside: Collection[type] = (),
    ) -> None:
        self._environ = Environment(os.environ if environ is None else environ)
        self._strict, self._n_is_settled = strict, n_is_settled
        self._unread, self._beside = unread, beside
        self._layers: dict[type, list[Layer]] = {cls: [] for cls in _with_held(classes)}
        self._failures: list[Failure] = []
        self._known: dict[type, tuple[int, Resolution[Any]]] = {}
        levels = {"override": overrides, "argument": arguments, "flag": flags, "cli-default": cli_defaults}
        for kind, given in levels.items():
            if given is not None:
                self._take(kind, given, synonyms or {})
        self.files = read_files(file, recipe, self._environ) if files is None else files
        """The configuration files, and the recipe."""
        for read in self.files:
            self._read(read)

    @classmethod
    def of_record(
        cls,
        record: Mapping[str, Any],
        place: str,
        *,
        overrides: Mapping[str, Any] | None = None,
        flags: Mapping[str, Any] | None = None,
        unread: Mapping[str, str] = {},
    ) -> "Request":
        """Ask for the settings in the record of a run, below overrides and flags, but what its terminal decided.

        The environment is not read.

        Raises:
            ConfigError: The record is damaged.
        """
        if failures := damages(record, place):
            raise ConfigError(failures)
        found, told = settings_in(record), written_by(version_of(record).get(VERSION_KEY), "record")
        parts = {table: section_of_table(table) for table in found.tables}
        classes = [one.cls for one in parts.values()]
        request = cls(classes, overrides=overrides, flags=flags, environ={}, unread=unread)
        for table, values in found.tables.items():
            given = {
                name: value
                for name, value in values.items()
                if not is_of_terminal(whole := f"{table}.{name}", found.origins.get(whole))
            }
            request.add(parts[table].cls, read_saved("file", given, parts[table], place, told))
        return request

    def for_other(self, classes: Sequence[type]) -> "Request":
        """Ask for the settings of another run from the same files; what both read is resolved once."""
        other = Request(classes, files=self.files, environ=self._environ.variables, strict=self._strict)
        other._known = self._known
        return other

    @property
    def _sections(self) -> list[Section]:
        return [section_of(cls) for cls in self._layers]

    @property
    def unreadable(self) -> list[Failure]:
        """What keeps files, and the recipe, from being read; they may hold what seems to be missing."""
        return [failure for file in self.files for failure in file.failures if not file.content]

    def add(self, cls: type, layer: Layer) -> None:
        """Add a level that the caller worked out: an argument, or what the data say."""
        values = {
            name: recorded(value) for name, value in layer.values.items() if not _from_data(name, value)
        }
        if values or layer.failures:
            layers = next(layers for asked, layers in self._layers.items() if issubclass(asked, cls))
            layers.append(layer._replace(values=values))

    def fail(self, failures: Sequence[Failure]) -> None:
        """Report something that is wrong together with everything else."""
        self._failures += failures

    def asks_for(self, name: str) -> Origin | None:
        """The override, the flag or the argument that settles a setting, if there is one."""
        origin = self._merged(name).get(name)
        return origin if origin and origin.kind in ("override", "argument") else None

    def says(self, name: str) -> Any:
        """What the strongest level says of a setting; None where all are silent."""
        origin = self._merged(name).get(name)
        return origin and origin.value

    def path(self, name: str) -> str | None:
        """The path that the strongest level sets; None where all are silent, or it is none."""
        path = self.says(name)
        return path if isinstance(path, str) else None

    def file_of(self, name: str) -> str:
        """The file and line of what the strongest level says, as ` (run.toml:7)`; empty where that is no file."""
        origin = self._merged(name).get(name)
        return f" ({origin.locator})" if origin and origin.in_file else ""

    def speaks_of(self, name: str) -> bool:
        """Whether any level names a setting."""
        return name in self._merged(name)

    def _merged(self, name: str) -> dict[str, Origin]:
        layers = next(layers for cls, layers in self._layers.items() if name in section_of(cls).fields)
        return merge(ranked(layers))

    def settings(self, cls: type[T]) -> T | None:
        """The settings of one section by themselves; None where a level of it is wrong, which `answer` reports."""
        asked = next(asked for asked in self._layers if issubclass(asked, cls))
        found = self._resolved(asked)
        return None if found.failures else found.config

    def _resolved(self, cls: type) -> Resolution[Any]:
        """The section of a class as its levels are now."""
        layers = self._layers[cls]
        known = self._known.get(cls)
        if known is None or known[0] != len(layers):
            levels = with_ambient(section_of(cls), layers, self._environ, strict=self._strict)
            found: Resolution[Any] = resolve(cls, levels)
            known = self._known[cls] = (len(layers), found)
        return known[1]

    def answer(self, ready: Mapping[type, Any] | None = None) -> Answer:
        """Resolve everything.

        Args:
            ready: Class -> settings that were resolved before, or None; only overrides reach these then.

        Raises:
            ConfigError: All that is wrong with any level.
        """
        outcome = self.outcome(ready)
        if outcome.failures:
            raise ConfigError(outcome.failures)
        return outcome

    def outcome(self, ready: Mapping[type, Any] | None = None) -> Answer:
        """Resolve everything, be it right or wrong; arguments as of `answer`."""
        failures, found = [*self._failures], dict[type, Resolution[Any]]()
        for cls, layers in self._layers.items():
            settings = (ready or {}).get(cls)
            if settings is None:
                found[cls] = self._resolved(cls)
            elif isinstance(settings, cls):
                failures += _too_late(settings, layers)
                found[cls] = _around(settings, layers)
            else:
                name = f"{section_of(cls).table}_config"
                rule = f"expected a {cls.__name__} or none; got {show(settings)}"
                failures.append(Failure.of(name, f"{rule}. Make one with from_snapshot()."))
        found = suited(found, self._conflicts)
        failures += [failure for one in found.values() for failure in one.failures]
        values, origins = in_force(found.values())
        failures += worded(self._conflicts(values), values, Origins(self._sections, origins))
        return Answer(found, tuple(dict.fromkeys(failures)), tuple(dict.fromkeys(self._unused())))

    def _unused(self) -> Iterator[str]:
        read = {section_of(cls).table for cls in (*self._layers, *self._beside)}
        lent = {*OF_READING}.difference(*(section_of(cls).fields for cls in self._layers))
        for file in filter(_is_chosen, self.files):
            told: list[str] = []
            tables = file.settings if file.has_tables else {"execution": file.settings}
            for table in TABLES:
                content = tables.get(table)
                names = [*cast(Mapping[str, Any], content)] if isinstance(content, Mapping) else list[str]()
                idle = [
                    named(name)
                    for name in names
                    if table not in read or name in self._unread or (table == "data" and name in lent)
                ]
                more = f" and {len(idle) - _MOST_NAMED} more" if len(idle) > _MOST_NAMED else ""
                told += [f"[{table}] {', '.join(idle[:_MOST_NAMED])}{more}"] if idle else []
            if told:
                yield f"{file.path}: this run does not use {'; '.join(told)}."

    def _conflicts(self, values: Mapping[str, Any]) -> Iterator[Conflict]:
        """What does not go together, among what is right by itself."""
        waits = not self._n_is_settled and "N" in values and not self.speaks_of("N")
        known = {name: value for name, value in values.items() if not (waits and name == "N")}
        yield from conflicts(known)
        for section in self._sections:
            yield from section.conflicts(known)

    def _read(self, file: ConfigFile) -> None:
        """Read the tables of a run file, or of any other the section without a label."""
        self.fail(file.failures)
        omitted = [table for one in self._sections for table in one.recipe_omits if file.kind == "recipe"]
        for section in self._sections:
            if section.table not in omitted and (file.has_tables or section.is_flat):
                self.add(section.cls, file.layer(section))

    def _take(self, kind: str, given: Mapping[str, Any], synonyms: Mapping[str, str]) -> None:
        """Sort the names of one level by their sections."""
        is_flag, given = kind == "flag", as_mapping(kind, given)
        for name in filter(self._unread.get, given):
            written = f"--{name.replace('_', '-')}" if is_flag else name
            self._failures.append(Failure(name, f"{written}: {self._unread[name]}. Drop it."))
        read = {name: value for name, value in given.items() if name not in self._unread}
        how = Writing(is_text=is_flag, variable=self._environ.get)
        layers = sort_values(kind, read, self._sections, how, synonyms)
        for cls, layer in zip(self._layers, layers, strict=True):
            self.add(cls, as_flags(layer) if is_flag else layer)


def _with_held(classes: Sequence[type]) -> Iterator[type]:
    """The classes, each after those of the sections that it holds and that are not listed."""
    for cls in classes:
        for held in section_of(cls).nested.values():
            if not any(issubclass(one, held.cls) for one in classes):
                yield held.cls
        yield cls


def _around(settings: Any, layers: Sequence[Layer]) -> Resolution[Any]:
    """Settings that were resolved before, below the overrides, and above a recipe if they have none."""
    told = settings._spoken()
    above = [layer for layer in layers if _is_override(layer)]
    has_recipe = any(layer.kind == "recipe" for layer in told)
    below = [layer for layer in layers if layer.kind == "recipe" and not has_recipe]
    if not above and not below:
        return Resolution(section_of(type(settings)), told, settings)
    weakest_last = sorted([*told, *below], key=lambda layer: layer.kind == "cli-default")
    return resolve(cast(type[Any], type(settings)), [*above, *weakest_last])


def _is_chosen(file: ConfigFile) -> bool:
    """Whether somebody wrote the file for this command; the record of a run has every setting of it."""
    return file.kind == "file" and file.level >= 0 and not file.told


def _is_override(layer: Layer) -> bool:
    return layer.kind == "override" and layer.level >= 0


def _too_late(settings: Any, layers: Sequence[Layer]) -> Iterator[Failure]:
    """Settings that are given beside settings of their section that were resolved before.

    Files of the variable PTYCHO_CONFIG, which was read for these, and a recipe are none.
    """
    section = section_of(type(settings))
    given = f"the given {section.table} configuration is already resolved"
    way_out = f"{given}. Give it to its resolve(), or as an override."
    for layer in layers:
        is_ambient = (layer.kind == "file" and layer.level < 0) or layer.kind == "recipe"
        for name in () if _is_override(layer) or is_ambient else layer.values:
            label = section.labelled(name)
            yield Failure(label, f"{label} ({layer.origin(name)}): {way_out}")


def _from_data(name: str, value: Any) -> bool:
    """Whether a value leaves the field to the data."""
    return name == "N" and type(value) is int and value == 0
