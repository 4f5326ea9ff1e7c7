"""`ptycho config show`: the settings that a run would have, resolved as the run resolves them."""

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.fields import text
from ptycho.config.files import ORIGINS_KEY, SCHEMA_KEY
from ptycho.config.origins import Origin
from ptycho.config.paths import absolute
from ptycho.config.render import Entry, Line, toml_file, yaml_file
from ptycho.config.section import recorded, section_of, section_of_table
from ptycho_torch.cli.commands import COMMANDS, Command
from ptycho_torch.cli.config_schema import SCHEMA_FILE, schema_line
from ptycho_torch.cli.flags import flags_of
from ptycho_torch.cli.options import CommandLine
from ptycho_torch.cli.parser import FlagParser
from ptycho_torch.cli.settled import Settled
from ptycho_torch.cli.tables import print_table

RUNS_SHOWN: Final = tuple(
    command._replace(
        summary=f"the settings that ptycho {command.name} would have",
        usage=f"[{command.usage.removesuffix(' [flags]')}] [flags]",
    )
    for command in (COMMANDS["train"], COMMANDS["reconstruct"])
)
"""The commands whose runs can be shown."""


class Setting(NamedTuple):
    """One value in force."""

    group: str
    name: str
    """`section.field`."""
    origin: Origin
    default: object
    words: str = ""
    """What stands for a value that only the run itself will know."""


def add_arguments(parser: FlagParser) -> None:
    """Add the commands whose runs can be shown, with their own arguments."""
    parser.add_commands(RUNS_SHOWN, dest="of", add_arguments=_add_run)


def _add_run(command: Command, parser: FlagParser) -> None:
    parser.description = (
        f"Show the settings that ptycho {command.name} would have with the same arguments; data and "
        "model may be left out."
    )
    command.add_arguments(parser)
    formats = parser.add_mutually_exclusive_group()
    for name, more in (("toml", ""), ("yaml", ""), ("json", ", with their origins")):
        formats.add_argument(
            f"--{name}",
            dest="form",
            action="store_const",
            const=name,
            help=f"Write the settings as a {name.upper()} file that --config reads{more}.",
        )


def run(options: argparse.Namespace) -> int:
    """Print the settings that a run would have.

    Raises:
        ConfigError, Refusal, OSError: what would stop the run before it starts.
    """
    settled: Settled = COMMANDS[options.of].load().settled(CommandLine.of(options), options)
    settings = _settings(settled)
    form = vars(options).get("form")
    if form is not None:
        print(_FORMATS[form](settings), end="")
    else:
        print_table(("setting", "value", "from", "instead of"), [_row(setting) for setting in settings])
    return 0


def _settings(settled: Settled) -> list[Setting]:
    """Every field and knob that the run reads, in the order of its flags."""
    settings: list[Setting] = []
    for cls in settled.classes:
        for flag in flags_of(cls):
            name = section_of(cls).labelled(flag.name)
            origin, words = settled.open.get(name, (settled.sources[name], ""))
            settings.append(Setting(flag.group, name, origin, flag.default, words))
    sources = settled.execution.sources
    for flag in flags_of(PyTorchExecutionConfig, settled.groups):
        settings.append(Setting(flag.group, f"execution.{flag.name}", sources[flag.name], flag.default))
    return settings


def _entries(settings: list[Setting]) -> list[Entry]:
    """What a run file has to set, to come to the same; not what only the run will know."""
    entries: list[Entry] = []
    for setting in settings:
        table, _, name = setting.name.partition(".")
        section, value = section_of_table(table), recorded(setting.origin.value)
        if name in section.paths and value is not None:
            value = absolute(value)  # a relative one in a file is one in its folder
        if not setting.words:
            entries.append(Entry(table, setting.group, name, value, section.help[name], False))
    return entries


def _as_json(settings: list[Setting]) -> str:
    """A run file that tells programs the origins as well."""
    tables: dict[str, dict[str, object]] = {}
    for entry in _entries(settings):
        tables.setdefault(entry.table, {})[entry.name] = entry.value
    origins = {one.name: {**one.origin.to_dict(), "known": not one.words} for one in settings}
    return json.dumps({SCHEMA_KEY: SCHEMA_FILE, **tables, ORIGINS_KEY: origins}, indent=2) + "\n"


_FORMATS: Final[Mapping[str, Callable[[list[Setting]], str]]] = {
    "toml": lambda settings: schema_line() + toml_file(_entries(settings)),
    "yaml": lambda settings: schema_line(as_yaml=True) + yaml_file(_entries(settings)),
    "json": _as_json,
}


def _row(setting: Setting) -> Line:
    origin = setting.origin
    value = setting.words or text(origin.value)
    beaten = ", ".join(f"{text(loser.value)} ({loser})" for loser in origin.shadowed)
    changed = not setting.words and text(origin.value) != text(setting.default)
    return Line((setting.name.partition(".")[2], value, str(origin), beaten), setting.group, changed)
