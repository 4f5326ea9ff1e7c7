"""Reports of runs that were stopped: what was found so far, and how to go on."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ptycho.checksums import verify
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.config_solver import create_solver_payload
from ptycho_torch.runs.course import Course
from ptycho_torch.runs.solving import solve
from ptycho_torch.runs.training import train
from tests.report.test_live import SETTINGS

pytestmark = pytest.mark.usefixtures("legacy")


def test_a_reconstruction_that_was_stopped_shows_its_object(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = Course.advance

    def interrupted(course: Course) -> dict[str, Any]:
        row = advance(course)
        if course.n_done == 3:
            raise KeyboardInterrupt
        return row

    monkeypatch.setattr(Course, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        solve(create_solver_payload(scan, tmp_path / "run", {"accelerator": "cpu"}))
    page = (tmp_path / "run" / "report.html").read_text()
    for shown in ("Not finished", "Amplitude of the object", "Deviance of the fitted patterns", "R factor"):
        assert shown in page, shown
    assert f"ptycho reconstruct --resume {tmp_path / 'run'}" in page
    assert set(verify(tmp_path / "run").values()) == {"ok"}


class Interrupting(Callback):
    """Ends a training from the keyboard, in an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, 1):
            raise KeyboardInterrupt


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_training_that_was_stopped_has_a_report(scan: Path, tmp_path: Path, epoch: int) -> None:
    payload = create_training_payload(scan, tmp_path / "run", SETTINGS)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(payload, callbacks=[Interrupting(epoch)])
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Not finished" in page
    has_checkpoint = epoch > 0
    assert (f"ptycho train --resume {tmp_path / 'run'}" in page) == has_checkpoint
