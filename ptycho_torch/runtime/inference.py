"""The engine of a reconstruction: Lightning Fabric on the accelerator the execution configuration asks for."""

import logging

import torch
from lightning.fabric import Fabric

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.devices import require_accelerator, resolve_n_devices

log = logging.getLogger(__name__)


def build_fabric(config: PyTorchExecutionConfig) -> Fabric:
    """Fabric with accelerator and precision of the configuration, on one device.

    A pass over a scan takes seconds; n_devices, num_nodes and strategy spread trainings, and the log says so where they
    ask for more.

    Raises:
        ConfigError: this machine lacks the accelerator.
    """
    accelerator = require_accelerator(config)
    if resolve_n_devices(config, accelerator) > 1 or config.num_nodes > 1:
        log.info("a reconstruction runs on one device; n_devices and num_nodes spread trainings")
    return Fabric(accelerator=accelerator, devices=1, precision=config.precision)


def working_dtype(config: PyTorchExecutionConfig) -> torch.dtype:
    """Type of weights and data outside mixed precision."""
    return torch.float64 if config.precision == "64-true" else torch.float32
