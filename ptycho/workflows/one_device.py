"""Runs that stay in the process of their caller, who cannot be started again for further devices."""

import logging
from typing import Any, Final

from ptycho.config.errors import show
from ptycho.config.execution import PyTorchExecutionConfig

ALONE: Final[dict[str, Any]] = {"n_devices": 1, "num_nodes": 1, "strategy": "auto"}
"""Knobs of a run in one process."""

logger = logging.getLogger(__name__)


def on_one_device(config: PyTorchExecutionConfig, run: str) -> PyTorchExecutionConfig:
    """An execution configuration for the process of the caller, on one device; a warning names what it leaves out.

    Args:
        config: what is asked for.
        run: what runs, for the warning: 'this reconstruction'.
    """
    sources = config.sources
    for knob, value in ALONE.items():
        asked = config.to_dict()[knob]
        if asked not in (value, "auto"):
            logger.warning(
                "%s: expected %s, since %s runs in the process of its caller, on one device; got %s from %s. "
                "It is left out.",
                knob,
                show(value),
                run,
                show(asked),
                sources[knob],
            )
    changed = {knob: value for knob, value in ALONE.items() if config.to_dict()[knob] != value}
    return config.replace(**changed) if changed else config
