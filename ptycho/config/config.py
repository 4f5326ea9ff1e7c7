"""Door: the configuration classes and functions under their historical path."""

from ptycho.config.canonical import (
    InferenceConfig,
    ModelConfig,
    TrainingConfig,
    load_yaml_config,
    validate_inference_config,
    validate_model_config,
    validate_training_config,
)
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.legacy import dataclass_to_legacy_dict, update_legacy_dict

__all__ = [
    "InferenceConfig",
    "ModelConfig",
    "PyTorchExecutionConfig",
    "TrainingConfig",
    "dataclass_to_legacy_dict",
    "load_yaml_config",
    "update_legacy_dict",
    "validate_inference_config",
    "validate_model_config",
    "validate_training_config",
]
