"""What happens in a training run, from a factory payload to a bundle."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import lightning
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy

from ptycho.checksums import Checksums
from ptycho.config.errors import printable
from ptycho.config.paths import absolute
from ptycho.judgement import NOTICED
from ptycho.model_archive import ARCHIVE, PROBLEM, READING
from ptycho.raw_data import DataError
from ptycho.run_folder import RunFolder
from ptycho.scan_domain import TrainedDomains
from ptycho.wording import counted
from ptycho_torch.bundle import save_bundle
from ptycho_torch.config_factory import TrainingPayload
from ptycho_torch.data.module import ScanDataModule, stack_probes
from ptycho_torch.json_values import plain
from ptycho_torch.model import LOGGED_METRICS, PtychoPINN_Lightning
from ptycho_torch.runs.agreement import predicted_figures
from ptycho_torch.runs.fingerprints import domains_of, probe_fingerprints, scan_fingerprints
from ptycho_torch.runs.judging import noticed_in
from ptycho_torch.runs.outcome import refuse_diverged, tell_verdict, verdict_on
from ptycho_torch.runs.preflight import warn_of_idle_settings
from ptycho_torch.runs.record import logged, refuse_replaced, warn_of_older_model, write_configuration
from ptycho_torch.runs.report.training import LiveReport, write_preview, write_training_results
from ptycho_torch.runs.resume_point import (
    ResumePoint,
    refuse_other_checkpoint,
    refuse_other_scans,
    refuse_other_weights,
)
from ptycho_torch.runs.shown import ShownTraining
from ptycho_torch.runtime import (
    LossHistory,
    batches_per_device,
    build_trainer,
    check_training,
    is_first_process,
    naming_losses,
    read_checkpoint,
    require_accelerator,
    run_environment,
    working_dtype,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult(ShownTraining):
    """A finished training.

    Attributes:
        run_dir: folder with everything about the run.
        bundle: the saved model, ``wts.h5.zip``.
        history: one row an epoch: epoch, step, train_loss, val_loss, learning_rate, epoch_time_s.
        module: the model with the weights that were saved.
        checkpoint: the checkpoint these weights come from; None when none was kept.
        problem: why the training came to nothing, or ended with losses that are no numbers; None where it is sound.
    """

    run_dir: Path
    bundle: Path
    history: list[dict[str, float | None]] = field(repr=False)
    module: PtychoPINN_Lightning = field(repr=False)
    checkpoint: Path | None
    problem: str | None = None


class PreparedTraining(NamedTuple):
    """A training that is about to begin."""

    payload: TrainingPayload
    data: ScanDataModule
    run_dir: Path
    module: PtychoPINN_Lightning
    trainer: lightning.Trainer


def train(
    payload: TrainingPayload,
    *,
    data: ScanDataModule | None = None,
    callbacks: Sequence[Callback] = (),
    overwrite: bool = False,
) -> TrainingResult:
    """Train a model as a payload of ``create_training_payload`` says.

    Args:
        payload: the resolved configuration.
        data: scans in memory; None: those of the files that the configuration names.
        callbacks: Lightning callbacks beside those of the execution configuration.
        overwrite: whether a run that is in the output folder is replaced; it is kept aside until this one has saved.

    Returns:
        The saved model and the history. The weights are those of the best checkpoint by the monitored metric where
        checkpoints are kept, else the last ones.

    Raises:
        ConfigError: the machine or the model lacks what the configuration asks for; raised before data is read.
        ConfigError: the output folder holds a run, or another run writes into it.
        DivergedError: the training diverged, and no sound weights are left to save.
        DataError: the training data is not what the data contract says, or too little for a batch.
        RunError: a process of the run is gone, or memory, shared memory or file handles ran out.
        Terminated: SIGTERM; a checkpoint of the step that was under way is kept.
    """
    TrainingPayload.refuse_other(payload)
    data = check(payload, data)
    with folder_of(payload) as folder:
        if not overwrite:
            folder.refuse_run()
        result = train_in(folder, payload, data, callbacks)
        warn_of_older_model(folder.path)
        return result


def train_in(
    folder: RunFolder,
    payload: TrainingPayload,
    data: ScanDataModule,
    callbacks: Sequence[Callback] = (),
    resumed: ResumePoint | None = None,
) -> TrainingResult:
    """Train as ``train`` does, in a folder that this process has for itself.

    Args:
        folder: of the run; an earlier one in it is replaced, or gone on with.
        payload: the resolved configuration.
        data: as ``check`` gives it.
        callbacks: as for ``train``.
        resumed: where to go on; see ``ptycho_torch.runs.resuming.resume``.

    Raises:
        ConfigError, DataError: as ``train``; or the data, or the checkpoint to go on from, are not those of the run.
    """
    with run_environment(payload.execution_config), logged(folder, further=resumed is not None):
        result = finish(prepare(folder, payload, data, callbacks, resumed), resumed)
        folder.saved()
        return result


def folder_of(payload: TrainingPayload) -> RunFolder:
    """The folder of a run, to be entered."""
    return RunFolder(str(payload.tf_training_config.output_dir), writes=is_first_process())


def check(
    payload: TrainingPayload, data: ScanDataModule | None, *, domains: TrainedDomains | None = None
) -> ScanDataModule:
    """Refuse what cannot be trained before any data is read; gives the data module in force.

    Args:
        payload: the resolved configuration.
        data: scans in memory; None: those of the files that the configuration names.
        domains: how the scans of a training that goes on were read; its start has warned of idle settings.
    """
    config, execution = payload.tf_training_config, payload.execution_config
    if data is None:
        data = ScanDataModule(config, execution, options=payload.pt_data_config, trained=domains)
    check_training(execution, config, has_validation=data.wants_validation, logged_metrics=LOGGED_METRICS)
    if domains is None:
        warn_of_idle_settings(payload)
    return data


def prepare(
    folder: RunFolder,
    payload: TrainingPayload,
    data: ScanDataModule,
    callbacks: Sequence[Callback] = (),
    resumed: ResumePoint | None = None,
) -> PreparedTraining:
    """Read the data, record the run, and build model and Trainer; within `run_environment`."""
    config, execution, run_dir = payload.tf_training_config, payload.execution_config, folder.path
    data.load()
    if resumed is not None:
        refuse_other_scans(data, resumed.fingerprints)
        data.first_epoch, data.batches_done = resumed.epochs_done, resumed.batches_done
        refuse_other_checkpoint(data, resumed)
    n_groups = len(data.training or ())
    steps_per_epoch = batches_per_device(
        execution, require_accelerator(execution), n_groups, config.batch_size
    )
    if steps_per_epoch == 0:
        raise DataError(
            f"drop_last_batch: expected at least batch_size = {config.batch_size} training groups on each device; "
            f"got {n_groups} in all, which make no full batch. Lower batch_size, or keep the last batch."
        )
    module = build_module(payload, data)
    if resumed is not None:
        refuse_other_weights(module, resumed)
    else:
        refuse_replaced(config, run_dir)
    folder.begin(anew=resumed is None)
    if is_first_process():
        _record(payload, data, run_dir, resumed)
    trainer = build_trainer(
        execution,
        run_dir=run_dir,
        epochs=module.plan.epochs,
        steps_per_epoch=steps_per_epoch,
        has_validation=data.has_validation,
        logged_metrics=LOGGED_METRICS,
    )
    trainer.callbacks.extend([LiveReport(run_dir, data, execution.preview_every), *callbacks])
    return PreparedTraining(payload, data, run_dir, module, trainer)


def finish(prepared: PreparedTraining, resumed: ResumePoint | None = None) -> TrainingResult:
    """Train, and save the model; within `run_environment`."""
    payload, data, run_dir, module, trainer = prepared
    with naming_losses(payload.execution_config, run_dir):
        trainer.fit(module, datamodule=data, ckpt_path=resumed and resumed.checkpoint, weights_only=True)
    checkpoint, weights = _best_weights(trainer)
    if isinstance(trainer.strategy, FSDPStrategy):
        # that of the training holds a part of the weights in each process
        module = build_module(payload, data)
    if weights:
        module.load_state_dict(weights)
    refuse_diverged(module)
    history = next(item for item in trainer.callbacks if isinstance(item, LossHistory)).rows
    bundle, verdict = run_dir / ARCHIVE, verdict_on(history, {}, checkpoint)
    if trainer.is_global_zero:
        figures = predicted_figures(module, data, trainer) | {NOTICED: noticed_in(data.scans)}
        verdict = verdict_on(history, figures, checkpoint)
        write_preview(run_dir, module, data, trainer, len(history))
        save_model(bundle, module, prepared, verdict)
        times = {"times_resumed": 0 if resumed is None else len(resumed.record)}
        write_training_results(run_dir, history, times | figures | {PROBLEM: verdict})
        Checksums(run_dir).settle()
        log.info("model saved: %s", printable(str(bundle)))
    trainer.strategy.barrier()  # what the first process writes is there for every process that returns
    return TrainingResult(run_dir, bundle, history, module, checkpoint, tell_verdict(bundle, verdict))


def build_module(payload: TrainingPayload, data: ScanDataModule) -> PtychoPINN_Lightning:
    """A fresh model for the scans of a data module, in the number format that keeps the weights of a checkpoint."""
    module = PtychoPINN_Lightning(
        payload.pt_model_config,
        payload.pt_data_config,
        payload.pt_training_config,
        payload.pt_inference_config,
        execution_config=payload.execution_config,
        probes=stack_probes(data.probe_scans),
        has_validation=data.has_validation,
        probe_guess_sha256=probe_fingerprints(data),
        scan_sha256=scan_fingerprints(data),
    )
    return module.to(working_dtype(payload.execution_config))  # Lightning converts after it has restored


def save_model(
    path: Path, module: PtychoPINN_Lightning, prepared: PreparedTraining, verdict: str | None
) -> Path:
    """Write the bundle of a trained model: weights, probes, configuration, what came of it; and its SHA-256."""
    payload = prepared.payload
    training = plain(payload.tf_training_config)
    model, reading = training.pop("model"), training.pop("data")
    reading["mask_file"] = reading["mask_file"] and absolute(reading["mask_file"])
    config = {
        "model": model,
        "training": training,
        READING: reading,
        "execution": payload.execution_config.to_snapshot(),
        "data": {
            "probe_shape": list(module.model.probe.shape[:-1]),
            "probe_scale": payload.pt_data_config.probe_scale,
            "probe_guess_sha256": module.probe_guess_sha256,
            "domains": domains_of(prepared.data.scans).to_json(),
        },
        PROBLEM: verdict,
    }
    state = {name: value.detach().cpu().contiguous() for name, value in module.model.state_dict().items()}
    return save_bundle(path, state_dict=state, config=config, opened=Checksums(path.parent).write)


def _record(
    payload: TrainingPayload, data: ScanDataModule, run_dir: Path, resumed: ResumePoint | None
) -> None:
    config = payload.tf_training_config
    domains = {str(scan.path): f"{scan.domain} ({scan.domain_reason})" for scan in data.scans}
    facts: dict[str, Any] = {
        "measurement_domain": domains,
        "n_training_groups": len(data.training) if data.training is not None else 0,
        "n_validation_groups": len(data.validation) if data.validation is not None else 0,
        "labels": {
            "model_name": payload.pt_training_config.model_name,
            "notes": payload.pt_training_config.notes,
            "experiment_number": payload.pt_inference_config.experiment_number,
        },
        "fingerprints": scan_fingerprints(data),
        "domains": domains_of(data.scans).to_json(),
        "resumed": [],
    }
    if resumed is not None:
        facts |= {**resumed.started, "resumed": resumed.record}
    for changed in write_configuration(
        run_dir,
        config,
        payload.execution_config,
        payload.sources,
        payload.overrides_applied,
        facts,
        [scan.path for scan in data.scans],
        resumed.origins if resumed else None,
    ):
        log.warning("%s: the content differs from that of the run so far, by its SHA-256", printable(changed))
    log.info(
        "training on %s of %s, validating on %d, for %s%s",
        counted(facts["n_training_groups"], "group"),
        counted(config.model.gridsize**2, "pattern"),
        facts["n_validation_groups"],
        counted(config.nepochs, "epoch"),
        resumed.how_far() if resumed else "",
    )


def _best_weights(trainer: lightning.Trainer) -> tuple[Path | None, Mapping[str, Any]]:
    """The best checkpoint that was kept and its weights; no weights where the module has the last ones.

    Where they are divided among processes, all of which have to ask, the first one is given the whole.
    """
    best = [
        item.best_model_path
        for item in trainer.callbacks
        if isinstance(item, ModelCheckpoint) and item.monitor is not None and item.best_model_path
    ]
    if not best:
        divided = isinstance(trainer.strategy, FSDPStrategy)
        return None, trainer.strategy.lightning_module_state_dict() if divided else {}
    return Path(best[0]), read_checkpoint(Path(best[0]))["state_dict"]
