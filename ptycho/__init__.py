"""PtychoPINN: reconstruct ptychographic scans by an iterative solver, or with a physics-informed network.

    import ptycho

    scan = ptycho.load("scan.npz")
    ptycho.reconstruct(scan).show()
    run = ptycho.train(scan, "runs/scan", nepochs=20)
    run.plot_loss()
    run.reconstruct(scan).show()
    ptycho.runs("runs")

Every name loads when it is first asked for; torch loads with the first call that computes.
"""

TYPE_CHECKING = (
    False  # type checkers take it for true by its name, as if it came from typing, which would be loaded
)

if TYPE_CHECKING:
    from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
    from ptycho.config.data import DataConfig
    from ptycho.config.errors import ConfigError
    from ptycho.config.execution import PyTorchExecutionConfig
    from ptycho.config.solver import SolverConfig
    from ptycho.data_error import DataError
    from ptycho.public import load, reconstruct, train
    from ptycho.raw_data import RawData
    from ptycho.run_table import runs
    from ptycho.simulation import simulate_scan as simulate

__all__ = [
    "ConfigError",
    "DataConfig",
    "DataError",
    "InferenceConfig",
    "ModelConfig",
    "PyTorchExecutionConfig",
    "RawData",
    "SolverConfig",
    "TrainingConfig",
    "__version__",
    "load",
    "reconstruct",
    "runs",
    "simulate",
    "train",
]

__version__: str

_HOMES = {
    "ConfigError": "ptycho.config.errors",
    "DataConfig": "ptycho.config.data",
    "DataError": "ptycho.data_error",
    "InferenceConfig": "ptycho.config.inference",
    "ModelConfig": "ptycho.config.model",
    "PyTorchExecutionConfig": "ptycho.config.execution",
    "RawData": "ptycho.raw_data",
    "SolverConfig": "ptycho.config.solver",
    "TrainingConfig": "ptycho.config.training",
    "load": "ptycho.public",
    "reconstruct": "ptycho.public",
    "runs": "ptycho.run_table",
    "simulate": "ptycho.simulation",
    "train": "ptycho.public",
}
"""Name -> the module that has it."""


if not TYPE_CHECKING:  # a type checker that saw this would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Load a name that is first asked for, and keep it."""
        if name == "__version__":
            from ptycho.version import installed_version

            found = installed_version()
        elif name in _HOMES:
            from importlib import import_module

            attribute = "simulate_scan" if name == "simulate" else name
            found = vars(import_module(_HOMES[name]))[attribute]
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        """Name what is not loaded yet as well."""
        return sorted(globals().keys() | set(__all__))
