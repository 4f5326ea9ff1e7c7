"""A training that is asked to end in an epoch goes on from that step, to the numbers of one that was not."""

import logging
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ptycho.checksums import verify
from ptycho_torch.data.groups import EpochOrder
from ptycho_torch.lightning_utils import find_best_checkpoint
from ptycho_torch.runs.checkpoints import latest
from ptycho_torch.runs.resuming import resume
from ptycho_torch.runs.training import TrainingResult
from ptycho_torch.stopping import Terminated, is_asked, stop_now, stoppable, wait_for_step
from tests.legacy_dictionary import legacy_dictionary_restored
from tests.torch.runs import assert_same, refusal, trained

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("legacy")]

SETTINGS = {"n_groups": 30, "batch_size": 4}
"""Six batches train in an epoch, the last one of two groups; two validate."""


class Signals(Callback):
    """Sends SIGTERM to this process at a batch of an epoch."""

    def __init__(self, kind: str, epoch: int, batch: int) -> None:
        self.kind, self.place = kind, (epoch, batch)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.kind == "training" and self.place == (trainer.current_epoch, batch_idx):
            signal.raise_signal(signal.SIGTERM)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self.kind == "validation" and self.place == (trainer.current_epoch, batch_idx):
            signal.raise_signal(signal.SIGTERM)


def stopped(file: Path, run_dir: Path, *callbacks: Callback, **settings: Any) -> Path:
    """The checkpoint of the step that a training was stopped after."""
    with pytest.raises(Terminated):
        trained(file, run_dir, *callbacks, **SETTINGS | settings)
    assert not (run_dir / "wts.h5.zip").exists()
    return run_dir / "checkpoints" / "stopped.ckpt"


def state(run_dir: Path) -> list[Any]:
    """What a training would go on from, as the last checkpoint holds it: weights, optimizer, schedule, steps."""
    held = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    found: list[Any] = []

    def flatten(value: Any) -> None:
        if isinstance(value, dict):
            for name in sorted(value, key=str):
                flatten(value[name])
        elif isinstance(value, list | tuple):
            for item in value:
                flatten(item)
        else:
            found.append(value.tolist() if isinstance(value, torch.Tensor) else value)

    for name in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        flatten(held[name])
    return found


@pytest.mark.parametrize(
    ("place", "settings"),
    [
        (("training", 0, 0), {}),
        (("training", 2, 3), {"num_workers": 1, "scheduler": "WarmupCosine", "lr_warmup_epochs": 1}),
        (("training", 2, 0), {"num_workers": 1, "persistent_workers": True, "probe_trainable": True}),
        (("training", 2, 2), {"accum_steps": 2, "optimizer": "sgd", "scheduler": "MultiStage"}),
        (("training", 1, 1), {"drop_last_batch": True, "optimizer": "adamw", "val_split": 0}),
        (("training", 1, 4), {"scheduler": "Adaptive", "plateau_patience": 0, "plateau_threshold": 0.5}),
        (("training", 3, 1), {"enable_progress_bar": True, "n_subsample": 25}),
        (("training", 3, 5), {"check_val_every_n_epoch": 2}),
        (("validation", 3, 0), {"scheduler": "Adaptive", "plateau_patience": 0, "plateau_threshold": 0.5}),
        (("validation", 0, 0), {"precision": "64-true", "probe_trainable": True}),
    ],
)
def test_a_training_that_ends_in_an_epoch_goes_on_to_the_numbers_of_one_that_does_not(
    place: tuple[str, int, int], settings: dict[str, Any], tiny_file: Path, tmp_path: Path
) -> None:
    whole = trained(tiny_file, tmp_path / "whole", **SETTINGS | settings)
    run_dir = tmp_path / "run"
    assert stopped(tiny_file, run_dir, Signals(*place), **settings).is_file()
    assert set(verify(run_dir).values()) == {"ok"}
    resumed = resume(run_dir)
    assert_same(whole, resumed)
    assert state(whole.run_dir) == state(run_dir)
    assert not (run_dir / "checkpoints" / "stopped.ckpt").exists()
    assert set(verify(run_dir).values()) == {"ok"}


def test_where_gradients_are_accumulated_a_training_ends_after_a_step_of_the_optimizer(
    tiny_file: Path, tmp_path: Path
) -> None:
    path = stopped(tiny_file, tmp_path, Signals("training", 1, 0), accum_steps=2)
    assert latest(path.parent).batches_done == 2


@pytest.mark.parametrize("settings", [{}, {"save_last_checkpoint": False, "learning_rate": 1e-30}])
def test_a_signal_in_the_last_step_of_an_epoch_costs_no_epoch(
    settings: dict[str, Any], tiny_file: Path, tmp_path: Path
) -> None:
    at_the_end = Signals("training", 1, 7)
    path = stopped(tiny_file, tmp_path / "run", at_the_end, val_split=0, **settings)
    assert path.exists() == bool(settings)
    assert (latest(path.parent).epochs_done, latest(path.parent).batches_done) == (2, 0)
    whole = trained(tiny_file, tmp_path / "whole", **SETTINGS | settings | {"val_split": 0})
    assert_same(whole, resume(tmp_path / "run"))


def test_a_training_may_be_stopped_twice_in_an_epoch_and_fail_in_between(
    undisturbed: TrainingResult, tiny_file: Path, tmp_path: Path
) -> None:
    class Fails(Callback):
        def on_train_batch_end(self, *given: Any) -> None:
            raise InterruptedError

    path = stopped(tiny_file, tmp_path / "run", Signals("training", 0, 1))
    with pytest.raises(InterruptedError):
        resume(tmp_path / "run", callbacks=[Fails()])
    with pytest.raises(Terminated):
        resume(tmp_path / "run", callbacks=[Signals("training", 0, 3)])
    assert latest(path.parent).batches_done == 4
    assert_same(undisturbed, resume(tmp_path / "run"))


@pytest.fixture(scope="module")
def left(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after two batches of its third epoch."""
    run_dir = tmp_path_factory.mktemp("left") / "run"
    with legacy_dictionary_restored():
        stopped(tiny_file, run_dir, Signals("training", 2, 1))
    return run_dir


@pytest.fixture(scope="module")
def undisturbed(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """The same run, which nothing stopped."""
    with legacy_dictionary_restored():
        return trained(tiny_file, tmp_path_factory.mktemp("undisturbed") / "run", **SETTINGS)


@pytest.fixture
def copied(left: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(left, tmp_path / "copied"))


def test_the_run_says_where_it_goes_on(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        resume(copied)
    assert "for 4 epochs, 2 of which are done and 2 of the batches of the next (stopped.ckpt)" in caplog.text


def test_a_damaged_checkpoint_of_a_step_costs_the_epoch_alone(
    copied: Path, undisturbed: TrainingResult, caplog: pytest.LogCaptureFixture
) -> None:
    path = copied / "checkpoints" / "stopped.ckpt"
    path.write_bytes(path.read_bytes()[:9000])
    resumed = resume(copied)
    assert f"passed over: {path}: " in caplog.text
    assert f"the latest sound checkpoint is {path.with_name('last.ckpt')}, from 2 epochs" in caplog.text
    assert_same(undisturbed, resumed)
    assert not path.exists()


def test_the_best_checkpoint_is_of_a_whole_epoch(copied: Path) -> None:
    best = find_best_checkpoint(copied)
    assert best is not None
    assert best.name.startswith("epoch=001")


def test_fewer_epochs_than_were_begun_are_refused(copied: Path) -> None:
    assert refusal(copied, {"nepochs": 2}).startswith("training.nepochs: expected at least 3, ")


def test_a_part_of_an_epoch_of_more_processes_is_passed_over(
    copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = copied / "checkpoints" / "stopped.ckpt"
    held = torch.load(path, weights_only=True)
    held["under_way"]["means"]["train_loss"]["totals"] *= 2
    torch.save(held, path)
    assert len(resume(copied).history) == 4
    assert "or the part of one that 1 processes trained; got that of 2" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_full_disk_leaves_the_whole_epochs(
    undisturbed: TrainingResult, tiny_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class FillsTheDisk(Signals):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if self.place == (trainer.current_epoch, batch_idx):
                resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, unlimited[1]))
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        path = stopped(tiny_file, tmp_path / "run", FillsTheDisk("training", 2, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert f"{path}: not written: " in caplog.text
    assert sorted(entry.name[:9] for entry in path.parent.iterdir()) == ["epoch=001", "last.ckpt"]
    assert_same(undisturbed, resume(tmp_path / "run"))


def test_weights_that_are_not_numbers_are_not_written(tiny_file: Path, tmp_path: Path) -> None:
    class Spoils(Signals):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
            if self.place == (trainer.current_epoch, batch_idx):
                batch["amplitude"][0] = float("nan")

    assert not stopped(tiny_file, tmp_path, Spoils("training", 2, 1)).exists()


def test_without_checkpoints_a_training_ends_at_once(tiny_file: Path, tmp_path: Path) -> None:
    assert not stopped(tiny_file, tmp_path, Signals("training", 2, 1), enable_checkpointing=False).exists()


def test_the_groups_that_were_taken_are_left_out_of_the_first_epoch_alone() -> None:
    whole, rest = EpochOrder(10, seed=1), EpochOrder(10, seed=1, first_epoch=3, n_taken=4)
    for order in (whole, rest):
        order.set_epoch(3)
    assert list(rest) == list(whole)[4:]
    assert len(rest) == len(whole)
    for order in (whole, rest):
        order.set_epoch(4)
    assert list(rest) == list(whole)


def test_a_second_interrupt_ends_the_wait_for_a_step() -> None:
    heard: list[str] = []
    with pytest.raises(KeyboardInterrupt), stoppable(signal.SIGINT, signal.SIGTERM):
        _interrupted_and_again(heard)
    assert heard == ["waits"] * 2


def _interrupted_and_again(heard: list[str]) -> None:
    wait_for_step()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.raise_signal(number)
        heard.append("waits")
    assert is_asked()
    signal.raise_signal(signal.SIGINT)
    heard.append("missed")


def test_a_run_that_another_process_has_asked_to_end_writes_first() -> None:
    written: list[str] = []
    with pytest.raises(Terminated), stoppable():
        stop_now(_waiting(written))
    assert written == ["checkpoint"]


def _waiting(written: list[str]) -> Callable[[], None]:
    wait_for_step()
    return lambda: written.append("checkpoint")
