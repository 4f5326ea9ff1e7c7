# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What a type checker has to know of the settings: this file is checked, and never run."""

from pathlib import Path
from typing import Any, assert_type

import ptycho
from ptycho.config.config import (
    InferenceConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    SolverConfig,
    TrainingConfig,
)

config = TrainingConfig(ModelConfig(N=128), train_data_file="scan.npz", output_dir=Path("out"), nepochs=3)
assert_type(config.train_data_file, Path | None)
assert_type(config.output_dir, Path)
assert_type(config.replace(nepochs=4), TrainingConfig)
assert_type(TrainingConfig.from_file("run.toml"), TrainingConfig)
config.test_data_file = "other.npz"
TrainingConfig(train_data_file=3)  # pyright: ignore[reportArgumentType]
InferenceConfig(debug="yes")  # pyright: ignore[reportArgumentType]
SolverConfig(n_iterations="auto", start="object.npz", prior_weight=2.0)
SolverConfig(n_iterations="all")  # pyright: ignore[reportArgumentType]
ModelConfig(gridsiz=2)  # pyright: ignore[reportCallIssue]

execution = PyTorchExecutionConfig(num_workers=2, scheduler="Adaptive")
assert_type(execution.num_workers, int)
assert_type(execution.replace(seed=3), PyTorchExecutionConfig)
PyTorchExecutionConfig(num_workers="many")  # pyright: ignore[reportArgumentType]
PyTorchExecutionConfig(num_worker=2)  # pyright: ignore[reportCallIssue]


class Beamline(TrainingConfig):
    """A training at a beamline."""

    shutter: str = "open"


assert_type(Beamline(shutter="shut", train_data_file="scan.npz").shutter, str)
Beamline(shutter=3)  # pyright: ignore[reportArgumentType]

scan = ptycho.load("scan.npz")
assert_type(scan, ptycho.RawData)
trained = ptycho.train(scan, "runs/scan", nepochs=3)
assert_type(trained.run_dir, Path)
assert_type(ptycho.reconstruct("other.npz", trained).run_dir, Path)
assert_type(ptycho.reconstruct(scan, "runs/scan").metrics, dict[str, Any])
ptycho.train()  # pyright: ignore[reportCallIssue]
ptycho.trian(scan)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
