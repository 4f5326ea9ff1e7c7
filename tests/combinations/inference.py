"""Representative values of what a reconstruction is told, and what of it does not go together on one CPU."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.combinations.pairs import Rule
from tests.combinations.training import LOADING

FACTORS: Mapping[str, Sequence[Any]] = {
    "model": ("plain", "grouped", "cnn"),
    "inference_batch_size": ("none", 1, 5),
    "middle_trim": (0, 1, 16, 32),
    "pad_eval": (False, True),
    "reconstruction_window": (20, 0, 1000),
    "n_groups": ("none", 6, 1000),
    "n_subsample": ("none", 12),
    "subsample_seed": ("none", 1),
    "neighbor_count": (4, 8),
    "debug": (False, True),
    "measurement_domain": ("auto", "amplitude"),
    "accelerator": ("cpu", "auto"),
    "devices": (("1", "auto"), ("auto", "auto"), ("1", "ddp")),
    "deterministic": ("true", "warn", "false"),
    "precision": ("32-true", "bf16-mixed", "64-true"),
    "seed": (42, 0),
    "enable_progress_bar": (False, True),
    "logger_backend": ("none", "csv"),
    **{
        name: LOADING[name] for name in ("num_workers", "pin_memory", "persistent_workers", "prefetch_factor")
    },
}
REFUSED: Sequence[Rule] = (
    {"num_workers": [0], "persistent_workers": [True]},
    {"num_workers": [0], "prefetch_factor": [3]},
)
BEYOND: Sequence[Rule] = (
    {"accelerator": ["cpu", "auto"], "precision": ["16-mixed"]},
    {"accelerator": ["cpu", "auto"], "strategy": ["fsdp", "deepspeed"]},
)
