"""`ptycho config`: look at settings, check them and write them down, without running anything."""

import argparse
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.dataclass import layers_in
from ptycho.config.errors import ConfigError, Failure, UnknownVariableWarning, printable, spelled_out
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.files import ConfigFile
from ptycho.config.recipes import STANDARD
from ptycho.config.record import request_of
from ptycho.config.recorded import is_record
from ptycho.config.render import text
from ptycho.config.request import Request
from ptycho.config.section import TABLES, section_of
from ptycho.config.solver import SolverConfig
from ptycho.config.sources import read_environment
from ptycho.run_folder import RECORD
from ptycho_torch.cli.commands import COMMANDS
from ptycho_torch.cli.config_diff import difference
from ptycho_torch.cli.config_files import schema, template
from ptycho_torch.cli.config_show import RUNS_SHOWN, add_formats, show
from ptycho_torch.cli.flags import flags_of
from ptycho_torch.cli.options import add_recipe, path_of_flag
from ptycho_torch.cli.parser import FlagParser
from ptycho_torch.cli.tables import Row, print_table

WRONG_INPUT = 2
_OF_A_RUN = (
    (ModelConfig, TrainingConfig, PyTorchExecutionConfig),
    (ModelConfig, InferenceConfig, PyTorchExecutionConfig),
    (SolverConfig, PyTorchExecutionConfig),
)
"""The sections that a training, a reconstruction with a model, and one without read."""


class Action(NamedTuple):
    """One thing that `ptycho config` does."""

    usage: str
    summary: str
    add_arguments: Callable[[FlagParser], None]
    run: Callable[[argparse.Namespace], int]


def add_arguments(parser: FlagParser) -> None:
    """Add the actions, each with its arguments."""
    parser.epilog = (
        "Actions print a table on a terminal and plain text elsewhere; with --json, JSON. "
        "See ptycho config ACTION --help."
    )
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", title="actions", prog="ptycho config", parser_class=FlagParser
    )
    for name, action in ACTIONS.items():
        described = f"{action.summary[0].upper()}{action.summary[1:]}."
        usage = f"ptycho config {name} {action.usage}".rstrip()
        action.add_arguments(
            actions.add_parser(name, help=action.summary, description=described, usage=usage)
        )


def run(options: argparse.Namespace) -> int:
    """Do what was asked for.

    Returns:
        0; 2 where `check --json` found mistakes.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    return ACTIONS[options.action].run(options)


def add_json(parser: FlagParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="Print JSON, for programs.")


def _add_show(parser: FlagParser) -> None:
    runs = parser.add_subparsers(
        dest="of", metavar="COMMAND", title="commands", prog="ptycho config show", parser_class=FlagParser
    )
    for module in RUNS_SHOWN:
        usage = COMMANDS[module.NAME].usage.removesuffix(" [flags]")
        command = runs.add_parser(
            module.NAME,
            help=f"the settings that ptycho {module.NAME} would have",
            description=f"Show the settings that ptycho {module.NAME} would have with the same arguments; data and "
            "model may be left out.",
            usage=f"ptycho config show {module.NAME} [{usage}] [flags]",
        )
        module.add_arguments(command)
        add_formats(command)


def _add_check(parser: FlagParser) -> None:
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


def _check(options: argparse.Namespace) -> int:
    records = {
        file: str(Path(file, RECORD)) for file in options.files if file and Path(file, RECORD).is_file()
    }
    files: Sequence[str] = [records.get(file, file) for file in options.files]
    strict = "strict" in options
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        recipe = path_of_flag("--recipe", vars(options).get("recipe", STANDARD))
        found = [_failures(file, recipe, strict) for file in (files or [None])]
    for category, message in dict.fromkeys((warning.category, str(warning.message)) for warning in said):
        if not (strict and category is UnknownVariableWarning):
            warnings.warn(message, category, stacklevel=2)
    failures = tuple(dict.fromkeys(failure for failures in found for failure in failures))
    if "json" in options:
        print(json.dumps({"files": files, "failures": [failure._asdict() for failure in failures]}, indent=2))
        return WRONG_INPUT if failures else 0
    if failures:
        raise ConfigError(failures)
    looked_at = list(files) if files and all(map(_is_of_run, files)) else [*files, "environment"]
    for name in looked_at:
        canonical = _canonical_class(name) if name in files else None
        hint = (
            f"; a command reads what is outside [model] from [{section_of(canonical).table}]"
            if canonical
            else ""
        )
        print(f"{printable(name)}: no mistakes found{hint}")
    return 0


def _is_of_run(file: str) -> bool:
    """Whether a file is the record of a run, which is free of the environment."""
    return Path(file).name == RECORD and is_record(ConfigFile.collect(file).content)


def _failures(file: str | None, recipe: str, strict: bool) -> list[Failure]:
    """Everything wrong with the environment, the recipe and, where there is one, a file or the record of a run."""
    failures: list[Failure] = []
    if file is not None and _is_of_run(file):
        return list(_failures_of_run(ConfigFile.read(file).content, file))
    canonical = None if file is None else _canonical_class(file)
    for sections in _OF_A_RUN if canonical is None else ():
        try:
            Request(sections, file=file, recipe=recipe).answer()
        except ConfigError as error:
            failures += error.failures
    if file is not None and canonical is not None:
        failures += _failures_of_canonical(canonical, file)
    try:
        PyTorchExecutionConfig.resolve(strict=strict)
    except ConfigError as error:
        failures += error.failures
    return failures


def _canonical_class(file: str) -> type[TrainingConfig] | type[InferenceConfig] | None:
    """The class whose fields a file holds beside a table [model]; None for any other file."""
    names = ConfigFile.collect(file).content.keys()
    if "model" not in names or not names.isdisjoint([*TABLES][1:]):
        return None
    known = {cls: len(names & {*section_of(cls).names}) for cls in (TrainingConfig, InferenceConfig)}
    found = max(known, key=lambda cls: known[cls])
    return found if known[found] else None


def _failures_of_canonical(
    cls: type[TrainingConfig] | type[InferenceConfig], file: str
) -> tuple[Failure, ...]:
    request = Request([ModelConfig, cls], n_is_settled=True)
    for part, layers in layers_in(cls, file).items():
        for layer in layers:
            request.add(part, layer)
    try:
        request.answer()
    except ConfigError as error:
        return error.failures
    return ()


def _failures_of_run(record: Mapping[str, Any], path: str) -> Iterator[Failure]:
    try:
        request_of(record, path).answer()
    except ConfigError as error:
        yield from error.failures


def _add_init(parser: FlagParser) -> None:
    parser.epilog = "ptycho config init > run.toml gives a file to edit."
    parser.add_argument("--yaml", action="store_true", help="Write YAML instead of TOML.")
    add_recipe(parser)


def _init(options: argparse.Namespace) -> int:
    recipe = path_of_flag("--recipe", vars(options).get("recipe", STANDARD))
    print(template(recipe, as_yaml="yaml" in options), end="")
    return 0


def _schema(options: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=2))
    return 0


def _env(options: argparse.Namespace) -> int:
    cls = PyTorchExecutionConfig
    flags, layer = flags_of(cls), read_environment(os.environ, section_of(cls), strict=True)
    failures = [*layer.failures, *_wrong_values()]
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
    if "json" in options:
        wrong = [failure._asdict() for failure in failures]
        print(json.dumps({"variables": variables, "failures": wrong}, indent=2))
    else:
        print_table(("variable", "accepts", "default", "now"), [_variable_row(each) for each in variables])
        print("".join(f"{spelled_out(failure.message)}\n" for failure in failures), end="")
    return 0


def _wrong_values() -> list[Failure]:
    """What is wrong with the values of the variables; a misspelt one is not among it."""
    known = section_of(PyTorchExecutionConfig).fields
    try:
        with warnings.catch_warnings(action="ignore"):
            PyTorchExecutionConfig()
    except ConfigError as error:
        return [failure for failure in error.failures if failure.name in known]
    return []


def _variable_row(variable: Mapping[str, Any]) -> Row:
    current = variable["current"]
    cells = (variable["variable"], variable["accepts"], text(variable["default"]), current or "")
    return Row(cells, variable["group"], current is not None)


def _add_diff(parser: FlagParser) -> None:
    for name in ("first", "second"):
        parser.add_argument(
            name, metavar="RUN_OR_FILE", help="Folder of a run, its config.json, or a configuration file."
        )
    add_json(parser)


def _diff(options: argparse.Namespace) -> int:
    difference(options.first, options.second, as_json="json" in options)
    return 0


ACTIONS: Final[Mapping[str, Action]] = {
    "show": Action(
        "COMMAND ...", "show the settings that a run would have, and where each is from", _add_show, show
    ),
    "check": Action(
        "[--strict] [--recipe NAME] [--json] [FILE ...]",
        "check files and the environment",
        _add_check,
        _check,
    ),
    "init": Action(
        "[--yaml] [--recipe NAME]", "write a file to edit, with every setting as a comment", _add_init, _init
    ),
    "schema": Action(
        "", "write the JSON Schema of configuration files, for editors", lambda parser: None, _schema
    ),
    "env": Action("[--json]", "list the environment variables and what they are now", add_json, _env),
    "diff": Action(
        "RUN_OR_FILE RUN_OR_FILE [--json]", "compare the settings of two runs or files", _add_diff, _diff
    ),
}
"""Action -> its arguments and what does it."""
