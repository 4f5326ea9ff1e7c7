"""`ptycho reconstruct`: from a scan, by itself or with a trained model, to pictures, arrays and metrics."""

import argparse
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from ptycho.config.canonical import InferenceConfig, ModelConfig
from ptycho.config.data import DataConfig
from ptycho.config.errors import Failure, show
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.files import ConfigFile
from ptycho.config.origins import Layer, Origin
from ptycho.config.paths import RECONSTRUCTIONS
from ptycho.config.recipes import STANDARD
from ptycho.config.reconstructions import RECONSTRUCTION_GROUPS, unread_by_reconstructions
from ptycho.config.request import Request
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from ptycho.data_error import DataError
from ptycho.run_files import is_model
from ptycho.run_names import reconstruction_folder
from ptycho_torch.cli import solve
from ptycho_torch.cli.console import refusing, tell_loading, watching_for_interrupt
from ptycho_torch.cli.flags import flags_of
from ptycho_torch.cli.options import CommandLine, add_own_options, shown_values
from ptycho_torch.cli.parser import FlagParser
from ptycho_torch.cli.settled import Settled

if TYPE_CHECKING:
    from ptycho_torch.config_factory import InferencePayload

_ONE_PASS = Failure.of(
    "--resume",
    "expected in a reconstruction without MODEL; got it in one with a model, which is a single pass. "
    "Start it again (--overwrite), or leave MODEL out.",
)


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
        help="The scan: NPZ, CXI or another HDF5 file, see ptycho inspect; or a folder of NPZ files.",
    )
    add_own_options(parser)
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="Resume the reconstruction without a model in this folder, with its own settings. DATA is needed only if "
        "the scan was moved. With 'auto', resume the one in the output folder, or start it if there is none.",
    )
    flags = flags_of(InferenceConfig, without=["model_path", "test_data_file"])
    flags += flags_of(SolverConfig, without=["data_file", *section_of(InferenceConfig).fields])
    flags += flags_of(DataConfig)
    folders = f"{RECONSTRUCTIONS}/NAME-OF-DATA; with a model NAME-OF-DATA, or reconstruction, in its folder"
    classes = (InferenceConfig, SolverConfig, PyTorchExecutionConfig)
    shown = partial(shown_values, STANDARD, *classes, output_dir=folders)
    parser.add_flags(flags + flags_of(PyTorchExecutionConfig, RECONSTRUCTION_GROUPS), shown)
    parser.hands_on_unknown = True
    parser.cure_of_more = "To reconstruct several scans, name their folder."


def run(options: argparse.Namespace) -> int:
    """Reconstruct, and print one line for every scan.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    line = CommandLine.of(options)
    if line.resumes:
        return solve.resume(line)
    line, request, is_alone = asked(line)
    if is_alone:
        return solve.run(line, request)
    wrong = [*_swapped(line), *([_ONE_PASS] if line.is_automatic else [])]
    places = {"model_path": "MODEL", "test_data_file": "DATA"}
    run_dir = line.ready(request, InferenceConfig, places, wrong)
    with refusing(DataError), watching_for_interrupt(run_dir):
        payload = _payload(request)
        tell_loading()
        from ptycho_torch.bundle import BundleError
        from ptycho_torch.runs.reconstruction import reconstruct_scans

        with refusing(BundleError):
            results = reconstruct_scans(payload, overwrite=line.overwrites)
    return solve.tell_results(results)


def settled(line: CommandLine) -> Settled:
    """The settings of a reconstruction that is not started; DATA may be left out.

    Raises:
        ConfigError, Refusal, OSError: what would stop it before it starts.
    """
    if line.resumes:
        return solve.settled_again(line)
    line, request, is_alone = asked(line)
    line.refuse(request)
    if is_alone:
        return solve.settled(request)
    classes, model = (ModelConfig, InferenceConfig, DataConfig), request.path("model_path")
    if model is not None and request.path("test_data_file") is None:
        from ptycho.model_archive import find_archive
        from ptycho_torch.config_inferred import trained_layers

        trained = trained_layers(find_archive(model))
        request.add(ModelConfig, trained["model"])
        request.add(DataConfig, trained["data"])
        unknown = {
            "inference.test_data_file": (Origin("argument"), "DATA"),
            "inference.output_dir": (Origin("cli-default"), "FOLDER-OF-MODEL/NAME-OF-DATA"),
        }
        return Settled.without_data(request, unknown, *classes)
    with refusing(DataError):
        return Settled.of(_payload(request), *classes)


def _payload(request: Request) -> "InferencePayload":
    from ptycho_torch.config_factory import create_inference_payload

    return create_inference_payload(None, None, None, request=request)


def asked(line: CommandLine) -> tuple[CommandLine, Request, bool]:
    """The request of a command line, the line with its places by their fields, and whether there is no model.

    A single place is the model where there is one, and otherwise the scan; then a file may name the model.
    """
    first, *others = line.places.values() or ("",)
    if not others and not (first and is_model(first)):
        is_alone = not _names_model(line.read())
        data = "data_file" if is_alone else "test_data_file"
        line = line._replace(places={data: first} if first else {})
        if is_alone:
            return line, solve.asked(line), True
    return line, _with_model(line), False


def _with_model(line: CommandLine) -> Request:
    """The request with a model, in whose folder the output folder is, where that and the scan are known."""
    classes = (ModelConfig, InferenceConfig, PyTorchExecutionConfig)
    request = line.request(*classes, unread=unread_by_reconstructions(with_model=True))
    model, data = request.path("model_path"), request.path("test_data_file")
    if model and data and not model.endswith(".ckpt"):  # which is refused
        place = {"output_dir": str(reconstruction_folder(model, data))}
        request.add(InferenceConfig, Layer("cli-default", place))
    return request


def _names_model(files: Iterable[ConfigFile]) -> bool:
    """Whether a file names a model."""
    tables = [file.content.get(section_of(InferenceConfig).table) for file in files]
    return any(isinstance(table, Mapping) and "model_path" in table for table in tables)


def _swapped(line: CommandLine) -> list[Failure]:
    """Model and scan in each other's place."""
    model, data = (line.places.get(name, "") for name in ("model_path", "test_data_file"))
    if not (data and is_model(data)) or (model and is_model(model)):
        return []
    words = f"expected a trained model, and then the scan; got {show(model)} and then the model {show(data)}."
    return [Failure.of("MODEL", f"{words} Swap the two.")]
