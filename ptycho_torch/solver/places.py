"""Positions and intensities of patterns that are not fitted, where those of the others are refined."""

from dataclasses import replace

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ptycho_torch.solver.descent import Descent
from ptycho_torch.solver.forward import Forward, Ids

N_NEIGHBOURS = 4
N_PLACED = 20
"""Iterations that find the place of a pattern that was not fitted: it moves by 2 pixels at most."""


def carried_along(start_px: Tensor, positions_px: Tensor, fitted: Ids, others: Ids) -> Tensor:
    """Positions, in which others have moved as the nearest fitted ones have in the mean, as far as these tell.

    Errors of a stage often vary slowly over a scan: a pattern that judges would otherwise be predicted at a place that
    the patterns around it have left. How far neighbours tell a move is seen on the fitted patterns themselves; where
    each has an error of its own, the others stay.

    Args:
        start_px: float64 (n, 2), rows (y, x), before anything moved.
        positions_px: float64 (n, 2), of the fitted patterns as refined.
        fitted: patterns that were fitted.
        others: patterns that were not.

    Returns:
        float64 (n, 2).
    """
    carried = positions_px.clone()
    if len(fitted) <= N_NEIGHBOURS or not len(others):
        return carried
    start = start_px.cpu().numpy()
    tree, moves = cKDTree(start[fitted]), (positions_px - start_px)[fitted]
    _, near = tree.query(start[fitted], N_NEIGHBOURS + 1)
    missed = (moves - moves[near[:, 1:]].mean(dim=1)).square().sum()
    told = (1 - missed / moves.square().sum().clamp_min(torch.finfo(moves.dtype).tiny)).clamp(0, 1)
    _, near = tree.query(start[others], N_NEIGHBOURS)
    carried[others] = start_px[others] + told * moves[near].mean(dim=1)
    return carried


def refined_positions(forward: Forward, object: Tensor, modes: Tensor, others: Ids) -> Tensor:
    """Positions, of which those of some patterns are refined while object and probe stay as they are.

    Args:
        forward: the scan, with positions and intensities to begin with.
        object: complex (H, W), on the canvas.
        modes: complex (M, N, N).
        others: patterns that were not fitted.

    Returns:
        float64 (n, 2).
    """
    descent = Descent(forward, object, modes, others, probe_from=None, positions_from=0)
    for _ in range(N_PLACED):
        descent.step()
        same = {"object": object, "ahead_object": object, "used_object": object, "objective": torch.inf}
        descent.state = replace(descent.state, **same)
    return descent.state.positions_px


def refined_intensities(forward: Forward, object: Tensor, modes: Tensor, others: Ids, dark: float) -> Tensor:
    """Intensities, of which those of some patterns are refined while all else stays as it is.

    Args:
        forward: the scan, with positions and intensities to begin with.
        object: complex (H, W), on the canvas.
        modes: complex (M, N, N).
        others: patterns that were not fitted.
        dark: see `losses.dark_count`.

    Returns:
        float64 (n,).
    """
    forward.set_probe(modes)
    sums = forward.nothing(object=False, intensities=True)
    forward.accumulate(object, others, "poisson", dark, sums)
    assert sums.intensities is not None
    intensities = forward.intensities.clone()
    intensities[others] *= sums.intensities[others]
    return intensities
