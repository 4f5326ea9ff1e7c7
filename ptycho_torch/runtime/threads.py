"""How many threads a process computes with on the CPU."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch

from ptycho.config.errors import Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.devices import require_accelerator, resolve_n_devices
from ptycho_torch.runtime.failures import refused

CGROUP: Final = Path("/sys/fs/cgroup")
"""Where Linux tells how much of the CPUs a container or a job may use."""


def usable_cpus(cgroup: Path = CGROUP) -> int:
    """CPUs that this process may use: those it may run on, and no more than its share of their time."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(here, math.floor(_quota(cgroup) or here)))


def _quota(cgroup: Path) -> float | None:
    """CPUs whose time the control group may use (version 2, then version 1); None without a limit."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota, period = (
            int((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
        )
        return quota / period if quota > 0 and period > 0 else None
    return None


THREADS_FOR_EACH_CPU: Final = 16
"""Threads that a process may ask for; a machine cannot start any number of them."""


LONGEST: Final = 19
"""Digits of a number in OMP_NUM_THREADS from which on it is ignored, as OpenMP does."""


def thread_failures(config: PyTorchExecutionConfig) -> Iterator[Failure]:
    """More threads than a machine of this size starts, by the knob, or else by OMP_NUM_THREADS."""
    most = THREADS_FOR_EACH_CPU * (os.cpu_count() or 1)
    rule = f"at most {most} on this machine, {THREADS_FOR_EACH_CPU} for each CPU"
    if config.num_threads is not None and config.num_threads > most:
        yield refused(config, "num_threads", rule, "One per CPU is enough; with none it is chosen.")
    elif config.num_threads is None and (_stated() or 0) > most:
        got = f"got {_stated()} from the environment"
        message = f"OMP_NUM_THREADS: expected {rule}; {got}. Lower it, or set num_threads."
        yield Failure("num_threads", message)


def _stated() -> int | None:
    """The threads that OMP_NUM_THREADS asks for; None where it says nothing, or no number."""
    stated = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(stated) or None if stated.isdecimal() and len(stated) < LONGEST else None


def resolve_num_threads(config: PyTorchExecutionConfig) -> int:
    """Threads of each process of a run.

    `num_threads`, else OMP_NUM_THREADS where the environment has it, else the usable CPUs shared among the processes of
    the run on this machine; a loading process computes with one thread, and takes one CPU of those of its process.
    """
    if config.num_threads is not None:
        return config.num_threads
    if (stated := _stated()) is not None:
        return stated
    accelerator = require_accelerator(config)
    share = usable_cpus() // (resolve_n_devices(config, accelerator) if accelerator in ("cpu", "cuda") else 1)
    return max(1, share - config.num_workers)


@contextlib.contextmanager
def computing_threads(config: PyTorchExecutionConfig) -> Iterator[None]:
    """Compute with the threads of the configuration meanwhile; afterwards their number is as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(resolve_num_threads(config))
    try:
        yield
    finally:
        torch.set_num_threads(before)
