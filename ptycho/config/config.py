"""Door: the configuration classes and functions under their historical path.

The canonical configurations load when one of their names is first asked for: whoever needs the execution
configuration alone does not wait for them.
"""

from typing import TYPE_CHECKING

from ptycho.loading import loading

with loading():
    from ptycho.config.execution import PyTorchExecutionConfig

if TYPE_CHECKING:
    from ptycho.config.canonical import (
        InferenceConfig,
        ModelConfig,
        TrainingConfig,
        validate_inference_config,
        validate_model_config,
        validate_training_config,
    )
    from ptycho.config.data import DataConfig
    from ptycho.config.legacy import dataclass_to_legacy_dict, load_yaml_config, update_legacy_dict
    from ptycho.config.solver import SolverConfig

__all__ = [
    "DataConfig",
    "InferenceConfig",
    "ModelConfig",
    "PyTorchExecutionConfig",
    "SolverConfig",
    "TrainingConfig",
    "dataclass_to_legacy_dict",
    "load_yaml_config",
    "update_legacy_dict",
    "validate_inference_config",
    "validate_model_config",
    "validate_training_config",
]

if not TYPE_CHECKING:  # a type checker that saw this would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Load the canonical configurations, and keep the name that was asked for."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from ptycho.config import canonical, data, legacy, solver

        found = globals()[name] = (vars(canonical) | vars(data) | vars(legacy) | vars(solver))[name]
        return found

    def __dir__() -> list[str]:
        """Also list the names that are not loaded yet."""
        return sorted(globals().keys() | set(__all__))
