"""The settings of ptychodus and what they do here: a table for docs/ptychodus.md."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ptycho.config.section import section_of
from ptycho_torch import config_params

SETTINGS: Final[Mapping[str, Mapping[str, Sequence[str]]]] = tomllib.loads(
    Path(__file__).with_name("ptychodus.toml").read_text(encoding="ascii")
)
"""Group of settings -> setting -> the fields of `config_params` that it decides."""


def rows(group: str) -> list[tuple[str, str, str, str]]:
    """Of every setting of a group: name, field, what the field accepts, what it means."""
    found: list[tuple[str, str, str, str]] = []
    for setting, fields in SETTINGS[group].items():
        rule, meaning = "", "Decides what CUDA shows to the training; read by ptychodus itself."
        if fields:
            section, _, name = fields[0].partition(".")
            cls = getattr(config_params, section)
            rule, meaning = section_of(cls).scalars[name].rule, section_of(cls).help[name]
        found.append((f"`{setting}`", ", ".join(f"`{field}`" for field in fields) or "-", rule, meaning))
    return found
