"""`ptycho reconstruct`: from a scan, by itself or with a trained model, to pictures, arrays and metrics."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ptycho.config.canonical import InferenceConfig, ModelConfig
from ptycho.config.errors import Failure, show
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.layer import Layer
from ptycho.config.recipes import STANDARD
from ptycho.config.request import Request
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
from ptycho_torch.cli.options import (
    OVERWRITE,
    CommandLine,
    add_own_options,
    missing_places,
    run_in_the_way,
    shown_values,
)
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
    request = asked(line)
    wrong = missing_places(request, InferenceConfig, {"model_path": "MODEL", "test_data_file": "DATA"})
    place = request.path("output_dir")
    run_dir = Path(place or "")
    kept = run_in_the_way(run_dir, options) if place else ()
    line.refuse(request, [*wrong, *solve.misplaced(line, with_model=True), *_swapped(line, options), *kept])

    from ptycho.raw_data import DataError
    from ptycho_torch.config_factory import create_inference_payload

    with refusing(DataError), watching_for_interrupt(run_dir):
        payload = create_inference_payload(None, None, None, request=request)
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


def asked(line: CommandLine) -> Request:
    """The request of a command line; its output folder is one of the model, where that and the scan are known."""
    of_model = line.flags.keys() - solve.only_here()
    request = line.request(ModelConfig, InferenceConfig, PyTorchExecutionConfig, only=of_model)
    model, data = request.path("model_path"), request.path("test_data_file")
    if model and data:
        home = Path(model).parent if Path(model).is_file() else Path(model)
        place = {"output_dir": str(default_folder(home, data))}
        request.add(InferenceConfig, Layer("cli-default", place))
    return request


def _names_model(line: CommandLine) -> bool:
    """Whether a file names a model."""
    section = section_of(InferenceConfig)
    return any(file.has_tables and file.layer(section).values.get("model_path") for file in line.read())


def _is_model(path: str) -> bool:
    """Whether a path leads to a training, finished or not, or to its bundle."""
    return bool(path) and (path.endswith(".zip") or holds_training(Path(path)))


def _swapped(line: CommandLine, options: argparse.Namespace) -> Iterator[Failure]:
    """Model and scan in each other's place, and an option that a reconstruction with a model does not have."""
    model, data = (line.places.get(name, "") for name in ("model_path", "test_data_file"))
    if _is_model(data) and not _is_model(model):
        rule = "expected a trained model, and then the scan"
        message = f"MODEL: {rule}; got {show(model)} and then the model {show(data)}. Swap the two."
        yield Failure("MODEL", message)
    if "resume" in options:
        message = (
            "--resume: expected in a reconstruction without MODEL; got it in one with a model. Drop one."
        )
        yield Failure("--resume", message)
