"""`ptycho reconstruct`: from a scan, by itself or with a trained model, to pictures, arrays and metrics."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptycho.config.canonical import InferenceConfig
from ptycho.config.errors import Failure, show
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.recipes import STANDARD
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from ptycho.run_folder import holds_training
from ptycho.run_names import RECONSTRUCTIONS, default_folder
from ptycho_torch.cli import solve
from ptycho_torch.cli.console import (
    is_first_process,
    refuse_unlearned,
    refusing,
    relative,
    watching_for_interrupt,
)
from ptycho_torch.cli.flags import RECONSTRUCTION_GROUPS, flags_of
from ptycho_torch.cli.foreseen import refuse_reconstruction
from ptycho_torch.cli.options import OVERWRITE, CommandLine, add_own_options, run_in_the_way, shown_values
from ptycho_torch.cli.parser import FlagParser

NAME = "reconstruct"


def add_arguments(parser: FlagParser) -> None:
    """Add MODEL, DATA and the flags: the fields of the inference, and the knobs a reconstruction reads."""
    parser.add_argument(
        "model_path",
        metavar="MODEL",
        nargs="?",
        help="Folder of a training, or its wts.h5.zip; without one, the iterative solver reconstructs the scan.",
    )
    parser.add_argument(
        "test_data_file",
        metavar="DATA",
        nargs="?",
        help="The scan: NPZ, ptychodus product or CXI; or a folder of NPZ files.",
    )
    add_own_options(parser, overwrite=OVERWRITE)
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="Go on with the reconstruction without a model in this folder, with its own settings, where it was "
        "stopped. DATA is then needed only where the scan was moved.",
    )
    flags = flags_of(InferenceConfig, without=["model_path", "test_data_file"])
    flags += flags_of(SolverConfig, without=["data_file", *section_of(InferenceConfig).fields])
    folders = f"{RECONSTRUCTIONS}/NAME-OF-DATA; with a model FOLDER-OF-MODEL/NAME-OF-DATA"
    shown = shown_values(STANDARD, InferenceConfig, SolverConfig, PyTorchExecutionConfig)
    parser.add_flags(
        flags + flags_of(PyTorchExecutionConfig, RECONSTRUCTION_GROUPS), shown | {"output_dir": folders}
    )
    parser.hands_on_unknown = True


def run(options: argparse.Namespace) -> int:
    """Reconstruct, and print one line for every scan.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    line = CommandLine.of(options)
    if (alone := without_model(line, resumes="resume" in options)) is not None:
        return solve.run(alone, options)
    line = with_model(line)
    positionals = {"model_path": "MODEL", "test_data_file": "DATA"}
    named = [line.place(InferenceConfig, name) for name in positionals]
    kept = run_in_the_way(Path(folder(line, *named)), options) if all(named) else []
    wrong = [*solve.misplaced(line, with_model=True), *_swapped(line), *kept]
    model, data = line.required_places(InferenceConfig, positionals, asked(line), wrong)
    run_dir = folder(line, model, data)

    from ptycho.raw_data import DataError
    from ptycho_torch.config_factory import create_inference_payload

    with refusing(DataError), watching_for_interrupt(Path(run_dir)):
        places = (line.places.get(name) for name in ("model_path", "test_data_file"))
        known = asked(line, model, data)
        refuse_reconstruction(known)
        payload = create_inference_payload(*places, None, **known)
        from ptycho_torch.bundle import BundleError
        from ptycho_torch.runs.reconstruction import reconstruct_scans

        with refusing(BundleError):
            results = reconstruct_scans(payload, overwrite="overwrite" in options)
    for result in results if is_first_process() else ():
        figures = result.metrics
        print(
            f"R factor {figures['r_factor']:.4f} ({figures['patterns']} patterns), "
            f"{figures['seconds']:.3g} s, {relative(solve.picture(result.run_dir))}"
        )
    refuse_unlearned(next((result.problem for result in results if result.problem), None))
    return 0


def without_model(line: CommandLine, *, resumes: bool = False) -> CommandLine | None:
    """The command line of a reconstruction without a model; None where it, or a file, names one.

    A single place is the model where there is one, and otherwise the scan.
    """
    first, *others = line.places.values() or ("",)
    if others or _is_model(first) or (not resumes and _names_model(line)):
        return None
    return replace(line, places={"data_file": first} if first else {})


def with_model(line: CommandLine) -> CommandLine:
    """The command line of a reconstruction with a model, which a file may name beside a scan that is given."""
    places = line.places
    if len(places) == 1 and _names_model(line) and not _is_model(places.get("model_path", "")):
        return replace(line, places={"test_data_file": next(iter(places.values()))})
    return line


def _names_model(line: CommandLine) -> bool:
    """Whether a file names a model."""
    return replace(line, places={}).place(InferenceConfig, "model_path") is not None


def _is_model(path: str) -> bool:
    """Whether a path leads to a training, finished or not, or to its bundle."""
    return bool(path) and (path.endswith(".zip") or holds_training(Path(path)))


def _swapped(line: CommandLine) -> list[Failure]:
    """Model and scan in each other's place."""
    model, data = (line.places.get(name, "") for name in ("model_path", "test_data_file"))
    if not _is_model(data) or _is_model(model):
        return []
    message = f"MODEL: expected a trained model, and then the scan; got {show(model)} and then the model {show(data)}."
    return [Failure("MODEL", f"{message} Swap the two.")]


def folder(line: CommandLine, model: str, data: str) -> str:
    """The output folder of a reconstruction of these data with this model."""
    return line.place(InferenceConfig, "output_dir") or _stated_folder(model, data)


def _stated_folder(model: str, data: str) -> str:
    home = Path(model).parent if Path(model).is_file() else Path(model)
    return str(default_folder(home, data))


def asked(line: CommandLine, model: str | None = None, data: str | None = None) -> dict[str, Any]:
    """The arguments of the factory, or of a `Request`, that a command line comes to.

    Args:
        line: the command line.
        model: the trained model, in whose folder the output folder is.
        data: the scan, after which it is called; None where one of the two is not known.
    """
    known = {} if model is None or data is None else {"output_dir": _stated_folder(model, data)}
    return line.request(known, only=line.flags.keys() - solve.only_here())
