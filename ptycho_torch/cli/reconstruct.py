"""`ptycho reconstruct`: from a trained model and a scan to pictures, arrays and metrics."""

import argparse
from pathlib import Path

from ptycho.config.canonical import InferenceConfig, ModelConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.layer import Layer
from ptycho.config.recipes import STANDARD
from ptycho.config.request import Request
from ptycho.run_names import default_folder
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
        "model_path", metavar="MODEL", nargs="?", help="Folder of a training, or its wts.h5.zip."
    )
    parser.add_argument(
        "test_data_file",
        metavar="DATA",
        nargs="?",
        help="The scan: NPZ, ptychodus product or CXI; or a folder of NPZ files.",
    )
    add_own_options(parser, overwrite=OVERWRITE)
    flags = flags_of(InferenceConfig, without=["model_path", "test_data_file"])
    shown = shown_values(STANDARD, InferenceConfig, PyTorchExecutionConfig)
    parser.add_flags(
        flags + flags_of(PyTorchExecutionConfig, RECONSTRUCTION_GROUPS),
        shown | {"output_dir": "FOLDER-OF-MODEL/NAME-OF-DATA"},
    )
    parser.hands_on_unknown = True


def run(options: argparse.Namespace) -> int:
    """Reconstruct, and print one line for every scan.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    line = CommandLine.of(options)
    request = asked(line)
    wrong = missing_places(request, InferenceConfig, {"model_path": "MODEL", "test_data_file": "DATA"})
    place = request.path("output_dir")
    run_dir = Path(place or "")
    line.refuse(request, [*wrong, *(run_in_the_way(run_dir, options) if place else ())])

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
            f"{figures['seconds']:.3g} s, {relative(picture(result.run_dir))}"
        )
    refuse_unlearned(next((result.problem for result in results if result.problem), None))
    return 0


def asked(line: CommandLine) -> Request:
    """The request of a command line; its output folder is one of the model, where that and the scan are known."""
    request = line.request(ModelConfig, InferenceConfig, PyTorchExecutionConfig)
    model, data = request.path("model_path"), request.path("test_data_file")
    if model and data:
        home = Path(model).parent if Path(model).is_file() else Path(model)
        place = {"output_dir": str(default_folder(home, data))}
        request.add(InferenceConfig, Layer("cli-default", place))
    return request


def picture(run_dir: Path) -> Path:
    """The picture to look at first: beside the known object where there is one."""
    comparison = run_dir / "comparison.png"
    return comparison if comparison.is_file() else run_dir / "reconstruction.png"
