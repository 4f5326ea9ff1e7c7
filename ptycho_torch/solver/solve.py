"""From patterns to an object: one scan, no training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.patches import frame_of
from ptycho_torch.solver.descent import Descent, Iteration
from ptycho_torch.solver.forward import BRIGHT_EVERY, Forward, Ids, Reduce
from ptycho_torch.solver.losses import dark_count
from ptycho_torch.solver.patterns import Patterns
from ptycho_torch.solver.probes import orthogonal, start_modes

MARGIN_PX = 4
"""Free canvas around the patches for positions that move."""


@dataclass(frozen=True)
class Solution:
    """What a descent found.

    Attributes:
        object: complex (H, W), transmission; free space (1) where no light fell.
        corner_px: row and column of ``object[0, 0]`` in the pixels of the scan positions.
        coverage: real (H, W), illumination by the fitted patterns, photons.
        modes: complex (M, N, N), orthogonal, strongest first, photon**0.5.
        positions_px: float64 (n, 2), rows (y, x).
        intensities: float64 (n,), relative to their geometric mean.
        history: the iterations of this call.
    """

    object: Tensor
    corner_px: tuple[int, int]
    coverage: Tensor
    modes: Tensor
    positions_px: Tensor
    intensities: Tensor
    history: list[Iteration]


def prepare(
    patterns: Patterns,
    positions_px: Tensor,
    probe: Tensor,
    *,
    fitted: Ids | None = None,
    n_modes: int = 1,
    start: Tensor | None = None,
    intensities: Tensor | None = None,
    margin_px: int = MARGIN_PX,
    device: torch.device | str = "cpu",
    chunk: int | None = None,
    real: torch.dtype = torch.float32,
    reduce: Reduce | None = None,
    **options: Any,
) -> Descent:
    """A descent that is ready for its first step.

    Args:
        patterns: the measured patterns.
        positions_px: float64 (n, 2), rows (y, x).
        probe: complex (M, N, N), photon**0.5.
        fitted: patterns to fit, increasing; None for all.
        n_modes: probe modes; see `probes.start_modes`.
        start: complex (H, W) on the canvas of `canvas.frame_of`; None for free space.
        intensities: float64 (n,), relative, of the patterns; None for equal ones.
        margin_px: canvas around the patches.
        device: where to compute.
        chunk: patterns at once; None by the machine.
        real: dtype of real arrays.
        reduce: adds a tensor over processes that share the patterns.
        options: of `Descent`.
    """
    ids = np.arange(patterns.n_patterns) if fitted is None else fitted
    frame = frame_of(positions_px, patterns.n_pixels, margin_px)
    forward = Forward(
        patterns, positions_px, frame, n_modes, device=device, chunk=chunk, real=real, reduce=reduce
    )
    if intensities is not None:
        forward.intensities = intensities.to(forward.intensities)
    options.setdefault("dark", dark_count(patterns.mean_photons(ids)))
    flat = torch.ones(frame.shape, dtype=forward.complex) if start is None else start
    return Descent(forward, flat, start_modes(probe, n_modes), ids, reduce=reduce, **options)


def share_of(ids: Ids, number: int, n_processes: int) -> Ids:
    """The patterns of one of several processes, which together find what one does, but for rounding.

    Args:
        ids: all patterns to fit, increasing.
        number: of the process, from 0.
        n_processes: how many there are.
    """
    return ids[np.arange(len(ids)) // BRIGHT_EVERY % n_processes == number]


def run(descent: Descent, n_iterations: int) -> Solution:
    """Descend until an iteration number is reached.

    Args:
        descent: from `prepare`; goes on where it is.
        n_iterations: to be reached in all.
    """
    history: list[Iteration] = []
    while descent.state.iteration < n_iterations:
        history.append(descent.step())
    return solution_of(descent, history)


def solution_of(descent: Descent, history: list[Iteration]) -> Solution:
    """What a descent has found so far."""
    state, forward = descent.state, descent.forward
    forward.positions_px, forward.intensities = state.positions_px, state.intensities
    forward.set_probe(state.modes)
    return Solution(
        object=state.object,
        corner_px=forward.frame.corner_px,
        coverage=forward.illumination(descent.fitted),
        modes=orthogonal(state.modes),
        positions_px=state.positions_px,
        intensities=state.intensities,
        history=history,
    )
