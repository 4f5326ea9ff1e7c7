"""`ptycho train --resume`: a training that was stopped goes on from the command line."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.test_refusals import Run
from tests.refusals import told

pytestmark = pytest.mark.integration

TRAINED = ("--nepochs=2", "--quiet")


def test_a_finished_run_is_trained_on_and_shown_before(
    ptycho: Run, trained: Path, scan: Path, tmp_path: Path
) -> None:
    trained = Path(shutil.copytree(trained, tmp_path / "run"))
    code, shown, _ = ptycho("config", "show", "train", "--resume", trained, "--nepochs=2", "--json")
    assert code == 0
    settings = json.loads(shown)["origins"]
    assert settings["training.nepochs"]["locator"] == "--nepochs"
    assert settings["training.batch_size"]["kind"] == "file"
    assert settings["training.batch_size"]["locator"] == f"{trained}/config.json"
    assert settings["execution.accelerator"]["value"] == "cpu"
    code, out, _ = ptycho("train", scan, "--resume", trained, *TRAINED)
    assert (code, out.partition(",")[0]) == (0, f"{trained}/wts.h5.zip: trained for 2 epochs")
    origins = json.loads((trained / "config.json").read_text())["origins"]
    assert origins["training.nepochs"]["value"] == 2
    assert origins["training.optimizer"]["kind"] == "recipe"


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("--config", "run.toml"), "--config"),
        (("--recipe", "none"), "--recipe"),
        (("--overwrite",), "--overwrite"),
        (("--output-dir", "x"), "--output-dir"),
    ],
)
def test_settings_and_folder_are_those_of_the_run(
    ptycho: Run, trained: Path, words: tuple[str], option: str
) -> None:
    code, _, said = ptycho("train", "--resume", trained, *words)
    assert code == 2
    assert said.startswith(
        f"ptycho train: {option}: expected without --resume, which uses settings and folder"
    )


def test_a_flag_that_cannot_change_is_refused(ptycho: Run, trained: Path) -> None:
    code, _, said = ptycho("train", "--resume", trained, "--batch-size=3", "--nepochs=9")
    assert code == 2
    assert said.startswith("ptycho train: training.batch_size: expected 16, as ")


def test_a_folder_without_a_run_is_refused(ptycho: Run, tmp_path: Path) -> None:
    code, _, said = ptycho("train", "--resume", tmp_path)
    assert (code, told(said)) == (2, [(str(tmp_path),)])
