"""`ptycho config schema`: the JSON Schema by which editors complete and check configuration files."""

import argparse
import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from ptycho.config.errors import VERSION_KEY
from ptycho.config.fields import LARGEST, Exact
from ptycho.config.files import ORIGINS_KEY, SCHEMA_KEY
from ptycho.config.section import OF_READING, TABLES, recorded, section_of_table
from ptycho_torch.cli.flags import Flag, flags_of
from ptycho_torch.cli.parser import FlagParser

RULES: Final[Mapping[str, Mapping[str, Any]]] = {
    "N": {"anyOf": [{"const": 0}, {"multipleOf": 16, "minimum": 32}]},
    "positions_provided": {"const": True},
}
"""Field -> its rule that is code in the class, as a schema says it."""


def add_arguments(parser: FlagParser) -> None:
    """Add nothing."""


def run(options: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(schema(), indent=2))
    return 0


def schema() -> dict[str, Any]:
    """Write the JSON Schema (draft 2020-12) of run files, and of flat files of knobs.

    It describes every value as `ptycho config init` writes it. Other spellings that the reader takes, such as yes
    for true or words in another case, are left out, so that files stay uniform.
    """
    tables = {table: _table_schema(table) for table in TABLES}
    tables["data"]["properties"] |= {name: tables["solver"]["properties"][name] for name in OF_READING}
    writer = {
        VERSION_KEY: {"description": "Version that wrote the file.", "type": "string"},
        SCHEMA_KEY: {"description": "Where this schema is.", "type": "string"},
        ORIGINS_KEY: {"description": "Where the values came from.", "type": "object"},
    }
    tables["execution"]["properties"] |= writer
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of ptycho",
        "description": "A run file with tables, or a flat file of the settings of [execution].",
        "type": "object",
        "if": {"anyOf": [{"required": [table]} for table in TABLES]},
        "then": {
            "properties": {table: {"$ref": f"#/$defs/{table}"} for table in TABLES} | writer,
            "additionalProperties": False,
        },
        "else": {"$ref": "#/$defs/execution"},
        "$defs": tables,
    }


def _table_schema(table: str) -> dict[str, Any]:
    section = section_of_table(table)
    described = TypeAdapter(section.cls).json_schema()
    properties = {
        flag.name: _setting_schema(flag, described["properties"][flag.name], section.fields[flag.name])
        for flag in flags_of(section.cls)
    }
    properties |= {old: {**properties[new], "deprecated": True} for old, new in section.renamed.items()}
    return {
        "title": table,
        "description": section.summary,
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
    rule = f"{flag.help()} Accepts {flag.accepts.rule}."
    accepted = {"anyOf": [_bounded(own), {"enum": words}]} if words else _bounded(own)
    return {"description": rule, "default": recorded(flag.default), **accepted}


def _bounded(described: Any) -> Any:
    """Leave out a bound that is only where every format's integers end."""
    if isinstance(described, Mapping):
        kept = {key: value for key, value in described.items() if (key, value) != ("maximum", LARGEST)}
        return {key: _bounded(value) for key, value in kept.items()}
    return [_bounded(value) for value in described] if isinstance(described, list) else described
