"""Write the tables of the documents from the code they describe.

    python docs/generate_tables.py

A table stands between `<!-- generated: NAME -->` and `<!-- end -->`; the text around it is written by hand. What
code cannot say, who reads a field and what that changes, is in `consumers.toml` beside this file. Neither torch nor
lightning is loaded.
"""

import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.data import DataConfig
from ptycho.config.execution import OLD_NAMES, PyTorchExecutionConfig
from ptycho.config.fields import text
from ptycho.config.legacy import KEY_MAPPINGS
from ptycho.config.origins import PRECEDENCE
from ptycho.config.paths import RECONSTRUCTIONS, RUNS
from ptycho.config.recipes import STANDARD, read_recipe, recipe_names
from ptycho.config.reconstructions import RECONSTRUCTION_GROUPS
from ptycho.config.section import section_of, section_of_table
from ptycho.config.solver import SolverConfig
from ptycho_torch import config_params
from ptycho_torch.cli.commands import spell
from ptycho_torch.config_bridge import EXECUTION, NOT_BRIDGED, TABLE

sys.path.insert(0, str(Path(__file__).parent))
import client_settings
import command_tables
import evidence

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDERS: Final = ("docs", "specs")
CANONICAL: Final = (ModelConfig, TrainingConfig, InferenceConfig, SolverConfig, DataConfig)
BACKEND: Final = {
    "data": config_params.DataConfig,
    "model": config_params.ModelConfig,
    "training": config_params.TrainingConfig,
    "inference": config_params.InferenceConfig,
}
CONSUMERS: Final[Mapping[str, Mapping[str, Any]]] = tomllib.loads(
    (ROOT / "docs" / "consumers.toml").read_text(encoding="ascii")
)
"""Section -> field -> read, effect, and where they say something: factory, checks."""
MARKED: Final = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
INFERRED: Final = {
    ("model", "N"): "`probeGuess`, or the trained model",
    ("training", "nphotons"): "`nphotons`, or `metadata`",
}
"""Fields that the data say."""
ARGUMENTS: Final[Mapping[str, Sequence[str]]] = {
    "model": (),
    "training": ("train_data_file", "output_dir"),
    "inference": ("model_path", "test_data_file", "output_dir"),
    "solver": ("data_file", "output_dir"),
    "data": (),
    "execution": tuple(PyTorchExecutionConfig.model_fields),
}
"""Fields that are arguments of the factories, and of the execution configuration."""


def documents() -> list[Path]:
    """Every document that may hold generated tables."""
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))


def updated(document: str) -> str:
    """A document with its tables as they are now.

    Raises:
        KeyError: a marker names a table that there is not.
    """
    return MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", document)


def rows_of(section: str) -> list[str]:
    """The fields of a section, in the order of their declaration; knobs of the matrix before the others."""
    found = section_of_table(section)
    return sorted(found.fields, key=lambda name: name not in found.cls.__annotations__)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _code(word: object) -> str:
    return f"`{word}`"


def _default(section: str, name: str) -> str:
    return _shown(section_of_table(section).defaults[name])


def _shown(value: object) -> str:
    return _code(f"{value:g}" if isinstance(value, float) else text(value))


def _accepts(section: str, name: str) -> str:
    return section_of_table(section).scalars[name].rule


def _variable(name: str) -> str:
    return _code(f"PTYCHO_EXEC_{name.upper()}")


def _settings(section: str) -> str:
    """What a user sets: range, default, value of the commands and help text; of the execution by groups."""
    table = section_of_table(section)
    names = rows_of(section)
    head = ("setting", "accepts", "default", "in commands", "meaning")
    if section != "execution":
        return _table(head, (_setting(section, name, table.help[name]) for name in names))
    groups = {name: table.group(name) for name in names}
    return _table(
        ("group", *head),
        (
            (group, *_setting(section, name, table.help[name]))
            for group in dict.fromkeys(groups.values())
            for name in names
            if groups[name] == group
        ),
    )


def _setting(section: str, name: str, words: str) -> Sequence[str]:
    stated = _stated(STANDARD, section, name)
    return (
        _code(name),
        _accepts(section, name),
        _default(section, name),
        "" if stated == "-" else stated,
        words,
    )


def _sources(section: str) -> str:
    """The matrix of a section: fields against kinds of source, the strongest first."""
    override, *weaker = PRECEDENCE
    kinds = (override, "flag", *weaker)
    rows = ((_code(name), *(_cell(section, name, kind) for kind in kinds)) for name in rows_of(section))
    return _table(("field", *kinds), rows)


def _cell(section: str, name: str, kind: str) -> str:
    is_knob = section == "execution"
    match kind:
        case "override":
            return "yes"
        case "flag":
            return _code(spell(name)) if name in _flagged(section) else "-"
        case "argument":
            return "yes" if name in ARGUMENTS[section] else "-"
        case "inferred":
            return INFERRED.get((section, name), "the trained model" if section == "model" else "-")
        case "environment":
            return _variable(name) if is_knob else "-"
        case "file":
            return _code(f"[{section}]")
        case "recipe":
            return _stated(STANDARD, section, name)
        case "cli-default":
            return _found_by_commands(section, name)
        case _:
            return _default(section, name)


def _flagged(section: str) -> set[str]:
    """Fields of a section that `train` or `reconstruct` has a flag for."""
    return {
        flag.name
        for flag in command_tables.recorded(
            "reconstruct" if section in ("inference", "solver") else "train"
        ).flags
    }


def _stated(recipe: str, section: str, name: str) -> str:
    """What a recipe states for a field."""
    (file,) = read_recipe(recipe)
    values = file.layer(section_of_table(section)).values
    return _shown(values[name]) if name in values else "-"


def _found_by_commands(section: str, name: str) -> str:
    if name == "enable_progress_bar":
        return "on, on a terminal"
    if name == "output_dir":
        places = {"inference": "MODEL", "solver": RECONSTRUCTIONS, "training": RUNS}
        return f"`{places[section]}/NAME-OF-DATA`"
    return "-"


def _handling(section: str) -> str:
    """What is checked, what the factories do, who reads each field, and what that changes."""
    rows = []
    for name in rows_of(section):
        account = CONSUMERS[section][name]
        checks = f"{_accepts(section, name)}. {account.get('checks', '')}".rstrip()
        readers = ", ".join(_code(place) for place in account["read"]) or "nothing"
        factory = " ".join(filter(None, (_bridged(section, name), account.get("factory", ""))))
        rows.append((_code(name), checks, factory or "-", readers, account["effect"]))
    return _table(("field", "accepted", "factory", "read by", "effect"), rows)


def _bridged(section: str, name: str) -> str:
    """The backend's fields that a canonical one becomes, or why it becomes none."""
    if section in ("execution", "solver", "data"):
        return ""
    if name in NOT_BRIDGED:
        return f"No field of the backend ({NOT_BRIDGED[name]})."
    places = [
        place
        for pair in TABLE
        for place in pair.torch
        if pair.field == name and not (section == "inference" and place.startswith("training."))
    ]
    return (
        f"-> {', '.join(_code(f'pt_{place}'.replace('.', '_config.')) for place in places)}."
        if places
        else ""
    )


def _key_mappings() -> str:
    owners = {
        name: ", ".join(cls.__name__ for cls in CANONICAL if name in section_of(cls).fields)
        for name in KEY_MAPPINGS
    }
    rows = ((_code(name), _code(key), owners[name]) for name, key in KEY_MAPPINGS.items())
    return _table(("field", "legacy key", "configuration"), rows)


def _old_names() -> str:
    canonical = {
        old: section_of(cls).labelled(new)
        for cls in CANONICAL
        for old, new in section_of(cls).renamed.items()
    }
    shared = {old: new.partition(".")[2] for old, new in canonical.items()}
    rows = ((_code(old), _code(new)) for old, new in {**OLD_NAMES, **shared}.items())
    return _table(("old or foreign name", "name"), rows)


def _recipes() -> str:
    """What the recipes state in place of the fields' defaults."""
    rows = [
        (f"`[{section}]`", _code(name), _default(section, name), *stated)
        for section in CONSUMERS
        for name in rows_of(section)
        if set(stated := [_stated(recipe, section, name) for recipe in recipe_names()]) != {"-"}
    ]
    return _table(("table", "field", "default of the field", *map(_code, recipe_names())), rows)


def _reconstruction_groups() -> str:
    return f"Groups of execution settings that `ptycho reconstruct` has flags for: {', '.join(RECONSTRUCTION_GROUPS)}."


def _backend_fields() -> str:
    """Every field of the backend's classes: what it accepts, its default, where it comes from, and what it says."""
    rows: list[tuple[str, ...]] = []
    for section, cls in BACKEND.items():
        words = section_of(cls).help
        for name, info in section_of(cls).fields.items():
            default = info.get_default(call_default_factory=True)
            shown = f"{default:g}" if isinstance(default, float) else text(default)
            place = f"{section}.{name}"
            origins = [f"`{pair.field}`" for pair in TABLE if place in pair.torch]
            knob = [f"execution: `{EXECUTION[place]}`"] if place in EXECUTION else []
            origin = ", ".join(dict.fromkeys(origins + knob)) or NOT_BRIDGED[place]
            accepted = section_of(cls).scalars[name].rule
            rows.append((f"`{cls.__name__}.{name}`", accepted, _code(shown), origin, words[name]))
    return _table(("field", "accepts", "default", "comes from", "meaning"), rows)


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "backend-fields": _backend_fields,
    **{f"{section}-settings": lambda section=section: _settings(section) for section in CONSUMERS},
    **{f"{section}-sources": lambda section=section: _sources(section) for section in CONSUMERS},
    **{f"{section}-handling": lambda section=section: _handling(section) for section in CONSUMERS},
    "key-mappings": _key_mappings,
    "old-names": _old_names,
    "evidence": lambda: _table(
        ("setting", "where it acts", "what is seen", "test"), evidence.rows(CONSUMERS)
    ),
    **{
        f"ptychodus-{group.removeprefix('PtychoPINNTorch').lower()}": lambda group=group: _table(
            ("setting", "field", "accepts", "meaning"), client_settings.rows(group)
        )
        for group in client_settings.SETTINGS
    },
    "commands": lambda: _table(("command", "what it does"), command_tables.commands()),
    "config-actions": lambda: _table(("command", "what it does"), command_tables.config_actions()),
    "recipes": _recipes,
    "reconstruction-groups": _reconstruction_groups,
    "simulate-flags": lambda: _table(("group", "argument", "meaning"), command_tables.flags("simulate")),
}
"""Marker -> what writes the table."""


def main() -> None:
    """Rewrite every document whose tables are out of date."""
    for path in documents():
        old = path.read_text(encoding="ascii")
        new = updated(old)
        if new != old:
            path.write_text(new, encoding="ascii")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
