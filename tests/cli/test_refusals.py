"""Wrong input: one message on the error stream, exit code 2, no traceback."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch.cli.console import Interruption, watching_for_interrupt

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [],
            "ptycho: expected a command (simulate, train, reconstruct, demo, config, completion); got none. "
            "See ptycho --help.",
        ),
        (["trian"], "ptycho: trian: no such command. Did you mean train?"),
        (["train", "a.npz", "b.npz"], "ptycho train: b.npz: expected nothing more; got another argument."),
        (
            ["train", "a.npz", "--num-worker", "4"],
            "ptycho train: --num-worker: no such flag. Did you mean --num-workers?",
        ),
        (
            ["train"],
            "ptycho train: DATA: expected a path; got none. Give it, or train_data_file in [training] of --config.",
        ),
        (
            ["reconstruct", "runs"],
            "ptycho reconstruct: DATA: expected a path; got none. "
            "Give it, or test_data_file in [inference] of --config.",
        ),
        (
            ["simulate", "--output", "a.npz", "--N", "x"],
            "ptycho simulate: N: expected an integer; got 'x' from flag --N.",
        ),
        (
            ["simulate", "--output", "a.npz", "--N", "33"],
            "ptycho simulate: N: expected an even number >= 16; got 33 from the caller. Change it.",
        ),
        (
            ["train", "a.npz", "--config", "none.toml"],
            "ptycho train: none.toml: no such file. Check the path.",
        ),
    ],
)
def test_wrong_words_are_refused(
    ptycho: Run, words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ptycho(*words) == (2, "", f"{message}\n")
    assert list(tmp_path.iterdir()) == []


def test_every_wrong_flag_is_named_at_once(ptycho: Run, scan: Path, tmp_path: Path) -> None:
    code, _, said = ptycho(
        "train", scan, "--output-dir", tmp_path / "run", "--num-workers", "many", "--batch-size", 0
    )
    assert code == 2
    assert "num_workers: expected an integer >= 0; got 'many' from flag --num-workers." in said
    assert "batch_size: expected an integer >= 1; got 0 from flag --batch-size." in said


def test_missing_data_are_named(ptycho: Run, tmp_path: Path) -> None:
    code, _, said = ptycho("train", tmp_path / "scan.npz")
    assert code == 2
    assert said.startswith("ptycho train: Training data file not found:")
    assert str(tmp_path / "scan.npz") in said


def test_data_that_are_no_scan_are_refused(ptycho: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "scan.npz", probeGuess=np.ones((32, 32), complex), diff3d=np.ones((9, 32, 32)))
    code, _, said = ptycho(
        "train", tmp_path / "scan.npz", "--output-dir", tmp_path / "run", "--accelerator=cpu"
    )
    assert code == 2
    assert "xcoords" in said


def test_groups_that_the_scan_cannot_form_are_refused(ptycho: Run, scan: Path, tmp_path: Path) -> None:
    words = ("train", scan, "--output-dir", tmp_path / "run", "--accelerator=cpu", "--gridsize", 5)
    code, _, said = ptycho(*words)
    assert code == 2
    assert "neighbor_count: expected at least 24, the other members of a group of gridsize 5; got 8" in said


def test_a_folder_without_a_model_is_refused(ptycho: Run, scan: Path, tmp_path: Path) -> None:
    code, _, said = ptycho("reconstruct", tmp_path, scan)
    assert code == 2
    assert "Model archive not found" in said


def test_a_foreign_model_is_refused(ptycho: Run, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "wts.h5.zip").write_bytes(b"not a zip archive")
    code, _, said = ptycho("reconstruct", tmp_path, scan, "--accelerator", "cpu")
    assert code == 2
    assert str(tmp_path / "wts.h5.zip") in said


def test_a_trained_model_is_not_replaced_unasked(ptycho: Run, scan: Path, trained: Path) -> None:
    before = (trained / "wts.h5.zip").stat().st_mtime_ns
    code, _, said = ptycho("train", scan, "--output-dir", trained)
    assert code == 2
    assert "Name another place, or pass --overwrite." in said
    assert (trained / "wts.h5.zip").stat().st_mtime_ns == before


def test_a_scan_is_replaced_only_with_overwrite(ptycho: Run, tmp_path: Path) -> None:
    words = ("simulate", "--output", tmp_path / "scan.npz", "--N", 32, "--n-positions")
    assert ptycho(*words, 20)[0] == 0
    assert ptycho(*words, 25)[0] == 2
    code, out, _ = ptycho(*words, 25, "--overwrite")
    assert (code, out.endswith("25 patterns of 32 x 32 pixels, amplitude\n")) == (0, True)


def test_a_process_refuses_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ptycho_torch", "reconstruct", "no-model", "no-data.npz"]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": root})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ptycho reconstruct: inference.model_path: Model archive not found")
    assert "Traceback" not in done.stderr


def test_an_interrupted_run_says_what_is_kept(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with (
        pytest.raises(Interruption, match=r"interrupted; kept in .*checkpoints: last\.ckpt\."),
        watching_for_interrupt(tmp_path),
    ):
        raise KeyboardInterrupt


def test_an_exit_that_is_no_interrupt_passes(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), watching_for_interrupt(tmp_path):
        raise SystemExit(1)
