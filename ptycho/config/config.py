"""Door: the configuration classes and functions under their historical path; each loads when it is first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

from ptycho.loading import loading

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
    from ptycho.config.execution import PyTorchExecutionConfig
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

_HOMES = {
    "DataConfig": "data",
    "PyTorchExecutionConfig": "execution",
    "SolverConfig": "solver",
    "dataclass_to_legacy_dict": "legacy",
    "load_yaml_config": "legacy",
    "update_legacy_dict": "legacy",
}
"""Name -> the module beside this one that has it, where that is not `canonical`."""

if not TYPE_CHECKING:  # a type checker that saw this would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Load a name that is first asked for, and keep it."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with loading():
            home = import_module(f"ptycho.config.{_HOMES.get(name, 'canonical')}")
        found = globals()[name] = vars(home)[name]
        return found

    def __dir__() -> list[str]:
        """Also list the names that are not loaded yet."""
        return sorted(globals().keys() | set(__all__))
