"""The Trainer and the data loaders of a run."""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Trainer

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.callbacks import build_callbacks
from ptycho_torch.runtime.checkpoint_files import CheckpointFiles
from ptycho_torch.runtime.devices import (
    breaks_static_graph,
    finds_unused_parameters,
    require_accelerator,
    resolve_n_devices,
)
from ptycho_torch.runtime.launching import Ddp, end_together, keep_signals
from ptycho_torch.runtime.loggers import build_logger
from ptycho_torch.runtime.lost import begin_to_load
from ptycho_torch.runtime.processes import launch

_START_METHODS = {
    "ddp": "popen",
    "ddp_find_unused_parameters_true": "popen",
    "ddp_spawn": "spawn",
    "ddp_notebook": "fork",
}
_LONGEST_LOG_INTERVAL = 50  # optimizer steps


def trainer_arguments(
    config: PyTorchExecutionConfig,
    *,
    run_dir: Path,
    epochs: int,
    steps_per_epoch: int,
    has_validation: bool,
    logged_metrics: Collection[str],
) -> dict[str, Any]:
    """The arguments of `lightning.pytorch.Trainer` for a training.

    Args:
        config: the execution configuration.
        run_dir: folder for everything the run writes.
        epochs: epochs to train.
        steps_per_epoch: batches in an epoch on one device; loggers get at least one value per epoch.
        has_validation: whether there is validation data.
        logged_metrics: the names the model logs.

    Raises:
        ConfigError: this machine lacks the accelerator, or the model does not log the monitored metric.
    """
    accelerator = require_accelerator(config)
    n_devices = resolve_n_devices(config, accelerator)
    return {
        "accelerator": accelerator,
        "devices": n_devices,
        "num_nodes": config.num_nodes,
        "strategy": _strategy(config, accelerator, n_devices),
        "precision": config.precision,
        "deterministic": config.deterministic,
        "gradient_clip_val": config.gradient_clip_val,
        "gradient_clip_algorithm": config.gradient_clip_algorithm,
        "accumulate_grad_batches": config.accum_steps,
        "max_epochs": epochs,
        "check_val_every_n_epoch": config.check_val_every_n_epoch,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": max(1, min(_LONGEST_LOG_INTERVAL, steps_per_epoch)),
        "enable_checkpointing": config.enable_checkpointing,
        "enable_progress_bar": config.enable_progress_bar,
        "enable_model_summary": False,
        "use_distributed_sampler": False,  # the data module divides the groups
        "default_root_dir": run_dir,
        "logger": build_logger(config, run_dir) or False,
        # XLA and deepspeed write checkpoints with means of their own
        "plugins": _own_slurm() + ([] if accelerator == "tpu" else [CheckpointFiles(run_dir)]),
        "callbacks": build_callbacks(
            config, run_dir=run_dir, has_validation=has_validation, logged_metrics=logged_metrics
        ),
    }


def _own_slurm() -> list[Any]:
    """SLURM without Lightning's own requeueing, whose checkpoints are of the middle of an epoch."""
    started = launch()
    return [SLURMEnvironment(auto_requeue=False)] if started and started.launcher == "srun" else []


def build_trainer(
    config: PyTorchExecutionConfig,
    *,
    run_dir: Path,
    epochs: int,
    steps_per_epoch: int,
    has_validation: bool,
    logged_metrics: Collection[str],
) -> Trainer:
    """The Trainer of a training, for use inside `run_environment`; arguments as `trainer_arguments`."""
    trainer = Trainer(
        **trainer_arguments(
            config,
            run_dir=run_dir,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            has_validation=has_validation,
            logged_metrics=logged_metrics,
        )
    )
    end_together(trainer.strategy.launcher)
    keep_signals(trainer)
    return trainer


def loader_arguments(config: PyTorchExecutionConfig, *, training: bool, batch_size: int) -> dict[str, Any]:
    """The arguments of `torch.utils.data.DataLoader` that the execution configuration decides.

    The generator is seeded with `seed`; the order of shuffled samples follows from it, and so do the seeds
    that torch gives the generators (Python, numpy, torch) of each worker process.

    Args:
        config: the execution configuration.
        training: whether it is the training data; only there drop_last_batch drops an incomplete batch.
        batch_size: samples in a batch.
    """
    return {
        "batch_size": batch_size,
        "num_workers": config.num_workers,
        "pin_memory": config.pin_memory,
        "persistent_workers": config.persistent_workers,
        "prefetch_factor": config.prefetch_factor,
        "worker_init_fn": begin_to_load if config.num_workers else None,
        "drop_last": training and config.drop_last_batch,
        # a generator cannot be sent to a spawned process; there the run's own generators take its place
        "generator": None if config.strategy == "ddp_spawn" else torch.Generator().manual_seed(config.seed),
    }


def _strategy(config: PyTorchExecutionConfig, accelerator: str, n_devices: int) -> str | Ddp:
    """One device on one node trains in this process, several train with DistributedDataParallel."""
    if config.strategy in ("fsdp", "deepspeed"):
        return config.strategy
    if (n_devices == 1 and config.num_nodes == 1) or accelerator == "tpu":
        return "auto"
    interactive = hasattr(sys, "ps1")
    name = ("ddp_notebook" if interactive else "ddp") if config.strategy == "auto" else config.strategy
    return Ddp(
        start_method=_START_METHODS[name],
        process_group_backend=None if config.ddp_backend == "auto" else config.ddp_backend,
        find_unused_parameters=finds_unused_parameters(config),
        static_graph=config.ddp_static_graph and not breaks_static_graph(config),
        gradient_as_bucket_view=config.ddp_gradient_as_bucket_view,
    )
