"""Whether a training has ended: one that has, and was resumed, has not until it ends again."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ptycho.run_table import runs
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.runs.report.contents import read_contents
from ptycho_torch.runs.report.verdict import verdict_of
from ptycho_torch.runs.resuming import resume, train_or_resume
from ptycho_torch.runs.trained import load_trained
from tests.torch.runs import SMALL, refusal, trained

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("legacy")]

RESUMES = """
import os, signal, sys
from lightning.pytorch.callbacks import Callback
from ptycho_torch.runs.resuming import resume

class Ends(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        os.kill(os.getpid(), int(sys.argv[2]))

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell has its background jobs ignore
resume(sys.argv[1], {"nepochs": 4}, callbacks=[Ends()])
"""


def is_finished(run_dir: Path) -> bool:
    """What the table of runs says, and the report."""
    (row,) = runs(run_dir)
    headline = verdict_of(read_contents(run_dir)).headline
    assert (row["finished"], row["verdict"]) == (headline != "Not finished", headline)
    return row["finished"]


def warned(run_dir: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a reconstruction with the model of a training is warned of."""
    caplog.clear()
    load_trained(run_dir / "wts.h5.zip")
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_training_that_went_on_and_was_stopped_has_not_ended(
    number: signal.Signals, tiny_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = trained(tiny_file, tmp_path / "run", nepochs=1).run_dir
    assert is_finished(run_dir)
    assert warned(run_dir, caplog) == []
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-c", RESUMES, str(run_dir), str(int(number))]
    assert subprocess.run(words, env=environ, capture_output=True).returncode != 0
    assert len((run_dir / "history.csv").read_text().splitlines()) == 2  # of the first epoch alone
    assert not is_finished(run_dir)
    (said,) = warned(run_dir, caplog)
    assert said.startswith(f"{run_dir}: the training went on and has not finished; ")
    assert said.endswith(f"Continue with ptycho train --resume {run_dir}.")
    resume(run_dir)
    assert is_finished(run_dir)
    assert warned(run_dir, caplog) == []


def test_a_resume_that_is_refused_or_finds_nothing_to_do_leaves_it_finished(
    tiny_file: Path, tmp_path: Path
) -> None:
    run_dir = trained(tiny_file, tmp_path / "run", nepochs=1).run_dir
    assert "training.nepochs: expected more than the 1 epoch" in refusal(run_dir)
    assert "batch_size" in refusal(run_dir, {"batch_size": 3, "nepochs": 2})
    train_or_resume(create_training_payload(tiny_file, run_dir, SMALL | {"nepochs": 1}))
    assert is_finished(run_dir)


class Blocks(Callback):
    """Puts a folder in the place of a file that is written at the end."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.place.unlink()
        self.place.mkdir()


@pytest.mark.parametrize("name", ["preview.npz", "wts.h5.zip", "training.json"])
def test_a_training_that_fails_before_all_is_saved_goes_on_to_save_it(
    name: str, tiny_file: Path, tmp_path: Path
) -> None:
    run_dir = trained(tiny_file, tmp_path / "run", nepochs=1).run_dir
    with pytest.raises((FileExistsError, IsADirectoryError)):
        resume(run_dir, {"nepochs": 2}, callbacks=[Blocks(run_dir / name)])
    (run_dir / name).rmdir()
    assert not is_finished(run_dir)
    resume(run_dir)
    assert is_finished(run_dir)
    assert json.loads((run_dir / "training.json").read_text())["n_epochs"] == 2
    assert "training.nepochs" in refusal(run_dir)


def test_figures_of_an_earlier_version_are_compared_with_the_history(tiny_file: Path, tmp_path: Path) -> None:
    run_dir = trained(tiny_file, tmp_path / "run", nepochs=1).run_dir
    resume(run_dir, {"nepochs": 2})
    figures = json.loads((run_dir / "training.json").read_text())
    assert figures.pop("times_resumed") == 1
    (run_dir / "training.json").write_text(json.dumps(figures))
    assert is_finished(run_dir)
    (run_dir / "training.json").write_text(json.dumps(figures | {"n_epochs": 1}))
    assert not is_finished(run_dir)
