"""`ptycho config init`: a run file in which every setting is a comment."""

import argparse
from typing import Final

from ptycho.config.errors import ConfigError, printable
from ptycho.config.paths import RECONSTRUCTIONS, RUNS
from ptycho.config.recipes import read_recipe
from ptycho.config.record import FOLDER
from ptycho.config.render import Entry, comment, file_text, schema_line
from ptycho.config.resolve import resolve
from ptycho.config.section import TABLES, section_of_table
from ptycho_torch.cli.flags import Flag, flags_of
from ptycho_torch.cli.options import SHOWN, add_recipe, recipe_of
from ptycho_torch.cli.parser import FlagParser

HEAD: Final = (
    "Settings of ptycho; ptycho train and ptycho reconstruct read them with --config FILE.\n"
    "Every setting is shown with the value that it has unless you set it: {value}. "
    "To set one, remove the # before its name; settings in comments are not set.\n"
    "ptycho config schema > ptycho.schema.json, in the folder of this file, lets editors complete and check it.\n"
    "ptycho config check FILE finds mistakes; ptycho config show train --config FILE shows the outcome."
)

_FOLDERS: Final = {
    "training": f"{RUNS}/NAME-OF-DATA",
    "inference": "FOLDER-OF-MODEL/NAME-OF-DATA",
    "solver": f"{RECONSTRUCTIONS}/NAME-OF-DATA",
}
"""Table -> where its command writes if no folder is set."""


def add_arguments(parser: FlagParser) -> None:
    """Add `--yaml` and `--recipe`."""
    parser.epilog = "ptycho config init > run.toml gives a file to edit."
    parser.add_argument("--yaml", action="store_true", help="Write YAML instead of TOML.")
    add_recipe(parser)


def run(options: argparse.Namespace) -> int:
    """Print the file.

    Raises:
        ConfigError: what is wrong with the recipe.
    """
    print(template(recipe_of(options), as_yaml="yaml" in options), end="")
    return 0


def template(recipe: str, *, as_yaml: bool) -> str:
    """Write a run file in which every setting is a comment; read with the same recipe, it changes nothing.

    Raises:
        ConfigError: what is wrong with the recipe.
    """
    files = read_recipe(recipe)
    if failures := [failure for file in files for failure in file.failures]:
        raise ConfigError(failures)
    entries: list[Entry] = []
    heads: dict[str, str] = {}
    for table in TABLES:
        section = section_of_table(table)
        beats = f" {section.prefix}<NAME> in the environment beats this table." if section.prefix else ""
        heads[table] = f"{section.summary}{beats}"
        sources = resolve(section.cls, [file.layer(section) for file in files]).sources
        entries += [
            Entry(table, flag.group, flag.name, sources[flag.name].value, _meaning(flag, table), is_set=False)
            for flag in flags_of(section.cls)
        ]
    value = f"that of the recipe {printable(recipe)}, otherwise its default" if files else "its default"
    head = f"{schema_line(as_yaml=as_yaml)}{comment(HEAD.format(value=value))}"
    return f"{head}\n{file_text(entries, as_yaml=as_yaml, heads=heads)}"


def _meaning(flag: Flag, table: str) -> str:
    """What a setting does; then what it accepts, and what value a command finds."""
    found = _FOLDERS.get(table) if flag.name == FOLDER else SHOWN.get(flag.name)
    return f"{flag.help()}\nAccepts {flag.accepts.rule}{f'; in a command: {found}' if found else ''}."
