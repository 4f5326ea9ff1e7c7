"""Which of eight orientations of the scan positions explains the patterns: axes swapped, mirrored, or turned.

Each is tried on a compact part of the scan (`trials`). Only a known probe distinguishes a turn by half a circle
(`rotate-180`) from the identity: with a free one, conjugate mirror images of probe and object give the same patterns.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

from ptycho_torch.solver.trials import Trials

Matrix = tuple[tuple[int, int], tuple[int, int]]
"""What takes (y, x) as they stand to those of the object."""
N_ITERATIONS: Final = 8
"""Of a trial."""


class Ranked(NamedTuple):
    """An orientation and how well it explains patterns that were not fitted."""

    orientation: str
    error: float
    """See `Trials.error`."""


def rank_orientations(
    trials: Trials, probe: Tensor, orientations: Mapping[str, Matrix], n_iterations: int = N_ITERATIONS
) -> list[Ranked]:
    """Orientations, the best first.

    Args:
        trials: the part of the scan.
        probe: complex (M, N, N), photon**0.5, where each trial starts.
        orientations: word -> matrix.
        n_iterations: of a trial.
    """
    places = trials.positions_px
    found = [
        Ranked(word, trials.error(probe, n_iterations, places @ torch.tensor(matrix, dtype=places.dtype).T))
        for word, matrix in orientations.items()
    ]
    return sorted(found, key=lambda one: one.error)
