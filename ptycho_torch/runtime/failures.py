"""Wording a refused knob in the format of the settings layer, and a warning that is said once."""

import warnings

from ptycho.config.errors import Failure, show
from ptycho.config.execution import PyTorchExecutionConfig

_heard: list[tuple[str, object]] = []


def refused(config: PyTorchExecutionConfig, knob: str, expected: str, way_out: str) -> Failure:
    """The failure for a knob whose value cannot be used here, with the place the value came from."""
    value = show(config.to_dict()[knob])
    return Failure(knob, f"{knob}: expected {expected}; got {value} from {config.sources[knob]}. {way_out}")


def warn_once(message: str) -> None:
    """Warn once in a process; code that records warnings (`warnings.catch_warnings`) hears it once more."""
    listener: object = warnings.filters  # `catch_warnings` puts another list in its place
    if not any(message == text and listener is before for text, before in _heard):
        warnings.warn(message, UserWarning, stacklevel=3)
        _heard.append((message, listener))
