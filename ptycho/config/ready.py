"""Whether canonical configurations are ready for a run."""

from collections.abc import Iterator, Sequence

from ptycho.config.errors import ConfigError, Failure
from ptycho.config.inference import InferenceConfig
from ptycho.config.model import ModelConfig
from ptycho.config.rules import conflicts_of
from ptycho.config.section import section_of
from ptycho.config.training import TrainingConfig


def validate_model_config(config: ModelConfig) -> None:
    """Check that a model configuration is ready for a run.

    Raises:
        ConfigError: N is still 0, to be taken from the data.
    """
    _refuse([*_model_failures(config)])


def validate_training_config(config: TrainingConfig) -> None:
    """Check that a training configuration is ready for a run.

    Raises:
        ConfigError: N is still 0; there is no training data; or fields do not go together.
    """
    _refuse([*_failures(config, "train_data_file")])


def validate_inference_config(config: InferenceConfig) -> None:
    """Check that an inference configuration is ready for a run.

    Raises:
        ConfigError: N is still 0; there is no model or no data; or fields do not go together.
    """
    _refuse([*_failures(config, "model_path", "test_data_file")])


def _refuse(failures: Sequence[Failure]) -> None:
    if failures:
        raise ConfigError(failures)


def _failures(config: TrainingConfig | InferenceConfig, *places: str) -> Iterator[Failure]:
    yield from _model_failures(config.model)
    for name in places:
        if getattr(config, name) is None:
            label = section_of(type(config)).labelled(name)
            yield Failure.of(label, "expected a path; got none. Set it.")
    yield from conflicts_of(config.model, config)


def _model_failures(config: ModelConfig) -> Iterator[Failure]:
    if config.N == 0:
        words = "expected the size of the patterns; got 0. Set it, or take it from the data first."
        yield Failure.of("model.N", words)
