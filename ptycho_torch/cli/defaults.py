"""What the command line states in place of a field's default: a recipe that reconstructs well out of the box."""

from collections.abc import Mapping
from typing import Final

TRAINING: Final[Mapping[str, object]] = {
    "gridsize": 2,
    "neighbor_count": 8,
    "n_groups": None,  # one for every scan position
    "batch_size": 4,
    "nepochs": 8,
    "n_unrolled_steps": 6,
    "n_physics_steps": 3,
    "torch_loss_mode": "mae",
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "scheduler": "WarmupCosine",
    "learning_rate": 2e-3,
    "lr_warmup_epochs": 1,
    "lr_min_ratio": 0.01,
    "gradient_clip_val": 1.0,
}
"""Of `ptycho train`, by field or knob."""

DEMO: Final[Mapping[str, object]] = TRAINING | {"nepochs": 3}
"""Of `ptycho demo`: as above, within three minutes on two cores."""

RECONSTRUCTION: Final[Mapping[str, object]] = {"n_groups": None, "inference_batch_size": 64}
"""Of `ptycho reconstruct`."""

SHOWN: Final[Mapping[str, object]] = {
    "N": "from the data",
    "nphotons": "from the data, else 1e9",
    "enable_progress_bar": "true on a terminal",
}
"""Defaults that are found when a command runs, in the words of the help text."""

RUNS: Final = "runs"
"""Folder, below the working directory, of the runs that are given no folder."""


def suited(
    table: Mapping[str, object], nepochs: object, gridsize: object, scheduler: object
) -> dict[str, object]:
    """A table of defaults that goes with what was asked for.

    Args:
        table: one of the tables of a training above.
        nepochs: what was asked for, None where nothing was; a warm-up of one epoch fits into two.
        gridsize: what was asked for; its groups need neighbours.
        scheduler: what was asked for; Adaptive goes without a warm-up.
    """
    fitting = dict(table)
    if (isinstance(nepochs, int) and nepochs <= 1) or scheduler == "Adaptive":
        fitting["lr_warmup_epochs"] = 0
    if isinstance(gridsize, int):
        fitting["neighbor_count"] = max(8, gridsize**2 - 1)
    return fitting
