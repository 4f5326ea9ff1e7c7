"""From the configurations of a caller to a training payload, and to the knobs of a reconstruction."""

import dataclasses
import logging
import math
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Protocol

from ptycho.config.errors import ConfigError, Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.workflows.one_device import on_one_device
from ptycho_torch.config_bridge import execution_arguments, to_model_config, to_training_config
from ptycho_torch.config_factory import TrainingPayload, training_payload_of
from ptycho_torch.config_params import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptycho_torch.runtime import check_machine, find_accelerator, launch, resolve_n_devices, warn_once

log = logging.getLogger(__name__)

OF_RECONSTRUCTION = (
    *("accelerator", "num_workers"),
    *("inference_batch_size", "middle_trim", "pad_eval", "reconstruction_window"),
)
"""Knobs that a reconstruction takes from the configurations of the training."""
GPUS = ("cuda", "gpu")
"""Accelerators that callers name whatever the machine is."""
ANYWHERE = (*GPUS, "mps", "tpu")
"""Accelerators that a model was trained on, and does without."""
QUADRANTS = 4
ANY_START = ("auto", "ddp_spawn", "ddp_notebook")
"""Strategies that are ddp but for how they start its processes."""


class Configurations(Protocol):
    """What a caller holds: see `ConfigManager`."""

    data_config: DataConfig
    model_config: ModelConfig
    training_config: TrainingConfig
    inference_config: InferenceConfig


def check_data(data: DataConfig, model: ModelConfig, n_scans: int) -> None:
    """Refuse what a caller says of groups and scans where it contradicts itself or the data.

    Raises:
        ConfigError: everything that is wrong.

    Warns:
        UserWarning: a setting has no effect beside the others.
    """
    size = math.prod(data.grid_size)
    said: list[tuple[str, int | None, int, str]] = [
        ("DataConfig.C", data.C, size, f"the patterns of a {data.grid_size[0]} x {data.grid_size[1]} grid"),
        ("ModelConfig.C_model", model.C_model, size, "as DataConfig.C"),
        ("ModelConfig.C_forward", model.C_forward, size, "as DataConfig.C"),
        ("ModelConfig.decoder_last_amp_channels", model.decoder_last_amp_channels, size, "as C_model"),
    ]
    if model.num_datasets > 1:
        said.append(("ModelConfig.num_datasets", model.num_datasets, n_scans, "the scans there are"))
    wrong = [
        Failure(name, f"{name}: expected {expected}, {why}; got {given}. Make them agree.")
        for name, given, expected, why in said
        if given not in (None, expected)
    ]
    wrong += _too_large(data, model)
    if wrong:
        raise ConfigError(wrong)
    if data.normalize == "Group" and model.mode == "Supervised":
        warn_once("DataConfig.normalize: Group has no effect in supervised training, which compares patches.")


def _too_large(data: DataConfig, model: ModelConfig) -> Iterator[Failure]:
    """A band wider than the patch allows, and groups that four quadrants cannot fill."""
    band = model.edge_pad if model.probe_big and model.pad_object else None
    if band is not None and band > data.N // 4:
        name = "ModelConfig.edge_pad"
        rule = (
            f"at most {data.N // 4}, a quarter of N = {data.N}, so that the network keeps half of the patch"
        )
        yield Failure(name, f"{name}: expected {rule}; got {band}. Lower it.")
    if data.neighbor_function == "4_quadrant" and data.C > QUADRANTS + 1:
        name = "DataConfig.neighbor_function"
        rule = (
            f"Nearest or Min_dist with groups of {data.C} patterns, since each of {QUADRANTS} quadrants gives one "
            "neighbour"
        )
        yield Failure(
            name, f"{name}: expected {rule}; got '4_quadrant'. Choose one of these, or a 2 x 2 grid."
        )


def check_checkpoints(execution: PyTorchExecutionConfig) -> None:
    """Refuse a training that keeps no checkpoint: its caller takes the model from there.

    Raises:
        ConfigError: nothing is kept.
    """
    if not execution.enable_checkpointing:
        knob, rule = "enable_checkpointing", "True, with another strategy than deepspeed"
    elif execution.checkpoint_save_top_k == 0 and not execution.save_last_checkpoint:
        knob, rule = "checkpoint_save_top_k", "another number than 0 where save_last_checkpoint is False"
    else:
        return
    message = (
        f"{knob}: expected {rule}, since a checkpoint is the model of this training; "
        f"got {execution.to_dict()[knob]} from {execution.sources[knob]}. Keep one."
    )
    raise ConfigError([Failure(knob, message)])


def training_payload(
    configs: Configurations,
    execution: PyTorchExecutionConfig,
    data_dir: Path,
    run_dir: Path,
    n_positions: int,
) -> TrainingPayload:
    """The payload of a training that a caller describes by this backend's configurations.

    Args:
        configs: what the caller says.
        execution: how to run it; see `execution_of`.
        data_dir: folder of the scans.
        run_dir: folder of the run.
        n_positions: scan positions there are.

    Raises:
        ConfigError: everything that is wrong.
    """
    data, model, training = configs.data_config, configs.model_config, configs.training_config
    others, nearest = data.C - 1, data.neighbor_function == "Nearest"
    several = data.n_subsample > 1 and others > 0 and not (nearest and others == data.K)
    overrides: dict[str, Any] = {
        "train_data_file": data_dir,
        "output_dir": run_dir,
        "n_groups": n_positions * data.n_subsample if several else n_positions,
        "enable_oversampling": several,
    }
    if not nearest:
        overrides["neighbor_count"] = max(data.K, others)  # K belongs to Nearest
    if not training.nll:
        overrides["torch_loss_mode"] = "mae"  # what then counts: see `loss_weights`
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*test_data_file: none is given")
        canonical = to_training_config(to_model_config(data, model), data, model, training, overrides)
    payload = training_payload_of(canonical, execution)
    return dataclasses.replace(
        payload,
        pt_data_config=data,
        pt_model_config=model,
        pt_training_config=training,
        pt_inference_config=configs.inference_config,
    )


def execution_of(training: TrainingConfig, inference: InferenceConfig) -> PyTorchExecutionConfig:
    """The execution configuration of a caller, on the machine at hand.

    What it states counts as an argument; the other knobs come from the environment.

    Callers name CUDA and a strategy for several devices whatever the machine is. Without a GPU the run goes to what
    there is. Callbacks of the caller collect what they see in its own process, which is the first of several devices:
    `Ranks` starts the others, as torchrun would, whatever the strategy says of starting them.

    Raises:
        ConfigError: the environment, or a value.
    """
    stated = execution_arguments(training, inference)
    if training.enable_staged_finetuning:
        stated["val_split"] = training.finetune_val_split
    execution = PyTorchExecutionConfig(**_on_this_machine(stated))
    if _n_devices(execution) > 1 and execution.strategy in ANY_START:
        execution = execution.replace(strategy="ddp")
    return execution


def processes_of(execution: PyTorchExecutionConfig) -> int:
    """Processes to train with, this one and those to start beside it; 1 where torchrun or srun has started them all.

    Those on several machines are started from outside, or refused.
    """
    started = launch()
    is_started = started is not None and started.here * started.nodes > 1
    return 1 if is_started or execution.num_nodes > 1 else _n_devices(execution)


def _n_devices(execution: PyTorchExecutionConfig) -> int:
    accelerator = find_accelerator(execution.accelerator)
    return 1 if accelerator is None else resolve_n_devices(execution, accelerator)


def inference_execution(configs: Configurations) -> PyTorchExecutionConfig:
    """The execution configuration of a reconstruction with a trained model, on one device of the machine at hand.

    Raises:
        ConfigError: the machine lacks what the environment asks for.
    """
    stated = execution_arguments(configs.training_config, configs.inference_config)
    kept = {name: value for name, value in stated.items() if name in OF_RECONSTRUCTION}
    execution = on_one_device(
        PyTorchExecutionConfig(**_on_this_machine(kept, ANYWHERE)), "this reconstruction"
    )
    check_machine(execution)
    return execution


def _on_this_machine(stated: dict[str, Any], replaceable: Collection[str] = GPUS) -> dict[str, Any]:
    """The knobs with what this machine computes on, where they name a replaceable accelerator that it lacks."""
    accelerator = stated.get("accelerator", "auto")
    if accelerator in replaceable and find_accelerator(accelerator) is None:
        here = find_accelerator("auto")
        log.warning("device: %s is not available; computing on %s", accelerator, here)
        stated["accelerator"] = here
    return stated
