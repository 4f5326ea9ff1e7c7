"""Small trainings, and what going on with them is refused for."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback

from ptycho.config.errors import ConfigError
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
