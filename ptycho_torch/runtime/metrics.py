"""Which logged metric decides on checkpoints, early stopping and the Adaptive schedule."""

from collections.abc import Collection

from ptycho.config.errors import ConfigError, Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.failures import refused

VALIDATION_PREFIX = "val_"
"""Metrics whose name starts with this exist only when there is validation data."""


def find_metric(
    config: PyTorchExecutionConfig, *, has_validation: bool, logged_metrics: Collection[str]
) -> str | Failure:
    """The monitored metric, or why there is none."""
    name = config.checkpoint_monitor_metric
    if name == "val_loss" and not has_validation:
        name = "train_loss"
    logged = [
        metric for metric in logged_metrics if has_validation or not metric.startswith(VALIDATION_PREFIX)
    ]
    if name in logged:
        return name
    return refused(
        config,
        "checkpoint_monitor_metric",
        f"a metric that the model logs {'with' if has_validation else 'without'} validation data "
        f"({', '.join(sorted(logged))})",
        "Choose one of these, or log this metric.",
    )


def monitored_metric(
    config: PyTorchExecutionConfig, *, has_validation: bool, logged_metrics: Collection[str]
) -> str:
    """The name of the metric that checkpoints, early stopping and the Adaptive schedule go by.

    Args:
        config: gives checkpoint_monitor_metric; `val_loss` means train_loss without validation data.
        has_validation: whether there is validation data.
        logged_metrics: the names the model logs; those that start with `val_`, in validation.

    Raises:
        ConfigError: the model does not log it; the message lists what it logs.
    """
    found = find_metric(config, has_validation=has_validation, logged_metrics=logged_metrics)
    if isinstance(found, Failure):
        raise ConfigError([found])
    return found


def metric_interval(config: PyTorchExecutionConfig, metric: str) -> int:
    """Epochs from one value of a metric to the next; validation follows check_val_every_n_epoch."""
    return config.check_val_every_n_epoch if metric.startswith(VALIDATION_PREFIX) else 1
