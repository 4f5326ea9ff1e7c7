"""What this machine offers, and which values of knobs a run on it would be refused for.

Nothing here decides: every value is put to the functions that refuse when a run starts.
"""

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final, NamedTuple

import torch

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.section import section_of
from ptycho.version import installed_version
from ptycho_torch.runtime.checks import idle_settings, logger_failures, machine_failures
from ptycho_torch.runtime.devices import available_accelerators, device_count
from ptycho_torch.runtime.threads import usable_cpus

PACKAGES: Final = ("torch", "lightning", "pydantic", "pydantic-settings", "numpy")
"""Packages whose versions are told beside our own."""
NUMBERS: Final[Mapping[str, tuple[object, ...]]] = {
    "n_devices": (2,),
    "num_nodes": (2,),
    "num_workers": (1,),
    "pin_memory": (True,),
}
"""Knobs without a list of words that a machine may refuse, and the value to ask about."""
WORDS: Final = ("precision", "strategy", "ddp_backend", "logger_backend")
"""Knobs with a list of words that a machine may refuse."""
OF_SEVERAL: Final = ("strategy", "ddp_backend")
"""Knobs that are asked about as of a run on two devices."""


class Objection(NamedTuple):
    """What a machine has against a value."""

    verdict: str
    """refused, or `no effect`: then a run only warns."""
    message: str
    """The message of the run."""


class Machine(NamedTuple):
    """What there is to compute with."""

    versions: dict[str, str]
    """Package -> version; python and ptychopinn among them."""
    cpu_cores: int
    """Cores that this process may use."""
    accelerators: dict[str, list[str]]
    """Accelerator, the preferred one first -> its devices in words; none for cpu, where a device is a process."""


def machine() -> Machine:
    """Look at this machine."""
    versions = {"python": platform.python_version(), "ptychopinn": installed_version()}
    versions |= {name: metadata.version(name) for name in PACKAGES}
    devices = {
        name: [_device(name, i) for i in range(device_count(name) or 0)] for name in available_accelerators()
    }
    return Machine(versions, usable_cpus(), devices)


def _device(accelerator: str, index: int) -> str:
    if accelerator != "cuda":
        return f"{accelerator} {index}"
    known = torch.cuda.get_device_properties(index)
    return f"{known.name}, {known.total_memory / 2**30:.0f} GiB"


def accelerator_offers() -> dict[str, Objection | None]:
    """Every accelerator -> what there is against it; None: nothing."""
    return {name: _objection({"accelerator": name}, "accelerator") for name in _words("accelerator")}


def offers(accelerator: str) -> dict[str, dict[str, Objection | None]]:
    """What a run on an accelerator that is here may be told.

    Returns:
        Knob -> value, as it is written -> what there is against it; None: nothing.
    """
    values: dict[str, tuple[object, ...]] = {name: _words(name) for name in WORDS} | dict(NUMBERS)
    return {
        name: {
            str(value): _objection(
                {"accelerator": accelerator, name: value} | ({"n_devices": 2} if name in OF_SEVERAL else {}),
                name,
            )
            for value in asked
        }
        for name, asked in values.items()
    }


def _words(knob: str) -> tuple[Any, ...]:
    return section_of(PyTorchExecutionConfig).scalars[knob].choices


def _objection(knobs: Mapping[str, object], about: str) -> Objection | None:
    config = PyTorchExecutionConfig.model_validate(knobs)
    refused = [*machine_failures(config), *logger_failures(config)]
    objections = [("refused", *failure) for failure in refused]
    objections += [("no effect", *failure) for failure in idle_settings(config)]
    return next((Objection(verdict, message) for verdict, name, message in objections if name == about), None)
