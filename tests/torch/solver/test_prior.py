"""Total variation and its proximal step, against written-out sums and an optimum found by other means."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from ptycho_torch.solver import strips
from ptycho_torch.solver.prior import MODULUS, no_dual, pull, shrink_variation, variation


def image_of(*shape: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=shape) + 1j * rng.normal(size=shape))


def written_out(image: np.ndarray, like: np.ndarray) -> float:
    """The variation of one image in the phase of another."""
    total = 0.0
    for r in range(image.shape[0]):
        for c in range(image.shape[1]):
            down = image[r + 1, c] - image[r, c] if r + 1 < image.shape[0] else 0
            right = image[r, c + 1] - image[r, c] if c + 1 < image.shape[1] else 0
            turned = np.array([down, right]) * np.exp(-1j * np.angle(like[r, c]))
            total += np.sqrt(((MODULUS * turned.real) ** 2 + turned.imag**2).sum())
    return total


def test_the_variation_is_the_written_out_sum() -> None:
    image = image_of(6, 7)
    assert float(variation(image, torch.ones(6, 7))) == pytest.approx(
        written_out(image.numpy(), image.numpy())
    )
    assert float(variation(torch.full((5, 5), 1 + 2j), torch.ones(5, 5))) == 0


def test_the_step_reaches_the_optimum_that_another_method_finds() -> None:
    image, weight = (
        image_of(5, 4),
        torch.rand(5, 4, generator=torch.Generator().manual_seed(1)).double() + 0.5,
    )
    strength = 0.7

    def cost(flat: np.ndarray, soft: float) -> float:
        x = (flat[:20] + 1j * flat[20:]).reshape(5, 4)
        slopes = np.zeros((2, 5, 4), complex)
        slopes[0, :-1], slopes[1, :, :-1] = x[1:] - x[:-1], x[:, 1:] - x[:, :-1]
        slopes *= np.exp(-1j * np.angle(image.numpy()))
        length = np.sqrt(((MODULUS * slopes.real) ** 2 + slopes.imag**2).sum(axis=0) + soft).sum()
        return strength * length + (weight.numpy() * np.abs(x - image.numpy()) ** 2).sum() / 2

    flat = np.concatenate([image.real.reshape(-1), image.imag.reshape(-1)])
    for soft in (1e-2, 1e-4, 1e-6, 1e-8):
        flat = minimize(
            cost, flat, args=(soft,), method="L-BFGS-B", options={"maxiter": 5000, "maxfun": 10**6}
        ).x
    found, _ = shrink_variation(
        image, weight, torch.full_like(weight, strength), no_dual(image), n_steps=2000
    )
    ours = cost(np.concatenate([found.real.reshape(-1), found.imag.reshape(-1)]), 0.0)
    assert ours <= cost(flat, 0.0) * (1 + 1e-5)
    np.testing.assert_allclose(found.reshape(-1), flat[:20] + 1j * flat[20:], atol=1e-2)


def test_a_kept_dual_goes_on_where_it_stopped() -> None:
    image, weight = image_of(12, 12, seed=2), torch.ones(12, 12, dtype=torch.float64)
    dual = no_dual(image)
    best, _ = shrink_variation(image, weight, torch.ones_like(weight), dual, n_steps=1000)
    errors = []
    for _ in range(25):
        found, dual = shrink_variation(image, weight, torch.ones_like(weight), dual)
        errors.append(float((found - best).abs().max()))
    assert errors[-1] < 0.15 * errors[0]


def test_a_strong_prior_leaves_the_weighted_mean() -> None:
    image, weight = (
        image_of(4, 4),
        torch.rand(4, 4, generator=torch.Generator().manual_seed(3)).double() + 0.5,
    )
    found, _ = shrink_variation(image, weight, torch.full_like(weight, 50.0), no_dual(image), n_steps=2000)
    mean = (image * weight).sum() / weight.sum()
    torch.testing.assert_close(found, torch.full_like(found, mean.item()), atol=1e-3, rtol=0)


def test_strips_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    image, weight = image_of(61, 9, seed=4), torch.rand(61, 9).double() + 0.5
    strength = torch.rand(61, 9).double()

    def found() -> list[torch.Tensor]:
        one, dual = shrink_variation(image, weight, strength, no_dual(image))
        two, dual = shrink_variation(image, weight, strength, dual, n_steps=3)
        return [one, two, dual, pull(image, dual), variation(image, strength)]

    whole = found()
    monkeypatch.setattr(strips, "ROWS", 5)
    for in_strips, at_once in zip(found(), whole, strict=True):
        torch.testing.assert_close(in_strips, at_once, rtol=1e-13, atol=0)
