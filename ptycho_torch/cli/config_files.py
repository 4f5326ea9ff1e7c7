"""What configuration files look like: a file to edit, and the JSON Schema that editors check it by."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from ptycho.config import render
from ptycho.config.errors import VERSION_KEY, ConfigError, printable
from ptycho.config.fields import LARGEST, Exact
from ptycho.config.files import ORIGINS_KEY, SCHEMA_KEY
from ptycho.config.recipes import read_recipe
from ptycho.config.resolve import resolve
from ptycho.config.section import TABLES, recorded, section_of_table
from ptycho_torch.cli.flags import Flag, flags_of
from ptycho_torch.cli.options import SHOWN

SCHEMA_FILE: Final = "./ptycho.schema.json"
"""Where files look for the schema: beside them."""
HEAD: Final = (
    "Settings of ptycho; ptycho train and ptycho reconstruct read them with --config FILE.",
    "Every setting is shown with the value that it has where nobody sets it: that of the recipe {recipe}, or else its "
    "default. To set one, take away the # before its name; one that stays a comment is not set here.",
    "ptycho config schema > ptycho.schema.json, beside this file, lets editors complete and check it.",
    "ptycho config check FILE finds mistakes; ptycho config show train --config FILE shows the outcome.",
)
TITLES: Final[Mapping[str, str]] = {
    "model": "The network and the physics it is trained through.",
    "training": "What is trained on, and how.",
    "inference": "What is reconstructed with a trained model.",
    "solver": "What is reconstructed without one, and how.",
    "data": "How a scan is read from a file that another program wrote.",
    "execution": "How this machine runs it. PTYCHO_EXEC_<NAME> in the environment beats this table.",
}

RULES: Final[Mapping[str, Mapping[str, Any]]] = {
    "N": {"anyOf": [{"const": 0}, {"multipleOf": 16, "minimum": 32}]},
    "positions_provided": {"const": True},
}
"""Field -> its rule that is code in the class, as a schema says it."""


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
    lines = [schema_line(as_yaml=as_yaml).rstrip()]
    lines += _comment(words.format(recipe=printable(recipe)) for words in HEAD)
    files = read_recipe(recipe)
    if failures := [failure for file in files for failure in file.failures]:
        raise ConfigError(failures)
    for table in TABLES:
        section = section_of_table(table)
        found = resolve(section.cls, [file.layer(section) for file in files])
        values = {name: origin.value for name, origin in found.sources.items()}
        lines += ["", *_comment([TITLES[table]]), f"{table}:" if as_yaml else f"[{table}]"]
        indent = "  " if as_yaml else ""
        group = table
        for flag in _flags(table):
            if flag.group != group:
                group = flag.group
                lines += ["", f"{indent}# ---- {group} ----"]
            written = {flag.name: values[flag.name]}
            entry = render.yaml(written) if as_yaml else render.toml(written)
            lines += ["", *(f"{indent}{line}" for line in _comment(_meaning(flag)))]
            lines.append(f"{indent}#{entry.rstrip()}")
    return "\n".join(lines) + "\n"


def schema_line(*, as_yaml: bool = False) -> str:
    """The line by which editors find the schema of a file."""
    return f"# yaml-language-server: $schema={SCHEMA_FILE}\n" if as_yaml else f"#:schema {SCHEMA_FILE}\n"


def _flags(table: str) -> list[Flag]:
    return flags_of(section_of_table(table).cls)


def _comment(texts: Iterable[str]) -> Iterator[str]:
    for words in texts:
        yield from render.comment(words)


def _meaning(flag: Flag) -> tuple[str, str]:
    """What a setting does; then what it accepts, and what value a command finds."""
    found = f"; in a command: {SHOWN[flag.name]}" if flag.name in SHOWN else ""
    return flag.help, f"Accepts {flag.accepts.rule}{found}."


def schema() -> dict[str, Any]:
    """Write the JSON Schema (draft 2020-12) of run files, of flat files of knobs, and of canonical files.

    It describes every value as `ptycho config init` writes it. Other spellings that the reader takes, such as yes
    for true or words in another case, are left out, so that files stay uniform.
    """
    tables = {table: _table_schema(table) for table in TABLES}
    writer = {
        VERSION_KEY: {"description": "Version that wrote the file.", "type": "string"},
        SCHEMA_KEY: {"description": "Where this schema is.", "type": "string"},
        ORIGINS_KEY: {"description": "Where the values came from.", "type": "object"},
    }
    tables["execution"]["properties"] |= writer
    run_file = {
        "properties": {table: {"$ref": f"#/$defs/{table}"} for table in TABLES} | writer,
        "additionalProperties": False,
    }
    canonical = [
        {
            "properties": {name: {"$ref": f"#/$defs/{table}/properties/{name}"} for name in described}
            | {held: {"$ref": f"#/$defs/{held}"} for held in section_of_table(table).nested}
            | writer,
            "additionalProperties": False,
        }
        for table in ("training", "inference")
        if (described := tables[table]["properties"])
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of ptycho",
        "description": "A run file with tables; a flat file of the settings of [execution]; or the settings of "
        "[training] or [inference] beside a table [model].",
        "type": "object",
        "if": {"anyOf": [{"required": [table]} for table in TABLES]},
        "then": {"anyOf": [run_file, *canonical]},
        "else": {"$ref": "#/$defs/execution"},
        "$defs": tables,
    }


def _table_schema(table: str) -> dict[str, Any]:
    section = section_of_table(table)
    described = TypeAdapter(section.cls).json_schema()
    properties = {
        flag.name: _setting_schema(flag, described["properties"][flag.name], section.fields[flag.name])
        for flag in _flags(table)
    }
    properties |= {old: {**properties[new], "deprecated": True} for old, new in section.renamed.items()}
    return {
        "title": table,
        "description": TITLES[table],
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": False,
    }


def _setting_schema(flag: Flag, described: Mapping[str, Any], info: FieldInfo) -> dict[str, Any]:
    """One setting: pydantic's description with other words for a value, none for TOML, and our texts."""
    own = {
        key: _bounded(value)
        for key, value in (*described.items(), *RULES.get(flag.name, {}).items())
        if key not in ("title", "description", "default", "group")
    }
    markers = [marker for marker in info.metadata if isinstance(marker, Exact)]
    words = [word for marker in markers for word, _ in marker.synonyms]
    if type(None) in flag.accepts.kinds or None in flag.accepts.words.values():
        words = [*dict.fromkeys([*words, "none"])]
    rule = f"{flag.help} Accepts {flag.accepts.rule}."
    accepted = {"anyOf": [_bounded(own), {"enum": words}]} if words else _bounded(own)
    return {"description": rule, "default": recorded(flag.default), **accepted}


def _bounded(described: Any) -> Any:
    """Leave out a bound that is only where every format's integers end."""
    if isinstance(described, Mapping):
        kept = {key: value for key, value in described.items() if (key, value) != ("maximum", LARGEST)}
        return {key: _bounded(value) for key, value in kept.items()}
    return [_bounded(value) for value in described] if isinstance(described, list) else described
