"""What a run would be refused for, found from its command line alone: nothing of data or model is opened."""

import warnings
from collections.abc import Mapping
from typing import Any

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.request import Request
from ptycho.config.section import section_of


def training_failures(asked: Mapping[str, Any]) -> list[Failure]:
    """What a training would be refused for before its data are looked for.

    Args:
        asked: the arguments of a `Request`.
    """
    try:
        config, execution = _resolved(asked, TrainingConfig)
    except ConfigError as error:
        return [*error.failures, *_of_knobs_alone(asked)]
    from ptycho_torch.runs.preflight import foreseeable_failures

    return foreseeable_failures(config, execution)


def _of_knobs_alone(asked: Mapping[str, Any]) -> list[Failure]:
    """What the machine lacks of the knobs in force, where these are right and only other settings are wrong."""
    knobs = {
        level: {
            name: value
            for name, value in asked[level].items()
            if section_of(PyTorchExecutionConfig).field(name)
        }
        for level in ("flags", "overrides", "cli_defaults")
    }
    try:
        with warnings.catch_warnings(action="ignore"):
            execution = PyTorchExecutionConfig.resolve(file=asked["file"], recipe=asked["recipe"], **knobs)
    except ConfigError:
        return []
    from ptycho_torch.runtime.checks import logger_failures, machine_failures

    return [*machine_failures(execution), *logger_failures(execution)]


def refuse_training(asked: Mapping[str, Any]) -> None:
    """Refuse a training that cannot be, before its data are looked for; arguments as `training_failures`.

    What is wrong on every machine is left to the factory, which reports it together with what is wrong with the data.

    Raises:
        ConfigError: every setting that cannot be followed here.
    """
    resolved = _resolved_or_none(asked, TrainingConfig)
    if resolved is not None:
        from ptycho_torch.runs.preflight import (
            refuse_foreseeable,  # loads torch: wrong values are refused without
        )

        refuse_foreseeable(*resolved)


def refuse_reconstruction(asked: Mapping[str, Any]) -> None:
    """Refuse a reconstruction that cannot be, before its model and data are looked for; as `refuse_training`."""
    resolved = _resolved_or_none(asked, InferenceConfig)
    if resolved is not None:
        from ptycho_torch.runtime import reconstruction_failures

        config, execution = resolved
        if failures := reconstruction_failures(execution, config):
            raise ConfigError(failures)


def _resolved_or_none(asked: Mapping[str, Any], section: type) -> tuple[Any, PyTorchExecutionConfig] | None:
    try:
        return _resolved(asked, section)
    except ConfigError:
        return None


def _resolved(asked: Mapping[str, Any], section: type) -> tuple[Any, PyTorchExecutionConfig]:
    with warnings.catch_warnings(action="ignore"):  # the run resolves the same again, and warns
        request = Request([ModelConfig, section, PyTorchExecutionConfig], **asked)
        answer = request.answer()
    config = answer[section]
    config.model = answer[ModelConfig]
    if not request.speaks_of("N"):
        config.model.N = 0  # the data or the model will say it
    return config, answer[PyTorchExecutionConfig]
