"""Cutting, placing and averaging patches, against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptycho_torch.patches import extract, flat_indices, place, shares

SHAPE = (11, 9)
PATCH = (4, 3)
corner = st.tuples(st.integers(0, SHAPE[0] - PATCH[0]), st.integers(0, SHAPE[1] - PATCH[1]))
groups = st.lists(st.lists(corner, min_size=3, max_size=3), min_size=1, max_size=3)


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@given(groups)
def test_extract_cuts_the_windows_a_loop_cuts(corners: list[list[tuple[int, int]]]) -> None:
    canvas = random(len(corners), *SHAPE, seed=1)
    cut = extract(canvas, flat_indices(torch.tensor(corners), PATCH, SHAPE))
    for b, group in enumerate(corners):
        for c, (row, column) in enumerate(group):
            window = canvas[b, row : row + PATCH[0], column : column + PATCH[1]]
            torch.testing.assert_close(cut[b, c], window, rtol=0, atol=0)


@given(groups)
def test_place_is_the_adjoint_of_extract(corners: list[list[tuple[int, int]]]) -> None:
    indices = flat_indices(torch.tensor(corners), PATCH, SHAPE)
    canvas, patches = random(len(corners), *SHAPE, seed=2), random(*indices.shape, seed=3)
    left = (extract(canvas, indices) * patches).sum()
    right = (canvas * place(patches, indices, SHAPE)).sum()
    assert left.item() == pytest.approx(right.item())


@given(groups)
def test_reassembling_windows_of_one_object_gives_it_back_where_covered(
    corners: list[list[tuple[int, int]]],
) -> None:
    indices = flat_indices(torch.tensor(corners), PATCH, SHAPE)
    canvas = torch.complex(random(len(corners), *SHAPE, seed=4), random(len(corners), *SHAPE, seed=5))
    weights = random(*indices.shape, seed=6).abs() + 0.1
    again = place(extract(canvas, indices) * shares(weights, indices, SHAPE), indices, SHAPE)
    covered = place(weights, indices, SHAPE) > 0
    torch.testing.assert_close(again[covered], canvas[covered])
    assert not again[~covered].any()


def test_reassembly_averages_with_the_weights() -> None:
    indices = flat_indices(torch.tensor([[[0, 0], [0, 0]]]), (1, 1), (1, 1))
    patches = torch.tensor([[[[1.0]], [[4.0]]]])
    weights = torch.tensor([[[[1.0]], [[2.0]]]])
    average = place(patches * shares(weights, indices, (1, 1)), indices, (1, 1))
    assert average.item() == pytest.approx(3.0)
