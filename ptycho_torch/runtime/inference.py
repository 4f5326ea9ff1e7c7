"""The engine of a reconstruction: Lightning Fabric on the devices the execution configuration asks for."""

import logging
import sys

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import DDPStrategy

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.devices import require_accelerator, resolve_n_devices
from ptycho_torch.runtime.launching import end_together

log = logging.getLogger(__name__)

_IN_ONE_PROCESS = ("ddp_spawn", "ddp_notebook")


def build_fabric(config: PyTorchExecutionConfig) -> Fabric:
    """Fabric with accelerator, precision and devices of the configuration, its processes started.

    Several devices share the patterns of a scan, one process each: Lightning starts this program again for the others,
    unless torchrun or SLURM has. Where the strategy or the session cannot start a program (`ddp_spawn`,
    `ddp_notebook`, a notebook, a TPU), one device does it all, and the log says so.

    Raises:
        ConfigError: this machine lacks the accelerator.
    """
    accelerator = require_accelerator(config)
    n_devices = resolve_n_devices(config, accelerator)
    several = n_devices > 1 or config.num_nodes > 1
    if several and (config.strategy in _IN_ONE_PROCESS or hasattr(sys, "ps1") or accelerator == "tpu"):
        log.info("this reconstruction runs on one device; use a script with strategy ddp for several")
        several = False
    if not several:
        return Fabric(accelerator=accelerator, devices=1, precision=config.precision)
    backend = None if config.ddp_backend == "auto" else config.ddp_backend
    fabric = Fabric(
        accelerator=accelerator,
        devices=n_devices,
        num_nodes=config.num_nodes,
        strategy=DDPStrategy(process_group_backend=backend),
        precision=config.precision,
    )
    end_together(fabric.strategy.launcher)
    fabric.launch()
    return fabric


def working_dtype(config: PyTorchExecutionConfig) -> torch.dtype:
    """Type of weights and data outside mixed precision."""
    return torch.float64 if config.precision == "64-true" else torch.float32
