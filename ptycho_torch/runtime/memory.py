"""The most memory that this process has had."""

import importlib.util
import sys
from pathlib import Path

import torch


def peak_memory() -> dict[str, int]:
    """The most memory so far: ``peak_memory_bytes`` of the process, ``peak_device_memory_bytes`` of tensors on a GPU.

    What the system does not tell is left out.
    """
    found: dict[str, int] = {}
    resident = peak_resident()
    if resident is not None:
        found["peak_memory_bytes"] = resident
    if torch.cuda.is_initialized():
        found["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated()
    return found


def peak_resident() -> int | None:
    """Bytes of memory that this program has held at most; None where the system does not tell.

    Linux keeps two figures: ``VmHWM`` is of this program, ``ru_maxrss`` counts the process that started it too.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
    if importlib.util.find_spec("resource") is None:
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
