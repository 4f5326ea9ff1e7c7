"""Checkpoints, validation and early stopping: what is left in the folder of a training."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.evidence.observed import checkpoints, observed, rows, run

pytestmark = pytest.mark.integration

LIVELY = {"learning_rate": 0.5, "seed": 1, "val_split": 0.25, "nepochs": 5}
"""A rate so large that the loss rises and falls."""


def losses(run_dir: Path, name: str = "val_loss") -> list[float]:
    return [float(row[name]) for row in rows(run_dir)]


def best(values: list[float], n: int, *, largest: bool = False) -> set[str]:
    """The epochs of the n best values."""
    order = sorted(range(len(values)), key=values.__getitem__, reverse=largest)
    return {f"epoch={epoch:03d}" for epoch in order[:n]}


def kept(file: Path, run_dir: Path, **settings: Any) -> set[str]:
    run(file, run_dir, **LIVELY | settings)
    assert best(losses(run_dir), 1) != best(losses(run_dir, "train_loss"), 1)
    return checkpoints(run_dir)


@pytest.mark.proves("enable_checkpointing", seen="off, nothing is kept, and the model has the last weights")
def test_no_checkpoints_where_they_are_off(tiny_file: Path, tmp_path: Path) -> None:
    assert kept(tiny_file, tmp_path, enable_checkpointing=False) == set()
    assert (tmp_path / "wts.h5.zip").is_file()


@pytest.mark.proves("checkpoint_save_top_k", seen="the k epochs with the lowest validation loss are kept")
@pytest.mark.parametrize(("k", "n"), [(2, 2), (0, 0), (-1, 5)])
def test_the_best_epochs_are_kept(k: int, n: int, tiny_file: Path, tmp_path: Path) -> None:
    found = kept(tiny_file, tmp_path, checkpoint_save_top_k=k)
    assert found == best(losses(tmp_path), n) | {"last"}


@pytest.mark.proves("checkpoint_monitor_metric", seen="the best epoch is that of the metric it names")
def test_the_metric_named_decides(tiny_file: Path, tmp_path: Path) -> None:
    found = kept(tiny_file, tmp_path, checkpoint_monitor_metric="train_loss")
    assert found == best(losses(tmp_path, "train_loss"), 1) | {"last"}


@pytest.mark.proves("checkpoint_mode", seen="with max the epoch of the largest metric is kept")
def test_the_largest_is_best_where_asked_for(tiny_file: Path, tmp_path: Path) -> None:
    found = kept(tiny_file, tmp_path, checkpoint_mode="max")
    assert found == best(losses(tmp_path), 1, largest=True) | {"last"}


@pytest.mark.proves("save_last_checkpoint", seen="the state after the last epoch is in last.ckpt, or not")
def test_the_last_state_is_kept_where_asked_for(tiny_file: Path, tmp_path: Path) -> None:
    assert "last" not in kept(tiny_file, tmp_path / "a", save_last_checkpoint=False)
    seen = observed(tiny_file, tmp_path / "b", **LIVELY)
    last = torch.load(tmp_path / "b" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, weight in seen.weights[-1].items():
        assert torch.equal(last[name], weight)


@pytest.mark.proves("early_stop_patience", seen="training stops after exactly so many flat epochs")
@pytest.mark.parametrize("patience", [1, 4])
def test_training_stops_after_its_patience(patience: int, tiny_file: Path, tmp_path: Path) -> None:
    flat = {"learning_rate": 1e-30, "val_split": 0.25, "nepochs": 9}
    run(tiny_file, tmp_path, **flat, early_stop_patience=patience)
    assert len(set(losses(tmp_path))) == 1
    assert len(rows(tmp_path)) == 1 + patience


RISING = {
    "learning_rate": 1e-30,
    "lr_warmup_epochs": 4,
    "val_split": 0.25,
    "nepochs": 9,
    "early_stop_patience": 2,
}
"""The loss stays as it is, and the learning rate rises for four epochs."""


@pytest.mark.proves(
    "checkpoint_mode", seen="training goes on while a metric rises with max, and stops with min"
)
@pytest.mark.parametrize(("mode", "n"), [("max", 4 + 2), ("min", 1 + 2)])
def test_mode_decides_when_training_stops(mode: str, n: int, tiny_file: Path, tmp_path: Path) -> None:
    run(tiny_file, tmp_path, **RISING, checkpoint_monitor_metric="learning_rate", checkpoint_mode=mode)
    assert len(rows(tmp_path)) == n


@pytest.mark.proves("checkpoint_monitor_metric", seen="training stops by the metric it names")
@pytest.mark.parametrize(("metric", "n"), [("learning_rate", 4 + 2), ("val_loss", 1 + 2)])
def test_training_stops_by_the_metric_named(metric: str, n: int, tiny_file: Path, tmp_path: Path) -> None:
    run(tiny_file, tmp_path, **RISING, checkpoint_monitor_metric=metric, checkpoint_mode="max")
    assert len(set(losses(tmp_path))) == 1
    assert len(rows(tmp_path)) == n


@pytest.mark.proves("check_val_every_n_epoch", seen="other epochs have no validation loss")
def test_validation_comes_every_so_many_epochs(tiny_file: Path, tmp_path: Path) -> None:
    run(tiny_file, tmp_path, **LIVELY | {"nepochs": 6}, check_val_every_n_epoch=3)
    assert [bool(row["val_loss"]) for row in rows(tmp_path)] == [False, False, True] * 2
