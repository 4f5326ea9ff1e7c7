"""The knobs of optimization, checkpoints and early stopping, observed in real trainings of a linear model."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from ptycho.config.canonical import TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime import metric_interval, monitored_metric
from tests.torch.line import METRICS, RATE, SCORES, Line, config, history, train


def kept(run_dir: Path) -> set[str]:
    """Epochs of the kept checkpoints, and `last`."""
    names = (path.stem for path in (run_dir / "checkpoints").glob("*.ckpt"))
    return {name.split("-")[0].removeprefix("epoch=") for name in names}


def test_accumulated_steps_equal_one_step_of_a_larger_batch(tmp_path: Path):
    small, large = Line(), Line()
    trainer = train(tmp_path / "a", config(accum_steps=4), small, epochs=3, batch_size=2)
    train(tmp_path / "b", config(), large, epochs=3, batch_size=8)
    assert trainer.global_step == 3
    torch.testing.assert_close(small.weight, large.weight)


def step_taken(tmp_path: Path, **knobs: object) -> torch.Tensor:
    """The gradient that the optimizer saw, in one step from zero."""
    model = Line()
    train(tmp_path, config(**knobs), model, epochs=1)
    return model.weight.detach() / RATE


def test_gradient_norm_is_clipped_to_its_bound(tmp_path: Path):
    free, clipped = step_taken(tmp_path / "a"), step_taken(tmp_path / "b", gradient_clip_val=0.25)
    assert free.norm() > 1
    torch.testing.assert_close(clipped, 0.25 * free / free.norm(), rtol=1e-4, atol=1e-6)


def test_gradient_values_are_clipped_one_by_one(tmp_path: Path):
    clipped = step_taken(tmp_path, gradient_clip_val=0.25, gradient_clip_algorithm="value")
    torch.testing.assert_close(clipped.abs(), torch.full((3,), 0.25))


def schedule_of(
    execution: PyTorchExecutionConfig, epochs: int, steps: int, **settings: object
) -> dict[str, Any]:
    monitor = monitored_metric(execution, has_validation=True, logged_metrics=METRICS)
    return {
        "execution_config": execution,
        "training_config": TrainingConfig(nepochs=epochs, **settings),
        "n_epochs": epochs,
        "steps_per_epoch": steps,
        "monitor": monitor,
        "checks_every_n_epochs": metric_interval(execution, monitor),
    }


def test_plateau_schedule_follows_the_validation_loss(tmp_path: Path):
    model = Line([1.0] * 6)
    execution = config(scheduler="Adaptive")
    model.schedule = schedule_of(execution, 6, 1, plateau_patience=1, plateau_factor=0.5, plateau_min_lr=0)
    rows = history(train(tmp_path, execution, model, epochs=6))
    rates = [RATE * factor for factor in (1, 1, 1, 0.5, 0.5, 0.25)]
    assert [row["learning_rate"] for row in rows] == pytest.approx(rates)


def test_plateau_schedule_waits_for_rarer_validation(tmp_path: Path):
    model = Line([1.0] * 8)
    execution = config(scheduler="Adaptive", check_val_every_n_epoch=2)
    model.schedule = schedule_of(execution, 8, 1, plateau_patience=2, plateau_factor=0.5, plateau_min_lr=0)
    rows = history(train(tmp_path, execution, model, epochs=8))
    assert [row["learning_rate"] for row in rows] == pytest.approx([RATE] * 6 + [RATE / 2] * 2)


def test_warmup_counts_optimizer_steps_when_gradients_accumulate(tmp_path: Path):
    model = Line([1.0] * 4)
    execution = config(scheduler="WarmupCosine", accum_steps=2)
    model.schedule = schedule_of(execution, 4, 2, lr_warmup_epochs=2, lr_min_ratio=0.1)
    rows = history(train(tmp_path, execution, model, epochs=4, batch_size=2))
    cosine = 0.1 + 0.9 * (1 + math.cos(math.pi * 2 / 3)) / 2
    factors = [1 / 4, 3 / 4, 1, cosine]
    assert [row["learning_rate"] for row in rows] == pytest.approx([RATE * factor for factor in factors])


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({"checkpoint_save_top_k": 2}, {"003", "004", "last"}),
        ({"checkpoint_save_top_k": 2, "checkpoint_mode": "max"}, {"000", "002", "last"}),
        ({"checkpoint_save_top_k": -1}, {"000", "001", "002", "003", "004", "last"}),
        ({"checkpoint_save_top_k": 0}, {"last"}),
        ({"checkpoint_monitor_metric": "train_loss"}, {"004", "last"}),
        ({"check_val_every_n_epoch": 3}, {"002", "last"}),
        ({"save_last_checkpoint": False}, {"003"}),
        ({"checkpoint_save_top_k": 0, "save_last_checkpoint": False}, set()),
        ({"enable_checkpointing": False}, set()),
    ],
)
def test_the_best_checkpoints_and_the_last_are_kept(knobs: dict, expected: set[str], tmp_path: Path):
    train(tmp_path, config(**knobs), Line(SCORES), epochs=5)
    assert kept(tmp_path) == expected


def test_without_validation_data_the_training_loss_decides(tmp_path: Path):
    trainer = train(tmp_path, config(), Line(), epochs=3)
    best = trainer.checkpoint_callback
    assert isinstance(best, ModelCheckpoint)
    assert Path(best.best_model_path).name.startswith("epoch=002-train_loss=")


def test_best_checkpoint_names_its_epoch_and_metric(tmp_path: Path):
    trainer = train(tmp_path, config(), Line(SCORES), epochs=5)
    assert Path(trainer.checkpoint_callback.best_model_path).name == "epoch=003-val_loss=1.ckpt"


def test_last_checkpoint_holds_the_last_weights_and_no_code(tmp_path: Path):
    model = Line(SCORES)
    train(tmp_path, config(), model, epochs=5)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert torch.equal(last["state_dict"]["weight"], model.weight)
    assert last["epoch"] == 4


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_after_exactly_patience_epochs_without_improvement(patience: int, tmp_path: Path):
    trainer = train(tmp_path, config(early_stop_patience=patience), Line([2.0, 1.0] + [1.0] * 20), epochs=20)
    assert len(history(trainer)) == 2 + patience


def test_patience_counts_epochs_where_validation_is_rarer(tmp_path: Path):
    execution = config(early_stop_patience=4, check_val_every_n_epoch=2)
    assert len(history(train(tmp_path, execution, Line([1.0] * 20), epochs=20))) == 2 + 4


def test_patience_watches_the_training_loss_without_validation_data(tmp_path: Path):
    execution = config(early_stop_patience=2, check_val_every_n_epoch=5)
    assert len(history(train(tmp_path, execution, Line(flat=True), epochs=20))) == 1 + 2


def test_early_stop_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="ptycho_torch")
    train(tmp_path, config(early_stop_patience=2), Line([1.0] * 9), epochs=9)
    assert "Stopped after epoch 2: Monitored metric val_loss did not improve in the last 2" in caplog.text


def test_loss_that_is_not_finite_stops_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    trainer = train(tmp_path, config(), Line([1.0, math.nan, 1.0]), epochs=3)
    assert len(history(trainer)) == 2
    assert [record.levelname for record in caplog.records if "not finite" in record.message] == ["WARNING"]
