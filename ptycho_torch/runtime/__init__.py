"""From the execution configuration to this machine: devices, Trainer, data loaders, callbacks, loggers.

Only this package asks torch which devices exist. A run goes

    check_training(...)                      before any data is read; every refusal at once
    with run_environment(config):            seeds, determinism, and Lightning's tips; restored afterwards
        DataLoader(..., **loader_arguments(config, training=True, batch_size=16))
        build_trainer(config, ...).fit(...)
"""

from ptycho_torch.runtime.callbacks import LAST, LossHistory, build_callbacks
from ptycho_torch.runtime.checkpoint_files import (
    CheckpointError,
    read_checkpoint,
    read_description,
    refuse_damaged,
    unreadable,
)
from ptycho_torch.runtime.checks import (
    check_machine,
    check_reconstruction,
    check_solver,
    check_training,
    reconstruction_failures,
    solver_failures,
    training_failures,
)
from ptycho_torch.runtime.devices import (
    batches_per_device,
    find_accelerator,
    require_accelerator,
    resolve_accelerator,
    resolve_n_devices,
)
from ptycho_torch.runtime.environment import run_environment, seed_everything
from ptycho_torch.runtime.failures import warn_once
from ptycho_torch.runtime.inference import build_fabric, working_dtype
from ptycho_torch.runtime.loggers import build_logger, log_picture
from ptycho_torch.runtime.lost import naming_losses
from ptycho_torch.runtime.metrics import metric_interval, monitored_metric
from ptycho_torch.runtime.processes import is_first_process, launch
from ptycho_torch.runtime.progress import EpochBar, losses_text, progress_bar
from ptycho_torch.runtime.ranks import Ranks
from ptycho_torch.runtime.stopped_step import UNDER_WAY
from ptycho_torch.runtime.trainer import build_trainer, loader_arguments, trainer_arguments

__all__ = [
    "LAST",
    "UNDER_WAY",
    "CheckpointError",
    "EpochBar",
    "LossHistory",
    "Ranks",
    "batches_per_device",
    "build_callbacks",
    "build_fabric",
    "build_logger",
    "build_trainer",
    "check_machine",
    "check_reconstruction",
    "check_solver",
    "check_training",
    "find_accelerator",
    "is_first_process",
    "launch",
    "loader_arguments",
    "log_picture",
    "losses_text",
    "metric_interval",
    "monitored_metric",
    "naming_losses",
    "progress_bar",
    "read_checkpoint",
    "read_description",
    "reconstruction_failures",
    "refuse_damaged",
    "require_accelerator",
    "resolve_accelerator",
    "resolve_n_devices",
    "run_environment",
    "seed_everything",
    "solver_failures",
    "trainer_arguments",
    "training_failures",
    "unreadable",
    "warn_once",
    "working_dtype",
]
