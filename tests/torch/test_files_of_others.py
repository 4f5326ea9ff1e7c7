"""Files of others, other runs, and results that the run did not write: they are not replaced, removed or believed."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptycho
from ptycho.checksums import verify
from ptycho.config.errors import ConfigError
from ptycho.folder_lock import LOCK, locked
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.runs.reconstruction import reconstruct_scans
from ptycho_torch.runs.resuming import EndedTraining, train_or_resume
from ptycho_torch.runs.resuming_solver import resume_solving, solve_or_resume
from ptycho_torch.runs.solved import SolverResult
from ptycho_torch.runs.solving import solve
from ptycho_torch.runs.training import train
from tests.refusals import refusing
from tests.torch.runs import SMALL, trained
from tests.torch.solving import payload_of, scan_of, solved

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("legacy")]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for name, seed in (("one", 3), ("two", 4)):
        scan_of(n_positions=40, seed=seed).to_file(folder / f"{name}.npz")
    return folder


def several(scans: Path, folder: Path, *, overwrite: bool = False, **settings: Any) -> list[SolverResult]:
    return solve(payload_of(scans, folder, n_iterations=2, **settings), overwrite=overwrite)


def files(folder: Path) -> dict[str, bytes]:
    """Content of all files but the log, which tells of refusals too."""
    names = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.log")
    return {str(path.relative_to(folder)): path.read_bytes() for path in names}


# In the folders of several scans ------------------------------------------------------------------------------------


def test_a_run_in_the_folder_of_one_of_several_scans_is_kept(
    scans: Path, tiny_file: Path, tmp_path: Path
) -> None:
    solved(tiny_file, tmp_path / "two", n_iterations=2)
    before = files(tmp_path)
    for overwrite in (False, True):
        with refusing(str(tmp_path / "two")):
            several(scans, tmp_path, overwrite=overwrite)
    assert files(tmp_path) == before


def test_a_model_does_not_reconstruct_several_scans_over_a_run(
    scans: Path, tiny_file: Path, tmp_path: Path
) -> None:
    trained(tiny_file, tmp_path / "found" / "one", nepochs=1)
    before = files(tmp_path)
    payload = create_inference_payload(
        tmp_path / "found" / "one", scans, tmp_path / "found", {"n_groups": 8, "accelerator": "cpu"}
    )
    with refusing(str(tmp_path / "found" / "one")):
        reconstruct_scans(payload)
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["report.html", "metrics.json", "history.csv"])
def test_files_of_others_in_the_folder_of_one_of_several_scans_are_kept(
    scans: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / name).write_text("mine")
    with refusing(str(tmp_path / "one")):
        several(scans, tmp_path)
    assert files(tmp_path) == {f"one/{name}": b"mine"}


@pytest.mark.parametrize("name", ["preview.png", "reconstruction.npz"])
def test_a_folder_of_others_below_a_run_is_kept(tiny_file: Path, tmp_path: Path, name: str) -> None:
    solved(tiny_file, tmp_path, n_iterations=2)
    (tmp_path / "notes").mkdir()
    for mine in (name, "report.html", "history.csv"):
        (tmp_path / "notes" / mine).write_text("mine")
    before = files(tmp_path / "notes")
    solve(payload_of(tiny_file, tmp_path, n_iterations=2), overwrite=True)
    assert files(tmp_path / "notes") == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_left_of_one_of_several_scans_is_known_as_of_the_run(
    scans: Path, tmp_path: Path, *, overwrite: bool
) -> None:
    several(scans, tmp_path)
    for name in ("reconstruction.npz", "metrics.json"):
        (tmp_path / "two" / name).unlink()
    (tmp_path / "two" / LOCK).touch()
    results = several(scans, tmp_path, overwrite=True) if overwrite else resume_solving(tmp_path)
    assert [result.run_dir.name for result in results] == ["one", "two"][1 - overwrite :]
    assert not list(tmp_path.rglob(LOCK))


def test_the_folder_of_one_of_several_scans_is_not_written_where_another_run_writes(
    scans: Path, tmp_path: Path
) -> None:
    with locked(tmp_path / "two"), refusing("output_dir"):
        several(scans, tmp_path)
    results = several(scans, tmp_path)
    again = several(scans, tmp_path, overwrite=True)
    assert [result.run_dir for result in again] == [result.run_dir for result in results]


def test_the_run_of_another_scan_is_not_taken_for_a_part_of_one_that_goes_on(
    scans: Path, tiny_file: Path, tmp_path: Path
) -> None:
    several(scans, tmp_path)
    shutil.rmtree(tmp_path / "two")
    solved(tiny_file, tmp_path / "two", n_iterations=2)
    with refusing(str(tmp_path / "two")):
        resume_solving(tmp_path)


# Results that the run did not write ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reconstruction.npz", "metrics.json"])
def test_a_reconstruction_whose_results_are_changed_is_not_called_finished(
    scans: Path, tmp_path: Path, name: str
) -> None:
    payload = payload_of(scans, tmp_path, n_iterations=2)
    solve(payload)
    assert solve_or_resume(payload) == []
    result = tmp_path / "two" / name
    result.write_bytes(result.read_bytes()[:-9])
    with refusing(str(result)):
        solve_or_resume(payload)
    shutil.rmtree(tmp_path / "two")
    (again,) = solve_or_resume(payload)
    assert again.run_dir == tmp_path / "two"


def test_a_reconstruction_without_its_arrays_is_not_called_finished(tiny_file: Path, tmp_path: Path) -> None:
    payload = payload_of(tiny_file, tmp_path, n_iterations=2)
    solve(payload)
    (tmp_path / "reconstruction.npz").unlink()
    with refusing(str(tmp_path / "reconstruction.npz")):
        solve_or_resume(payload)


def test_a_training_whose_model_is_damaged_is_not_called_finished(tiny_file: Path, tmp_path: Path) -> None:
    payload = create_training_payload(tiny_file, tmp_path, SMALL | {"nepochs": 1})
    model = train(payload).bundle
    model.write_bytes(model.read_bytes()[:9000])
    with refusing(str(model)):
        train_or_resume(payload)
    model.unlink()
    assert not isinstance(train_or_resume(payload), EndedTraining)
    assert verify(tmp_path)[model.name] == "ok"


# What goes with a run that is replaced ------------------------------------------------------------------------------


@pytest.fixture
def run(tiny_file: Path, tmp_path: Path) -> Path:
    return trained(tiny_file, tmp_path / "run", nepochs=1).run_dir


def test_files_of_others_among_checkpoints_are_not_removed_with_them(run: Path, tiny_file: Path) -> None:
    (run / "checkpoints" / "mine.npz").write_text("mine")
    before = files(run)
    with refusing(str(run / "checkpoints" / "mine.npz")):
        train(create_training_payload(tiny_file, run, SMALL), overwrite=True)
    assert files(run) == before


def test_nothing_is_written_among_checkpoints_through_a_link(
    run: Path, tiny_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(run / "checkpoints")
    with refusing("output_dir"):
        solved(tiny_file, tmp_path / "link" / "mine", n_iterations=2)
    assert {path.suffix for path in (run / "checkpoints").iterdir()} == {".ckpt"}


def test_what_a_run_reads_is_not_replaced_with_the_run_before(tiny_file: Path, tmp_path: Path) -> None:
    solved(tiny_file, tmp_path, n_iterations=2)
    np.savez(tmp_path / "patterns.npz", mask=np.zeros((32, 32), bool))
    before = files(tmp_path)
    for name, value in (("start", tmp_path), ("start", tmp_path / "reconstruction.npz")):
        for call in (
            lambda given: train(create_training_payload(tiny_file, tmp_path, SMALL | given), overwrite=True),
            lambda given: solve(payload_of(tiny_file, tmp_path, n_iterations=2, **given), overwrite=True),
        ):
            with pytest.raises(ConfigError, match=rf"^(training|solver)\.{name}: "):
                call({name: value})
    with pytest.raises(ConfigError, match=r"^data\.mask_file: "):
        solve(payload_of(tiny_file, tmp_path, mask_file=tmp_path / "patterns.npz"), overwrite=True)
    assert files(tmp_path) == before


# Runs that have not begun -------------------------------------------------------------------------------------------


def test_a_run_whose_start_is_missing_leaves_nothing(tiny_file: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        solved(tiny_file, tmp_path / "run", start=tmp_path / "missing.npz", n_iterations=2)
    assert not (tmp_path / "run").exists()


def test_a_refused_scan_in_memory_leaves_no_folder_above(tiny_scan: ptycho.RawData, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nepochs"):
        ptycho.train(tiny_scan, tmp_path / "a" / "b" / "c", nepochs=0)
    assert not list(tmp_path.iterdir())


def test_a_refused_call_does_not_remove_the_scan_of_one_that_runs(
    tiny_scan: ptycho.RawData, tmp_path: Path
) -> None:
    with locked(tmp_path), pytest.raises(ConfigError):
        ptycho.train(tiny_scan, tmp_path, accelerator="cpu")
    assert len(list(tmp_path.glob("scan-*.npz"))) == 1
