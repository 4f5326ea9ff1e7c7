"""Cutting, adding and averaging patches, against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptycho_torch.patches import (
    add,
    add_slices,
    averaged,
    cut,
    cut_slices,
    frame_of,
    gather,
    overlap_of,
    scatter,
)

SHAPE = (11, 9)
PATCH = (4, 3)
corners = st.lists(
    st.tuples(st.integers(0, SHAPE[0] - PATCH[0]), st.integers(0, SHAPE[1] - PATCH[1])),
    min_size=1,
    max_size=6,
).map(torch.tensor)
ways_to_cut = pytest.mark.parametrize("cutting", [cut, cut_slices, gather])
ways_to_add = pytest.mark.parametrize("adding", [add, add_slices, scatter])


def random(*shape: int, seed: int) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    return torch.from_numpy(generator.normal(size=shape) + 1j * generator.normal(size=shape))


def windows(canvas: torch.Tensor, places: torch.Tensor, n_rows: int, n_columns: int) -> torch.Tensor:
    """What a loop cuts out."""
    return torch.stack([canvas[r : r + n_rows, c : c + n_columns] for r, c in places.tolist()])


@ways_to_cut
@given(corners)
def test_cutting_gives_the_windows_that_a_loop_cuts(cutting, corners: torch.Tensor) -> None:
    for canvas in (random(*SHAPE, seed=1), random(*SHAPE, seed=1).real.contiguous()):
        out = canvas.new_empty(len(corners), *PATCH)
        torch.testing.assert_close(
            cutting(canvas, corners, out), windows(canvas, corners, *PATCH), rtol=0, atol=0
        )


@ways_to_add
@given(corners)
def test_adding_is_the_adjoint_of_cutting_and_adds_to_what_is_there(adding, corners: torch.Tensor) -> None:
    canvas, values = random(*SHAPE, seed=2), random(len(corners), *PATCH, seed=3)
    left = torch.vdot(windows(canvas, corners, *PATCH).flatten(), values.flatten())
    sums = torch.zeros_like(canvas)
    adding(sums, corners, values)
    assert torch.vdot(canvas.flatten(), sums.flatten()).item() == pytest.approx(left.item())
    adding(sums, corners, -values)
    assert sums.abs().max() < 1e-12
    real = torch.zeros(SHAPE, dtype=torch.float64)
    adding(real, corners, torch.ones(len(corners), *PATCH, dtype=torch.float64))
    assert real.sum().item() == len(corners) * PATCH[0] * PATCH[1]


def plain_average(values: torch.Tensor, corner: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Group by group, sum of weighted patches over sum of weights, written out with the operations of autograd."""
    n, n_group = values.shape[-1], corner.shape[1]
    averages = []
    for group, place in enumerate(corner):
        side = int(place.max()) + n
        total, sums = torch.zeros(side, side), torch.zeros(side, side)
        for i, (row, column) in enumerate(place.tolist(), start=group * n_group):
            around = (column, side - column - n, row, side - row - n)
            total = total + torch.nn.functional.pad(values[i] * weight[i], around)
            sums = sums + torch.nn.functional.pad(weight[i], around)
        averages.append(windows(total / sums.clamp_min(1e-300), place, n, n))
    return torch.cat(averages)


def test_average_and_its_gradient_are_those_of_the_plain_formula() -> None:
    corner = torch.from_numpy(np.random.default_rng(4).integers(0, 4, size=(3, 4, 2)))
    weight = random(12, 5, 5, seed=5).abs() + 0.1
    values, towards = random(12, 5, 5, seed=6).requires_grad_(), random(12, 5, 5, seed=7)
    results = averaged(values, overlap_of(corner, weight)), plain_average(values, corner, weight)
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*(torch.autograd.grad(result, values, towards)[0] for result in results))
    assert torch.autograd.gradcheck(lambda patch: averaged(patch, overlap_of(corner, weight)), values)


def test_the_corners_that_are_given_stay_as_they_are() -> None:
    corner = torch.tensor([[[3, 5], [4, 7]], [[8, 1], [6, 2]]])
    before = corner.clone()
    overlap_of(corner, torch.ones(4, 3, 3))
    assert torch.equal(corner, before)


def test_averaging_windows_of_one_object_changes_nothing() -> None:
    corner = torch.tensor([[[0, 0], [1, 2], [5, 4]]])
    cuts = windows(random(*SHAPE, seed=8), corner[0], 4, 4)
    torch.testing.assert_close(averaged(cuts, overlap_of(corner, random(3, 4, 4, seed=9).abs() + 0.1)), cuts)


def test_the_average_has_the_weights() -> None:
    values = torch.tensor([[[1.0]], [[4.0]]], dtype=torch.complex64)
    overlap = overlap_of(torch.tensor([[[0, 0], [0, 0]]]), torch.tensor([[[1.0]], [[2.0]]]))
    assert averaged(values, overlap).real.flatten().tolist() == pytest.approx([3.0, 3.0])


def test_the_frame_is_the_smallest_canvas_of_all_patches_and_its_margin() -> None:
    positions = torch.tensor([[10.4, 20.6], [13.5, 18.0]], dtype=torch.float64)
    assert frame_of(positions, 4) == ((8, 16), (8, 7))
    assert frame_of(positions, 4, margin_px=3) == ((5, 13), (14, 13))
