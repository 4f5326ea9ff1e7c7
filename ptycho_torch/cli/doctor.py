"""`ptycho doctor`: what this machine offers, and whether a training with the settings in force would be refused.

Given a run, whether its files are as they were written.
"""

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from ptycho.checksums import verify
from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.errors import Failure, spelled_out
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.recipes import STANDARD
from ptycho.config.record import RECORD
from ptycho.config.render import Line
from ptycho.model_archive import ARCHIVE
from ptycho.run_files import CHECKPOINTS, OF_RECONSTRUCTION
from ptycho.run_verdicts import recorded_problems
from ptycho_torch.cli import train
from ptycho_torch.cli.console import UNLEARNED, Refusal
from ptycho_torch.cli.flags import flags_of
from ptycho_torch.cli.options import CommandLine, add_config, add_json, add_recipe, shown_values
from ptycho_torch.cli.parser import FlagParser
from ptycho_torch.cli.tables import print_table

REFUSED = 2
"""Exit code where a training with the settings in force would be refused."""
DAMAGED = 1
"""Exit code where a file of a run is not as it was written, or nothing tells whether it is."""

_TOLD: Final = {
    ("changed", "missing"): "changed or missing",
    ("unreadable",): "cannot be read",
    ("not listed",): "not listed, so not checked",
}
"""States of files that are not sound, and the words for them."""


def add_arguments(parser: FlagParser) -> None:
    """Add the flags of a training."""
    parser.epilog = (
        "Shows whether ptycho train would refuse any of its settings here, from flags, environment and --config; the "
        "exit code is then 2. Nothing is run, and no data are opened. With RUN, compares the scan, checkpoints and "
        "model of a training, or scan, model and results of a reconstruction, with the SHA-256 in its record, "
        "config.json. The exit code is 1 if a file is changed, missing or unreadable, if a checkpoint, a model or a "
        "result is not listed, or if no file is listed. It is 3 if the run itself has no result: a training that did "
        "not learn, or a picture that is not that of the object."
    )
    parser.add_argument("run", metavar="RUN", nargs="?", help="Folder of a run whose files are checked.")
    add_config(parser)
    add_recipe(parser)
    add_json(parser)
    fields = flags_of(TrainingConfig, without=["train_data_file", "output_dir"])
    shown = partial(shown_values, STANDARD, ModelConfig, TrainingConfig, PyTorchExecutionConfig)
    parser.add_flags(flags_of(ModelConfig) + fields + flags_of(PyTorchExecutionConfig), shown)


def run(options: argparse.Namespace) -> int:
    """Print what this machine offers, or which files of a run are as they were written.

    Returns:
        0; 2 if a setting would be refused; 1 if a file of the run has changed, or cannot be checked; 3 if the files are
        sound but the training did not learn, or the picture is not that of the object.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    line = CommandLine.of(options)
    if "run" in line.places:
        if line.flags or {"config", "recipe"} & vars(options).keys():
            raise Refusal(
                "RUN: expected without flags, --config and --recipe, which belong to a training; got both. Drop one."
            )
        return _check_files(line.places["run"], as_json="json" in options)
    request = train.asked(line)
    from ptycho_torch.runs.preflight import refused_trainings
    from ptycho_torch.runtime.offers import accelerator_offers, machine, offers  # loads torch

    refused = refused_trainings(request.outcome(), n_is_known=request.speaks_of("N"))
    found = machine()._asdict()
    values = {"any": {"accelerator": accelerator_offers()}} | {
        name: offers(name) for name in found["accelerators"]
    }
    if "json" in options:
        print(json.dumps(_report(found, values, refused), indent=2))
    else:
        print_table(("what", "here"), [*_machine_rows(found)])
        print()
        print_table(("setting", "value", "here"), [*_value_rows(values)])
        print(f"\n{_verdict(refused)}")
    return REFUSED if refused else 0


def _check_files(run: str, *, as_json: bool) -> int:
    states: dict[str, str] = {**verify(run)}
    kept = [*sorted(Path(run, CHECKPOINTS).glob("*.ckpt")), Path(run, ARCHIVE)]
    kept += [Path(run, name) for name in OF_RECONSTRUCTION[:-1]]
    names = [path.relative_to(run).as_posix() for path in kept if path.is_file()]
    states |= {name: "not listed" for name in names if name not in states}
    verdict, problems = _verdict_on_files(states), recorded_problems(Path(run))
    if as_json:
        print(json.dumps({"run": run, "files": states, "problems": problems}, indent=2))
    else:
        rows = [Line((name, state), marked=state != "ok") for name, state in states.items()]
        print_table(("file", "SHA-256"), rows)
        print(f"\n{spelled_out(run)}: {verdict or 'no file has changed'}.")
        for problem in problems:
            print(problem)
    return DAMAGED if verdict else UNLEARNED if problems else 0


def _verdict_on_files(states: Mapping[str, str]) -> str | None:
    """What keeps the files of a run from being sound, by the state of each; None where all are as written."""
    if not states:
        return f"{RECORD} lists no files, so none was checked"
    numbers = {words: sum(state in what for state in states.values()) for what, words in _TOLD.items()}
    told = [f"{number} of {len(states)} files {words}" for words, number in numbers.items() if number]
    return ", ".join(told) or None


Values = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Accelerator -> knob -> value -> objection; the accelerators themselves under 'any'."""


def _report(found: Mapping[str, Any], values: Values, refused: list[Failure]) -> dict[str, Any]:
    objections = {
        accelerator: {
            knob: {value: against and against._asdict() for value, against in answers.items()}
            for knob, answers in knobs.items()
        }
        for accelerator, knobs in values.items()
    }
    return {**found, "values": objections, "refused": [failure._asdict() for failure in refused]}


def _machine_rows(found: Mapping[str, Any]) -> Iterator[Line]:
    for name, version in found["versions"].items():
        yield Line((name, version), "versions")
    yield Line(("CPU cores", str(found["cpu_cores"])), "devices")
    for name, devices in found["accelerators"].items():
        yield Line((name, "; ".join(devices) or "a device is a process; any number may run"), "devices")


def _value_rows(values: Values) -> Iterator[Line]:
    for accelerator, knobs in values.items():
        heading = "hardware" if accelerator == "any" else f"on {accelerator}"
        for knob, answers in knobs.items():
            for value, against in answers.items():
                told = f"{against.verdict}: {_shortened(knob, against.message)}" if against else "yes"
                yield Line((knob, value, told), heading, against is not None)


def _shortened(knob: str, message: str) -> str:
    """A message without the knob and the value, which stand beside it."""
    return re.sub(r"; got \S+ from argument", "", message.removeprefix(f"{knob}: "), count=1)


def _verdict(refused: list[Failure]) -> str:
    if not refused:
        return "ptycho train would refuse none of its settings."
    return "\n".join(["ptycho train would refuse:", *(spelled_out(failure.message) for failure in refused)])
