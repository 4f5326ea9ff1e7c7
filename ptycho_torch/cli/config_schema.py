"""`ptycho config schema`: the JSON Schema by which editors complete and check configuration files."""

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from ptycho.config.errors import VERSION_KEY
from ptycho.config.fields import LARGEST, NONE_WORDS, Exact, Scalar
from ptycho.config.files import ORIGINS_KEY, SCHEMA_KEY
from ptycho.config.section import OF_READING, TABLES, recorded, section_of_table
from ptycho_torch.cli.flags import Flag, flags_of
from ptycho_torch.cli.parser import FlagParser

RULES: Final[Mapping[str, Mapping[str, Any]]] = {
    "N": {"anyOf": [{"const": 0}, {"multipleOf": 16, "minimum": 32}]},
    "positions_provided": {"const": True},
}
"""Field -> its rule that is code in the class, as a schema says it."""


_NUMERALS: Final = {int: r"[+-]?[0-9_]+", float: r"[+-]?[0-9_]*\.?[0-9_]*([eE][+-]?[0-9_]+)?"}
"""Kind of number -> the pattern of its texts."""


def add_arguments(parser: FlagParser) -> None:
    """Add nothing."""


def run(options: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(schema(), indent=2))
    return 0


def schema() -> dict[str, Any]:
    """Write the JSON Schema (draft 2020-12) of run files, and of flat files of knobs.

    Every file that is read keeps it: it has the spellings of values in text as well, such as yes for true, and words in
    any case. Bounds hold for numbers that are written as such.
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
        "type": ["object", "null", "string"],
        "pattern": _pattern(map(_any_case, NONE_WORDS)),
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
    others = [{"enum": words}] if words else []
    others += [{"type": "string", "pattern": pattern}] if (pattern := _text_of(flag.accepts)) else []
    others += [{"enum": [0, 1]}] if flag.accepts.kinds & {bool, int, float} == {bool} else []
    rule = f"{flag.help()} Accepts {flag.accepts.rule}."
    accepted = {"anyOf": [_bounded(own), *others]} if others else _bounded(own)
    return {"description": rule, "default": recorded(flag.default), **accepted}


def _text_of(accepts: Scalar) -> str:
    """The pattern of the texts that spell a value; empty where any text is one."""
    if accepts.kinds & {str, Path}:
        return ""
    numbers = [pattern for kind, pattern in _NUMERALS.items() if kind in accepts.kinds]
    return _pattern([*map(_any_case, accepts.spelled), *numbers])


def _pattern(texts: Iterable[str]) -> str:
    return rf"^\s*({'|'.join(sorted(texts))})\s*$"


def _any_case(word: str) -> str:
    return "".join(f"[{sign.lower()}{sign.upper()}]" if sign.isalpha() else sign for sign in word)


def _bounded(described: Any) -> Any:
    """Leave out a bound that is only where every format's integers end."""
    if isinstance(described, Mapping):
        kept = {key: value for key, value in described.items() if (key, value) != ("maximum", LARGEST)}
        return {key: _bounded(value) for key, value in kept.items()}
    return [_bounded(value) for value in described] if isinstance(described, list) else described
