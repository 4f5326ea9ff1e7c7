"""Positions of patterns that are not fitted, where those that are have moved."""

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ptycho_torch.solver.forward import Ids

N_NEIGHBOURS = 4


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
