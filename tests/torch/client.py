"""A training through the classes that ptychodus calls."""

import dataclasses
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from ptycho.raw_data import RawData
from ptycho_torch.api.base_api import ConfigManager, DataloaderFormats, PtychoDataLoader, PtychoModel
from ptycho_torch.api.base_api import Trainer as Door
from ptycho_torch.config_params import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptycho_torch.model import PtychoPINN_Lightning
from tests.torch.conftest import N

SMALL = {"n_filters_scale": 1, "n_unrolled_steps": 1}


def door(
    scan: RawData, folder: Path, callback: Callback, data: Any = None, model: Any = None, training: Any = None
) -> tuple[Door, PtychoDataLoader]:
    """A training through the classes that ptychodus calls."""
    trainer, loader = opened(scan, folder, data, model, training)
    trainer._trainer.callbacks.append(callback)
    trainer.train(orchestration="lightning", experiment_name="")
    return trainer, loader


def opened(
    scan: RawData, folder: Path, data: Any = None, model: Any = None, training: Any = None
) -> tuple[Door, PtychoDataLoader]:
    """The same before it begins; the scan is the only one of the folder, unless there are others already."""
    folder.mkdir(parents=True, exist_ok=True)
    dataclasses.replace(scan, holdout=None).to_file(folder / "scan.npz")
    configs = manager(data, model, training)
    loader = PtychoDataLoader(folder, configs, DataloaderFormats("lightning_only_module"), folder / "out")
    network = PtychoModel._new_model(model=PtychoPINN_Lightning, config_manager=configs)
    return Door._from_lightning(model=network, dataloader=loader, config_manager=configs), loader


def manager(
    data: Any = None, model: Any = None, training: Any = None, inference: Any = None
) -> ConfigManager:
    """Configurations of a small network, and of groups of four unless the grid says otherwise."""
    grid = (data or {}).get("grid_size", (2, 2))
    n_patterns = grid[0] * grid[1]
    size = {"C_model": n_patterns, "C_forward": n_patterns}
    kept = {"N": N, "C": n_patterns, "grid_size": grid, "K": 6, "measurement_domain": "amplitude"}
    return ConfigManager(
        DataConfig(**{**kept, **(data or {})}),
        ModelConfig(**{**SMALL, **size, **(model or {})}),
        TrainingConfig(**{"epochs": 2, "device": "cpu", "learning_rate": 1e-3, **(training or {})}),
        InferenceConfig(**(inference or {})),
    )
