"""What this machine has to compute with, and what the configuration means here."""

import torch
from lightning.pytorch.accelerators import XLAAccelerator

from ptycho.config.errors import ConfigError, Failure, show
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.failures import warn_once

FALLS_BACK = (
    "POLICY-001: no GPU or other accelerator found; using the CPU. Set accelerator to cpu to hide this."
)
"""The warning where `auto` comes to the CPU."""
ACCELERATORS = ("cuda", "mps", "tpu", "cpu")
"""Accelerators in the order in which `auto` prefers them."""


def available_accelerators() -> tuple[str, ...]:
    """The accelerators of this machine, the preferred one first; `cpu` is always the last."""
    here = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "tpu": XLAAccelerator.is_available(),
        "cpu": True,
    }
    return tuple(name for name in ACCELERATORS if here[name])


def find_accelerator(accelerator: str) -> str | None:
    """What an accelerator's name means here: cuda, mps, tpu or cpu; None where the machine lacks it."""
    here = available_accelerators()
    wanted = {"auto": here, "gpu": ("cuda", "mps")}.get(accelerator, (accelerator,))
    return next((name for name in wanted if name in here), None)


def resolve_accelerator(accelerator: str, *, origin: object = "argument") -> str:
    """Decide what to compute on.

    Args:
        accelerator: auto (what the machine has), cpu, gpu (CUDA, else MPS), cuda, mps or tpu.
        origin: where the name came from, for the message.

    Returns:
        cuda, mps, tpu or cpu. Falling back to cpu on `auto` warns once (POLICY-001).

    Raises:
        ConfigError: this machine has no such accelerator.
    """
    found = find_accelerator(accelerator)
    if found is None:
        raise ConfigError([missing_accelerator(accelerator, origin)])
    if found == "cpu" and accelerator == "auto":
        warn_once(FALLS_BACK)
    return found


def require_accelerator(config: PyTorchExecutionConfig) -> str:
    """The accelerator of a run that `the checks` has let through and, on the CPU, warned of.

    Raises:
        ConfigError: this machine has no such accelerator.
    """
    found = find_accelerator(config.accelerator)
    if found is None:
        raise ConfigError([missing_accelerator(config.accelerator, config.sources["accelerator"])])
    return found


def missing_accelerator(accelerator: str, origin: object) -> Failure:
    """The failure for an accelerator that this machine lacks."""
    here = available_accelerators()
    cure = (
        f"Choose accelerator='auto' or {' or '.join(repr(name) for name in here)}, or {_way_to(accelerator)}"
    )
    return Failure(
        "accelerator",
        f"accelerator: expected one that this machine has ({', '.join(here)}); "
        f"got {show(accelerator)} from {origin}. {cure}.",
    )


def _way_to(accelerator: str) -> str:
    """How to give this machine an accelerator that it lacks, as far as torch knows."""
    if accelerator == "tpu":
        return "install torch_xla on a machine with a TPU"
    if accelerator == "mps" and not torch.backends.mps.is_built():
        return "install a build of torch for Apple silicon; this one has no MPS"
    if accelerator == "mps":
        return "run on Apple silicon with macOS 12.3 or newer"
    if torch.version.cuda is None and torch.version.hip is None:
        return f"install a build of torch that finds GPUs; this one ({torch.__version__}) is for the CPU"
    return "look at the driver and at CUDA_VISIBLE_DEVICES: torch finds no GPU"


def device_count(accelerator: str) -> int | None:
    """Devices of a resolved accelerator; None for cpu, where a device is a process and any number may run."""
    if accelerator == "cuda":
        return torch.cuda.device_count()
    if accelerator == "tpu":
        return XLAAccelerator.auto_device_count()
    return {"mps": 1, "cpu": None}[accelerator]


def resolve_n_devices(config: PyTorchExecutionConfig, accelerator: str) -> int:
    """Devices to use on each node: `auto` takes all of a resolved accelerator, and one process on cpu."""
    if config.n_devices == "auto":
        return device_count(accelerator) or 1
    return config.n_devices


def batches_per_device(
    config: PyTorchExecutionConfig, accelerator: str, n_samples: int, batch_size: int
) -> int:
    """Batches in an epoch of a training on each device; several devices share the samples evenly, rounded up.

    Args:
        config: gives n_devices, num_nodes and drop_last_batch.
        accelerator: resolved.
        n_samples: samples in an epoch.
        batch_size: of a device.
    """
    here = -(-n_samples // (resolve_n_devices(config, accelerator) * config.num_nodes))
    return here // batch_size if config.drop_last_batch else -(-here // batch_size)


def finds_unused_parameters(config: PyTorchExecutionConfig) -> bool:
    """Whether ddp looks in every step for parameters that got no gradient; the knob or the strategy says so."""
    return config.ddp_find_unused_parameters or config.strategy == "ddp_find_unused_parameters_true"


def breaks_static_graph(config: PyTorchExecutionConfig) -> bool:
    """Whether ddp cannot rely on a static graph.

    torch finds unused parameters only once in such a graph, and fails where the first steps accumulate gradients.
    """
    return finds_unused_parameters(config) or config.accum_steps > 1
