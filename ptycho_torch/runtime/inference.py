"""The engine of a reconstruction: Lightning Fabric on the devices the execution configuration asks for."""

import torch
from lightning.fabric import Fabric

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.devices import require_accelerator, resolve_n_devices


def build_fabric(config: PyTorchExecutionConfig) -> Fabric:
    """Fabric with accelerator, devices, nodes and precision of the configuration.

    Weights are never sharded in a reconstruction: several devices each hold the model and share the patterns.

    Raises:
        ConfigError: this machine lacks the accelerator.
    """
    accelerator = require_accelerator(config)
    n_devices = resolve_n_devices(config, accelerator)
    several = n_devices > 1 or config.num_nodes > 1
    return Fabric(
        accelerator=accelerator,
        devices=n_devices,
        num_nodes=config.num_nodes,
        strategy="ddp" if several else "auto",
        precision=config.precision,
    )


def working_dtype(config: PyTorchExecutionConfig) -> torch.dtype:
    """Type of weights and data outside mixed precision."""
    return torch.float64 if config.precision == "64-true" else torch.float32
