"""`ptycho train`: from a scan to a trained model."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ptycho.config.data import DataConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.model import ModelConfig
from ptycho.config.origins import Layer, Origin
from ptycho.config.paths import RUNS
from ptycho.config.recipes import STANDARD
from ptycho.config.request import Request
from ptycho.config.training import TrainingConfig
from ptycho.data_error import DataError
from ptycho.wording import counted
from ptycho_torch.cli.console import (
    is_first_process,
    refuse_unlearned,
    refusing,
    relative,
    tell_loading,
    tell_next,
    tell_report,
    watching_for_interrupt,
)
from ptycho_torch.cli.flags import flags_of
from ptycho_torch.cli.options import CommandLine, Resumed, add_own_options, shown_values
from ptycho_torch.cli.parser import FlagParser
from ptycho_torch.cli.settled import Settled

if TYPE_CHECKING:
    from ptycho_torch.config_factory import TrainingPayload
    from ptycho_torch.runs.resuming import EndedTraining
    from ptycho_torch.runs.training import TrainingResult


def add_arguments(parser: FlagParser) -> None:
    """Add DATA and the flags: the fields of the model, the training and the execution."""
    parser.add_argument(
        "train_data_file",
        metavar="DATA",
        nargs="?",
        help="The scan: NPZ, CXI or another HDF5 file; or a folder of NPZ files that are one data set.",
    )
    add_own_options(parser)
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="Resume the training in this folder from its latest checkpoint, with its own settings. DATA is needed "
        "only if the scan was moved; flags change the settings that can be changed. With 'auto', resume the training "
        "in the output folder, or start it if there is none: a requeued job can use the same command.",
    )
    classes = (ModelConfig, TrainingConfig, PyTorchExecutionConfig)
    shown = partial(shown_values, STANDARD, *classes, output_dir=f"{RUNS}/NAME-OF-DATA")
    flags = (
        flags_of(ModelConfig) + flags_of(TrainingConfig, without=["train_data_file"]) + flags_of(DataConfig)
    )
    parser.add_flags(flags + flags_of(PyTorchExecutionConfig), shown)
    parser.hands_on_unknown = True
    parser.cure_of_more = (
        "To train on several NPZ files together, name their folder; or start a run for each."
    )


def run(options: argparse.Namespace) -> int:
    """Train.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    line = CommandLine.of(options)
    if line.resumes:
        return _say_result(_resumed(line))
    request = asked(line)
    run_dir = line.ready(request, TrainingConfig, {"train_data_file": "DATA"}, may_resume=True)
    with refusing(DataError), watching_for_interrupt(run_dir):
        payload = _payload(request)
        tell_loading()
        if line.is_automatic:
            from ptycho_torch.runs.resuming import train_or_resume

            return _say_result(train_or_resume(payload))
        from ptycho_torch.runs.training import train

        return _say_result(train(payload, overwrite=line.overwrites))


def settled(line: CommandLine) -> Settled:
    """The settings of a training that is not started; DATA may be left out.

    Raises:
        ConfigError, Refusal, OSError: what would stop it before it starts.
    """
    classes = (ModelConfig, TrainingConfig, DataConfig)
    if line.resumes:
        known = _asked_to_resume(line)

        from ptycho_torch.runs.changes import recorded_payload

        return Settled.of(recorded_payload(known.record, known.run_dir, **known.changes), *classes)
    request = asked(line)
    line.refuse(request)
    if request.path("train_data_file") is None:
        unknown = {
            "model.N": (Origin("inferred", "the data"), "from the data"),
            "training.nphotons": (Origin("inferred", "the data"), "from the data, else {}"),
            "training.train_data_file": (Origin("argument"), "DATA"),
            "training.output_dir": (Origin("cli-default"), f"{RUNS}/NAME-OF-DATA"),
        }
        return Settled.without_data(request, unknown, *classes)
    with refusing(DataError):
        return Settled.of(_payload(request), *classes)


def _payload(request: Request) -> "TrainingPayload":
    from ptycho_torch.config_factory import create_training_payload

    return create_training_payload(None, None, request=request)


def _resumed(line: CommandLine) -> "TrainingResult":
    known = _asked_to_resume(line)
    tell_loading()
    with refusing(DataError), watching_for_interrupt(known.run_dir):
        from ptycho_torch.runs.resuming import resume

        return resume(known.run_dir, **known.changes)


def _asked_to_resume(line: CommandLine) -> Resumed:
    hint, scan = "; flags change the settings that can be changed.", line.places.get("train_data_file")
    return line.resuming("training", hint, train_data_file=scan)


def _say_result(result: "TrainingResult | EndedTraining") -> int:
    from ptycho.judgement import recorded_judgement
    from ptycho_torch.runs.resuming import EndedTraining

    if is_first_process():
        verdict = recorded_judgement(result.run_dir, "training")
        told = f"trained for {counted(len(result.history), 'epoch')}, {last_losses(result.history)}"
        if isinstance(result, EndedTraining):
            told = "the training has finished already"
        print(f"{relative(result.bundle)}: {told}. {verdict.headline}.")
        if result.problem is None:
            _tell_next(result.run_dir, len(result.history), has_learned=verdict.level == "good")
    refuse_unlearned(result.problem)
    return 0


def _tell_next(run_dir: Path, n_epochs: int, *, has_learned: bool) -> None:
    from ptycho.run_files import REPORT
    from ptycho.run_names import data_of

    if not has_learned:
        tell_next("train", "--resume", run_dir, "--nepochs", str(2 * n_epochs))
    for scan in data_of(run_dir)[:1]:
        tell_next("reconstruct", run_dir, scan)
    tell_report(run_dir / REPORT)


def asked(line: CommandLine) -> Request:
    """The request of a command line; its output folder is called after the scan, where that is known."""
    request = line.request(ModelConfig, TrainingConfig, PyTorchExecutionConfig)
    if data := request.path("train_data_file"):
        from ptycho.run_names import default_folder

        place = {"output_dir": str(default_folder(Path(RUNS), data))}
        request.add(TrainingConfig, Layer("cli-default", place))
    return request


def last_losses(history: list[dict[str, float | None]]) -> str:
    """The losses of the last epoch, in words."""
    losses = ((name, history[-1][name]) for name in ("train_loss", "val_loss")) if history else ()
    return ", ".join(f"{name} {value:.4g}" for name, value in losses if value is not None)
