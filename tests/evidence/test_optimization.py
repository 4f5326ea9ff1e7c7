"""Optimizers, schedules, clipping and accumulation: every step of a training against its formula."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.evidence.observed import PLAIN, Seen, observed, rows

pytestmark = pytest.mark.integration

RATE = 0.02
FLAT = {"learning_rate": 1e-30, "val_split": 0.25, "scheduler": "Adaptive", "nepochs": 7}
"""Steps too small to change a weight, so that the loss stays as it is."""


@pytest.mark.proves("learning_rate", seen="a step of gradient descent is the rate times the gradient")
def test_rate_is_the_size_of_a_step(tiny_file: Path, tmp_path: Path) -> None:
    seen = observed(tiny_file, tmp_path, **PLAIN, learning_rate=RATE)
    for name, gradient in seen.gradients[0].items():
        torch.testing.assert_close(seen.weights[0][name], seen.start[name] - RATE * gradient)


EXPECTED = {
    "Default": lambda step: 1.0,
    "Exponential": lambda step: 0.1 ** (step // 4 / 3),
    "MultiStage": lambda step: (1, 1, 0.1**0.5, 0.1)[step // 4],
    "WarmupCosine": lambda step: 0.1 + 0.9 * (1 + math.cos(math.pi * step / 15)) / 2,
}


@pytest.mark.proves(
    "scheduler", seen="the optimizer's rate at every step follows the formula of each schedule"
)
@pytest.mark.parametrize("scheduler", EXPECTED)
def test_rates_follow_the_schedule(scheduler: str, tiny_file: Path, tmp_path: Path) -> None:
    seen = observed(tiny_file, tmp_path, scheduler=scheduler, learning_rate=RATE, nepochs=4)
    rates = [rate for epoch in seen.rates for rate in epoch]
    assert rates == pytest.approx([RATE * EXPECTED[scheduler](step) for step in range(16)])


@pytest.mark.proves("lr_warmup_epochs", seen="the rate rises by equal steps over the first epochs")
def test_warmup_rises_to_the_full_rate(tiny_file: Path, tmp_path: Path) -> None:
    seen = observed(tiny_file, tmp_path, learning_rate=RATE, lr_warmup_epochs=2)
    rates = [rate for epoch in seen.rates for rate in epoch]
    assert rates == pytest.approx([RATE * min(1, (step + 1) / 8) for step in range(12)])


@pytest.mark.proves("lr_min_ratio", seen="the last rate of a cosine is this share of the first")
def test_last_rate_is_the_given_share(tiny_file: Path, tmp_path: Path) -> None:
    seen = observed(tiny_file, tmp_path, scheduler="Cosine", learning_rate=RATE, lr_min_ratio=0.3)
    assert seen.rates[-1][-1] == pytest.approx(0.3 * RATE)


def plateau(file: Path, run_dir: Path, **settings: Any) -> list[float]:
    """The rate of every epoch, relative to the first, where the loss is flat."""
    seen = observed(file, run_dir, **FLAT, **{"plateau_min_lr": 0.0, **settings})
    return [epoch[0] / FLAT["learning_rate"] for epoch in seen.rates]


@pytest.mark.proves("scheduler", "plateau_patience", seen="a flat loss lowers the rate after so many epochs")
def test_a_plateau_lowers_the_rate_after_its_patience(tiny_file: Path, tmp_path: Path) -> None:
    assert plateau(tiny_file, tmp_path, plateau_patience=3) == pytest.approx([1] * 5 + [0.5] * 2)


@pytest.mark.proves("plateau_factor", seen="the rate is multiplied by it at every plateau")
def test_rate_is_multiplied_at_every_plateau(tiny_file: Path, tmp_path: Path) -> None:
    rates = plateau(tiny_file, tmp_path, plateau_factor=0.2, plateau_patience=1)
    assert rates == pytest.approx([1, 1, 1, 0.2, 0.2, 0.04, 0.04])


@pytest.mark.proves("plateau_min_lr", seen="no plateau lowers the rate below it")
def test_rate_has_a_floor(tiny_file: Path, tmp_path: Path) -> None:
    assert plateau(tiny_file, tmp_path, plateau_patience=0, plateau_min_lr=4e-31)[-1] == pytest.approx(0.4)


def falling(file: Path, run_dir: Path, **settings: Any) -> float:
    """The rate of the last epoch, relative to the first, where the validation loss falls in every epoch."""
    lowers = {"scheduler": "Adaptive", "learning_rate": 1e-4, "val_split": 0.25, "plateau_patience": 0}
    seen = observed(file, run_dir, **lowers, **{"plateau_threshold": 0.0, **settings})
    losses = [float(row["val_loss"]) for row in rows(run_dir)]
    assert losses == sorted(set(losses), reverse=True)
    return seen.rates[-1][0] / 1e-4


@pytest.mark.proves("plateau_threshold", seen="a loss that falls by less counts as flat")
@pytest.mark.parametrize(("threshold", "rate"), [(0.0, 1.0), (0.9, 0.5)])
def test_small_improvements_count_as_a_plateau(
    threshold: float, rate: float, tiny_file: Path, tmp_path: Path
) -> None:
    assert falling(tiny_file, tmp_path, plateau_threshold=threshold) == pytest.approx(rate)


@pytest.mark.proves("checkpoint_mode", seen="with max a loss that falls lowers the rate of Adaptive")
@pytest.mark.parametrize(("mode", "rate"), [("min", 1.0), ("max", 0.5)])
def test_mode_decides_what_a_plateau_is(mode: str, rate: float, tiny_file: Path, tmp_path: Path) -> None:
    assert falling(tiny_file, tmp_path, checkpoint_mode=mode) == pytest.approx(rate)


@pytest.mark.proves("checkpoint_monitor_metric", seen="Adaptive follows the metric it names")
@pytest.mark.parametrize(("metric", "rate"), [("val_loss", 1.0), ("learning_rate", 0.5)])
def test_the_metric_named_has_the_plateau(metric: str, rate: float, tiny_file: Path, tmp_path: Path) -> None:
    assert falling(tiny_file, tmp_path, checkpoint_monitor_metric=metric) == pytest.approx(rate)


def sgd(gradients: list[Tensor], weight: Tensor) -> Tensor:
    """Sutskever et al. 2013, with weight decay as part of the gradient."""
    velocity = torch.zeros_like(weight)
    for gradient in gradients:
        velocity = 0.6 * velocity + gradient + 0.1 * weight
        weight = weight - RATE * velocity
    return weight


def adam(gradients: list[Tensor], weight: Tensor, *, decoupled: bool) -> Tensor:
    """Kingma and Ba 2015; decoupled: Loshchilov and Hutter 2019."""
    mean, square = torch.zeros_like(weight), torch.zeros_like(weight)
    for number, gradient in enumerate(gradients, start=1):
        if decoupled:
            weight = weight * (1 - RATE * 0.1)
        else:
            gradient = gradient + 0.1 * weight
        mean = 0.7 * mean + 0.3 * gradient
        square = 0.95 * square + 0.05 * gradient**2
        scale = (square / (1 - 0.95**number)).sqrt() + 1e-8
        weight = weight - RATE * mean / (1 - 0.7**number) / scale
    return weight


FORMULAS = {
    "sgd": sgd,
    "adam": lambda gradients, weight: adam(gradients, weight, decoupled=False),
    "adamw": lambda gradients, weight: adam(gradients, weight, decoupled=True),
}


@pytest.mark.proves(
    "optimizer", seen="the weights after three steps are those of the published formula of each optimizer"
)
@pytest.mark.proves("momentum", "weight_decay", "adam_beta1", "adam_beta2", seen="they enter that formula")
@pytest.mark.parametrize("optimizer", FORMULAS)
def test_weights_follow_the_formula_of_the_optimizer(optimizer: str, tiny_file: Path, tmp_path: Path) -> None:
    rates = {"momentum": 0.6} if optimizer == "sgd" else {"adam_beta1": 0.7, "adam_beta2": 0.95}
    settings = {"optimizer": optimizer, "learning_rate": RATE, "weight_decay": 0.1, "precision": "64-true"}
    seen = observed(tiny_file, tmp_path, **settings, **rates)
    for name in ("model.network.unets.0.decoders.0.head.weight", "model.network.unets.0.encoder.0.0.weight"):
        expected = FORMULAS[optimizer]([step[name] for step in seen.gradients[:3]], seen.start[name])
        torch.testing.assert_close(seen.weights[2][name], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.proves("gradient_clip_val", seen="no gradient the optimizer sees has a larger norm")
def test_gradient_norm_is_bounded(tiny_file: Path, tmp_path: Path) -> None:
    free, clipped = (
        observed(tiny_file, tmp_path / str(bound), gradient_clip_val=bound, **PLAIN) for bound in (None, 0.25)
    )
    assert min(free.gradient_norms) > 0.25
    assert clipped.gradient_norms == pytest.approx([0.25] * 12, rel=1e-4)


def largest(seen: Seen) -> float:
    return max(float(gradient.abs().max()) for step in seen.gradients for gradient in step.values())


@pytest.mark.proves("gradient_clip_algorithm", seen="value bounds each number of the gradient, not its norm")
def test_gradient_values_are_bounded_one_by_one(tiny_file: Path, tmp_path: Path) -> None:
    clip = {"gradient_clip_val": 0.02, "gradient_clip_algorithm": "value"}
    seen = observed(tiny_file, tmp_path, **clip, **PLAIN)
    assert largest(seen) == pytest.approx(0.02)
    assert min(seen.gradient_norms) > 0.02


@pytest.mark.proves(
    "accum_steps",
    seen="two batches of 4 to a step give the weights of one batch of 8, also where the last ones are short",
)
@pytest.mark.parametrize(
    ("n_groups", "last"), [(16, [4, 4]), (20, [4]), (22, [4, 2])], ids=["even", "one batch", "short batch"]
)
def test_accumulated_steps_equal_the_larger_batch(
    n_groups: int, last: list[int], tiny_file: Path, tmp_path: Path
) -> None:
    exact = {**PLAIN, "learning_rate": RATE, "precision": "64-true", "n_groups": n_groups, "nepochs": 2}
    small = observed(tiny_file, tmp_path / "a", **exact, accum_steps=2, batch_size=4)
    large = observed(tiny_file, tmp_path / "b", **exact, batch_size=8)
    assert small.batch_sizes[0][-len(last) :] == last
    assert large.batch_sizes[0][-1] == sum(last)
    assert len(small.weights) == len(large.weights) == 2 * len(large.batch_sizes[0])
    for name, weight in large.weights[-1].items():
        torch.testing.assert_close(small.weights[-1][name], weight, rtol=0, atol=1e-12)
