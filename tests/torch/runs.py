"""Small trainings, and what going on with them is refused for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ptycho.config.errors import ConfigError
from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.runs.resuming import resume
from ptycho_torch.runs.training import TrainingResult, train

SMALL = {
    "n_groups": 24,
    "gridsize": 1,
    "batch_size": 6,
    "nepochs": 4,
    "n_filters_scale": 1,
    "n_unrolled_steps": 1,
    "accelerator": "cpu",
    "val_split": 0.2,
}


def trained(file: Path, run_dir: Path, *callbacks: Callback, **settings: Any) -> TrainingResult:
    return train(create_training_payload(file, run_dir, SMALL | settings), callbacks=callbacks)


def refusal(*given: Any, **named: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        resume(*given, **named)
    return str(caught.value)


def numbers(result: TrainingResult) -> tuple[list[dict[str, Any]], str]:
    """Everything of the history but the time it took, and the name of the best checkpoint."""
    rows = [{name: value for name, value in row.items() if name != "epoch_time_s"} for row in result.history]
    return rows, str(result.checkpoint and result.checkpoint.name)


def assert_same(first: TrainingResult, second: TrainingResult) -> None:
    assert numbers(first) == numbers(second)
    weights = [load_bundle(result.bundle).state_dict for result in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
