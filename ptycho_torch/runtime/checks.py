"""Refusing what this machine or this training cannot do, before any data is read, all at once."""

import importlib.util
import os
from collections.abc import Collection, Iterator
from pathlib import Path

import torch

from ptycho.config.canonical import InferenceConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.rules import conflicts_of
from ptycho.config.solver import SolverConfig
from ptycho_torch.runtime.devices import (
    batches_per_device,
    breaks_static_graph,
    device_count,
    find_accelerator,
    missing_accelerator,
    resolve_accelerator,
    resolve_n_devices,
)
from ptycho_torch.runtime.failures import refused, warn_once
from ptycho_torch.runtime.loggers import linked_places, missing_packages, unusable_service
from ptycho_torch.runtime.metrics import find_metric
from ptycho_torch.runtime.processes import is_launched, launcher_failures, loading_failures, start_failures
from ptycho_torch.runtime.threads import thread_failures

_PRECISIONS = {
    "cpu": ("32-true", "bf16-mixed", "64-true"),
    "cuda": ("32-true", "16-mixed", "bf16-mixed", "64-true"),
    "mps": ("32-true", "16-mixed", "bf16-mixed"),
    "tpu": ("32-true",),
}


def check_reconstruction(config: PyTorchExecutionConfig, inference_config: InferenceConfig) -> None:
    """Refuse what this machine or this distribution cannot do; reads no data.

    Raises:
        ConfigError: every setting that cannot be followed, each with the way out.
    """
    _raise_any(reconstruction_failures(config, inference_config))
    _warn(config)


def reconstruction_failures(
    config: PyTorchExecutionConfig, inference_config: InferenceConfig
) -> list[Failure]:
    """What `check_reconstruction` refuses."""
    return [
        *machine_failures(config),
        *conflicts_of(inference_config.model, inference_config, config),
    ]


def check_solver(config: PyTorchExecutionConfig, solver_config: SolverConfig) -> None:
    """Refuse what this machine cannot do for a reconstruction without a network; reads no data.

    Raises:
        ConfigError: every setting that cannot be followed, each with the way out.
    """
    _raise_any(solver_failures(config, solver_config))
    _warn(config)


def solver_failures(config: PyTorchExecutionConfig, solver_config: SolverConfig) -> list[Failure]:
    """What `check_solver` refuses."""
    failures = [
        *machine_failures(config),
        *conflicts_of(solver_config, config),
        *logger_failures(config),
    ]
    if config.precision not in (formats := ("32-true", "64-true")):
        rule = f"one without mixed formats ({', '.join(formats)}) in a reconstruction without a model"
        failures.append(refused(config, "precision", rule, "Choose one of these."))
    if (found := find_accelerator(config.accelerator)) in ("mps", "tpu"):
        rule = f"one with 64-bit numbers (cpu, cuda) in a reconstruction without a model, which {found} lacks"
        failures.append(refused(config, "accelerator", rule, "Choose one of these."))
    return failures


def check_machine(config: PyTorchExecutionConfig) -> None:
    """Refuse what this machine cannot do of what a run of any kind is told.

    Raises:
        ConfigError: every setting that cannot be followed, each with the way out.
    """
    _raise_any(machine_failures(config))
    _warn(config)


def check_training(
    config: PyTorchExecutionConfig,
    training_config: TrainingConfig,
    *,
    has_validation: bool,
    logged_metrics: Collection[str],
) -> None:
    """Refuse what this machine or this training cannot do; reads no data.

    Args:
        config: the execution configuration.
        training_config: gives nepochs and what the learning-rate schedule goes by.
        has_validation: whether there will be validation data.
        logged_metrics: the names the model logs; those that start with `val_`, in validation.

    Raises:
        ConfigError: every setting that cannot be followed, each with its value, its origin and the way out.
    """
    _raise_any(
        training_failures(
            config, training_config, has_validation=has_validation, logged_metrics=logged_metrics
        )
    )
    _warn(config)


def training_failures(
    config: PyTorchExecutionConfig,
    training_config: TrainingConfig,
    *,
    has_validation: bool,
    logged_metrics: Collection[str],
) -> list[Failure]:
    """What `check_training` refuses; arguments as there."""
    metric = find_metric(config, has_validation=has_validation, logged_metrics=logged_metrics)
    return [
        *machine_failures(config),
        *conflicts_of(training_config.model, training_config, config),
        *logger_failures(config),
        *linked_places(config, Path(str(training_config.output_dir))),
        *_batch_failures(config, training_config),
        *([metric] if isinstance(metric, Failure) else []),
        *(_interval_failures(config, training_config) if has_validation else []),
    ]


def _raise_any(failures: list[Failure]) -> None:
    if failures:
        raise ConfigError(failures)


def _warn(config: PyTorchExecutionConfig) -> None:
    resolve_accelerator(config.accelerator, origin=config.sources["accelerator"])
    for _, message in idle_settings(config):
        warn_once(message)


def idle_settings(config: PyTorchExecutionConfig) -> Iterator[Failure]:
    """What this machine makes nothing of, without harm: a run warns of it."""
    accelerator = find_accelerator(config.accelerator)
    if accelerator in ("cpu", "mps") and config.pin_memory:
        message = (
            f"pin_memory: True has no effect with accelerator {accelerator}; it speeds up copies to CUDA devices. "
            "Set it to False."
        )
        yield Failure("pin_memory", message)


def machine_failures(config: PyTorchExecutionConfig) -> list[Failure]:
    """What this machine lacks of what a run of any kind is told."""
    accelerator = find_accelerator(config.accelerator)
    if accelerator is None:
        return [missing_accelerator(config.accelerator, config.sources["accelerator"])]
    failures = [
        *_device_failures(config, accelerator),
        *launcher_failures(config, resolve_n_devices(config, accelerator)),
        *_strategy_failures(config, accelerator),
        *loading_failures(config),
        *thread_failures(config),
    ]
    several = resolve_n_devices(config, accelerator) > 1 or config.num_nodes > 1
    if several and config.strategy not in ("fsdp", "deepspeed"):
        failures += _ddp_failures(config, accelerator)
    precisions = _PRECISIONS[accelerator]
    if config.precision not in precisions:
        rule = f"one that {accelerator} supports ({', '.join(precisions)})"
        failures.append(refused(config, "precision", rule, "Choose one of these, or another accelerator."))
    return failures


def _device_failures(config: PyTorchExecutionConfig, accelerator: str) -> Iterator[Failure]:
    available = device_count(accelerator)
    if available is not None and resolve_n_devices(config, accelerator) > available:
        rule = f"at most {available}, the number of {accelerator} devices here"
        yield refused(config, "n_devices", rule, "Lower it, or set n_devices='auto'.")
    if config.num_nodes == 1:
        return
    if accelerator in ("mps", "tpu"):
        yield refused(config, "num_nodes", f"1 with accelerator {accelerator}", "Set num_nodes=1.")
    elif not is_launched() and not {"MASTER_ADDR", "NODE_RANK"} <= os.environ.keys():
        yield refused(
            config,
            "num_nodes",
            "1, since nothing started this process on several nodes",
            f"Start it with torchrun --nnodes={config.num_nodes} or srun, or set MASTER_ADDR and NODE_RANK.",
        )


def _strategy_failures(config: PyTorchExecutionConfig, accelerator: str) -> Iterator[Failure]:
    strategy = config.strategy
    if strategy in ("fsdp", "deepspeed") and accelerator != "cuda":
        rule = f"auto or ddp with accelerator {accelerator}"
        yield refused(config, "strategy", rule, "Set strategy='auto', or run on CUDA devices.")
    elif strategy in ("fsdp", "deepspeed"):
        yield from _sharding_failures(config)
    several = resolve_n_devices(config, accelerator) > 1 or config.num_nodes > 1
    if strategy == "fsdp" and accelerator == "cuda" and not several:
        rule = "auto on a single device; fsdp divides a model among several"
        yield refused(config, "strategy", rule, "Set strategy='auto', or raise n_devices.")
    if strategy != "auto" and accelerator == "tpu":
        yield refused(config, "strategy", "auto with accelerator tpu", "Set strategy='auto'.")


def _sharding_failures(config: PyTorchExecutionConfig) -> Iterator[Failure]:
    """What does not go with a strategy that divides a training's state among devices."""
    strategy = config.strategy
    if strategy == "deepspeed" and importlib.util.find_spec("deepspeed") is None:
        cure = "Install it (pip install deepspeed), or set strategy='auto'."
        yield refused(config, "strategy", "an installed strategy", cure)
    if strategy == "deepspeed" and config.enable_checkpointing:
        rule = "False with strategy deepspeed, whose checkpoints are folders, from which runs cannot be resumed here"
        yield refused(config, "enable_checkpointing", rule, "Set it to False, or choose another strategy.")
    if config.precision == "64-true":
        rule = f"32 or 16 bits with strategy {strategy}"
        yield refused(config, "precision", rule, "Change one of the two.")
    unsupported = "norm" if strategy == "fsdp" else "value"
    if config.gradient_clip_val is not None and config.gradient_clip_algorithm == unsupported:
        rule = f"a value other than {unsupported!r} with strategy {strategy}"
        cure = "Choose the other one, or drop gradient_clip_val."
        yield refused(config, "gradient_clip_algorithm", rule, cure)


def _ddp_failures(config: PyTorchExecutionConfig, accelerator: str) -> Iterator[Failure]:
    yield from start_failures(config, accelerator, launched=is_launched())
    usable = {
        "nccl": accelerator == "cuda" and torch.distributed.is_nccl_available(),
        "gloo": torch.distributed.is_gloo_available(),
        "mpi": torch.distributed.is_mpi_available(),
    }
    if not usable.get(config.ddp_backend, True):
        here = ", ".join(["auto", *(name for name, works in usable.items() if works)])
        rule = f"one that torch offers here with accelerator {accelerator} ({here})"
        cure = (
            "a build of torch that has it"
            if accelerator == "cuda" or config.ddp_backend != "nccl"
            else "a GPU"
        )
        yield refused(
            config,
            "ddp_backend",
            rule,
            f"Choose one of these or n_devices=1; {config.ddp_backend} needs {cure}.",
        )
    asked_for = config.ddp_static_graph and config.sources["ddp_static_graph"].kind != "default"
    if asked_for and breaks_static_graph(config):
        causes = {
            "ddp_find_unused_parameters": config.ddp_find_unused_parameters,
            f"strategy {config.strategy}": config.strategy == "ddp_find_unused_parameters_true",
            f"accum_steps {config.accum_steps}": config.accum_steps > 1,
        }
        others = " and ".join(cause for cause, holds in causes.items() if holds)
        rule = f"False with {others} on several devices (n_devices, num_nodes)"
        yield refused(config, "ddp_static_graph", rule, "Drop one or the other.")


def logger_failures(config: PyTorchExecutionConfig) -> Iterator[Failure]:
    """A logger whose packages this environment lacks, or whose service cannot be used."""
    if missing := missing_packages(config):
        yield refused(
            config,
            "logger_backend",
            "a logger whose packages are installed",
            f"Missing: {', '.join(missing)}. In the checkout of ptychopinn, run "
            f"pip install '.[{config.logger_backend}]'.",
        )
    elif reason := unusable_service(config):
        rule = "a logger that can be written to"
        cure = f"{reason}. Correct its settings in the environment, or choose another logger."
        yield refused(config, "logger_backend", rule, cure)


def _batch_failures(config: PyTorchExecutionConfig, training_config: TrainingConfig) -> Iterator[Failure]:
    """So few groups that no batch is full, where only full ones are trained on."""
    accelerator, n_groups = find_accelerator(config.accelerator), training_config.n_groups
    if not config.drop_last_batch or n_groups is None or accelerator is None:
        return
    if batches_per_device(config, accelerator, n_groups, training_config.batch_size) == 0:
        yield refused(
            config,
            "drop_last_batch",
            f"False where n_groups {n_groups}, shared by all devices (n_devices), make no full batch of batch_size "
            f"{training_config.batch_size}",
            "Set it to False, lower batch_size, or raise n_groups.",
        )


def _interval_failures(config: PyTorchExecutionConfig, training_config: TrainingConfig) -> Iterator[Failure]:
    """Validation data that would never be looked at."""
    if config.check_val_every_n_epoch > training_config.nepochs:
        yield refused(
            config,
            "check_val_every_n_epoch",
            f"at most nepochs, the number of epochs, {training_config.nepochs}, with validation data "
            "(val_split > 0 or test_data_file)",
            "Lower it, raise nepochs, or train without validation data.",
        )
