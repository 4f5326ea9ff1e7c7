"""`ptycho config show`: the settings that a run would have, resolved as the run resolves them."""

import argparse
import json
from typing import Final

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.fields import text
from ptycho.config.files import ORIGINS_KEY, SCHEMA_KEY
from ptycho.config.render import HEAD, SCHEMA_FILE, Entry, Row, file_text, lines, schema_line
from ptycho.config.section import recorded, section_of, section_of_table
from ptycho_torch.cli.commands import COMMANDS, Command
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
    settled: Settled = COMMANDS[options.of].load().settled(CommandLine.of(options))
    settings = _settings(settled)
    form = vars(options).get("form")
    if form is None:
        print_table(HEAD, lines(settings))
    elif form == "json":
        print(_as_json(settings))
    else:
        as_yaml = form == "yaml"
        print(schema_line(as_yaml=as_yaml) + file_text(_entries(settings), as_yaml=as_yaml), end="")
    return 0


def _settings(settled: Settled) -> list[Row]:
    """Every field and knob that the run reads, in the order of its flags."""
    sources = settled.sources | {f"execution.{name}": one for name, one in settled.execution.sources.items()}
    settings: list[Row] = []
    for cls in (*settled.classes, PyTorchExecutionConfig):
        table = section_of(cls).table
        for flag in flags_of(cls, without=settled.unread):
            name = f"{table}.{flag.name}"
            origin, words = settled.open.get(name, (sources[name], ""))
            changed = not words and text(origin.value) != text(flag.default)
            settings.append(Row(flag.group, flag.name, origin, changed, table, words))
    return settings


def _entries(settings: list[Row]) -> list[Entry]:
    """What a run file has to set, to come to the same; not what only the run will know."""
    entries: list[Entry] = []
    for one in settings:
        section = section_of_table(one.table)
        value = section.in_file(one.name, recorded(one.origin.value))
        if not one.words:
            entries.append(Entry(one.table, one.group, one.name, value, section.help[one.name]))
    return entries


def _as_json(settings: list[Row]) -> str:
    """A run file that tells programs the origins as well."""
    tables: dict[str, dict[str, object]] = {}
    for entry in _entries(settings):
        tables.setdefault(entry.table, {})[entry.name] = entry.value
    origins = {
        f"{one.table}.{one.name}": {**one.origin.to_dict(), "known": not one.words} for one in settings
    }
    return json.dumps({SCHEMA_KEY: SCHEMA_FILE, **tables, ORIGINS_KEY: origins}, indent=2)
