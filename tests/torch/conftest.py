"""A tiny scan and the configurations of a tiny model."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.raw_data import RawData
from ptycho_torch import config_params
from ptycho_torch.simulate import simulate_scan

N = 32


@pytest.fixture(scope="session")
def tiny_scan() -> RawData:
    return simulate_scan(N=N, n_positions=70, nphotons=1e5, seed=3)


@pytest.fixture(scope="session")
def tiny_file(tiny_scan: RawData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "tiny.npz"
    tiny_scan.to_file(path)
    return path


@dataclass
class TinyModel:
    """Configurations that fit together; change any by keyword."""

    gridsize: int = 2
    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    execution: dict[str, Any] = field(default_factory=dict)

    @property
    def model_config(self) -> config_params.ModelConfig:
        size = self.gridsize**2
        return config_params.ModelConfig(
            C_model=size,
            C_forward=size,
            n_filters_scale=1,
            n_unrolled_steps=1,
            n_physics_steps=2,
            **self.model,
        )

    @property
    def data_config(self) -> config_params.DataConfig:
        return config_params.DataConfig(N=N, C=self.gridsize**2, grid_size=(self.gridsize, self.gridsize))

    @property
    def training_config(self) -> config_params.TrainingConfig:
        return config_params.TrainingConfig(**self.training)

    @property
    def execution_config(self) -> PyTorchExecutionConfig:
        return PyTorchExecutionConfig(accelerator="cpu", **self.execution)

    def canonical(self, train_data_file: Path, **training: Any) -> TrainingConfig:
        model = ModelConfig(N=N, gridsize=self.gridsize)
        stated = {"n_groups": 40, "batch_size": 8} | training
        return TrainingConfig(model=model, train_data_file=train_data_file, **stated)
