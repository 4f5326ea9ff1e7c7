"""Going on with a training that was stopped: its recorded settings, its latest checkpoint, and what may change."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from lightning.pytorch.callbacks import Callback

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure, show
from ptycho.config.origins import Origin
from ptycho.config.request import KNOBS, damages, is_record, request_of
from ptycho.config.sources import Layer
from ptycho.config.validated import section_of
from ptycho.model_archive import ARCHIVE
from ptycho_torch.config_factory import TrainingPayload, training_payload
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.run_directory import CONFIGURATION
from ptycho_torch.runtime import CHECKPOINTS, LAST
from ptycho_torch.training import ResumePoint, TrainingResult, train

MAY_CHANGE: Final = frozenset(
    {
        *("nepochs", "train_data_file", "output_dir"),
        *("accelerator", "strategy", "deterministic"),
        *("ddp_backend", "ddp_find_unused_parameters", "ddp_static_graph", "ddp_gradient_as_bucket_view"),
        *("num_workers", "pin_memory", "persistent_workers", "prefetch_factor"),
        *("gradient_clip_val", "gradient_clip_algorithm"),
        *("enable_checkpointing", "checkpoint_save_top_k", "save_last_checkpoint", "early_stop_patience"),
        *("enable_progress_bar", "logger_backend", "disable_mlflow"),
        *("inference_batch_size", "middle_trim", "pad_eval", "reconstruction_window"),
    }
)
"""Fields and knobs that take effect in a training that goes on. The others decide the network, the groups, the batch
of a step or the state of the optimizer, which the checkpoint holds. The scan may lie elsewhere, not be another one."""


_UNREADABLE: Final = (RuntimeError, EOFError, ValueError, torch.serialization.pickle.UnpicklingError)
"""What torch raises for a file that is damaged, or holds more than plain values and tensors."""


class _Stopped(NamedTuple):
    """What a stopped training left."""

    record: Mapping[str, Any]
    """Its config.json."""
    checkpoint: Path
    """The latest one."""
    epochs_done: int
    waited: int
    """Epochs without improvement, as early stopping counts them."""


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
        ConfigError: there is no run, no checkpoint, or nothing left to train; a setting is wrong, or cannot change.
        FileNotFoundError: the scan is gone.
        DataError: the scan is another one.
    """
    folder = Path(run_dir)
    stopped = _read(folder)
    payload = _payload(stopped, folder, overrides, flags, train_data_file)
    _refuse_finished(stopped, folder, payload)
    changed = dict(_changes(stopped, payload))
    record = {"checkpoint": stopped.checkpoint.name, "epochs_done": stopped.epochs_done, "changed": changed}
    anew = changed.keys() | {f"execution.{name}" for name in changed}
    origins = stopped.record.get("origins", {}).items()
    point = ResumePoint(
        stopped.checkpoint,
        stopped.record.get("fingerprints"),
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
    checkpoint = _latest(folder / CHECKPOINTS)
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        states = content["callbacks"]
        epochs_done = len(states["LossHistory"]["rows"])
    except (*_UNREADABLE, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        message = (
            f"{checkpoint}: expected a checkpoint of a training; got a file that cannot be read ({reason})."
        )
        way_out = "Remove it, so that an earlier one is taken, or start a new run."
        raise ConfigError([Failure(str(checkpoint), f"{message} {way_out}")]) from None
    waits = [state["wait_count"] for name, state in states.items() if "EarlyStopping" in name]
    return _Stopped(record, checkpoint, epochs_done, max(waits, default=0))


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


def _latest(folder: Path) -> Path:
    last = folder / f"{LAST}.ckpt"
    found = [last] if last.is_file() else sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        message = f"{folder}: expected a checkpoint to go on from; got none."
        way_out = "One is written after every epoch, unless save_last_checkpoint is off. Start a new run."
        raise ConfigError([Failure(str(folder), f"{message} {way_out}")])
    return found[-1]


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
        if name.split(".")[-1] not in MAY_CHANGE
    ]
    if failures:
        raise ConfigError(failures)
    return payload


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


def _fixed(name: str, change: Mapping[str, Any], folder: Path) -> Failure:
    rule = f"expected {show(change['was'])}, as {folder} was trained so far"
    why = "A training that goes on cannot change it: drop it, or start a new run."
    return Failure(name, f"{name}: {rule}; got {show(change['now'])} from {change['from']}. {why}")


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
    if stopped.waited >= execution.early_stop_patience:
        origin = execution.sources["early_stop_patience"]
        rule = f"expected more than the {stopped.waited} epochs without improvement that ended {folder}"
        message = f"early_stop_patience: {rule}; got {execution.early_stop_patience} from {origin}."
        raise ConfigError([Failure("early_stop_patience", f"{message} Raise it to train on.")])
