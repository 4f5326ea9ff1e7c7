"""How well a model that was just trained predicts patterns, beside their mean: whether it has learned anything."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import lightning
import numpy as np
import torch

from ptycho.wording import counted
from ptycho_torch.data.groups import GroupDataset
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.forward_model import Batch
from ptycho_torch.model import PtychoPINN_Lightning
from ptycho_torch.runs import metrics

log = logging.getLogger(__name__)

GROUPS, FEWEST, AT_ONCE = 32, 8, 4
"""Groups whose patterns are predicted, the fewest validation groups that do, and how many are predicted at once."""


def predicted_figures(
    module: PtychoPINN_Lightning, data: ScanDataModule, trainer: lightning.Trainer
) -> dict[str, Any]:
    """R factor and deviance of a model, and those of the mean pattern, on up to 32 groups.

    They are validation groups where there are at least 8, else training groups; the pattern in the middle of each
    counts. Of a supervised model, which is trained on labels, there are no figures.

    Args:
        module: in the memory of the processor.
        data: what it was trained on.
        trainer: converts the batches to the precision in force.

    Returns:
        ``r_factor``, ``poisson_deviance_per_pixel``, and both with the prefix ``mean_pattern_``; ``patterns``,
        'validation' or 'training', and ``n_patterns``, how many judge.
    """
    validates = data.validation is not None and len(data.validation) >= FEWEST
    dataset = data.validation if validates else data.training
    if dataset is None or data.config.model.model_type == "supervised":
        return {}
    chosen = np.unique(np.linspace(0, len(dataset) - 1, GROUPS).astype(int)).tolist()
    parts = [chosen[first : first + AT_ONCE] for first in range(0, len(chosen), AT_ONCE)]
    was_training = module.training
    module.eval()
    try:
        blocks = [_predicted(module, batch) for batch in _batches(dataset, parts, trainer)]
    finally:
        module.train(was_training)
    mean = metrics.agreement(lambda: metrics.mean_of_others(blocks, blocks))
    which = "validation" if validates else "training"
    figures = {
        "patterns": which,
        "n_patterns": len(chosen),
        **metrics.agreement(lambda: blocks),
        **{f"mean_pattern_{name}": value for name, value in mean.items()},
    }
    log.info(
        "r_factor %.4g on %s, that of the mean pattern %s",
        figures["r_factor"],
        counted(len(chosen), f"{which} pattern"),
        f"{reached:.4g}" if math.isfinite(reached := figures["mean_pattern_r_factor"]) else "not known",
    )
    return figures


def _batches(
    dataset: GroupDataset, parts: Sequence[list[int]], trainer: lightning.Trainer
) -> Iterator[Batch]:
    for part in parts:
        yield trainer.precision_plugin.convert_input(dataset.__getitems__(part))


@torch.no_grad()
def _predicted(module: PtychoPINN_Lightning, batch: Batch) -> metrics.Block:
    """The first pattern of each group: what the model predicts, and what was measured; zero frequency first."""
    estimates, patterns = module.model(batch)
    first = slice(None, None, module.model.group_size)
    predicted = module.model.expected_counts(estimates[-1], patterns)[first].sqrt()
    amplitude = (patterns.amplitude * patterns.photon_scale)[first]
    measured = torch.ones_like(amplitude, dtype=torch.bool)
    if patterns.measured is not None:
        measured = patterns.measured[first].bool()
    return metrics.Block(predicted.float().numpy(), amplitude.float().numpy(), measured.numpy())
