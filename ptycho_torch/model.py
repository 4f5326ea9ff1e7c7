"""The model: a network that predicts object patches, and the physics that says what they would scatter."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch import losses, physics
from ptycho_torch.config_params import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptycho_torch.networks.cnn import PatternNetwork
from ptycho_torch.networks.correction import Correction, outer_band_px
from ptycho_torch.networks.patterns import Patterns
from ptycho_torch.networks.unrolled import UnrolledNetwork
from ptycho_torch.optimization import build_optimizer, build_schedule
from ptycho_torch.patches import extract, flat_indices, place, shares
from ptycho_torch.plain import plain
from ptycho_torch.runtime import metric_interval, monitored_metric

CHANNELS_PER_SCALE = 8
"""The first level of a U-Net has 8 x n_filters_scale channels."""
PROBE_RATE = 10.0
"""A trainable probe moves at this multiple of the learning rate; its peak is probe_scale."""
COVERAGE_FLOOR = 1e-3
"""Weight of an object pixel the probe hardly reaches, relative to the best illuminated one."""

LOGGED_METRICS = ("train_loss", "val_loss", "learning_rate", "epoch_time_s")
"""Names a :class:`PtychoPINN_Lightning` logs, once an epoch."""

Batch = dict[str, Tensor]
"""amplitude float32 (B, C, N, N) photon**0.5; corner int64 (B, C, 2), first row and column of each patch;
remainder float32 (B, C, 2), sub-pixel part of the positions; scan int64 (B,), which probe; mean_counts and
mean_amplitude float32 (B,), photons of a pattern and sum of its amplitudes (photon**0.5), mean of its scan; optional
measured bool (B, C, N, N) and label complex64 (B, C, N, N)."""


def build_network(model: ModelConfig, n_pixels: int) -> UnrolledNetwork | PatternNetwork:
    """The network a configuration asks for."""
    band = outer_band_px(n_pixels, probe_big=model.probe_big, pad_object=model.pad_object)
    correction = Correction(n_pixels, model.amp_activation, band, model.gaussian_smoothing_sigma)
    width = CHANNELS_PER_SCALE * model.n_filters_scale
    if model.architecture == "cnn":
        return PatternNetwork(width, correction)
    return UnrolledNetwork(model.n_unrolled_steps, model.n_physics_steps, width, correction)


class PtychoPINN(nn.Module):
    """Network and physics: from measured amplitudes to object patches and expected photon counts.

    Args:
        model: network and physics options.
        data: geometry of the data; ``N`` and ``C`` patterns in a group.
        probes: complex (n_scans, modes, N, N), one illumination for each scan, photon**0.5.

    Raises:
        ValueError: the configurations say groups of several sizes.
    """

    photon_scale: Tensor

    def __init__(self, model: ModelConfig, data: DataConfig, probes: Tensor) -> None:
        super().__init__()
        if model.C_forward != model.C_model:
            raise ValueError(
                f"C_forward: expected {model.C_model}, as C_model; got {model.C_forward}. The physics has the patterns "
                "of a group that the network has. Make them agree."
            )
        self.n_pixels = data.N
        self.group_size = model.C_model
        self.combine = model.object_big and self.group_size > 1
        self.network = build_network(model, data.N)
        # under ddp, a parameter that waits for a gradient and gets none is an error
        reached = model.mode == "Unsupervised" or model.architecture == "unrolled"
        scale = physics.probe_peak(probes) / data.probe_scale
        self.register_buffer("photon_scale", scale)
        self.probe = nn.Parameter(
            torch.view_as_real(probes / scale[:, None, None, None]).contiguous(),
            requires_grad=reached and model.probe_trainable,
        )
        self.log_intensity_scale = nn.Parameter(
            torch.zeros(probes.shape[0]), requires_grad=reached and model.intensity_scale_trainable
        )
        self.register_buffer("probe_support", _probe_support(model, data.N), persistent=False)

    def probes(self) -> Tensor:
        """The illuminations in force: complex (n_scans, modes, N, N), photon**0.5, without gradient."""
        with torch.no_grad():
            return self._network_probes() * self.photon_scale[:, None, None, None]

    def _network_probes(self) -> Tensor:
        probe = torch.view_as_complex(self.probe) * self.log_intensity_scale.exp()[:, None, None, None]
        return physics.limit_support(probe, self.probe_support)

    def patterns(self, batch: Batch) -> Patterns:
        """Take the groups of a batch apart into single patterns with their displaced probes."""
        remainder = batch["remainder"].flatten(0, 1)
        scan = batch["scan"].repeat_interleave(batch["amplitude"].shape[1])
        scale = self.photon_scale[scan][:, None, None]
        probe = physics.fourier_shift(self._network_probes()[scan], remainder[:, None])
        energy = (probe.real.square() + probe.imag.square()).sum(dim=1).detach()
        return Patterns(
            amplitude=physics.zero_first(batch["amplitude"].flatten(0, 1)) / scale,
            measured=physics.zero_first(batch["measured"].flatten(0, 1)) if "measured" in batch else None,
            probe=probe,
            adjoint=physics.adjoint_probe(probe),
            remainder_px=remainder,
            weight=energy / energy.amax(dim=(-2, -1), keepdim=True) + COVERAGE_FLOOR,
            photon_scale=scale,
        )

    def step(self, k: int, patch: Tensor, patterns: Patterns) -> Tensor:
        """One pass of the network for single patterns: complex (M, N, N) to complex (M, N, N)."""
        return self.network.step(k, patch, patterns)

    def expected_counts(self, patch: Tensor, patterns: Patterns) -> Tensor:
        """Photons per pixel that object patches would scatter: float (M, N, N), zero frequency first."""
        waves = physics.far_field(physics.exit_waves(patch, patterns.probe))
        return physics.intensity(waves) * patterns.photon_scale.square()

    def forward(self, batch: Batch) -> tuple[list[Tensor], Patterns]:
        """Object patches after every learned correction, averaged within each group where they overlap.

        Args:
            batch: groups of patterns.

        Returns:
            A list with one complex (B * C, N, N) for each correction, and the single patterns they belong to.

        Raises:
            ValueError: the groups have another size than the model was built for.
        """
        n_group = batch["amplitude"].shape[1]
        if n_group != self.group_size:
            raise ValueError(
                f"group: expected {self.group_size} patterns (C_model); got {n_group} from the data. "
                "Use the gridsize the model was built with."
            )
        patterns = self.patterns(batch)
        average = self._averaging(batch["corner"], patterns.weight) if self.combine else _unchanged
        patch = torch.ones_like(patterns.probe[:, 0])
        patches: list[Tensor] = []
        for k in range(self.network.n_passes):
            patch = average(self.step(k, patch, patterns))
            if self.network.is_learned(k):
                patches.append(patch)
        return patches, patterns

    def _averaging(self, corner: Tensor, weight: Tensor) -> Callable[[Tensor], Tensor]:
        relative = corner - corner.amin(dim=1, keepdim=True)
        reach = relative.amax(dim=(0, 1)) + self.n_pixels
        shape = (int(reach[0]), int(reach[1]))
        indices = flat_indices(relative, (self.n_pixels, self.n_pixels), shape)
        weight = weight.reshape(indices.shape)
        share = shares(weight, indices, shape)

        def average(patch: Tensor) -> Tensor:
            canvas = place(patch.reshape(indices.shape) * share, indices, shape)
            return extract(canvas, indices).flatten(0, 1)

        return average


def _unchanged(patch: Tensor) -> Tensor:
    return patch


def _probe_support(model: ModelConfig, n_pixels: int) -> Tensor | None:
    if model.probe_mask is None or model.probe_mask is False:
        return None
    if model.probe_mask is not True:
        return torch.as_tensor(model.probe_mask, dtype=torch.float32)
    diameter = n_pixels / 2 if model.probe_mask_diameter is None else model.probe_mask_diameter
    return physics.circular_mask(n_pixels, diameter, model.probe_mask_sigma)


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
    ) -> None:
        super().__init__()
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
        self._epoch_started_s = 0.0

    def forward(self, batch: Batch) -> Tensor:
        """Object patches after the last pass: complex (B, C, N, N)."""
        patches, _ = self.model(batch)
        return patches[-1].reshape(batch["amplitude"].shape)

    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch: mean over the corrections of the weighted sum of all losses in force."""
        patches, patterns = self.model(batch)
        per_step = [self._step_loss(patch, patterns, batch) for patch in patches]
        return torch.stack(per_step).mean()

    def _step_loss(self, patch: Tensor, patterns: Patterns, batch: Batch) -> Tensor:
        training = self.training_config
        total = patch.real.new_zeros(())
        if self.model_config.mode == "Supervised":
            return total + losses.object_loss(patch, batch["label"].flatten(0, 1), patterns.weight)
        expected = self.model.expected_counts(patch, patterns)
        amplitude = patterns.amplitude * patterns.photon_scale
        nll_weight, mae_weight = loss_weights(self.model_config, training)
        if nll_weight:
            scale = batch["mean_counts"].repeat_interleave(self.model.group_size)
            total = total + nll_weight * losses.poisson_loss(
                expected, amplitude.square(), scale, patterns.measured
            )
        if mae_weight:
            root = (expected + torch.finfo(expected.dtype).eps).sqrt()
            scale = batch["mean_amplitude"].repeat_interleave(self.model.group_size)
            total = total + mae_weight * losses.amplitude_loss(root, amplitude, scale, patterns.measured)
        if training.realspace_weight:
            total = total + training.realspace_weight * losses.total_variation(patch, patterns.weight)
        if training.realspace_mae_weight:
            label = batch["label"].flatten(0, 1)
            total = total + training.realspace_mae_weight * losses.object_loss(patch, label, patterns.weight)
        return total

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch; logged as the epoch's mean."""
        loss = self.loss(batch)
        self._log_epoch(self.loss_name, loss, batch)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss of one validation batch; logged as the epoch's mean."""
        self._log_epoch(self.val_loss_name, self.loss(batch), batch)

    def _log_epoch(self, name: str, loss: Tensor, batch: Batch) -> None:
        n_groups = batch["amplitude"].shape[0]
        self.log(name, loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=n_groups)

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
        groups: list[dict[str, Any]] = [{"params": list(self.model.network.parameters())}]
        if self.model.probe.requires_grad:
            groups.append({"params": [own[0]], "lr": PROBE_RATE * rate, "weight_decay": 0.0})
        if self.model.log_intensity_scale.requires_grad:
            groups.append({"params": [own[1]], "weight_decay": 0.0})
        optimizer = build_optimizer(groups, self.training_config, rate)
        n_epochs = self.trainer.max_epochs or self.training_config.epochs
        schedule = build_schedule(
            optimizer,
            execution,
            self.training_config,
            n_epochs=n_epochs,
            steps_per_epoch=max(1, int(self.trainer.estimated_stepping_batches) // n_epochs),
            monitor=monitor,
            checks_every_n_epochs=metric_interval(execution, monitor),
        )
        return optimizer if schedule is None else {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint self-contained: every configuration as plain values."""
        checkpoint["hyper_parameters"] = {
            "model_config": plain(self.model_config),
            "data_config": plain(self.data_config),
            "training_config": plain(self.training_config),
            "inference_config": plain(self.inference_config),
            "execution_config": self.execution_config.to_snapshot(),
            "probe_shape": list(self.model.probe.shape[:-1]),
        }


def loss_weights(model: ModelConfig, training: TrainingConfig) -> tuple[float, float]:
    """Weights (Poisson, amplitude MAE) in force: the loss function 'MAE' means amplitude MAE alone."""
    if model.loss_function == "MAE":
        return 0.0, training.mae_weight or 1.0
    return (training.nll_weight if training.nll else 0.0), training.mae_weight


def _config(kind: type, value: Any) -> Any:
    return kind(**value) if isinstance(value, dict) else value
