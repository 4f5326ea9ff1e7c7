"""`ptycho reconstruct` without a model, and how the command tells that there is none."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ptycho as package
from ptycho.checksums import verify
from ptycho_torch.cli.console import Interruption, watching_for_interrupt
from tests.refusals import told
from tests.wires import program

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]
SHORT = ("--n-iterations=3", "--accelerator=cpu", "--quiet")
LONG = ("--n-iterations=2000", "--no-refine-probe", "--accelerator=cpu", "--quiet")
BUSY_S = 300
"""A start takes seconds, and minutes on a machine that does much else."""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def model_in(folder: Path) -> Path:
    folder.mkdir()
    (folder / "wts.h5.zip").touch()
    return folder


@pytest.mark.integration
def test_a_scan_alone_is_reconstructed_without_a_model(ptycho: Run, scan: Path) -> None:
    code, printed, _ = ptycho("reconstruct", scan, *SHORT)
    assert code == 0
    (run_dir,) = Path("reconstructions").iterdir()
    assert printed.startswith("R factor ")
    assert printed.endswith(f"3 iterations, {printed.split()[-3]} s, {run_dir / 'report.html'}\n")
    assert set(verify(run_dir).values()) == {"ok"}
    code, _, said = ptycho("reconstruct", scan, *SHORT)
    assert code == 2
    assert "got one with a reconstruction. Replace it (--overwrite" in said
    assert ptycho("reconstruct", scan, *SHORT, "--overwrite")[0] == 0
    assert ptycho("doctor", run_dir)[0] == 0


@pytest.mark.integration
def test_patterns_that_do_not_overlap_end_with_code_3_and_files(ptycho: Run, tmp_path: Path) -> None:
    assert ptycho("simulate", "--output", "apart.npz", "--N=32", "--n-positions=30", "--step-px=24")[0] == 0
    code, printed, said = ptycho("reconstruct", "apart.npz", *SHORT, "--output-dir=run")
    assert (code, "R factor" in printed) == (3, True)
    assert said.splitlines()[-1].startswith("ptycho reconstruct: apart.npz: ")
    assert Path("run/reconstruction.png").is_file()


@pytest.mark.integration
def test_python_reconstructs_without_a_model_too(scan: Path) -> None:
    loaded = package.load(scan)
    for one, folder in ((scan, "file"), (loaded, "memory")):
        result = package.reconstruct(
            one, output_dir=folder, n_iterations=3, accelerator="cpu", backend="pytorch"
        )
        assert result.run_dir == Path(folder)
        assert result.object.ndim == 2
        assert result.metrics["n_iterations"] == 3


def test_a_flag_of_the_other_kind_is_refused(ptycho: Run, scan: Path, tmp_path: Path) -> None:
    code, _, said = ptycho("reconstruct", scan, "--n-groups=3", "--num-workers=2", "--holdout=2")
    assert code == 2
    assert {name for name, *_ in told(said)} == {"--n-groups", "--num-workers", "solver.holdout"}
    code, _, said = ptycho("reconstruct", model_in(tmp_path / "model"), scan, "--prior=tv", "--n-groups=x")
    assert code == 2
    assert all(f" {name}: " in said.replace("\n", " ") for name in ("--prior", "inference.n_groups"))


def test_swapped_places_are_told(ptycho: Run, scan: Path, tmp_path: Path) -> None:
    model_in(tmp_path / "model")
    code, out, said = ptycho("reconstruct", "scan.npz", "model")
    assert (code, out, told(said)) == (2, "", [("MODEL",)])
    assert all(place in said for place in ("'scan.npz'", "'model'"))


def test_a_single_place_is_the_model_where_there_is_one(ptycho: Run, tmp_path: Path) -> None:
    code, _, said = ptycho("reconstruct", model_in(tmp_path / "model"))
    assert (code, told(said), "test_data_file" in said) == (2, [("DATA",)], True)
    code, _, said = ptycho("reconstruct")
    assert (code, told(said), "data_file in [solver]" in said) == (2, [("DATA",)], True)


def test_a_file_may_name_the_model_or_the_scan(ptycho: Run, scan: Path, tmp_path: Path) -> None:
    Path("model.toml").write_text("[inference]\nmodel_path = 'nowhere'\n")
    code, _, said = ptycho("reconstruct", scan, "--config", "model.toml")
    assert code == 2
    assert "nowhere" in said
    assert str(scan) not in said
    Path("scan.toml").write_text("[solver]\ndata_file = 'nowhere.npz'\nn_iterations = 0\n")
    code, _, said = ptycho("reconstruct", "--config", "scan.toml")
    assert code == 2
    assert [name for name, *_ in told(said)] == ["solver.n_iterations", "Scan file not found (scan.toml:2)"]


def test_what_does_not_go_with_resume_is_refused(ptycho: Run) -> None:
    options = ("--overwrite",), ("--output-dir", "x"), ("--config", "x.toml"), ("--recipe", "best")
    for words in options:
        code, _, said = ptycho("reconstruct", "--resume", "run", *words)
        assert (code, told(said)) == (2, [(words[0],)])
    for words, name in ((("--resume", "run"), "--resume"), (("--resume", "auto"), "--resume")):
        code, _, said = ptycho("reconstruct", model_in(Path("m" + words[1])), "scan.npz", *words)
        assert (code, name in {wrong for wrong, *_ in told(said)}) == (2, True)
    code, _, said = ptycho("reconstruct", "--resume", "run")
    assert (code, told(said)) == (2, [("run",)])
    assert not Path("run").exists()


def start(scan: Path, folder: str) -> subprocess.Popen[str]:
    """A run that has written its state."""
    words = [sys.executable, *program(), "reconstruct", str(scan), f"--output-dir={folder}", *LONG]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(words, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + BUSY_S
    while not Path(folder, "history.csv").is_file():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return running


def image(folder: str) -> np.ndarray:
    with np.load(Path(folder, "reconstruction.npz"), allow_pickle=False) as file:
        return file["object"]


@pytest.mark.parametrize("there", ["reconstruction.png", "state.pt"])
def test_an_interrupted_run_names_what_it_has_kept(tmp_path: Path, there: str) -> None:
    for name in {there, "state.pt"}:
        (tmp_path / name).touch()
    with (
        pytest.raises(Interruption, match=f"kept so far: .*{there}. Continue"),
        watching_for_interrupt(tmp_path),
    ):
        raise KeyboardInterrupt


@pytest.mark.integration
def test_a_run_that_is_stopped_or_killed_goes_on_to_the_same_bits(ptycho: Run, scan: Path) -> None:
    assert ptycho("reconstruct", scan, "--output-dir=whole", *LONG)[0] == 0
    running = start(scan, "stopped")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=BUSY_S)
    assert running.returncode == 130
    assert (
        "interrupted; kept so far: stopped/reconstruction.png. Continue with ptycho reconstruct --resume stopped"
        in said
    )
    told = json.loads(Path("stopped/metrics.json").read_text())
    assert told["interrupted"]
    assert told["n_iterations"] < 2000
    killed = start(scan, "killed")
    killed.kill()
    killed.communicate(timeout=BUSY_S)
    for folder in ("stopped", "killed"):
        code, _, said = ptycho("reconstruct", scan, f"--output-dir={folder}", *LONG)
        assert (code, f"ptycho reconstruct --resume {folder}" in said) == (2, True)
        assert ptycho("reconstruct", "--resume", folder, "--quiet")[0] == 0
        np.testing.assert_array_equal(image(folder), image("whole"))
        assert set(verify(Path(folder)).values()) == {"ok"}
        assert not Path(folder, "state.pt").exists()
