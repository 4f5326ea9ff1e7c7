"""The most memory that this process has had."""

import importlib.util
import sys

import torch


def peak_memory() -> dict[str, int]:
    """The most memory so far: ``peak_memory_bytes`` of the process, ``peak_device_memory_bytes`` of tensors on a GPU.

    What the system does not tell is left out.
    """
    found: dict[str, int] = {}
    if importlib.util.find_spec("resource") is not None:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        found["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if torch.cuda.is_initialized():
        found["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated()
    return found
