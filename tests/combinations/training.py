"""Representative values of what a training is told, and what of it does not go together on one CPU."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.combinations.pairs import Rule

ONE, TWO = ("1", "auto"), ("2", "auto")
"""n_devices and strategy."""
BY_NAME = tuple(("2", f"ddp{name}") for name in ("", "_spawn", "_notebook", "_find_unused_parameters_true"))

HARDWARE: Mapping[str, Sequence[Any]] = {
    "devices": (ONE, ("auto", "auto"), ("1", "ddp"), TWO, *BY_NAME),
    "accelerator": ("cpu", "auto"),
    "deterministic": ("true", "warn", "false"),
    "precision": ("32-true", "bf16-mixed", "64-true"),
    "seed": (42, 0),
    "ddp_backend": ("auto", "gloo"),
    "ddp_find_unused_parameters": (False, True),
    "ddp_static_graph": (None, False, True),
    "ddp_gradient_as_bucket_view": (True, False),
}
LOADING: Mapping[str, Sequence[Any]] = {
    "num_workers": (0, 1),
    "pin_memory": (False, True),
    "persistent_workers": (False, True),
    "prefetch_factor": ("none", 3),
    "val_split": (0.05, 0, 0.4),
    "val_split_seed": (42, 0),
    "drop_last_batch": (False, True),
    "num_threads": ("none", 1),
    "test_data_file": (None, "SCAN"),
    "batch_size": (4, 3),
    "n_groups": (16, "none"),
    "n_subsample": ("none", 18),
    "subsample_seed": ("none", 1),
    "neighbor_count": (8, 3),
    "neighbor_pool_size": ("none", 9),
    "enable_oversampling": (False, True),
    "sequential_sampling": (False, True),
    "measurement_domain": ("auto", "amplitude"),
}
OPTIMIZATION: Mapping[str, Sequence[Any]] = {
    "learning_rate": (1e-3, 1e-5),
    "scheduler": ("Default", "Exponential", "MultiStage", "Adaptive", "WarmupCosine"),
    "gradient_clip_val": ("none", 1.0),
    "gradient_clip_algorithm": ("norm", "value"),
    "accum_steps": (1, 2),
    "nepochs": (2, 1),
    "optimizer": ("adam", "adamw", "sgd"),
    "momentum": (0.9, 0),
    "weight_decay": (0, 0.01),
    "adam_beta1": (0.9, 0),
    "lr_warmup_epochs": (0, 1),
    "lr_min_ratio": (0.1, 0, 1),
    "plateau_patience": (2, 0),
    "plateau_min_lr": (5e-5, 0),
    "torch_loss_mode": ("poisson", "mae"),
    "nll_weight": (1, 0),
    "mae_weight": (0, 1),
    "realspace_weight": (0, 0.1),
    "realspace_mae_weight": (0, 0.1),
}
MODEL: Mapping[str, Sequence[Any]] = {
    "model_type": ("pinn", "supervised"),
    "architecture": ("unrolled", "cnn"),
    "gridsize": (1, 2),
    "n_physics_steps": (1, 2),
    "amp_activation": ("sigmoid", "relu"),
    "object_big": (True, False),
    "probe_big": (True, False),
    "pad_object": (True, False),
    "probe_mask": (False, True),
    "gaussian_smoothing_sigma": (0, 0.5),
    "probe_trainable": (False, True),
    "intensity_scale_trainable": (True, False),
}
RECORDS: Mapping[str, Sequence[Any]] = {
    "enable_checkpointing": (True, False),
    "checkpoint_save_top_k": (1, 0, -1, 2),
    "checkpoint_monitor_metric": ("val_loss", "train_loss", "learning_rate", "epoch_time_s"),
    "checkpoint_mode": ("min", "max"),
    "check_val_every_n_epoch": (1, 2),
    "save_last_checkpoint": (True, False),
    "early_stop_patience": (100, 1),
    "enable_progress_bar": (False, True),
    "logger_backend": ("none", "csv", "tensorboard", "mlflow"),
    "disable_mlflow": (False, True),
    "preview_every": ("auto", 1, 0),
    "inference_batch_size": ("none", 5),
    "middle_trim": (0, 16),
    "pad_eval": (False, True),
    "reconstruction_window": (20, 0),
}
FACTORS: Mapping[str, Sequence[Any]] = {**HARDWARE, **LOADING, **OPTIMIZATION, **MODEL, **RECORDS}

SEVERAL = [TWO, *BY_NAME]

REFUSED: Sequence[Rule] = (
    {"num_workers": [0], "persistent_workers": [True]},
    {"num_workers": [0], "prefetch_factor": [3]},
    {"scheduler": ["Adaptive"], "lr_warmup_epochs": [1]},
    {"scheduler": ["Exponential", "MultiStage"], "lr_min_ratio": [0]},
    {"nepochs": [1], "lr_warmup_epochs": [1]},
    {"torch_loss_mode": ["poisson"], "model_type": ["pinn"], "nll_weight": [0], "mae_weight": [0]},
    {"model_type": ["supervised"], "architecture": ["cnn"], "probe_trainable": [True]},
    {"check_val_every_n_epoch": [2], "nepochs": [1], "val_split": [0.05, 0.4]},
    {"check_val_every_n_epoch": [2], "nepochs": [1], "test_data_file": ["SCAN"], "val_split": [0]},
    {"ddp_static_graph": [True], "ddp_find_unused_parameters": [True], "devices": SEVERAL},
    {"ddp_static_graph": [True], "devices": [("2", "ddp_find_unused_parameters_true")]},
    {"ddp_static_graph": [True], "accum_steps": [2], "devices": SEVERAL},
)
"""What does not go together, the first values being in force elsewhere."""

BEYOND: Sequence[Rule] = (
    {"gridsize": [3], "neighbor_count": [7]},
    {"gridsize": [4], "neighbor_pool_size": [9]},
    {"gridsize": [2], "n_subsample": [3]},
    {"drop_last_batch": [True], "n_groups": [3], "batch_size": [4]},
    {"drop_last_batch": [True], "n_groups": [16], "batch_size": [9], "devices": [TWO]},
    {"accelerator": ["cpu", "auto"], "precision": ["16-mixed"]},
    {"accelerator": ["cpu", "auto"], "strategy": ["fsdp", "deepspeed"]},
    {"accelerator": ["cpu"], "ddp_backend": ["nccl"], "devices": SEVERAL},
    {"ddp_backend": ["mpi"], "devices": SEVERAL},
)
"""The same, with values that would stand in the way of most others."""
