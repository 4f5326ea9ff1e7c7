"""Door: the canonical configurations, what is trained on what and reconstructed from what, under one name.

They are mutable; every construction and every assignment is validated, and a failed one changes nothing. How a run is
carried out (devices, loaders, logging) is in `ptycho.config.execution.PyTorchExecutionConfig` instead.
"""

from ptycho.config.inference import InferenceConfig
from ptycho.config.model import ModelConfig
from ptycho.config.ready import validate_inference_config, validate_model_config, validate_training_config
from ptycho.config.training import TrainingConfig

__all__ = [
    "InferenceConfig",
    "ModelConfig",
    "TrainingConfig",
    "validate_inference_config",
    "validate_model_config",
    "validate_training_config",
]
