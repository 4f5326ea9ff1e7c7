"""`ptycho reconstruct`: from a trained model and a scan to pictures, arrays and metrics."""

import argparse
from pathlib import Path
from typing import Any

from ptycho.config.canonical import InferenceConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.run_names import default_folder
from ptycho_torch.cli.console import (
    is_first_process,
    refuse_unlearned,
    refusing,
    relative,
    watching_for_interrupt,
)
from ptycho_torch.cli.defaults import RECONSTRUCTION, SHOWN
from ptycho_torch.cli.flags import (
    RECONSTRUCTION_GROUPS,
    FlagParser,
    flags_of,
)
from ptycho_torch.cli.foreseen import refuse_reconstruction
from ptycho_torch.cli.options import OVERWRITE, CommandLine, add_own_options, run_in_the_way

NAME = "reconstruct"
SUMMARY = "reconstruct a scan with a trained model"
USAGE = "MODEL DATA [flags]"


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
    stated = SHOWN | RECONSTRUCTION | {"output_dir": "FOLDER-OF-MODEL/NAME-OF-DATA"}
    parser.add_flags(flags + flags_of(PyTorchExecutionConfig, RECONSTRUCTION_GROUPS), stated)
    parser.hands_on_unknown = True


def run(options: argparse.Namespace) -> int:
    """Reconstruct, and print one line for every scan.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    line = CommandLine.of(options)
    positionals = {"model_path": "MODEL", "test_data_file": "DATA"}
    named = [line.place(InferenceConfig, name) for name in positionals]
    kept = run_in_the_way(Path(folder(line, *named)), options) if all(named) else ()
    model, data = line.required_places(InferenceConfig, positionals, asked(line), kept)
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
            f"{figures['seconds']:.3g} s, {relative(picture(result.run_dir))}"
        )
    refuse_unlearned(next((result.problem for result in results if result.problem), None))
    return 0


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
    return line.request(RECONSTRUCTION | known)


def picture(run_dir: Path) -> Path:
    """The picture to look at first: beside the known object where there is one."""
    comparison = run_dir / "comparison.png"
    return comparison if comparison.is_file() else run_dir / "reconstruction.png"
