"""`ptycho config check`: what is wrong with files, with the records of runs, and with the environment."""

import argparse
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Final

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure, UnknownVariableWarning
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.files import ConfigFile, collect_files, file_or_record
from ptycho.config.recipes import read_recipe
from ptycho.config.request import Request
from ptycho.config.solver import SolverConfig
from ptycho.config.sources import Environment
from ptycho_torch.cli.options import add_json, add_recipe, recipe_of
from ptycho_torch.cli.parser import FlagParser

WRONG_INPUT = 2
_OF_A_RUN: Final = (
    (ModelConfig, TrainingConfig, PyTorchExecutionConfig),
    (ModelConfig, InferenceConfig),
    (SolverConfig,),
)
"""The sections that a training, a reconstruction with a model, and one without read. The execution settings, which all
of them read, are looked at once: what does not go with them in another run does not in a training either."""


def add_arguments(parser: FlagParser) -> None:
    """Add the files and the options."""
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        default=(),
        help="TOML, YAML or JSON files, or runs (folder or config.json).",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="Refuse every variable that begins with PTYCHO_EXEC_ and sets nothing.",
    )
    add_recipe(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Check all that is named, each by itself.

    Returns:
        0; 2 where `--json` printed mistakes.

    Raises:
        ConfigError: all that is wrong.
    """
    strict = "strict" in options
    named = [file_or_record(path) for path in options.files]
    site, recipe = collect_files(None, Environment(os.environ)), read_recipe(recipe_of(options))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = [_failures(file, site, recipe, strict=strict) for file in named or [None]]
    for category, message in dict.fromkeys((warning.category, str(warning.message)) for warning in said):
        if not (strict and category is UnknownVariableWarning):
            warnings.warn(message, category, stacklevel=2)
    failures = tuple(dict.fromkeys(failure for failures in found for failure in failures))
    if "json" in options:
        told = {"files": [file.given for file in named], "failures": [one._asdict() for one in failures]}
        print(json.dumps(told, indent=2))
        return WRONG_INPUT if failures else 0
    if failures:
        raise ConfigError(failures)
    for file in named:
        print(f"{file.path}: no mistakes found")
    if not named or not all(file.is_of_run for file in named):
        print("environment: no mistakes found")
    return 0


def _failures(
    file: ConfigFile | None, site: Sequence[ConfigFile], recipe: Sequence[ConfigFile], *, strict: bool
) -> list[Failure]:
    """What is wrong with a file, and with the environment, the files of a site and the recipe beside it.

    The record of a run is free of these.
    """
    if file is not None and file.is_of_run:
        return [*_of_record(file)]
    files = [*site, *filter(None, [file]), *recipe]
    training, *others = _OF_A_RUN
    request = Request(training, files=files, strict=strict)
    requests = [request, *map(request.for_other, others)]
    return [failure for request in requests for failure in request.outcome().failures]


def _of_record(file: ConfigFile) -> Iterator[Failure]:
    yield from file.failures
    try:
        yield from Request.of_record(file.content, file.path).outcome().failures
    except ConfigError as error:
        yield from error.failures
