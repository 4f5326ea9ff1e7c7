"""The optimizer and its learning-rate schedule.

Every schedule is a factor on the rates the optimizer starts with, so parameter groups with rates of their own
(a trainable probe) keep their ratio to the others.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from ptycho.config import canonical
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Origin
from ptycho.config.resolve import Origins, worded
from ptycho.config.rules import conflicts
from ptycho_torch import config_params
from ptycho_torch.fine_tuning import Plan

TrainingConfig = canonical.TrainingConfig | config_params.TrainingConfig
"""Either says optimizer and schedule, under the same names."""


def build_optimizer(
    parameter_groups: Iterable[torch.Tensor] | Iterable[Mapping[str, Any]],
    training_config: TrainingConfig,
    learning_rate: float,
) -> torch.optim.Optimizer:
    """The optimizer that the training configuration names.

    Args:
        parameter_groups: parameters, or groups `{"params": ..., "lr": ..., ...}`; what a group states wins.
        training_config: gives optimizer, momentum (sgd), adam_beta1 and adam_beta2 (adam, adamw) and
            weight_decay.
        learning_rate: rate of the parameters that have none of their own.
    """
    common: dict[str, Any] = {"lr": learning_rate, "weight_decay": training_config.weight_decay}
    common["foreach"] = True  # many small parameters: one call for all of them, on a CPU as well
    if training_config.optimizer == "sgd":
        return torch.optim.SGD(parameter_groups, momentum=training_config.momentum, **common)
    adam = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[training_config.optimizer]
    return adam(parameter_groups, betas=(training_config.adam_beta1, training_config.adam_beta2), **common)


def rate_factor(
    step: int, scheduler: str, *, n_epochs: int, steps_per_epoch: int, warmup_epochs: int, min_ratio: float
) -> float:
    """The learning rate at an optimizer step, over the rate the optimizer starts with.

    First a linear warm-up over `warmup_epochs`, reaching 1 at its last step. The n epochs that remain follow:

    - Default: 1.
    - Exponential: min_ratio ** (epoch / (n - 1)), constant within an epoch.
    - MultiStage: 1 in the first half of the epochs, sqrt(min_ratio) in the third quarter, then min_ratio.
    - WarmupCosine: min_ratio + (1 - min_ratio) (1 + cos(pi t)) / 2, step by step; t = 1 at the last step.

    Args:
        step: optimizer steps taken before this one (>= 0).
        scheduler: Default, Exponential, MultiStage or WarmupCosine.
        n_epochs: epochs of the training (>= 1), warm-up included.
        steps_per_epoch: optimizer steps in an epoch (>= 1).
        warmup_epochs: epochs of warm-up (>= 0).
        min_ratio: last rate over first, in [0, 1].
    """
    n_warmup = warmup_epochs * steps_per_epoch
    if step < n_warmup:
        return (step + 1) / n_warmup
    n_steps = (n_epochs - warmup_epochs) * steps_per_epoch
    step = min(step - n_warmup, n_steps - 1)
    epoch, n = step // steps_per_epoch, n_epochs - warmup_epochs
    if scheduler == "Exponential":
        return min_ratio ** (epoch / max(n - 1, 1))
    if scheduler == "MultiStage":
        stage = (2 * epoch >= n) + (4 * epoch >= 3 * n)
        return min_ratio ** (stage / 2)
    if scheduler == "WarmupCosine":
        cosine = math.cos(math.pi * step / max(n_steps - 1, 1))
        return min_ratio + (1 - min_ratio) * (1 + cosine) / 2
    return 1.0


def build_schedule(
    optimizer: torch.optim.Optimizer,
    execution_config: PyTorchExecutionConfig,
    training_config: TrainingConfig,
    *,
    n_epochs: int,
    steps_per_epoch: int,
    monitor: str,
    checks_every_n_epochs: int = 1,
    plan: Plan | None = None,
) -> dict[str, Any] | None:
    """The schedule in the form that Lightning takes as `lr_scheduler`; None for a constant rate.

    Args:
        optimizer: its groups' rates are where the schedule starts.
        execution_config: gives scheduler, learning_rate and checkpoint_mode.
        training_config: gives lr_warmup_epochs, lr_min_ratio and plateau_*.
        n_epochs: epochs of the training.
        steps_per_epoch: optimizer steps in an epoch: batches over accum_steps, rounded up.
        monitor: logged name of the metric that the Adaptive schedule follows.
        checks_every_n_epochs: epochs from one value of that metric to the next.
        plan: what follows these epochs; every group of the optimizer then has the `part` it is, see `fine_tuning`.

    Raises:
        ConfigError: the schedule cannot follow the settings.
    """
    values = {"scheduler": execution_config.scheduler, "nepochs": n_epochs}
    values |= {name: getattr(training_config, name) for name in ("lr_warmup_epochs", "lr_min_ratio")}
    if failures := worded(conflicts(values), values, Origins([], dict.fromkeys(values, Origin("argument")))):
        raise ConfigError(failures)
    scheduler = execution_config.scheduler
    followed = plan is not None and plan.epochs > plan.main
    if scheduler == "Adaptive" and followed:
        message = (
            "scheduler: Adaptive, which follows the loss, excludes fine-tuning (epochs_fine_tune, "
            "enable_staged_finetuning), which has fixed rates. Choose another scheduler, or train without fine-tuning."
        )
        raise ConfigError([Failure("scheduler", message)])
    if scheduler == "Adaptive":
        share = training_config.plateau_min_lr / execution_config.learning_rate
        plateau = ReduceLROnPlateau(
            optimizer,
            mode=execution_config.checkpoint_mode,
            factor=training_config.plateau_factor,
            patience=math.ceil(training_config.plateau_patience / checks_every_n_epochs),
            threshold=training_config.plateau_threshold,
            min_lr=[group["lr"] * share for group in optimizer.param_groups],
            eps=0.0,
        )
        return {
            "scheduler": plateau,
            "interval": "epoch",
            "frequency": checks_every_n_epochs,
            "monitor": monitor,
            "name": "schedule",
        }
    if scheduler == "Default" and training_config.lr_warmup_epochs == 0 and not followed:
        return None
    factor = functools.partial(
        rate_factor,
        scheduler=scheduler,
        n_epochs=n_epochs,
        steps_per_epoch=steps_per_epoch,
        warmup_epochs=training_config.lr_warmup_epochs,
        min_ratio=training_config.lr_min_ratio,
    )
    factors = [factor] * len(optimizer.param_groups)
    if plan is not None and followed:
        factors = [
            functools.partial(
                plan.factor, schedule=factor, steps_per_epoch=steps_per_epoch, part=group.get("part", "")
            )
            for group in optimizer.param_groups
        ]
    return {"scheduler": LambdaLR(optimizer, factors), "interval": "step", "name": "schedule"}
