"""Going on with a training that was stopped: its recorded settings, its latest checkpoint, and what may change."""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from lightning.pytorch.callbacks import Callback
from torch import Size

from ptycho.checksums import refuse_changed
from ptycho.config.errors import ConfigError, Failure, printable, show
from ptycho.config.origins import Layer
from ptycho.config.record import OF_TERMINAL
from ptycho.judgement import has_ended
from ptycho.model_archive import ARCHIVE, PROBLEM, read_archive_config
from ptycho.run_files import CHECKPOINTS, HISTORY, has_results
from ptycho.run_folder import RunFolder
from ptycho.run_record import read_record
from ptycho.wording import counted
from ptycho_torch.config_bridge import TABLE
from ptycho_torch.config_factory import TrainingPayload
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.json_values import plain
from ptycho_torch.model import LOGGED_METRICS
from ptycho_torch.runs.changes import (
    MAY_CHANGE,
    differences,
    layers_of,
    recorded_payload,
    refuse_fixed,
    said_otherwise,
)
from ptycho_torch.runs.checkpoints import SECTIONS, latest
from ptycho_torch.runs.outcome import tell_verdict, verdict_on
from ptycho_torch.runs.record import CONFIGURATION, as_started, recorded_domains
from ptycho_torch.runs.resume_point import ResumePoint, refuse_other_scans
from ptycho_torch.runs.shown import ShownTraining
from ptycho_torch.runs.training import TrainingResult, check, folder_of, train_in
from ptycho_torch.runtime import (
    LossHistory,
    is_first_process,
    metric_interval,
    monitored_metric,
    require_accelerator,
    resolve_n_devices,
    run_environment,
)

log = logging.getLogger(__name__)

_IN_TABLE: Final = {place for pair in TABLE for place in pair.torch}
"""Names in a checkpoint that have a canonical one."""


@dataclass(frozen=True)
class EndedTraining(ShownTraining):
    """A training in which nothing was left to train.

    Attributes:
        run_dir: folder with everything about the run.
        bundle: the saved model.
        history: one row for each epoch.
        problem: why the training did not learn; None if it is sound.
    """

    run_dir: Path
    bundle: Path
    history: list[dict[str, float | None]] = field(repr=False)
    problem: str | None


class _Stopped(NamedTuple):
    """What a stopped training left."""

    record: Mapping[str, Any]
    """Its config.json."""
    checkpoint: Path
    """The latest sound one."""
    shapes: Mapping[str, Size]
    """Those of its weights and buffers, by name."""
    settings: Mapping[str, Any]
    """The configurations of the training that the checkpoint is of, by section, and fingerprints of its scans."""
    epochs_done: int
    batches_done: int
    """Of the next epoch."""
    n_processes: int | None
    """How many have trained these batches; None where there are none."""
    passed_over: Sequence[str]
    """Names of the checkpoints that are not sound and might have been later."""
    waited: int
    """Values of the monitored metric without improvement, as early stopping counts them."""


def resume(
    run_dir: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    train_data_file: str | Path | None = None,
    said: Sequence[tuple[type, Layer]] = (),
    data: ScanDataModule | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainingResult:
    """Train on from the latest checkpoint of a run, with the settings that the run recorded.

    A run that ended before its first checkpoint begins again. On the same machine, with `deterministic`, the weights
    and the history become those of a training that was never stopped. The environment is not read. What is changed is
    recorded in `config.json`, under `resumed`.

    Args:
        run_dir: folder of the run; the training goes on in it.
        overrides: field or knob -> value, of those in `MAY_CHANGE`.
        flags: command-line flags that were passed, by field or knob.
        train_data_file: where the scan is now; None: where it was.
        said: further settings, as layers for the classes of their sections.
        data: scans in memory, as for `train`.
        callbacks: as for `train`.

    Raises:
        ConfigError: there is no run, no checkpoint, or nothing left to train; a setting is wrong, or cannot change; the
            checkpoint is that of another run.
        FileNotFoundError: the scan is gone.
        DataError: the scan is another one.
    """
    with RunFolder(run_dir, writes=is_first_process()) as folder:
        if not has_results(folder.path):
            record = read_record(folder.path, "training")
            payload = recorded_payload(record, folder.path, overrides, flags, train_data_file, said)
            return _begin(folder, payload, data, callbacks)
        stopped = _read(folder.path)
        payload = recorded_payload(stopped.record, folder.path, overrides, flags, train_data_file, said)
        _refuse_other_training(stopped, payload)
        if left := _nothing_left(stopped, folder.path, payload):
            raise ConfigError([left])
        return _go_on(folder, stopped, payload, data, callbacks)


def train_or_resume(
    payload: TrainingPayload,
    *,
    data: ScanDataModule | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainingResult | EndedTraining:
    """Train on where the output folder holds something to go on from, and start otherwise.

    The same call begins a training, goes on with it after each stop, and trains nothing once it has ended. A training
    that goes on keeps the settings that it recorded. What the payload sets otherwise is changed, or refused, as by
    `resume`; defaults of this version or of the command line change nothing.

    Args:
        payload: as for `train`.
        data: scans in memory, as for `train`.
        callbacks: as for `train`.

    Returns:
        The training, or what there is of one in which nothing was left to train.

    Raises:
        ConfigError, DataError: as `train` and `resume`.
    """
    TrainingPayload.refuse_other(payload)
    with folder_of(payload) as folder:
        if not has_results(folder.path):
            if (folder.path / CONFIGURATION).exists():
                read_record(folder.path, "training")  # refuses a file of this name that is of no training
            else:
                folder.refuse_run(may_resume=False)
            return _begin(folder, payload, data, callbacks)
        record = read_record(folder.path, "training")
        changed = dict(said_otherwise(record, payload))
        refuse_fixed(changed, folder.path)
        checkpoints = any((folder.path / CHECKPOINTS).glob("*.ckpt"))
        if not checkpoints and "training.nepochs" not in changed:
            return _end(folder, record, payload, data)
        stopped = _read(folder.path)
        scan, said = payload.tf_training_config.train_data_file, layers_of(payload, changed)
        resumed = recorded_payload(stopped.record, folder.path, None, None, scan, said)
        _refuse_other_training(stopped, resumed)
        if _nothing_left(stopped, folder.path, resumed):
            return _end(folder, record, resumed, data)
        return _go_on(folder, stopped, resumed, data, callbacks)


def _begin(
    folder: RunFolder, payload: TrainingPayload, data: ScanDataModule | None, callbacks: Sequence[Callback]
) -> TrainingResult:
    if (folder.path / CONFIGURATION).exists():
        log.warning(
            "%s: there is no checkpoint to resume from; the training starts again",
            printable(str(folder.path)),
        )
    return train_in(folder, payload, check(payload, data), callbacks)


def _end(
    folder: RunFolder, record: Mapping[str, Any], payload: TrainingPayload, data: ScanDataModule | None
) -> EndedTraining:
    """Leave a training that has ended as it is, if it is one on these scans."""
    cure = "Remove it: the next --resume saves it again from the latest checkpoint."
    if not any((folder.path / CHECKPOINTS).glob("*.ckpt")):
        cure = "Put it back, or replace the run (--overwrite; overwrite=True in Python)."
    refuse_changed(folder.path, [ARCHIVE], cure)
    data = check(payload, data, domains=recorded_domains(record))
    with run_environment(payload.execution_config):
        data.load()
    refuse_other_scans(data, record.get("fingerprints"))
    log.info(
        "%s: its training has finished; raise nepochs or early_stop_patience to continue",
        printable(str(folder.path)),
    )
    bundle, history = folder.path / ARCHIVE, LossHistory(folder.path / HISTORY).rows
    told = read_archive_config(bundle) or {}
    verdict = told[PROBLEM] if PROBLEM in told else verdict_on(history, {}, None)
    return EndedTraining(folder.path, bundle, history, tell_verdict(bundle, verdict))


def _go_on(
    folder: RunFolder,
    stopped: _Stopped,
    payload: TrainingPayload,
    data: ScanDataModule | None,
    callbacks: Sequence[Callback],
) -> TrainingResult:
    n_processes = resolve_n_devices(execution := payload.execution_config, require_accelerator(execution))
    n_processes *= execution.num_nodes
    if stopped.n_processes not in (None, n_processes):
        stopped = _read(folder.path, n_processes)
    _refuse_fewer_epochs(stopped, folder.path, payload)
    _warn_of_lost_epochs(stopped, folder.path)
    changed = dict(differences(stopped.record, payload))
    record = {"checkpoint": stopped.checkpoint.name, "epochs_done": stopped.epochs_done, "changed": changed}
    record |= {"batches_done": stopped.batches_done} if stopped.batches_done else {}
    record |= {"passed_over": stopped.passed_over} if stopped.passed_over else {}
    record |= {"command_line": sys.argv}
    anew = changed.keys() | {f"execution.{name}" for name in (*changed, OF_TERMINAL)}
    origins = stopped.record.get("origins", {}).items()
    point = ResumePoint(
        stopped.checkpoint,
        stopped.epochs_done,
        stopped.batches_done,
        stopped.shapes,
        stopped.record.get("fingerprints"),
        stopped.settings.get("scan_sha256"),
        stopped.settings.get("probe_guess_sha256"),
        [*(stopped.record.get("resumed") or ()), record],
        as_started(stopped.record),
        {name: origin for name, origin in origins if name not in anew},
    )
    data = check(payload, data, domains=recorded_domains(stopped.record))
    return train_in(folder, payload, data, callbacks, point)


# What the run left ----------------------------------------------------------------------------------------------


def _read(folder: Path, n_processes: int | None = None) -> _Stopped:
    """What there is to go on from, with that number of processes; None: with any."""
    record = read_record(folder, "training")
    found = latest(folder / CHECKPOINTS, n_processes)
    waits = [
        state["wait_count"] for name, state in found.content["callbacks"].items() if "EarlyStopping" in name
    ]
    settings = found.content["hyper_parameters"]
    shapes = {name: value.shape for name, value in found.content["state_dict"].items()}
    waited = max(waits, default=0)
    return _Stopped(
        record,
        found.path,
        shapes,
        settings,
        found.epochs_done,
        found.batches_done,
        found.n_processes,
        found.passed_over,
        waited,
    )


# Whether it may go on ---------------------------------------------------------------------------------------------


def _refuse_other_training(stopped: _Stopped, payload: TrainingPayload) -> None:
    """Refuse a checkpoint that another run has left, or whose training its record does not describe."""
    held = payload.pt_model_config, payload.pt_data_config, payload.pt_training_config
    ours = _by_name([*map(plain, held), payload.execution_config.to_dict()])
    theirs = _by_name([stopped.settings[section] for section in SECTIONS])
    place = str(stopped.checkpoint)
    failures = [
        Failure(
            place,
            f"{place}: expected {name} {show(value)}, as in the run; got {show(theirs[name])}. "
            "Remove the file, or start a new run.",
        )
        for name, value in ours.items()
        if theirs.get(name, value) != value and name not in MAY_CHANGE
    ]
    if failures:
        raise ConfigError(failures)


def _by_name(sections: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings in the sections of a checkpoint by their canonical names; options of the network as they are."""
    model, data, training, execution = sections
    found = {
        f"{section}.{name}": value
        for section, values in (("model", model), ("data", data), ("training", training))
        for name, value in values.items()
    }
    known = [pair for pair in TABLE if found.keys() >= set(pair.torch)]
    named = {pair.field: pair.to_canonical(*(found[place] for place in pair.torch)) for pair in known}
    options = {name: value for name, value in model.items() if f"model.{name}" not in _IN_TABLE}
    return {**options, **named, **execution}


def _warn_of_lost_epochs(stopped: _Stopped, folder: Path) -> None:
    """Say where the history goes on beyond the latest checkpoint by more than the epoch that was under way.

    The checkpoint holds the history up to it, and the file is written anew from that.
    """
    try:
        in_history = len(LossHistory(folder / HISTORY).rows)
    except ConfigError as damaged:
        log.warning("%s", damaged)
        return
    if in_history > stopped.epochs_done + 1:
        log.warning(
            "%s: the history has %s, the latest checkpoint (%s) has %d; the difference is trained again",
            printable(str(folder)),
            counted(in_history, "epoch"),
            printable(stopped.checkpoint.name),
            stopped.epochs_done,
        )


def _refuse_fewer_epochs(stopped: _Stopped, folder: Path, payload: TrainingPayload) -> None:
    """Refuse to end a training before where it is."""
    nepochs, done = payload.tf_training_config.nepochs, stopped.epochs_done + bool(stopped.batches_done)
    if nepochs < done:
        origin = payload.sources["training.nepochs"]
        rule = f"expected at least {done}, the epochs that {folder} has been trained for"
        message = f"training.nepochs: {rule}; got {nepochs} from {origin}. Raise it, or drop it."
        raise ConfigError([Failure("training.nepochs", message)])


def _nothing_left(stopped: _Stopped, folder: Path, payload: TrainingPayload) -> Failure | None:
    """Why the training has finished already; None also where it was stopped before its results were saved."""
    if not has_ended(folder, "training"):
        return None
    config, execution = payload.tf_training_config, payload.execution_config
    if stopped.epochs_done >= config.nepochs:
        origin = payload.sources["training.nepochs"]
        rule = f"expected more than the {counted(stopped.epochs_done, 'epoch')} that {folder} has been trained for"
        message = f"training.nepochs: {rule}; got {config.nepochs} from {origin}. Raise it to continue."
        return Failure("training.nepochs", message)
    metric = monitored_metric(
        execution,
        has_validation=bool(stopped.record.get("n_validation_groups")),
        logged_metrics=LOGGED_METRICS,
    )
    waited = stopped.waited * metric_interval(execution, metric)
    if waited < execution.early_stop_patience:
        return None
    origin = execution.sources["early_stop_patience"]
    rule = f"expected more than the {counted(waited, 'epoch')} without improvement that ended {folder}"
    message = f"early_stop_patience: {rule}; got {execution.early_stop_patience} from {origin}."
    return Failure("early_stop_patience", f"{message} Raise it to continue.")
