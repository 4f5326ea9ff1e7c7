"""Settings of a training that do not go together, by the number of devices or by what validates."""

from collections.abc import Iterator

from ptycho.config.canonical import TrainingConfig
from ptycho.config.errors import Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.devices import batches_per_device, find_accelerator
from ptycho_torch.runtime.failures import refused


def batch_failures(config: PyTorchExecutionConfig, training_config: TrainingConfig) -> Iterator[Failure]:
    """So few groups that no batch is full, where only full ones are trained on."""
    accelerator, n_groups = find_accelerator(config.accelerator), training_config.n_groups
    if not config.drop_last_batch or n_groups is None or accelerator is None:
        return
    if batches_per_device(config, accelerator, n_groups, training_config.batch_size) == 0:
        yield refused(
            config,
            "drop_last_batch",
            f"False where n_groups {n_groups}, shared by all devices (n_devices), make no full batch of batch_size "
            f"{training_config.batch_size}",
            "Set it to False, lower batch_size, or raise n_groups.",
        )


def interval_failures(config: PyTorchExecutionConfig, training_config: TrainingConfig) -> Iterator[Failure]:
    """Validation data that would never be looked at."""
    if config.check_val_every_n_epoch > training_config.nepochs:
        yield refused(
            config,
            "check_val_every_n_epoch",
            f"at most nepochs, the number of epochs, {training_config.nepochs}, with validation data "
            "(val_split > 0 or test_data_file)",
            "Lower it, raise nepochs, or train without validation data.",
        )
