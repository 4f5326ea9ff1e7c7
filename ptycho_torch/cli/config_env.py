"""`ptycho config env`: the environment variables, what each accepts, and what it is now."""

import argparse
import json
import os
import warnings
from collections.abc import Mapping
from typing import Any

from ptycho.config.errors import ConfigError, spelled_out
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.fields import text
from ptycho.config.paths import VARIABLE
from ptycho.config.render import Line
from ptycho.config.section import section_of
from ptycho.config.sources import Environment, read_environment
from ptycho_torch.cli.flags import flags_of
from ptycho_torch.cli.options import add_json
from ptycho_torch.cli.parser import FlagParser
from ptycho_torch.cli.tables import print_table


def add_arguments(parser: FlagParser) -> None:
    """Add `--json`."""
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """List the variables, and what is wrong with them."""
    cls = PyTorchExecutionConfig
    flags, layer = flags_of(cls), read_environment(Environment(os.environ), section_of(cls), strict=True)
    failures = layer.failures
    try:
        with warnings.catch_warnings(action="ignore"):
            cls()
    except ConfigError as error:  # of the values, and of the files that one names
        failures = ConfigError([*failures, *error.failures]).failures
    variables: list[dict[str, Any]] = [
        {
            "variable": layer.locators.get(flag.name, flag.variable),
            "group": flag.group,
            "accepts": flag.accepts.rule,
            "default": flag.default,
            "current": layer.raw.get(flag.name),
        }
        for flag in flags
    ]
    accepts, current = "files of settings, separated as in PATH", os.environ.get(VARIABLE, "").strip() or None
    files = {"variable": VARIABLE, "group": "files", "accepts": accepts, "default": None, "current": current}
    variables.append(files)
    if "json" in options:
        wrong = [failure._asdict() for failure in failures]
        print(json.dumps({"variables": variables, "failures": wrong}, indent=2))
    else:
        print_table(("variable", "accepts", "default", "now"), [_row(each) for each in variables])
        print("".join(f"{spelled_out(failure.message)}\n" for failure in failures), end="")
    return 0


def _row(variable: Mapping[str, Any]) -> Line:
    current = variable["current"]
    cells = (variable["variable"], variable["accepts"], text(variable["default"]), current or "")
    return Line(cells, variable["group"], current is not None)
