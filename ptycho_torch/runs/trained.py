"""What the bundle of a training holds, checked as a whole before a model is built from it."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import torch
from torch import Tensor

from ptycho.config.errors import printable
from ptycho.config.record import RECORD
from ptycho.json_files import read_json
from ptycho.judgement import has_ended
from ptycho.model_archive import (
    ARCHIVE,
    CHECKPOINTS,
    PROBLEM,
    is_unfinished,
    read_archive_config,
    refuse,
    refuse_damaged,
)
from ptycho.recorded import recorded_settings
from ptycho.scan_domain import TrainedDomains
from ptycho.wording import counted
from ptycho_torch.bundle import Bundle, load_bundle
from ptycho_torch.config_params import DataConfig, ModelConfig
from ptycho_torch.forward_model import PtychoPINN
from ptycho_torch.runs.checkpoints import Checkpoint, latest
from ptycho_torch.runtime import read_checkpoint

SECTIONS: Final = ("model", "training", "execution", "data")
FLOATS: Final = (torch.float32, torch.float64)
"""Number formats that weights are kept in."""

log = logging.getLogger(__name__)


class TrainedModel(NamedTuple):
    """A trained model as its bundle holds it."""

    source: Path
    state_dict: Mapping[str, Tensor]
    config: Mapping[str, Mapping[str, Any]]
    """The sections of the configuration, by name."""
    probes: list[str]
    """Fingerprints of the probe guesses that its probes started from."""
    domains: TrainedDomains
    """What was known of the domain of its scans."""


def load_trained(path: Path) -> TrainedModel:
    """Read the bundle of a training; or the latest sound checkpoint of one that has not ended.

    Raises:
        BundleError: it cannot be read, or is not of a training.
        ConfigError: it has not ended, and no checkpoint is sound.
    """
    if is_unfinished(path):
        return _model_so_far(path)
    trained = trained_model(path, load_bundle(path))
    _warn_of_resumed(path)
    return trained


def trained_model(path: Path, bundle: Bundle) -> TrainedModel:
    """What a bundle holds of a training.

    Raises:
        BundleError: it is not of a training.
    """
    missing = [name for name in SECTIONS if not isinstance(bundle.config.get(name), dict)]
    if missing:
        refuse(path, "the bundle of a training", f"one without {', '.join(missing)}", "Train again.")
    data = bundle.config["data"]
    probes = data.get("probe_guess_sha256")
    if not isinstance(probes, list) or not all(isinstance(one, str) for one in cast(list[Any], probes)):
        refuse_damaged(path, "one without the probes that it was trained with")
    if isinstance(told := bundle.config.get(PROBLEM), str):
        log.warning("%s: its training did not learn: %s", printable(str(path)), told)
    setting = bundle.config["training"].get("measurement_domain", "auto")
    domains = TrainedDomains.of(setting, data.get("domains"))
    sections = {name: bundle.config[name] for name in SECTIONS}
    return TrainedModel(path, bundle.state_dict, sections, cast(list[str], probes), domains)


def _warn_of_resumed(path: Path) -> None:
    """Say that a model is that of a training which was resumed and has not ended again."""
    run_dir = path.parent if path.name == ARCHIVE else path
    is_of_training = "train_data_file" in recorded_settings(run_dir)
    if is_of_training and not has_ended(run_dir, "training"):
        log.warning(
            "%s: the training went on and has not finished; the model that it saved before is used. %s",
            printable(str(run_dir)),
            _way_on(run_dir),
        )


def _way_on(run_dir: Path) -> str:
    return f"Continue with ptycho train --resume {printable(str(run_dir))}."


def _model_so_far(run_dir: Path) -> TrainedModel:
    """The model of a training that has not ended, by its latest sound checkpoint."""
    said, record = read_archive_config(run_dir) or {}, cast(dict[str, Any], read_json(run_dir / RECORD))
    found, weights = _latest_weights(run_dir / CHECKPOINTS)
    log.warning(
        "%s: the training has not finished; its model after %s is used, from %s. %s",
        printable(str(run_dir)),
        counted(found.epochs_done, "epoch"),
        printable(found.path.name),
        _way_on(run_dir),
    )
    probes = found.content["hyper_parameters"].get("probe_guess_sha256") or []
    setting = said["training"].get("measurement_domain", "auto")
    return TrainedModel(
        found.path,
        {name.removeprefix("model."): value for name, value in weights.items() if name.startswith("model.")},
        {"model": said["model"], "training": said["training"], "execution": record["execution"]},
        probes,
        TrainedDomains.of(setting, record.get("domains")),
    )


def check_tensors(trained: TrainedModel, model: ModelConfig, data: DataConfig) -> None:
    """Compare the tensors of a bundle with those of the model that its configuration describes.

    Raises:
        BundleError: the first that differs in name, shape or number format, or is not finite.
        ConfigError: the configuration describes no model that can be built.
    """
    found = trained.state_dict
    probe = found.get("probe")
    if probe is None or probe.ndim != 5 or probe.shape[2:] != (data.N, data.N, 2) or 0 in probe.shape:
        shape = "none" if probe is None else f"shape {tuple(probe.shape)}"
        expected = f"(scans, modes, {data.N}, {data.N}, 2) in the model"
        refuse_damaged(trained.source, f"{shape} for the tensor 'probe', which is {expected}")
    with torch.device("meta"):  # shapes and names alone: nothing is allocated
        expected = PtychoPINN(model, data, torch.empty(probe.shape[:-1], dtype=torch.complex64)).state_dict()
    if problem := next(_differences(found, expected), None):
        refuse_damaged(trained.source, problem)


def _differences(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield f"no tensor {name!r}"
        elif name not in expected:
            yield f"an unknown tensor {name!r:.200}"
        else:
            have, want = found[name], expected[name]
            fits = have.dtype in FLOATS if want.dtype in FLOATS else have.dtype == want.dtype
            if have.shape != want.shape or not fits:
                yield f"{_text(have)} for the tensor {name!r}, which is {_text(want)} in the model"
            elif have.is_floating_point() and not have.isfinite().all():
                yield f"NaN or infinity in the tensor {name!r}"


def _text(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _latest_weights(folder: Path) -> tuple[Checkpoint, dict[str, Tensor]]:
    """The latest sound checkpoint and what its file holds of the model, read whole."""
    while True:
        found = latest(folder)
        with contextlib.suppress(FileNotFoundError):  # a training that goes on removed it meanwhile
            return found, read_checkpoint(found.path)["state_dict"]
