"""What a run says where the machine takes something away from it: a process, memory, files."""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.callbacks import CHECKPOINTS
from ptycho_torch.stopping import RunError, lost_process

SETTLE_S: Final = 0.3
"""A signal to all processes of a run may reach a loading process first, and this one a little later."""

_SHARED: Final = (
    "num_workers: expected shared memory (/dev/shm) that holds the batches of the loading processes; it is full. "
    "Enlarge it (docker run --shm-size=8g), lower num_workers or prefetch_factor, or set num_workers=0"
)
_HANDLES: Final = (
    "num_workers: expected as many open files as the loading processes share batches by; the limit is reached. "
    "Raise it (ulimit -n), lower num_workers or prefetch_factor, or set num_workers=0"
)
_MEMORY: Final = (
    "batch_size: expected a training that the memory of the device holds; it ran out. Lower batch_size (a higher "
    "accum_steps keeps the effective batch), or use a larger device"
)
_KNOWN: Final = (
    (r"worker.*bus error|shared memory.*No space left|unable to (write|mmap).*torch_", _SHARED),
    (r"Too many open files|received 0 items of ancdata", _HANDLES),
    (r"DefaultCPUAllocator|out of memory|Cannot allocate memory", _MEMORY),
)
_WORKER: Final = re.compile(r"DataLoader worker \(pid\D*([\d, ]+)\) (.*?)(?:\. |\.?$)", re.MULTILINE)
_OF_COLLECTIVES: Final = re.compile(
    r"gloo|NCCL|Connection (closed|reset) by peer|Broken pipe|Socket Timeout", re.IGNORECASE
)


@contextlib.contextmanager
def naming_losses(config: PyTorchExecutionConfig, run_dir: Path) -> Iterator[None]:
    """Word what ends a run for a reason outside the package: its usual cause, and how to go on.

    Raises:
        RunError: a process of the run is gone, or memory, shared memory or file handles ran out.
    """
    try:
        yield
    except (RuntimeError, OSError, MemoryError) as error:
        time.sleep(SETTLE_S)
        if isinstance(error, RunError) or (cause := _cause(error, config)) is None:
            raise
        raise RunError(f"{cause}. {_way_on(run_dir)}".strip()) from error


def _cause(error: Exception, config: PyTorchExecutionConfig) -> str | None:
    text = str(error)
    for pattern, words in _KNOWN:
        if re.search(pattern, text, re.IGNORECASE | re.DOTALL):
            return words
    if isinstance(error, MemoryError):
        return _MEMORY
    if found := _WORKER.search(text):
        return (
            f"num_workers: expected {config.num_workers} loading processes that stay; one {found[2]} "
            "(usually because memory ran out). Lower num_workers or prefetch_factor, or ask for more memory"
        )
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    if several and (_OF_COLLECTIVES.search(text) or isinstance(error, torch.distributed.DistError)):
        how = lost_process() or "the connection to it closed"
        return f"n_devices: expected processes that stay; another one of the run is gone: {how}"
    return None


def _way_on(run_dir: Path) -> str:
    if not any((run_dir / CHECKPOINTS).glob("*.ckpt")):
        return ""
    return f"Go on with ptycho train --resume {run_dir}."
