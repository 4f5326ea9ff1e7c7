"""Whether canonical configurations are ready for a run."""

from collections.abc import Iterator
from pathlib import Path

from ptycho.config.errors import ConfigError, Failure
from ptycho.config.inference import InferenceConfig
from ptycho.config.model import ModelConfig
from ptycho.config.rules import conflicts_of
from ptycho.config.training import TrainingConfig


def validate_model_config(config: ModelConfig) -> None:
    """Check that a model configuration is ready for a run.

    Raises:
        ConfigError: N is still 0, to be taken from the data.
    """
    failures = list(_model_failures(config))
    if failures:
        raise ConfigError(failures)


def validate_training_config(config: TrainingConfig) -> None:
    """Check that a training configuration is ready for a run.

    Raises:
        ConfigError: N is still 0; there is no training data; or fields do not go together.
    """
    failures = list(_model_failures(config.model))
    failures += _missing("training.train_data_file", config.train_data_file)
    failures += conflicts_of(config.model, config)
    if failures:
        raise ConfigError(failures)


def validate_inference_config(config: InferenceConfig) -> None:
    """Check that an inference configuration is ready for a run.

    Raises:
        ConfigError: N is still 0; there is no model or no data; or fields do not go together.
    """
    failures = list(_model_failures(config.model))
    failures += _missing("inference.model_path", config.model_path)
    failures += _missing("inference.test_data_file", config.test_data_file)
    failures += conflicts_of(config.model, config)
    if failures:
        raise ConfigError(failures)


def _model_failures(config: ModelConfig) -> Iterator[Failure]:
    if config.N == 0:
        message = "model.N: expected the size of the patterns; got 0. Set it, or take it from the data first."
        yield Failure("model.N", message)


def _missing(name: str, path: Path | None) -> Iterator[Failure]:
    if path is None:
        yield Failure(name, f"{name}: expected a path; got none. Set it.")
