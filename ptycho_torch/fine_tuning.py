"""What follows the main epochs of a training: epochs at a lower rate, then stages that train parts of the network.

A part that a stage names no rate for is frozen; so are probe and intensity factor in every stage.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from ptycho_torch.config_params import TrainingConfig

PARTS = ("encoder_bottom", "encoder_top", "decoder", "phase_head")
"""Parts of a network: the first level of the encoder; its deeper level and the bottleneck; the decoder; the last layer
that gives the phase (of a shared decoder: phase and amplitude)."""


def part_of(name: str, n_decoders: int) -> str:
    """The part that a parameter of a U-Net belongs to, by its name within the network."""
    words = name.split(".")
    if "decoders" in words:
        place = words.index("decoders")
        is_last = words[place + 1] == str(n_decoders - 1)
        return "phase_head" if is_last and words[place + 2] in ("head", "outer_head") else "decoder"
    bottom = any(pair in (("encoder", "0"), ("gates", "0")) for pair in itertools.pairwise(words))
    return "encoder_bottom" if bottom else "encoder_top"


def parts(network: nn.Module, *, shared_decoder: bool) -> dict[str, list[nn.Parameter]]:
    """The parameters of each part of a network."""
    found: dict[str, list[nn.Parameter]] = {part: [] for part in PARTS}
    for name, value in network.named_parameters():
        found[part_of(name, 1 if shared_decoder else 2)].append(value)
    return found


@dataclass
class Stage:
    """Epochs in which parts of a network are trained."""

    epochs: int
    shares: Mapping[str, float]
    """Part -> its rate, over learning_rate."""


@dataclass
class Plan:
    """What the epochs of a training are for.

    Attributes:
        main: epochs of the schedule.
        fine: epochs at `gamma` times the last rate of the schedule.
        gamma: see there.
        stages: what follows.
        patience: epochs without improvement that end a stage.
    """

    main: int
    fine: int = 0
    gamma: float = 1.0
    stages: list[Stage] = field(default_factory=list)
    patience: int = 1

    @property
    def epochs(self) -> int:
        """Epochs in all."""
        return self.main + self.fine + sum(stage.epochs for stage in self.stages)

    def stage_at(self, epoch: int) -> tuple[Stage, int] | None:
        """The stage that an epoch is in, with its first epoch; None before the stages and after them."""
        start = self.main + self.fine
        for stage in self.stages:
            if start <= epoch < start + stage.epochs:
                return stage, start
            start += stage.epochs
        return None

    def factor(self, step: int, schedule: Callable[[int], float], steps_per_epoch: int, part: str) -> float:
        """The rate of a part at an optimizer step, over learning_rate.

        Args:
            step: from 0.
            schedule: the same for a step of the main epochs.
            steps_per_epoch: optimizer steps in an epoch.
            part: of the network; any other word is frozen in the stages.
        """
        epoch, last = step // steps_per_epoch, self.main * steps_per_epoch - 1
        if epoch < self.main:
            return schedule(step)
        if epoch < self.main + self.fine:
            return self.gamma * schedule(last)
        found = self.stage_at(epoch)
        return found[0].shares.get(part, 0.0) if found else 0.0


def plan_of(training: TrainingConfig, main: int) -> Plan:
    """The plan that a configuration asks for.

    Args:
        training: fine-tuning and stages.
        main: epochs of the schedule.
    """
    return Plan(
        main,
        training.epochs_fine_tune,
        training.fine_tune_gamma,
        list(_stages(training)),
        training.finetune_early_stop_patience,
    )


def _stages(training: TrainingConfig) -> Iterator[Stage]:
    if not training.enable_staged_finetuning:
        return
    yield Stage(training.finetune_stage1_epochs, {"decoder": training.finetune_stage1_lr_decoder})
    yield Stage(
        training.finetune_stage2_epochs,
        {
            "encoder_top": training.finetune_stage2_lr_encoder_top,
            "decoder": training.finetune_stage2_lr_decoder,
            "phase_head": training.finetune_stage2_lr_phase_head,
        },
    )
    if not training.finetune_skip_stage3:
        yield Stage(
            training.finetune_stage3_epochs,
            {
                "encoder_bottom": training.finetune_stage3_lr_encoder_bottom,
                "encoder_top": training.finetune_stage3_lr_encoder_top,
                "decoder": training.finetune_stage3_lr_decoder,
                "phase_head": training.finetune_stage3_lr_phase_head,
            },
        )


def follow_schedule(trainer: Trainer) -> None:
    """Give every group of the optimizer the rate that its schedule has at this step.

    Lightning sets rates after a step, so that those of a schedule that has just been changed would come a step late.
    """
    for config in trainer.lr_scheduler_configs:
        schedule: Any = config.scheduler
        if isinstance(schedule, torch.optim.lr_scheduler.LambdaLR):
            rates: Iterable[float] = (
                base * factor(schedule.last_epoch)
                for base, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
            )
            for group, rate in zip(trainer.optimizers[0].param_groups, rates, strict=True):
                group["lr"] = rate


class StageEnds(Callback):
    """Ends a stage whose metric stalls, and the training after the last one.

    Args:
        plan: shortened where a stage ends early.
        monitor: logged metric.
        smallest_is_best: whether it should fall.
    """

    def __init__(self, plan: Plan, monitor: str, *, smallest_is_best: bool) -> None:
        self.plan, self.monitor, self.sign = plan, monitor, 1.0 if smallest_is_best else -1.0
        self._best: tuple[int, float] | None = None
        self._stage: Stage | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a stage that has just begun have its rates from the first step on."""
        follow_schedule(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the metric of the epoch."""
        epoch, value = trainer.current_epoch, trainer.callback_metrics.get(self.monitor)
        found = self.plan.stage_at(epoch)
        if found is None or value is None:
            return
        stage, start = found
        score = self.sign * float(value)
        if stage is not self._stage or self._best is None or score < self._best[1]:
            self._stage, self._best = stage, (epoch, score)
        elif epoch - self._best[0] >= self.plan.patience:
            stage.epochs = epoch + 1 - start
        if self.plan.stage_at(epoch + 1) is None:
            trainer.should_stop = True
