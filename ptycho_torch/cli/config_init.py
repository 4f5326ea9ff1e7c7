"""`ptycho config init`: a run file in which every setting is a comment."""

import argparse
from collections.abc import Iterable, Iterator
from typing import Final

from ptycho.config import render
from ptycho.config.errors import ConfigError, printable
from ptycho.config.recipes import read_recipe
from ptycho.config.resolve import resolve
from ptycho.config.section import TABLES, section_of_table
from ptycho_torch.cli.flags import Flag, flags_of
from ptycho_torch.cli.options import SHOWN, add_recipe, recipe_of
from ptycho_torch.cli.parser import FlagParser

HEAD: Final = (
    "Settings of ptycho; ptycho train and ptycho reconstruct read them with --config FILE.",
    "Every setting is shown with the value that it has unless you set it: that of the recipe {recipe}, otherwise its "
    "default. To set one, remove the # before its name; settings in comments are not set.",
    "ptycho config schema > ptycho.schema.json, in the folder of this file, lets editors complete and check it.",
    "ptycho config check FILE finds mistakes; ptycho config show train --config FILE shows the outcome.",
)


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
    """Write a run file in which every setting is a comment; read as it is, it changes nothing.

    Args:
        recipe: the name of the recipe that it is read with, or its file; or none.
        as_yaml: YAML; otherwise TOML.

    Returns:
        The text of the file.

    Raises:
        ConfigError: what is wrong with the recipe.
    """
    lines = [render.schema_line(as_yaml=as_yaml).rstrip()]
    lines += _comment(words.format(recipe=printable(recipe)) for words in HEAD)
    files = read_recipe(recipe)
    if failures := [failure for file in files for failure in file.failures]:
        raise ConfigError(failures)
    for table in TABLES:
        section = section_of_table(table)
        found = resolve(section.cls, [file.layer(section) for file in files])
        values = {name: origin.value for name, origin in found.sources.items()}
        beats = f" {section.prefix}<NAME> in the environment beats this table." if section.prefix else ""
        lines += ["", *_comment([f"{section.summary}{beats}"]), f"{table}:" if as_yaml else f"[{table}]"]
        indent = "  " if as_yaml else ""
        group = table
        for flag in flags_of(section.cls):
            if flag.group != group:
                group = flag.group
                lines += ["", f"{indent}# ---- {group} ----"]
            written = {flag.name: values[flag.name]}
            entry = render.yaml(written) if as_yaml else render.toml(written)
            lines += ["", *(f"{indent}{line}" for line in _comment(_meaning(flag)))]
            lines.append(f"{indent}#{entry.rstrip()}")
    return "\n".join(lines) + "\n"


def _comment(texts: Iterable[str]) -> Iterator[str]:
    for words in texts:
        yield from render.comment(words)


def _meaning(flag: Flag) -> tuple[str, str]:
    """What a setting does; then what it accepts, and what value a command finds."""
    found = f"; in a command: {SHOWN[flag.name]}" if flag.name in SHOWN else ""
    return flag.help, f"Accepts {flag.accepts.rule}{found}."
