"""What times a piece of work on a device."""

import time

import torch

from benchmarks.versions import Clock


def clock_of(accelerator: str) -> Clock:
    """CPU seconds of the process; on a GPU seconds of wall time, once its work is done."""
    return _gpu_clock if accelerator == "cuda" else time.process_time


def _gpu_clock() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()
