"""What a run refuses, or warns of, before it reads data."""

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.request import Answer
from ptycho.config.rules import idle_settings, values_of
from ptycho_torch.config_factory import TrainingPayload
from ptycho_torch.config_payload import take_held
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.model import LOGGED_METRICS
from ptycho_torch.runtime import training_failures, warn_once
from ptycho_torch.runtime.checks import logger_failures, machine_failures


def warn_of_idle_settings(payload: TrainingPayload) -> None:
    """Warn of what somebody changed and nothing reads beside the other settings."""
    config = payload.tf_training_config
    defaults = values_of(ModelConfig(), TrainingConfig())
    kinds = {name.partition(".")[2]: origin.kind for name, origin in payload.sources.items()}
    values = values_of(config.model, config, payload.execution_config)
    for name, message in idle_settings(values):
        if kinds[name] not in ("default", "recipe") and values[name] != defaults[name]:
            warn_once(message)


def foreseeable_failures(
    config: TrainingConfig, execution: PyTorchExecutionConfig, *, has_test_data: bool = False
) -> list[Failure]:
    """What `train` would refuse before it reads data; N = 0 is one that the data will say.

    Args:
        config: what to train.
        execution: how to run.
        has_test_data: whether a scan to validate on is given beside the configuration.
    """
    validates = has_test_data or ScanDataModule(config, execution).wants_validation
    return training_failures(execution, config, has_validation=validates, logged_metrics=LOGGED_METRICS)


def refuse_foreseeable(
    config: TrainingConfig, execution: PyTorchExecutionConfig, *, has_test_data: bool = False
) -> None:
    """Refuse a training before its data are read; arguments as `foreseeable_failures`.

    Raises:
        ConfigError: every setting that cannot be followed.
    """
    if failures := foreseeable_failures(config, execution, has_test_data=has_test_data):
        raise ConfigError(failures)


def refused_trainings(outcome: Answer, *, n_is_known: bool) -> list[Failure]:
    """What a training that is asked for would be refused for, before there are data.

    Where other settings are wrong, what the machine lacks of the execution settings is among it.

    Args:
        outcome: of a request for the model, the training and how it is run.
        n_is_known: whether N is as it says, and not one that the data will tell.
    """
    execution = outcome.resolution(PyTorchExecutionConfig)
    if outcome.failures and execution.made is None:
        return [*outcome.failures]
    if outcome.failures:
        lacking = [*machine_failures(execution.config), *logger_failures(execution.config)]
        return [*outcome.failures, *lacking]
    config = outcome[TrainingConfig]
    take_held(config, outcome)
    if not n_is_known:
        config.model.N = 0
    return foreseeable_failures(config, execution.config)
