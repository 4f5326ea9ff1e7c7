"""`ptycho config diff`: the settings that differ between two runs, two files, or a run and a file."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.fields import text
from ptycho.config.files import ConfigFile, file_or_record
from ptycho.config.origins import Layer, Origin, is_origin
from ptycho.config.recipes import STANDARD, read_recipe
from ptycho.config.record import is_left_open
from ptycho.config.render import Line
from ptycho.config.request import Request
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from ptycho.run_files import RECORD
from ptycho_torch.cli.options import add_json
from ptycho_torch.cli.parser import FlagParser
from ptycho_torch.cli.tables import print_table

Origins = Mapping[str, Origin]
"""`section.field` -> its value, and where that is from."""


def add_arguments(parser: FlagParser) -> None:
    """Add the two runs or files."""
    for name in ("first", "second"):
        parser.add_argument(
            name, metavar="RUN_OR_FILE", help="Folder of a run, its config.json, or a configuration file."
        )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the settings that two runs or files have in common and that differ.

    In a file, what is not set has the value of the recipe: that of the run where it is compared with one, else the
    standard one.

    Raises:
        ConfigError: what is wrong with any of them.
    """
    first, second = options.first, options.second
    here, there = _settings_of_all(first, second)
    both = [name for name in here if name in there and here[name].value != there[name].value]
    absent = sorted(_sections(here) ^ _sections(there))
    absent += sorted(name for name in here.keys() ^ there.keys() if name.partition(".")[0] not in absent)
    if "json" in options:
        differ = {
            name: [{"value": side[name].value, "from": f"{side[name]}"} for side in (here, there)]
            for name in both
        }
        print(json.dumps({"differ": differ, "not_compared": absent}, indent=2))
        return 0
    rows = [
        Line(
            (name.partition(".")[2], *(f"{text(side[name].value)} ({side[name]})" for side in (here, there))),
            printable(name.partition(".")[0]),
        )
        for name in both
    ]
    if rows:
        print_table(("setting", first, second), rows)
    else:
        print("no differences")
    if absent:
        print(f"not compared, as only one of them has it: {printable(', '.join(absent))}")
    return 0


def _settings_of_all(*places: str) -> list[Origins]:
    """Read the settings of all, or tell what is wrong with any; the environment is not read."""
    failures: list[Failure] = []
    files: list[tuple[ConfigFile, Origins]] = []
    found: list[Origins] = []
    for place in places:
        try:
            file = _found(place)
            files.append((file, _of_run(file) if Path(file.path).name == RECORD else {}))
        except ConfigError as error:
            failures += error.failures
    runs = [run for _, run in files if run]
    for file, run in files:
        try:
            found.append(run or _of_file(file, *runs))
        except ConfigError as error:
            failures += error.failures
    if failures:
        raise ConfigError(failures)
    return found


def _found(place: str) -> ConfigFile:
    """What is meant by an argument.

    Raises:
        ConfigError: there is no run where one is named.
    """
    if not place.strip():
        raise ConfigError.of("RUN_OR_FILE", f"expected a path; got {place!r}. Name a run or a file.")
    if Path(place).is_dir() and not Path(place, RECORD).is_file():
        message = f"{printable(place)}: expected the folder of a run; got one without {RECORD}."
        raise ConfigError([Failure(place, message)])
    return file_or_record(place)


def _of_run(file: ConfigFile) -> Origins:
    """What `config.json` records, whichever version wrote it."""
    origins = file.content.get("origins")
    if file.failures:
        raise ConfigError(file.failures)
    if not isinstance(origins, Mapping) or not origins or not all(map(is_origin, origins.values())):
        rule = "expected the record of a run, with the origin of every setting; got another file"
        raise ConfigError.of(file.path, f"{rule}.")
    recorded = cast(Mapping[str, Mapping[str, Any]], origins)
    return {name: Origin.from_dict(told) for name, told in recorded.items()}


def _of_file(file: ConfigFile, *runs: Origins) -> Origins:
    """What a file sets, above the recipe of the run that it is compared with, or the standard one.

    What it leaves to the command and its data, as they were left in the run, is not among it.
    """
    origins: dict[str, Origin] = {}
    classes = (TrainingConfig, InferenceConfig, SolverConfig)
    kinds = [cls for cls in classes if section_of(cls).table in file.content]
    for cls in kinds or [TrainingConfig]:
        model = () if cls is SolverConfig else (ModelConfig,)
        parts = (*model, cls, PyTorchExecutionConfig)
        request = Request(parts, files=[file, *([] if runs else read_recipe(STANDARD))], environ={})
        for run in runs:
            for part in parts:
                request.add(part, _recipe_of(run, section_of(part).table))
        answer = request.answer()
        knobs = answer[PyTorchExecutionConfig].sources
        found = {f"execution.{name}": origin for name, origin in knobs.items()}
        origins = {**(answer.sources if file.has_tables else {}), **found, **origins}
    return {
        name: origin
        for name, origin in origins.items()
        if origin.kind not in ("recipe", "default")
        or not any(is_left_open(name, run[name]) for run in runs if name in run)
    }


def _recipe_of(run: Origins, table: str) -> Layer:
    """What the recipe of a run states of a section, be it in force or not."""
    stated = {
        name.partition(".")[2]: told
        for name, origin in run.items()
        for told in (origin, *origin.shadowed)
        if told.kind == "recipe" and name.partition(".")[0] == table
    }
    values = {name: told.value for name, told in stated.items()}
    return Layer("recipe", values, {name: told.locator for name, told in stated.items()})


def _sections(settings: Origins) -> set[str]:
    return {name.partition(".")[0] for name in settings}
