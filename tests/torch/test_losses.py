"""Losses against formulas from other libraries and their limits."""

import numpy as np
import pytest
import torch
from scipy import stats

from ptycho_torch import losses

RNG = np.random.default_rng(5)
COUNTS = torch.from_numpy(RNG.poisson(30.0, size=(2, 8, 8)).astype(np.float64))
MEAN = COUNTS.sum(dim=(1, 2)).mean()
EXPECTED = torch.from_numpy(RNG.uniform(5.0, 60.0, size=(2, 8, 8)))


def test_poisson_loss_follows_the_likelihood_of_scipy() -> None:
    shifted = COUNTS.numpy() + 1
    log_likelihood = stats.poisson.logpmf(shifted, EXPECTED.numpy() + 1) - stats.poisson.logpmf(
        shifted, shifted
    )
    expected = -log_likelihood.sum() / COUNTS.sum().item()
    assert losses.poisson_loss(EXPECTED, COUNTS, MEAN).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [losses.poisson_loss, losses.amplitude_loss])
def test_a_perfect_prediction_costs_nothing_and_any_other_something(loss) -> None:
    assert loss(COUNTS, COUNTS, MEAN).item() == pytest.approx(0, abs=1e-12)
    assert loss(1.1 * COUNTS, COUNTS, MEAN).item() > 0


def test_poisson_loss_is_smallest_at_the_measured_counts() -> None:
    expected = COUNTS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(losses.poisson_loss(expected, COUNTS, MEAN), expected)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_poisson_loss_stays_finite_where_nothing_is_expected() -> None:
    expected = torch.zeros(1, 2, 2, requires_grad=True)
    loss = losses.poisson_loss(expected, torch.full((1, 2, 2), 7.0), torch.tensor(28.0))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(expected.grad).all()


def test_amplitude_loss_is_the_r_factor() -> None:
    amplitude = COUNTS.sqrt()
    expected = np.abs(EXPECTED.numpy() ** 0.5 - amplitude.numpy()).sum() / amplitude.numpy().sum()
    assert losses.amplitude_loss(
        EXPECTED.sqrt(), amplitude, amplitude.sum(dim=(1, 2)).mean()
    ).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [losses.poisson_loss, losses.amplitude_loss])
def test_pixels_that_were_not_measured_do_not_count(loss) -> None:
    measured = torch.ones(8, 8, dtype=torch.bool)
    measured[2, 3] = False
    spoiled = COUNTS.clone()
    spoiled[:, 2, 3] = 1e6
    clean = loss(EXPECTED, COUNTS, MEAN, measured).item()
    assert loss(EXPECTED, spoiled, MEAN, measured).item() == pytest.approx(clean)


def each_loss(part: slice) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    patch, label = torch.randn(2, 6, 8, 8, dtype=torch.complex128, generator=generator)
    weight = torch.rand(6, 8, 8, dtype=torch.float64, generator=generator)
    expected, counts = 30 * torch.rand(2, 6, 8, 8, dtype=torch.float64, generator=generator)
    return [
        losses.poisson_loss(expected[part], counts[part], MEAN),
        losses.amplitude_loss(expected[part], counts[part], MEAN),
        losses.object_loss(patch[part], label[part], weight[part]),
        losses.total_variation(patch[part], weight[part]),
    ]


def test_loss_of_a_batch_is_the_mean_of_its_parts() -> None:
    """So that steps taken together, or on several devices, are the step of one larger batch."""
    halves = zip(each_loss(slice(3)), each_loss(slice(3, 6)), strict=True)
    for whole, (first, second) in zip(each_loss(slice(6)), halves, strict=True):
        torch.testing.assert_close(whole, (first + second) / 2)


def test_object_loss_is_the_weighted_distance_of_complex_numbers() -> None:
    patch, label = torch.tensor([[1 + 1j, 2.0]]), torch.tensor([[1.0, 2 + 3j]])
    weight = torch.tensor([[1.0, 3.0]])
    assert losses.object_loss(patch, label, weight).item() == pytest.approx((1 * 1 + 3 * 3) / 4, rel=1e-3)


def test_total_variation_counts_steps_of_the_object() -> None:
    flat = torch.ones(1, 4, 4, dtype=torch.complex128)
    edge = flat.clone()
    edge[:, :, 2:] = -1
    weight = torch.ones(1, 4, 4, dtype=torch.float64)
    assert losses.total_variation(flat, weight).item() == pytest.approx(0, abs=1e-6)
    assert losses.total_variation(edge, weight).item() == pytest.approx(4 * 2 / 16, abs=1e-6)
