"""`ptycho doctor`: what this machine offers, and whether a training with the settings in force would be refused."""

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.errors import Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.cli import train
from ptycho_torch.cli.defaults import SHOWN, TRAINING
from ptycho_torch.cli.flags import FlagParser, flags_of
from ptycho_torch.cli.foreseen import training_failures
from ptycho_torch.cli.options import CommandLine
from ptycho_torch.cli.tables import Row, print_table

NAME = "doctor"
SUMMARY = "tell what this machine offers, and which settings it would refuse"
USAGE = "[--json] [flags]"

REFUSED = 2
"""Exit code where a training with the settings in force would be refused."""


def add_arguments(parser: FlagParser) -> None:
    """Add the flags of a training."""
    parser.epilog = (
        "Tells of the settings that ptycho train would have here, from flags, environment and --config, whether any "
        "would be refused; then the exit code is 2. Nothing is run, and no data are opened."
    )
    parser.add_argument("--config", metavar="FILE", help="TOML, YAML or JSON file, as of ptycho train.")
    parser.add_argument("--json", action="store_true", help="Print JSON, for programs.")
    fields = flags_of(TrainingConfig, without=["train_data_file", "output_dir"])
    parser.add_flags(flags_of(ModelConfig) + fields + flags_of(PyTorchExecutionConfig), SHOWN | TRAINING)


def run(options: argparse.Namespace) -> int:
    """Print what this machine offers.

    Returns:
        0; 2 where a setting in force would be refused.
    """
    refused = training_failures(train.asked(CommandLine.of(options)))
    from ptycho_torch.runtime.offers import accelerator_offers, machine, offers  # loads torch

    found = machine()._asdict()
    values = {"any": {"accelerator": accelerator_offers()}} | {
        name: offers(name) for name in found["accelerators"]
    }
    if "json" in options:
        print(json.dumps(_report(found, values, refused), indent=2))
    else:
        print_table(("what", "here"), [*_machine_rows(found)])
        print()
        print_table(("knob", "value", "here"), [*_value_rows(values)])
        print(f"\n{_verdict(refused)}")
    return REFUSED if refused else 0


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


def _machine_rows(found: Mapping[str, Any]) -> Iterator[Row]:
    for name, version in found["versions"].items():
        yield Row((name, version), "versions")
    yield Row(("CPU cores", str(found["cpu_cores"])), "devices")
    for name, devices in found["accelerators"].items():
        yield Row((name, "; ".join(devices) or "a device is a process; any number may run"), "devices")


def _value_rows(values: Values) -> Iterator[Row]:
    for accelerator, knobs in values.items():
        heading = "hardware" if accelerator == "any" else f"on {accelerator}"
        for knob, answers in knobs.items():
            for value, against in answers.items():
                told = f"{against.verdict}: {_shortened(knob, against.message)}" if against else "yes"
                yield Row((knob, value, told), heading, against is not None)


def _shortened(knob: str, message: str) -> str:
    """A message without the knob and the value, which stand beside it."""
    return re.sub(r"; got \S+ from argument", "", message.removeprefix(f"{knob}: "), count=1)


def _verdict(refused: list[Failure]) -> str:
    if not refused:
        return "ptycho train would refuse none of the settings in force."
    return "\n".join(["ptycho train would refuse:", *(failure.message for failure in refused)])
