"""Going on with a training that was stopped: its recorded settings, its latest checkpoint, and what may change."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from lightning.pytorch.callbacks import Callback

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure, show
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Origin
from ptycho.config.request import KNOBS, damages, is_record, request_of
from ptycho.config.sources import Layer
from ptycho.config.validated import section_of
from ptycho.model_archive import ARCHIVE
from ptycho_torch.config_bridge import TABLE
from ptycho_torch.config_factory import TrainingPayload, training_payload
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.json_values import plain
from ptycho_torch.model import LOGGED_METRICS
from ptycho_torch.runs.record import CONFIGURATION
from ptycho_torch.runs.training import ResumePoint, TrainingResult, train
from ptycho_torch.runtime import CHECKPOINTS, HISTORY, LAST, LossHistory, metric_interval, monitored_metric

log = logging.getLogger(__name__)

MAY_CHANGE: Final = frozenset(
    {
        *("nepochs", "train_data_file", "test_data_file", "output_dir"),
        *("accelerator", "strategy", "deterministic"),
        *("ddp_backend", "ddp_find_unused_parameters", "ddp_static_graph", "ddp_gradient_as_bucket_view"),
        *("num_threads", "num_workers", "pin_memory", "persistent_workers", "prefetch_factor"),
        *("gradient_clip_val", "gradient_clip_algorithm"),
        *("checkpoint_save_top_k", "save_last_checkpoint", "early_stop_patience"),
        *("enable_progress_bar", "logger_backend", "disable_mlflow"),
        *("inference_batch_size", "middle_trim", "pad_eval", "reconstruction_window"),
    }
)
"""Fields and knobs that take effect in a training that goes on. The others decide the network, the groups, the batch
of a step or the state of the optimizer, which the checkpoint holds; without checkpoints no training could go on again.
The scans may lie elsewhere, not be other ones."""

_SECTIONS: Final = ("model_config", "data_config", "training_config", "execution_config")
"""What a checkpoint holds of the settings of its training."""

_SAME_IN_CHECKPOINT: Final = [pair.field for pair in TABLE if pair.torch == (f"training.{pair.field}",)]
"""Fields of the training that a checkpoint holds under the same name."""

_DATA_IN_CHECKPOINT: Final = [
    place.removeprefix("data.") for pair in TABLE for place in pair.torch if place.startswith("data.")
]
"""Options of the data that a run records, by their names in a checkpoint."""

_UNREADABLE: Final = (OSError, RuntimeError, EOFError, ValueError, torch.serialization.pickle.UnpicklingError)
"""What torch raises for a file that is damaged, or holds more than plain values and tensors."""


class _Stopped(NamedTuple):
    """What a stopped training left."""

    record: Mapping[str, Any]
    """Its config.json."""
    checkpoint: Path
    """The one that was trained for the most epochs."""
    settings: Mapping[str, Any]
    """The configurations of the training that the checkpoint is of, by section, and fingerprints of its scans."""
    epochs_done: int
    waited: int
    """Values of the monitored metric without improvement, as early stopping counts them."""


def resume(
    run_dir: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    train_data_file: str | Path | None = None,
    data: ScanDataModule | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainingResult:
    """Train on from the latest checkpoint of a run, with the settings that the run recorded.

    On the same machine, with `deterministic`, the weights and the history become those of a training that was never
    stopped. The environment is not read. What is changed is recorded in `config.json`, under `resumed`.

    Args:
        run_dir: folder of the run; the training goes on in it.
        overrides: field or knob -> value, of those in `MAY_CHANGE`.
        flags: command-line flags that were passed, by field or knob.
        train_data_file: where the scan is now; None: where it was.
        data: scans in memory, as for `train`.
        callbacks: as for `train`.

    Raises:
        ConfigError: there is no run, no checkpoint, or nothing left to train; a setting is wrong, or cannot change; the
            checkpoint is that of another run.
        FileNotFoundError: the scan is gone.
        DataError: the scan is another one.
    """
    folder = Path(run_dir)
    stopped = _read(folder)
    payload = _payload(stopped, folder, overrides, flags, train_data_file)
    _refuse_other_training(stopped, payload)
    _refuse_finished(stopped, folder, payload)
    _warn_of_lost_epochs(stopped, folder)
    changed = dict(_changes(stopped, payload))
    record = {"checkpoint": stopped.checkpoint.name, "epochs_done": stopped.epochs_done, "changed": changed}
    anew = changed.keys() | {f"execution.{name}" for name in changed}
    origins = stopped.record.get("origins", {}).items()
    point = ResumePoint(
        stopped.checkpoint,
        stopped.record.get("fingerprints"),
        stopped.settings.get("scan_sha256"),
        stopped.settings.get("probe_guess_sha256"),
        [*stopped.record.get("resumed", []), record],
        {name: origin for name, origin in origins if name not in anew},
    )
    return train(payload, data=data, callbacks=callbacks, resumed=point)


def resumed_payload(
    run_dir: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    train_data_file: str | Path | None = None,
) -> TrainingPayload:
    """The settings with which `resume` would go on; arguments and errors as there."""
    folder = Path(run_dir)
    return _payload(_read(folder), folder, overrides, flags, train_data_file)


# What the run left ----------------------------------------------------------------------------------------------


def _read(folder: Path) -> _Stopped:
    record = _record(folder / CONFIGURATION)
    found = list(_readable(folder / CHECKPOINTS))
    if not found:
        place = folder / CHECKPOINTS
        message = f"{place}: expected a checkpoint to go on from; got none."
        way_out = "One is written after every epoch, unless save_last_checkpoint is off. Start a new run."
        raise ConfigError([Failure(str(place), f"{message} {way_out}")])
    # what a file says of itself: times of files do not survive a copy
    checkpoint, content = max(found, key=lambda item: (_epochs_done(item[1]), item[0].stem == LAST))
    if not all(value.isfinite().all() for value in content["state_dict"].values()):
        message = f"{checkpoint}: expected weights that are numbers; got a training that has diverged."
        way_out = "Remove it, so that an earlier one is taken, or start a new run with a lower learning_rate."
        raise ConfigError([Failure(str(checkpoint), f"{message} {way_out}")])
    states = content["callbacks"].items()
    waits = [state["wait_count"] for name, state in states if "EarlyStopping" in name]
    settings = content["hyper_parameters"]
    return _Stopped(record, checkpoint, settings, _epochs_done(content), max(waits, default=0))


def _readable(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The checkpoints of a run; a damaged one beside a sound last.ckpt is passed over with a warning."""
    paths = sorted(folder.glob("*.ckpt"), key=lambda path: (path.stem != LAST, path.name))
    for path in paths:
        try:
            yield path, _content(path)
        except ConfigError as error:
            if path is paths[0] or paths[0].stem != LAST:
                raise
            log.warning("%s", error)


def _content(checkpoint: Path) -> dict[str, Any]:
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        _epochs_done(content), content["state_dict"].values()
        [content["hyper_parameters"][section].values() for section in _SECTIONS]
    except (*_UNREADABLE, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120]
        message = (
            f"{checkpoint}: expected a checkpoint of a training; got a file that cannot be read ({reason})."
        )
        way_out = "Remove it, so that an earlier one is taken, or start a new run."
        raise ConfigError([Failure(str(checkpoint), f"{message} {way_out}")]) from None
    return content


def _epochs_done(content: Mapping[str, Any]) -> int:
    return len(content["callbacks"]["LossHistory"]["rows"])


def _record(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or not is_record(content):
        message = (
            f"{path.parent}: expected the folder of a training; got one without its record, {path.name}."
        )
        raise ConfigError([Failure(str(path.parent), f"{message} Name the output folder of a run.")])
    if failures := damages(content, str(path)):
        raise ConfigError(failures)
    if "train_data_file" not in content["configuration"]:
        message = f"{path.parent}: expected the folder of a training; got that of a reconstruction."
        raise ConfigError([Failure(str(path.parent), f"{message} Name the output folder of a training.")])
    return content


# The settings ---------------------------------------------------------------------------------------------------


def _payload(
    stopped: _Stopped,
    folder: Path,
    overrides: Mapping[str, Any] | None,
    flags: Mapping[str, Any] | None,
    train_data_file: str | Path | None,
) -> TrainingPayload:
    """The recorded settings, below what is changed now."""
    fields = [dict(overrides or {}), dict(flags or {})]
    knobs = [{name: given.pop(name) for name in KNOBS if name in given} for given in fields]
    place = str(folder / CONFIGURATION)
    request, saved = request_of(stopped.record, place, overrides=fields[0], flags=fields[1])
    places = {"output_dir": str(folder)} | (
        {"train_data_file": str(train_data_file)} if train_data_file else {}
    )
    request.add(TrainingConfig, Layer("argument", places))
    execution = saved.with_overrides(knobs[0], flags=knobs[1])
    payload = training_payload(request.answer(execution))
    failures = [
        _fixed(name, change, folder)
        for name, change in _changes(stopped, payload)
        if not _may_change(name.split(".")[-1], change)
    ]
    failures += _without_checkpoints(payload.execution_config)
    if failures:
        raise ConfigError(failures)
    return payload


def _without_checkpoints(execution: PyTorchExecutionConfig) -> Iterator[Failure]:
    """What keeps a training from going on once more: the checkpoints before would stay, and not be of its end."""
    if execution.checkpoint_save_top_k == 0 and not execution.save_last_checkpoint:
        name, origins = "checkpoint_save_top_k", execution.sources
        rule = "expected another number than 0 where save_last_checkpoint is False"
        why = "since a training that keeps no checkpoint could not go on again"
        got = f"got 0 from {origins[name]}, and False from {origins['save_last_checkpoint']}"
        yield Failure(name, f"{name}: {rule}, {why}; {got}. Keep one.")


def _changes(stopped: _Stopped, payload: TrainingPayload) -> Iterator[tuple[str, dict[str, Any]]]:
    """What differs from the record: `section.field` or knob -> what it was, what it is, and from where."""
    recorded = dict(stopped.record["configuration"])
    was = {f"{section_of(ModelConfig)}.{name}": value for name, value in recorded.pop("model").items()}
    was |= {f"{section_of(TrainingConfig)}.{name}": value for name, value in recorded.items()}
    was |= stopped.record["execution"]
    now: dict[str, Origin] = {**payload.sources, **payload.execution_config.sources}
    for name, origin in now.items():
        if name in was and was[name] != origin.value:
            yield name, {"was": was[name], "now": origin.value, "from": str(origin)}


def _may_change(name: str, change: Mapping[str, Any]) -> bool:
    """Whether a change takes effect; a scan to validate on may lie elsewhere, not come or go."""
    return name in MAY_CHANGE and not (name == "test_data_file" and None in (change["was"], change["now"]))


def _fixed(name: str, change: Mapping[str, Any], folder: Path) -> Failure:
    rule = f"expected {show(change['was'])}, as {folder} was trained so far"
    why = "A training that goes on cannot change it: drop it, or start a new run."
    return Failure(name, f"{name}: {rule}; got {show(change['now'])} from {change['from']}. {why}")


def _refuse_other_training(stopped: _Stopped, payload: TrainingPayload) -> None:
    """Refuse a checkpoint that another run has left, or whose training its record does not describe."""
    training = plain(payload.pt_training_config)
    data = plain(payload.pt_data_config)
    ours = plain(payload.pt_model_config) | {name: data[name] for name in _DATA_IN_CHECKPOINT}
    ours |= {name: training[name] for name in _SAME_IN_CHECKPOINT}
    ours |= payload.execution_config.to_dict()
    # a knob beats a field of the training that is called the same and may say nothing
    theirs = {name: value for section in _SECTIONS for name, value in stopped.settings[section].items()}
    place = str(stopped.checkpoint)
    failures = [
        Failure(
            place,
            f"{place}: expected {name} {show(value)}, as the run was trained so far; got {show(theirs[name])}. "
            "Remove the file, or start a new run.",
        )
        for name, value in ours.items()
        if theirs.get(name, value) != value and name not in MAY_CHANGE
    ]
    if failures:
        raise ConfigError(failures)


def _warn_of_lost_epochs(stopped: _Stopped, folder: Path) -> None:
    """Say where the history goes on beyond the latest checkpoint by more than the epoch that was under way."""
    in_history = len(LossHistory(folder / HISTORY).rows)
    if in_history > stopped.epochs_done + 1:
        log.warning(
            "%s: %d epochs are in the history, and the latest checkpoint (%s) is of %d; the others are trained again",
            folder,
            in_history,
            stopped.checkpoint.name,
            stopped.epochs_done,
        )


def _refuse_finished(stopped: _Stopped, folder: Path, payload: TrainingPayload) -> None:
    """Refuse to go on where nothing is left to do; a training that was stopped before its model was saved may end."""
    if not (folder / ARCHIVE).is_file():
        return
    config, execution = payload.tf_training_config, payload.execution_config
    if stopped.epochs_done >= config.nepochs:
        origin = payload.sources["training.nepochs"]
        rule = f"expected more than the {stopped.epochs_done} epochs that {folder} has been trained for"
        message = f"training.nepochs: {rule}; got {config.nepochs} from {origin}. Raise it to train on."
        raise ConfigError([Failure("training.nepochs", message)])
    metric = monitored_metric(
        execution,
        has_validation=bool(stopped.record.get("n_validation_groups")),
        logged_metrics=LOGGED_METRICS,
    )
    waited = stopped.waited * metric_interval(execution, metric)
    if waited >= execution.early_stop_patience:
        origin = execution.sources["early_stop_patience"]
        rule = f"expected more than the {waited} epochs without improvement that ended {folder}"
        message = f"early_stop_patience: {rule}; got {execution.early_stop_patience} from {origin}."
        raise ConfigError([Failure("early_stop_patience", f"{message} Raise it to train on.")])
