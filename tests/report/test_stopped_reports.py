"""Reports of runs that were stopped: what was found so far, and how to go on."""

import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ptycho.checksums import verify
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.config_solver import create_solver_payload
from ptycho_torch.runs.course import Course
from ptycho_torch.runs.report.contents import read_contents
from ptycho_torch.runs.report.page import report_page
from ptycho_torch.runs.resuming import resume
from ptycho_torch.runs.resuming_solver import resume_solving
from ptycho_torch.runs.solving import solve
from ptycho_torch.runs.training import train
from tests.report.test_live import SETTINGS

pytestmark = pytest.mark.usefixtures("legacy")


BEGUN = ["/bin/ptycho", "train or reconstruct", "scan.npz", "--n-iterations=30"]
RESUMED = ["/bin/ptycho", "train or reconstruct", "--resume", "run"]
ENDINGS = ("the run was interrupted", "the current object is kept", "the run was ended by", "the run failed")


def commands(page: str) -> dict[str, str]:
    """The commands in a report, by their headings."""
    return dict(re.findall(r"<h3>([^<]+)</h3>\n<pre[^>]*>(.*?)</pre>", page, re.DOTALL))


def assert_whole(page: str) -> None:
    """A report that tells of no end but the last, and of both commands."""
    assert "Not finished" not in page
    assert [words for words in ENDINGS if words in page] == []
    assert "A warning of its own" in page
    told = commands(page)
    assert told["Started as"] == "ptycho &#39;train or reconstruct&#39; scan.npz --n-iterations=30"
    assert told["Continued as"] == "ptycho &#39;train or reconstruct&#39; --resume run"


def test_a_reconstruction_that_was_stopped_shows_its_object(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", BEGUN)
    advance = Course.advance

    def interrupted(course: Course) -> dict[str, Any]:
        row = advance(course)
        if course.n_done == 3:
            logging.getLogger("ptycho").warning("A warning of its own")
            raise KeyboardInterrupt
        return row

    monkeypatch.setattr(Course, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        solve(create_solver_payload(scan, tmp_path / "run", {"accelerator": "cpu"}))
    assert ENDINGS[1] in (tmp_path / "run" / "report.html").read_text()
    page = report_page(read_contents(tmp_path / "run"))
    assert {words for words in ENDINGS if words in page} == {*ENDINGS[:2]}
    for shown in ("Not finished", "Amplitude of the object", "Deviance of the fitted patterns", "R factor"):
        assert shown in page, shown
    assert f"ptycho reconstruct --resume {tmp_path / 'run'}" in page
    assert "Continued as" not in page
    assert set(verify(tmp_path / "run").values()) == {"ok"}
    monkeypatch.setattr(Course, "advance", advance)
    monkeypatch.setattr(sys, "argv", RESUMED)
    resume_solving(tmp_path / "run")
    assert_whole((tmp_path / "run" / "report.html").read_text())


class Interrupting(Callback):
    """Ends a training from the keyboard, in an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, 1):
            raise KeyboardInterrupt


def test_a_training_that_was_resumed_tells_of_no_end_but_the_last(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "run"
    monkeypatch.setattr(sys, "argv", BEGUN)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(create_training_payload(scan, run_dir, SETTINGS), callbacks=[Interrupting(1)])
    monkeypatch.setattr(sys, "argv", RESUMED)
    monkeypatch.chdir("/")
    with (run_dir / "run.log").open("a") as log:
        log.write("2030-01-01 00:00:00,000 WARNING ptycho: A warning of its own\n")
    resume(run_dir)
    assert_whole((run_dir / "report.html").read_text())
    assert f"Started in {tmp_path}" in (run_dir / "report.html").read_text()


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_training_that_was_stopped_has_a_report(scan: Path, tmp_path: Path, epoch: int) -> None:
    payload = create_training_payload(scan, tmp_path / "run", SETTINGS)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(payload, callbacks=[Interrupting(epoch)])
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Not finished" in page
    has_checkpoint = epoch > 0
    assert (f"ptycho train --resume {tmp_path / 'run'}" in page) == has_checkpoint
