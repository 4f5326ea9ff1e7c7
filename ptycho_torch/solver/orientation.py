"""Which of eight orientations of the scan positions explains the patterns: axes swapped, mirrored, or turned.

Each is tried on a compact part of the scan (`trials`). Only a known probe distinguishes a turn by half a circle
(`rotate-180`) from the identity: with a free one, conjugate mirror images of probe and object give the same patterns.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

from ptycho_torch.solver.trials import Trials

ORIENTATIONS: Final[Mapping[str, tuple[tuple[int, int], tuple[int, int]]]] = {
    "identity": ((1, 0), (0, 1)),
    "flip-x": ((1, 0), (0, -1)),
    "flip-y": ((-1, 0), (0, 1)),
    "rotate-180": ((-1, 0), (0, -1)),
    "transpose": ((0, 1), (1, 0)),
    "rotate-90": ((0, 1), (-1, 0)),
    "rotate-270": ((0, -1), (1, 0)),
    "anti-transpose": ((0, -1), (-1, 0)),
}
"""Word -> matrix that takes (y, x) as they stand to those of the object: `flip-x` changes the sign of x, `transpose`
swaps both, `rotate-90` gives (x, -y)."""
N_ITERATIONS: Final = 8
"""Of a trial."""


class Ranked(NamedTuple):
    """An orientation and how well it explains patterns that were not fitted."""

    orientation: str
    error: float
    """See `Trials.error`."""


def oriented(positions_px: Tensor, orientation: str) -> Tensor:
    """Positions in another orientation.

    Args:
        positions_px: float64 (n, 2), rows (y, x).
        orientation: one of `ORIENTATIONS`.
    """
    return positions_px @ torch.tensor(ORIENTATIONS[orientation], dtype=positions_px.dtype).T


def rank_orientations(trials: Trials, probe: Tensor, n_iterations: int = N_ITERATIONS) -> list[Ranked]:
    """All eight orientations, the best first.

    Args:
        trials: the part of the scan.
        probe: complex (M, N, N), photon**0.5, where each trial starts.
        n_iterations: of a trial.
    """
    found = [
        Ranked(name, trials.error(probe, n_iterations, oriented(trials.positions_px, name)))
        for name in ORIENTATIONS
    ]
    return sorted(found, key=lambda one: one.error)
