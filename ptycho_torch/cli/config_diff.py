"""`ptycho config diff`: the settings that differ between two runs, two files, or a run and a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.files import ConfigFile
from ptycho.config.origins import Origin
from ptycho.config.render import text
from ptycho.config.resolve import resolve
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from ptycho.run_folder import RECORD
from ptycho_torch.cli.tables import Row, print_table

CANONICAL: Final = (ModelConfig, TrainingConfig, InferenceConfig, SolverConfig)

Settings = dict[str, tuple[object, str]]
"""`section.field` -> its value, and the words for where that is from."""


def difference(first: str, second: str, *, as_json: bool) -> None:
    """Print the settings that two runs or files have in common and that differ.

    Args:
        first: folder of a run, its config.json, or a configuration file; in a file, what is not said has the default
            of its field.
        second: another one.
        as_json: print JSON.

    Raises:
        ConfigError: what is wrong with any of them.
    """
    here, there = _settings_of_all(first, second)
    both = [name for name in here if name in there and here[name][0] != there[name][0]]
    absent = sorted(_sections(here) ^ _sections(there))
    absent += sorted(name for name in here.keys() ^ there.keys() if name.partition(".")[0] not in absent)
    if as_json:
        differ = {
            name: [{"value": value, "from": place} for value, place in (here[name], there[name])]
            for name in both
        }
        print(json.dumps({"differ": differ, "not_compared": absent}, indent=2))
        return
    rows = [
        Row(
            (
                printable(name.partition(".")[2]),
                *(printable(f"{text(value)} ({place})") for value, place in (here[name], there[name])),
            ),
            printable(name.partition(".")[0]),
        )
        for name in both
    ]
    if rows:
        print_table(("setting", printable(first), printable(second)), rows)
    else:
        print("no differences")
    if absent:
        print(f"not compared, as only one of them has it: {printable(', '.join(absent))}")


def _settings_of_all(*places: str) -> list[Settings]:
    """Read the settings of all, or say what is wrong with any."""
    read: list[Settings] = []
    failures: list[Failure] = []
    for place in places:
        try:
            read.append(settings_of(place))
        except ConfigError as error:
            failures += error.failures
    if failures:
        raise ConfigError(failures)
    return read


def settings_of(place: str) -> Settings:
    """Read the settings of a run or a file; the environment is not read.

    Args:
        place: folder of a run, its config.json, or a configuration file.

    Raises:
        ConfigError: what is wrong with a configuration file; or the folder holds no run.
    """
    if not place.strip():
        message = f"RUN_OR_FILE: expected a path; got {place!r}. Name a run or a file."
        raise ConfigError([Failure("RUN_OR_FILE", message)])
    path = Path(place)
    if path.is_dir():
        if not (path / RECORD).is_file():
            message = f"{printable(place)}: expected the folder of a run; got one without {RECORD}."
            raise ConfigError([Failure(place, message)])
        return _of_run(path / RECORD)
    return _of_run(path) if path.name == RECORD else _of_file(place)


def _of_run(path: Path) -> Settings:
    """What `config.json` records, whichever version wrote it."""
    content = ConfigFile.read(path).content
    origins = content.get("origins")
    if not isinstance(origins, Mapping) or not origins or not all(map(_is_origin, origins.values())):
        rule = "expected the record of a run, with the origin of every setting; got another file"
        raise ConfigError([Failure(str(path), f"{printable(str(path))}: {rule}.")])
    recorded = cast(Mapping[str, Mapping[str, Any]], origins)
    return {
        name: (said["value"], str(Origin(str(said["kind"]), str(said.get("locator") or ""))))
        for name, said in recorded.items()
    }


def _is_origin(said: object) -> bool:
    return isinstance(said, Mapping) and {"kind", "value"} <= said.keys()


def _of_file(place: str) -> Settings:
    """What a configuration file says, over the defaults of the fields."""
    file = ConfigFile.collect(place)
    failures = list(file.failures)
    origins: dict[str, Origin] = {}
    runs = {"training", "inference", "solver"} & file.content.keys() or {"training"}
    compared = {"model", *runs} if file.has_tables else set[str]()
    for cls in [cls for cls in CANONICAL if section_of(cls).table in compared]:
        resolution = resolve(cls, [file.layer(section_of(cls))])
        failures += resolution.failures
        if not resolution.failures:
            origins |= {section_of(cls).labelled(name): said for name, said in resolution.sources.items()}
    try:
        execution = PyTorchExecutionConfig.resolve(file=place, environ={})
        origins |= {f"execution.{name}": said for name, said in execution.sources.items()}
    except ConfigError as error:
        failures += error.failures
    if failures:
        raise ConfigError(failures)
    return {name: (said.value, str(said)) for name, said in origins.items()}


def _sections(settings: Settings) -> set[str]:
    return {name.partition(".")[0] for name in settings}
