"""The model: a network that predicts object patches, and the physics that says what they would scatter."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch import losses
from ptycho_torch.config_params import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptycho_torch.fine_tuning import StageEnds, follow_schedule, parts, plan_of
from ptycho_torch.forward_model import Batch, PtychoPINN
from ptycho_torch.json_values import plain
from ptycho_torch.networks.patterns import Estimate, Patterns
from ptycho_torch.optimization import build_optimizer, build_schedule
from ptycho_torch.runtime import metric_interval, monitored_metric, refuse_damaged

PROBE_RATE = 10.0
"""A trainable probe moves at this multiple of the learning rate; its peak is probe_scale."""

LOGGED_METRICS = ("train_loss", "val_loss", "learning_rate", "epoch_time_s")
"""Names a :class:`PtychoPINN_Lightning` logs, once an epoch."""


class PtychoPINN_Lightning(lightning.LightningModule):
    """Training steps, losses and optimizer of a :class:`PtychoPINN` (automatic optimization).

    Logs ``train_loss``, ``val_loss``, ``learning_rate`` and ``epoch_time_s`` once an epoch.

    Args:
        model_config: network and physics options, or their dict.
        data_config: geometry of the data, or its dict.
        training_config: losses and optimizer, or its dict.
        inference_config: kept with the checkpoint, or its dict.
        execution_config: learning rate and schedule, or a snapshot of it; None: the defaults, without environment.
        probes: complex (n_scans, modes, N, N), photon**0.5. None: zeros of ``probe_shape``, to be loaded.
        probe_shape: shape of the probes when a checkpoint brings them.
        has_validation: whether ``val_loss`` will be logged, for a schedule that follows it.
        probe_guess_sha256: fingerprints of the scans' probe guesses, kept with the checkpoint.
        scan_sha256: fingerprints of the scans, kept with the checkpoint.
    """

    loss_name = "train_loss"
    val_loss_name = "val_loss"

    def __init__(
        self,
        model_config: ModelConfig | dict[str, Any],
        data_config: DataConfig | dict[str, Any],
        training_config: TrainingConfig | dict[str, Any],
        inference_config: InferenceConfig | dict[str, Any],
        *,
        execution_config: PyTorchExecutionConfig | dict[str, Any] | None = None,
        probes: Tensor | None = None,
        probe_shape: Sequence[int] | None = None,
        has_validation: bool = False,
        probe_guess_sha256: Sequence[str] = (),
        scan_sha256: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.probe_guess_sha256 = list(probe_guess_sha256)
        self.scan_sha256 = list(scan_sha256)
        self.model_config = _config(ModelConfig, model_config)
        self.data_config = _config(DataConfig, data_config)
        self.training_config = _config(TrainingConfig, training_config)
        self.inference_config = _config(InferenceConfig, inference_config)
        if not isinstance(execution_config, PyTorchExecutionConfig):
            execution_config = PyTorchExecutionConfig.from_snapshot(execution_config or {})
        self.execution_config = execution_config
        if probes is None:
            n_pixels = self.data_config.N
            probes = torch.ones(probe_shape or (1, 1, n_pixels, n_pixels), dtype=torch.complex64)
        self.model = PtychoPINN(self.model_config, self.data_config, probes)
        self.has_validation = has_validation
        self.plan = plan_of(self.training_config, self.training_config.epochs)
        self._epoch_started_s = 0.0

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **named: Any) -> Self:
        """As Lightning's, from a file that is as it was written.

        Raises:
            CheckpointError: it is damaged.
        """
        if isinstance(checkpoint_path, str | Path):
            refuse_damaged(Path(checkpoint_path))
        return super().load_from_checkpoint(checkpoint_path, *args, **named)

    def forward(self, batch: Batch) -> Tensor:
        """Object patches after the last pass: complex (B, C, N, N)."""
        estimates, _ = self.model(batch)
        return estimates[-1].patch.reshape(batch["amplitude"].shape)

    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch: mean over the corrections of the weighted sum of all losses in force."""
        estimates, patterns = self.model(batch)
        per_step = [self._step_loss(estimate, patterns, batch) for estimate in estimates]
        return torch.stack(per_step).mean()

    def _step_loss(self, estimate: Estimate, patterns: Patterns, batch: Batch) -> Tensor:
        training, patch = self.training_config, estimate.patch
        total = patch.real.new_zeros(())
        total = total + self._further_losses(patch)
        if self.model_config.mode == "Supervised":
            return total + losses.object_loss(patch, batch["label"].flatten(0, 1), patterns.weight)
        expected = self.model.expected_counts(estimate, patterns)
        amplitude = patterns.amplitude * patterns.photon_scale
        nll_weight, mae_weight = loss_weights(self.model_config, training)
        if nll_weight:
            scale = self._scale(amplitude.square(), batch["mean_counts"], patterns.measured)
            total = total + nll_weight * losses.poisson_loss(
                expected, amplitude.square(), scale, patterns.measured
            )
        if mae_weight:
            root = (expected + torch.finfo(expected.dtype).eps).sqrt()
            scale = self._scale(amplitude, batch["mean_amplitude"], patterns.measured)
            total = total + mae_weight * losses.amplitude_loss(root, amplitude, scale, patterns.measured)
        if training.realspace_weight:
            total = total + training.realspace_weight * losses.total_variation(patch, patterns.weight)
        if training.realspace_mae_weight:
            label = batch["label"].flatten(0, 1)
            total = total + training.realspace_mae_weight * losses.object_loss(patch, label, patterns.weight)
        return total

    def _scale(self, values: Tensor, of_scan: Tensor, measured: Tensor | None) -> Tensor:
        """What the losses of patterns are relative to: float (M,), the mean of their scan or of their group."""
        if self.data_config.normalize == "Group":
            of_scan = losses.measured_sum(values, measured).reshape(-1, self.model.group_size).mean(dim=1)
        return of_scan.repeat_interleave(self.model.group_size)

    def _further_losses(self, patch: Tensor) -> Tensor:
        """Losses on the object and the probe alone, weighted."""
        model, total = self.model_config, patch.real.new_zeros(())
        if model.amp_loss:
            total = total + model.amp_loss_coeff * losses.amplitude_smoothness(patch, model.amp_loss)
        if model.phase_loss:
            total = total + model.phase_loss_coeff * losses.phase_smoothness(patch, model.phase_loss)
        if model.amplitude_variance_loss:
            total = total + model.amplitude_variance_coeff * losses.amplitude_variance(patch)
        if model.probe_reference_coeff > 0:
            distance = losses.probe_distance(self.model.probe, self.model.probe_guess)
            total = total + model.probe_reference_coeff * distance
        return total

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch by its share of the optimizer step; logged, without the share, as the epoch's mean."""
        loss = self.loss(batch)
        self._log_epoch(self.loss_name, loss, batch)
        return loss * self._share_of_step(batch_idx)

    def _share_of_step(self, batch_idx: int) -> float:
        """Groups of a batch over the mean of the batches that Lightning takes its optimizer step for.

        Lightning divides every loss by `accumulate_grad_batches`. The last step of an epoch may have fewer batches, and
        its last batch fewer groups; with this factor a step is that of one batch with all of its groups.
        """
        n_batches, loader = self.trainer.accumulate_grad_batches, self.trainer.train_dataloader
        if n_batches == 1:
            return 1.0
        size, first = loader.batch_size, batch_idx - batch_idx % n_batches
        n_groups = min(len(loader.sampler), int(self.trainer.num_training_batches) * size)
        in_step = min((first + n_batches) * size, n_groups) - first * size
        return n_batches * (min((batch_idx + 1) * size, n_groups) - batch_idx * size) / in_step

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss of one validation batch; logged as the epoch's mean."""
        self._log_epoch(self.val_loss_name, self.loss(batch), batch)

    def _log_epoch(self, name: str, loss: Tensor, batch: Batch) -> None:
        n_groups = batch["amplitude"].shape[0]
        self.log(name, loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=n_groups)

    def on_train_start(self) -> None:
        """Follow the schedule of the epochs there are now, where a training goes on for more than it was begun for."""
        follow_schedule(self.trainer)
        self._epoch_started_s = time.perf_counter()  # also where it goes on in the middle of an epoch

    def on_train_epoch_start(self) -> None:
        """Start the clock of the epoch."""
        self._epoch_started_s = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """Log the learning rate of the network and the time the epoch took."""
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        seconds = time.perf_counter() - self._epoch_started_s
        # one value for all processes: they name their checkpoints by it
        self.log_dict({"learning_rate": rate, "epoch_time_s": seconds}, sync_dist=True)
        self._step_plateau()

    def _step_plateau(self) -> None:
        """Let the Adaptive schedule see this epoch's metric before the epoch's checkpoints are written.

        Lightning would do so after that, and a training that goes on from such a checkpoint would lose the step.
        """
        for schedule in self.trainer.lr_scheduler_configs:
            due = (self.trainer.current_epoch + 1) % schedule.frequency == 0
            if schedule.reduce_on_plateau and due:
                schedule.scheduler.step(self.trainer.callback_metrics[str(schedule.monitor)])

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Step the other schedules when Lightning says so."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    def configure_optimizers(self) -> Any:
        """One optimizer; the probe is a group of its own with its own rate and without weight decay."""
        execution, rate = self.execution_config, self.execution_config.learning_rate
        monitor = monitored_metric(
            execution, has_validation=self.has_validation, logged_metrics=LOGGED_METRICS
        )
        own = [self.model.probe, self.model.log_intensity_scale]
        groups = self._network_groups()
        if self.model.probe.requires_grad:
            groups.append({"params": [own[0]], "lr": PROBE_RATE * rate, "weight_decay": 0.0})
        if self.model.log_intensity_scale.requires_grad:
            groups.append({"params": [own[1]], "weight_decay": 0.0})
        optimizer = build_optimizer(groups, self.training_config, rate)
        plan, n_epochs = self.plan, self.trainer.max_epochs or self.plan.epochs
        schedule = build_schedule(
            optimizer,
            execution,
            self.training_config,
            n_epochs=n_epochs - plan.epochs + plan.main,
            steps_per_epoch=max(1, int(self.trainer.estimated_stepping_batches) // n_epochs),
            monitor=monitor,
            checks_every_n_epochs=metric_interval(execution, monitor),
            plan=plan,
        )
        return optimizer if schedule is None else {"optimizer": optimizer, "lr_scheduler": schedule}

    def _network_groups(self) -> list[dict[str, Any]]:
        """The network's parameters, in one group; where stages follow, a group for each part."""
        if not self.plan.stages:
            return [{"params": list(self.model.network.parameters()), "part": ""}]
        shared = self.model_config.use_shared_decoder
        found = parts(self.model.network, shared_decoder=shared)
        return [{"params": values, "part": part} for part, values in found.items()]

    def configure_callbacks(self) -> list[Callback]:
        """What ends the stages of a training that has any."""
        if not self.plan.stages:
            return []
        execution = self.execution_config
        monitor = monitored_metric(
            execution, has_validation=self.has_validation, logged_metrics=LOGGED_METRICS
        )
        return [StageEnds(self.plan, monitor, smallest_is_best=execution.checkpoint_mode == "min")]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint self-contained: every configuration as plain values."""
        checkpoint["hyper_parameters"] = {
            "model_config": plain(self.model_config),
            "data_config": plain(self.data_config),
            "training_config": plain(self.training_config),
            "inference_config": plain(self.inference_config),
            "execution_config": self.execution_config.to_snapshot(),
            "probe_shape": list(self.model.probe.shape[:-1]),
            "probe_guess_sha256": self.probe_guess_sha256,
            "scan_sha256": self.scan_sha256,
        }


def loss_weights(model: ModelConfig, training: TrainingConfig) -> tuple[float, float]:
    """Weights (Poisson, amplitude MAE) in force: the loss function 'MAE', or no `nll`, means amplitude MAE alone."""
    if model.loss_function == "MAE" or not training.nll:
        return 0.0, training.mae_weight or 1.0
    return training.nll_weight, training.mae_weight


def _config(kind: type, value: Any) -> Any:
    return kind(**value) if isinstance(value, dict) else value
