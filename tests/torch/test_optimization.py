"""The optimizer and its schedule: the rates at every step, group by group, against formulas."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptycho.config.canonical import TrainingConfig
from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.optimization import build_optimizer, build_schedule, rate_factor

RATE = 0.02
PROBE_RATE = 0.5


def execution(scheduler: str = "Default", **knobs: object) -> PyTorchExecutionConfig:
    return PyTorchExecutionConfig(scheduler=scheduler, learning_rate=RATE, **knobs)


def optimizer(config: TrainingConfig | None = None) -> torch.optim.Optimizer:
    network, probe = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))
    groups = [{"params": [network]}, {"params": [probe], "lr": PROBE_RATE}]
    return build_optimizer(groups, config or TrainingConfig(), RATE)


def curve(scheduler: str, n_epochs: int, steps: int = 3, **settings: object) -> list[list[list[float]]]:
    """The rates of both groups at every step of every epoch."""
    config = TrainingConfig(nepochs=n_epochs, **settings)
    sgd = optimizer(config)
    schedule = build_schedule(
        sgd, execution(scheduler), config, n_epochs=n_epochs, steps_per_epoch=steps, monitor="val_loss"
    )
    rates = []
    for _ in range(n_epochs):
        rates.append([])
        for _ in range(steps):
            rates[-1].append([group["lr"] for group in sgd.param_groups])
            sgd.step()
            if schedule:
                assert schedule["interval"] == "step"
                schedule["scheduler"].step()
    return rates


def network_rates(rates: list[list[list[float]]]) -> list[list[float]]:
    return [[step[0] for step in epoch] for epoch in rates]


def flat(rates: list[list[float]]) -> list[float]:
    return [rate for epoch in rates for rate in epoch]


def test_default_schedule_is_none():
    config = TrainingConfig()
    assert (
        build_schedule(optimizer(), execution(), config, n_epochs=5, steps_per_epoch=2, monitor="val_loss")
        is None
    )


def test_warmup_rises_by_equal_steps_to_the_full_rate():
    rates = network_rates(curve("Default", 4, lr_warmup_epochs=2))
    assert flat(rates[:2]) == pytest.approx([RATE * k / 6 for k in range(1, 7)])
    assert flat(rates[2:]) == pytest.approx([RATE] * 6)


def test_exponential_falls_by_one_factor_per_epoch_to_the_last_ratio():
    rates = network_rates(curve("Exponential", 5, lr_min_ratio=0.01))
    for epoch, steps in enumerate(rates):
        assert steps == pytest.approx([RATE * 0.01 ** (epoch / 4)] * 3)


@pytest.mark.parametrize("n_epochs", [1, 2, 3, 4, 7, 8])
def test_multistage_falls_at_half_and_at_three_quarters(n_epochs: int):
    rates = network_rates(curve("MultiStage", n_epochs, lr_min_ratio=0.04))
    for epoch, steps in enumerate(rates):
        fraction = epoch / n_epochs
        expected = 1.0 if fraction < 0.5 else 0.2 if fraction < 0.75 else 0.04
        assert steps == pytest.approx([RATE * expected] * 3)


def test_warmup_cosine_rises_then_falls_to_the_last_ratio():
    rates = flat(network_rates(curve("WarmupCosine", 6, lr_warmup_epochs=2, lr_min_ratio=0.1)))
    assert rates[:6] == pytest.approx([RATE * k / 6 for k in range(1, 7)])
    fall = [0.1 + 0.9 * (1 + math.cos(math.pi * k / 11)) / 2 for k in range(12)]
    assert rates[6:] == pytest.approx([RATE * factor for factor in fall])
    assert rates[-1] == pytest.approx(0.1 * RATE)


def test_cosine_without_warmup_starts_at_the_full_rate():
    assert curve("Cosine", 3)[0][0][0] == pytest.approx(RATE)


@pytest.mark.parametrize("scheduler", ["Exponential", "MultiStage", "WarmupCosine"])
def test_groups_keep_the_ratio_of_their_rates(scheduler: str):
    for epoch in curve(scheduler, 4, lr_warmup_epochs=1):
        for network, probe in epoch:
            assert probe / network == pytest.approx(PROBE_RATE / RATE)


def plateau(losses: list[float], **settings: object) -> list[list[float]]:
    """The rates of both groups after each epoch's loss."""
    config = TrainingConfig(nepochs=len(losses), **settings)
    adam = optimizer(config)
    schedule = build_schedule(
        adam,
        execution("ReduceLROnPlateau"),
        config,
        n_epochs=len(losses),
        steps_per_epoch=1,
        monitor="train_loss",
    )
    assert (schedule["interval"], schedule["monitor"]) == ("epoch", "train_loss")
    rates = []
    for loss in losses:
        schedule["scheduler"].step(loss)
        rates.append([group["lr"] for group in adam.param_groups])
    return rates


def test_plateau_reduces_every_group_after_its_patience_down_to_the_lowest_rate():
    rates = plateau([1.0] * 9, plateau_patience=2, plateau_factor=0.5, plateau_min_lr=0.004)
    factors = [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert [network for network, _ in rates] == pytest.approx([RATE * factor for factor in factors])
    assert [probe for _, probe in rates] == pytest.approx([PROBE_RATE * factor for factor in factors])
    assert plateau([1.0] * 40, plateau_min_lr=0.004)[-1] == pytest.approx([0.004, PROBE_RATE * 0.2])


def test_falling_loss_is_no_plateau():
    assert plateau([1.0 / epoch for epoch in range(1, 9)])[-1] == pytest.approx([RATE, PROBE_RATE])


def test_plateau_threshold_is_the_improvement_that_counts():
    losses = [0.99**epoch for epoch in range(8)]
    assert plateau(losses, plateau_threshold=0.0)[-1][0] == pytest.approx(RATE)
    assert plateau(losses, plateau_threshold=0.05)[-1][0] < RATE


def test_plateau_counts_its_patience_in_epochs_where_validation_is_rarer():
    schedule = build_schedule(
        optimizer(),
        execution("Adaptive"),
        TrainingConfig(plateau_patience=4),
        n_epochs=9,
        steps_per_epoch=1,
        monitor="val_loss",
        checks_every_n_epochs=2,
    )
    assert schedule["frequency"] == 2
    assert schedule["scheduler"].patience == 2


@pytest.mark.parametrize(
    ("scheduler", "settings", "words"),
    [
        (
            "Adaptive",
            {"lr_warmup_epochs": 1},
            "lr_warmup_epochs: 1 .* needs a scheduler other than Adaptive",
        ),
        (
            "WarmupCosine",
            {"lr_warmup_epochs": 5},
            r"lr_warmup_epochs: 5 \(argument\) needs nepochs > 5; nepochs is 5",
        ),
        (
            "Exponential",
            {"lr_min_ratio": 0},
            "lr_min_ratio: 0.0 .* scheduler is Exponential",
        ),
        ("MultiStage", {"lr_min_ratio": 0}, "lr_min_ratio: 0.0 .* scheduler is MultiStage"),
    ],
)
def test_settings_the_schedule_cannot_follow_are_refused(scheduler: str, settings: dict, words: str):
    with pytest.raises(ConfigError, match=words):
        curve(scheduler, 5, **settings)


@given(
    scheduler=st.sampled_from(["Default", "Exponential", "MultiStage", "WarmupCosine"]),
    n_epochs=st.integers(1, 30),
    steps=st.integers(1, 20),
    ratio=st.floats(0.01, 1),
    data=st.data(),
)
def test_rate_rises_to_full_and_never_leaves_its_bounds(
    scheduler: str, n_epochs: int, steps: int, ratio: float, data: st.DataObject
):
    warmup = data.draw(st.integers(0, n_epochs - 1))
    factors = [
        rate_factor(
            step, scheduler, n_epochs=n_epochs, steps_per_epoch=steps, warmup_epochs=warmup, min_ratio=ratio
        )
        for step in range((n_epochs + 2) * steps)
    ]
    rise, fall = factors[: warmup * steps], factors[warmup * steps :]
    assert rise == sorted(rise)
    assert fall == sorted(fall, reverse=True)
    assert fall[0] == 1
    assert min(fall) >= ratio * (1 - 1e-12)


def test_adam_takes_its_betas_and_weight_decay():
    for name, kind in {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}.items():
        built = optimizer(TrainingConfig(optimizer=name, adam_beta1=0.8, adam_beta2=0.95, weight_decay=0.1))
        assert type(built) is kind
        for group in built.param_groups:
            assert (group["betas"], group["weight_decay"]) == ((0.8, 0.95), 0.1)


def test_sgd_takes_its_momentum_and_weight_decay():
    built = optimizer(TrainingConfig(optimizer="sgd", momentum=0.7, weight_decay=0.1))
    assert type(built) is torch.optim.SGD
    for group in built.param_groups:
        assert (group["momentum"], group["weight_decay"]) == (0.7, 0.1)


def test_group_with_settings_of_its_own_keeps_them():
    built = build_optimizer(
        [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.3, "weight_decay": 0.0}],
        TrainingConfig(optimizer="adamw", weight_decay=0.1),
        RATE,
    )
    assert (built.param_groups[0]["lr"], built.param_groups[0]["weight_decay"]) == (0.3, 0.0)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_every_optimizer_moves_a_complex_probe_downhill(name: str):
    probe = torch.nn.Parameter(torch.ones(4, dtype=torch.complex64) * (1 + 1j))
    built = build_optimizer([probe], TrainingConfig(optimizer=name), RATE)
    for _ in range(3):
        built.zero_grad()
        probe.abs().square().sum().backward()
        built.step()
    assert probe.abs().max() < 2**0.5
