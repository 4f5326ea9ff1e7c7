"""Whether canonical configurations are ready for a run."""

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
    _refuse_unready(config)


def validate_training_config(config: TrainingConfig) -> None:
    """Check that a training configuration is ready for a run.

    Raises:
        ConfigError: N is still 0; there is no training data; or fields do not go together.
    """
    _refuse_unready(config.model, config, "train_data_file")


def validate_inference_config(config: InferenceConfig) -> None:
    """Check that an inference configuration is ready for a run.

    Raises:
        ConfigError: N is still 0; there is no model or no data; or fields do not go together.
    """
    _refuse_unready(config.model, config, "model_path", "test_data_file")


def _refuse_unready(
    model: ModelConfig, config: TrainingConfig | InferenceConfig | None = None, *places: str
) -> None:
    failures: list[Failure] = []
    if model.N == 0:
        words = "expected the size of the patterns; got 0. Set it, or take it from the data first."
        failures.append(Failure.of("model.N", words))
    for name in places:
        if getattr(config, name) is None:
            label = section_of(type(config)).labelled(name)
            failures.append(Failure.of(label, "expected a path; got none. Set it."))
    failures += conflicts_of(model, config) if config else []
    if failures:
        raise ConfigError(failures)
