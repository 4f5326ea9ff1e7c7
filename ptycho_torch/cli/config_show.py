"""`ptycho config show`: the settings that a run would have, resolved as the run resolves them."""

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.data import DataConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.files import ORIGINS_KEY, SCHEMA_KEY
from ptycho.config.layer import Layer
from ptycho.config.origins import Origin
from ptycho.config.paths import absolute
from ptycho.config.render import Entry, text, toml_file, yaml_file
from ptycho.config.request import Request
from ptycho.config.section import recorded, section_of, section_of_table
from ptycho.config.solver import SolverConfig
from ptycho.run_names import RECONSTRUCTIONS, RUNS
from ptycho_torch.cli import reconstruct, solve, train
from ptycho_torch.cli.config_files import SCHEMA_FILE, schema_line
from ptycho_torch.cli.console import refusing
from ptycho_torch.cli.flags import RECONSTRUCTION_GROUPS, flags_of
from ptycho_torch.cli.options import CommandLine
from ptycho_torch.cli.parser import FlagParser
from ptycho_torch.cli.tables import Row, print_table

RUNS_SHOWN: Final = (train, reconstruct)
"""The commands whose runs can be shown."""

_SETTLED: Final = ("override", "argument", "inferred")
"""Origins that neither data nor a trained model changes."""


class Setting(NamedTuple):
    """One value in force."""

    group: str
    name: str
    """`section.field`."""
    origin: Origin
    default: object
    words: str = ""
    """What stands for a value that only the run itself will know."""


class Resolved(NamedTuple):
    """What a command line comes to."""

    sections: Mapping[str, Origin]
    """`section.field` -> origin."""
    execution: PyTorchExecutionConfig
    open: Mapping[str, tuple[Origin, str]]
    """What is not known yet: `section.field` -> where it will come from, and words for the value."""


def show(options: argparse.Namespace) -> int:
    """Print what a run would run with.

    Raises:
        ConfigError, Refusal, OSError: what would stop the run before it starts.
    """
    line = CommandLine.of(options)
    resumes = "resume" in options and not train.resumes_itself(options)
    resolve = _resumed(options) if resumes else _RESOLVERS[options.of]
    settings = _settings(*resolve(line))
    form = vars(options).get("form")
    if form is not None:
        print(_FORMATS[form](settings), end="")
    else:
        print_table(("setting", "value", "from", "instead of"), [_row(setting) for setting in settings])
    return 0


def _resumed(
    options: argparse.Namespace,
) -> Callable[[CommandLine], tuple[Resolved, tuple[type, ...], tuple[str, ...]]]:
    def resolve(line: CommandLine) -> tuple[Resolved, tuple[type, ...], tuple[str, ...]]:
        if options.of == "reconstruct":
            from ptycho_torch.runs.solving import stopped_payload

            stopped = stopped_payload(**solve.asked_to_resume(line, options))
            resolved = Resolved(stopped.sources, stopped.execution_config, {})
            return resolved, (SolverConfig, DataConfig), RECONSTRUCTION_GROUPS
        from ptycho_torch.runs.resuming import resumed_payload

        payload = resumed_payload(**train.asked_to_resume(line, options))
        resolved = Resolved(payload.sources, payload.execution_config, {})
        return resolved, (ModelConfig, TrainingConfig, DataConfig), ()

    return resolve


def _training(line: CommandLine) -> tuple[Resolved, tuple[type, ...], tuple[str, ...]]:
    request = train.asked(line)
    line.refuse(request)
    if request.path("train_data_file") is None:
        unknown = {
            "model.N": (Origin("inferred", "the data"), "from the data"),
            "training.nphotons": (Origin("inferred", "the data"), "from the data, else {}"),
            "training.train_data_file": (Origin("argument"), "DATA"),
            "training.output_dir": (Origin("cli-default"), f"{RUNS}/NAME-OF-DATA"),
        }
        resolved = _without_data(request, unknown)
    else:
        from ptycho.data_error import DataError
        from ptycho_torch.config_factory import create_training_payload

        with refusing(DataError):
            payload = create_training_payload(None, None, request=request)
        resolved = Resolved(payload.sources, payload.execution_config, {})
    return resolved, (ModelConfig, TrainingConfig, DataConfig), ()


def _reconstruction(line: CommandLine) -> tuple[Resolved, tuple[type, ...], tuple[str, ...]]:
    line, request, is_alone = reconstruct.asked(line)
    line.refuse(request, solve.misplaced(line, with_model=not is_alone))
    if is_alone:
        return _solver(request)
    model = request.path("model_path")
    if model is not None and request.path("test_data_file") is None:
        unknown = {
            "inference.test_data_file": (Origin("argument"), "DATA"),
            "inference.output_dir": (Origin("cli-default"), "FOLDER-OF-MODEL/NAME-OF-DATA"),
        }
        trained = _trained(model)
        request.add(ModelConfig, trained["model"])
        request.add(DataConfig, trained["data"])
        resolved = _without_data(request, unknown)
    else:
        from ptycho.data_error import DataError
        from ptycho_torch.config_factory import create_inference_payload

        with refusing(DataError):
            payload = create_inference_payload(None, None, None, request=request)
        resolved = Resolved(payload.sources, payload.execution_config, {})
    return resolved, (ModelConfig, InferenceConfig, DataConfig), RECONSTRUCTION_GROUPS


def _solver(request: Request) -> tuple[Resolved, tuple[type, ...], tuple[str, ...]]:
    if request.path("data_file") is None:
        unknown = {
            "solver.data_file": (Origin("argument"), "DATA"),
            "solver.output_dir": (Origin("cli-default"), f"{RECONSTRUCTIONS}/NAME-OF-DATA"),
        }
        resolved = _without_data(request, unknown)
    else:
        from ptycho_torch.config_solver import create_solver_payload

        payload = create_solver_payload(None, None, request=request)
        resolved = Resolved(payload.sources, payload.execution_config, {})
    return resolved, (SolverConfig, DataConfig), RECONSTRUCTION_GROUPS


_RESOLVERS: Final = {train.NAME: _training, reconstruct.NAME: _reconstruction}


def _trained(model: str) -> Mapping[str, Layer]:
    """What a trained model says of itself."""
    from ptycho.model_archive import find_archive
    from ptycho_torch.config_inferred import trained_layers

    return trained_layers(find_archive(model))


def _without_data(request: Request, unknown: Mapping[str, tuple[Origin, str]]) -> Resolved:
    """Resolve all that is known before there are data.

    Args:
        request: what was asked for.
        unknown: what the data, the model or the place of a run will say, if nothing stronger does: where it will come
            from, and words for it that may hold the value that is in force without it.
    """
    answer = request.answer()
    pending: dict[str, tuple[Origin, str]] = {}
    for name, (source, words) in unknown.items():
        origin = answer.sources[name]
        weaker = origin.kind not in _SETTLED if source.kind == "inferred" else origin.kind == "default"
        if weaker:
            beaten = () if origin.kind == "default" else (origin._replace(shadowed=()), *origin.shadowed)
            pending[name] = source._replace(shadowed=beaten), words.format(text(origin.value))
    return Resolved(answer.sources, answer[PyTorchExecutionConfig], pending)


def _settings(resolved: Resolved, sections: tuple[type, ...], groups: tuple[str, ...]) -> list[Setting]:
    """Every field and knob that the run reads, in the order of its flags."""
    settings: list[Setting] = []
    for cls in sections:
        for flag in flags_of(cls):
            name = section_of(cls).labelled(flag.name)
            origin, words = resolved.open.get(name, (resolved.sections[name], ""))
            settings.append(Setting(flag.group, name, origin, flag.default, words))
    for flag in flags_of(PyTorchExecutionConfig, groups):
        origin = resolved.execution.sources[flag.name]
        settings.append(Setting(flag.group, f"execution.{flag.name}", origin, flag.default))
    return settings


def _entries(settings: list[Setting]) -> list[Entry]:
    """What a run file has to set, to come to the same; not what only the run will know."""
    entries: list[Entry] = []
    for setting in settings:
        table, _, name = setting.name.partition(".")
        section, value = section_of_table(table), recorded(setting.origin.value)
        if name in section.paths and value is not None:
            value = absolute(value)  # a relative one in a file is one in its folder
        if not setting.words:
            entries.append(Entry(table, setting.group, name, value, section.help[name], False))
    return entries


def _as_json(settings: list[Setting]) -> str:
    """A run file that tells programs the origins as well."""
    tables: dict[str, dict[str, object]] = {}
    for entry in _entries(settings):
        tables.setdefault(entry.table, {})[entry.name] = entry.value
    origins = {one.name: {**one.origin.to_dict(), "known": not one.words} for one in settings}
    return json.dumps({SCHEMA_KEY: SCHEMA_FILE, **tables, ORIGINS_KEY: origins}, indent=2) + "\n"


_FORMATS: Final[Mapping[str, Callable[[list[Setting]], str]]] = {
    "toml": lambda settings: schema_line() + toml_file(_entries(settings)),
    "yaml": lambda settings: schema_line(as_yaml=True) + yaml_file(_entries(settings)),
    "json": _as_json,
}


def add_formats(parser: FlagParser) -> None:
    """Add `--toml`, `--yaml` and `--json`."""
    formats = parser.add_mutually_exclusive_group()
    for name, more in (("toml", ""), ("yaml", ""), ("json", ", with their origins")):
        formats.add_argument(
            f"--{name}",
            dest="form",
            action="store_const",
            const=name,
            help=f"Write the settings as a {name.upper()} file that --config reads{more}.",
        )


def _row(setting: Setting) -> Row:
    origin = setting.origin
    value = setting.words or text(origin.value)
    beaten = ", ".join(f"{text(loser.value)} ({loser})" for loser in origin.shadowed)
    changed = not setting.words and text(origin.value) != text(setting.default)
    return Row((setting.name.partition(".")[2], value, str(origin), beaten), setting.group, changed)
