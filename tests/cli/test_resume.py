"""`ptycho train --resume`: a training that was stopped goes on from the command line."""

import json
import os
import pty
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


Show = Callable[..., dict[str, Any]]


@pytest.fixture(params=["train", "reconstruct"])
def bar(
    request: pytest.FixtureRequest, ptycho: Run, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Show:
    """Give the origin of the progress bar of a run that is resumed, for one that was begun on a terminal, or not."""
    run = tmp_path / "run"
    if request.param == "train":
        shutil.copytree(request.getfixturevalue("trained"), run)
    else:
        few = ("--n-iterations=2", "--accelerator=cpu", "--output-dir", run)
        assert ptycho("reconstruct", scan, *few)[0] in (0, 3)

    def show(*flags: str, begun: tuple[str, bool], is_watched: bool) -> dict[str, Any]:
        record = json.loads((run / "config.json").read_text())
        kind, value = begun
        record["origins"]["execution.enable_progress_bar"] |= {"kind": kind, "value": value}
        record["execution"]["enable_progress_bar"] = value
        (run / "config.json").write_text(json.dumps(record))
        reader, writer = pty.openpty() if is_watched else os.pipe()
        words = ("config", "show", request.param, "--resume", run, *flags, "--json")
        with os.fdopen(reader), os.fdopen(writer, "w") as stream, monkeypatch.context() as patch:
            patch.setattr("sys.stderr", stream)
            code, shown, _ = ptycho(*words)
        assert code == 0
        return json.loads(shown)["origins"]["execution.enable_progress_bar"]

    return show


def test_the_terminal_of_the_resume_decides_on_a_progress_bar(bar: Show) -> None:
    for kind in ("cli-default", "default"):
        for is_watched in (True, False):
            shown = bar(begun=(kind, not is_watched), is_watched=is_watched)
            assert (shown["value"], shown["kind"]) == (is_watched, "cli-default")


def test_a_progress_bar_that_somebody_sets_does_not_depend_on_the_terminal(bar: Show) -> None:
    for value in (True, False):
        assert bar(begun=("override", value), is_watched=not value)["value"] is value
    for begun in (("override", True), ("cli-default", True), ("cli-default", False)):
        for flags, locator, value in (
            (("--no-enable-progress-bar",), "--no-enable-progress-bar", False),
            (("--quiet",), "--quiet", False),
            (("--quiet", "--enable-progress-bar"), "--enable-progress-bar", True),
        ):
            shown = bar(*flags, begun=begun, is_watched=True)
            assert (shown["value"], shown["locator"]) == (value, locator)


def test_a_flag_that_a_reconstruction_does_nothing_with_is_refused_when_it_goes_on(
    ptycho: Run, scan: Path, tmp_path: Path
) -> None:
    few = ("--n-iterations=2", "--accelerator=cpu", "--output-dir", tmp_path / "run")
    assert ptycho("reconstruct", scan, *few)[0] in (0, 3)
    code, _, said = ptycho("reconstruct", "--resume", tmp_path / "run", "--num-workers=1")
    assert (code, told(said)) == (2, [("--num-workers",)])
