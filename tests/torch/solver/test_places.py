"""Patterns that judge go along with the patterns around them."""

import numpy as np
import torch

from ptycho_torch.solver import carried_along

START = torch.from_numpy(np.random.default_rng(0).uniform(0, 100, (300, 2)))
OTHERS = np.arange(0, 300, 10)
FITTED = np.setdiff1d(np.arange(300), OTHERS)


def error(moves: torch.Tensor) -> float:
    """Of what the others are moved by, relative to their own moves."""
    now = START.clone()
    now[FITTED] += moves[FITTED]
    found = carried_along(START, now, FITTED, OTHERS)
    assert torch.equal(found[FITTED], now[FITTED])
    return float(
        (found - START - moves)[OTHERS].square().sum() / moves[OTHERS].square().sum().clamp_min(1e-30)
    )


def test_moves_that_vary_slowly_are_shared() -> None:
    assert error(0.5 * torch.sin(START / 25)) < 0.1
    assert error(torch.full_like(START, 0.3)) < 1e-20


def test_moves_of_each_pattern_for_itself_are_not() -> None:
    noise = torch.from_numpy(np.random.default_rng(1).normal(size=(300, 2)))
    found = carried_along(START, START + noise, FITTED, OTHERS)
    assert torch.equal(found[OTHERS], START[OTHERS])


def test_nothing_moves_where_nothing_has_moved_or_nothing_tells() -> None:
    assert torch.equal(carried_along(START, START, FITTED, OTHERS), START)
    assert torch.equal(carried_along(START[:4], START[:4] + 1, np.arange(3), np.array([3])), START[:4] + 1)
    assert torch.equal(carried_along(START, START + 1, FITTED, OTHERS[:0]), START + 1)
