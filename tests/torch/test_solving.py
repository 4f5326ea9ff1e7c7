"""A reconstruction without a network, from its payload to what it leaves in its folder."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptycho.checksums import Checksums, verify
from ptycho.config.request import Request
from ptycho.config.solver import SolverConfig
from ptycho.memory import available_bytes
from ptycho.raw_data import DataError, RawData
from ptycho.run_files import STATE, holds_training
from ptycho_torch.cli.main import main
from ptycho_torch.config_solver import create_solver_payload
from ptycho_torch.runs.fingerprints import scan_fingerprint
from ptycho_torch.runs.resuming_solver import resume_solving, solve_or_resume
from ptycho_torch.runs.solver_files import StateFile
from ptycho_torch.runs.solving import solve
from tests.refusals import message, refusing
from tests.torch.solving import course_of, payload_of, scan_of, solved

SOUND_START = {"object": np.ones((9, 9), np.complex64), "corner_px": np.zeros(2, np.int64)}
FILES = {
    "comparison.png",
    "config.json",
    "history.csv",
    "loss.png",
    "metrics.json",
    "patterns.npz",
    "reconstruction.npz",
    "reconstruction.png",
    "report.html",
    "run.log",
}

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def run_dir(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("solved") / "run"
    solved(tiny_file, folder, n_iterations=30, refine_probe=True, refine_positions=True, probe_modes=2)
    return folder


def test_a_run_leaves_its_files_listed_and_whole(run_dir: Path) -> None:
    assert {path.name for path in run_dir.iterdir()} == FILES
    assert set(verify(run_dir).values()) == {"ok"}
    assert not holds_training(run_dir)
    assert run_dir.joinpath("run.log").read_text().endswith("the run has finished\n")


def test_the_arrays_are_those_of_the_scan(run_dir: Path, tiny_scan: RawData) -> None:
    with np.load(run_dir / "reconstruction.npz", allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    assert found["object"].dtype == found["probe"].dtype == np.complex64
    assert found["probe"].shape == (2, 32, 32)
    assert found["object"].shape == found["coverage"].shape
    np.testing.assert_allclose(found["probe_powers"].sum(), 1)
    power = np.square(np.abs(tiny_scan.probe)).sum()
    np.testing.assert_allclose(np.square(np.abs(found["probe"])).sum(), power, rtol=1e-4)
    moves = found["positions_px"] - tiny_scan.positions_px
    assert 0 < np.abs(moves).max() < 2
    np.testing.assert_array_equal(found["intensities"], 1)
    assert found["corner_px"].dtype == np.int64


def test_the_history_has_a_row_for_every_iteration(run_dir: Path) -> None:
    rows = list(csv.DictReader((run_dir / "history.csv").read_text().splitlines()))
    assert [int(row["iteration"]) for row in rows] == list(range(1, 31))
    deviances = [float(row["deviance_per_pixel"]) for row in rows]
    assert deviances[-1] < 0.2 * deviances[0]
    assert {row["loss"] for row in rows} == {"amplitude"}


def test_the_figures_tell_what_was_judged_and_what_was_done(run_dir: Path) -> None:
    told = json.loads((run_dir / "metrics.json").read_text())
    assert (told["patterns"], told["n_patterns"], told["n_iterations"]) == ("held out", 4, 30)
    assert told["refined"] == ["probe", "positions"]
    assert (told["prior"], told["prior_weight"], told["prior_weight_origin"]) == ("tv", 10.0, "fixed")
    assert told["r_factor"] < 0.5 * told["mean_pattern_r_factor"]
    assert told["overlap"] > 0.5
    assert "interrupted" not in told


def test_the_record_gives_the_settings_of_the_run(run_dir: Path) -> None:
    record = json.loads((run_dir / "config.json").read_text())
    config = Request.of_record(record, "config.json").answer()[SolverConfig]
    assert (config.n_iterations, config.probe_modes, config.refine_probe) == (30, 2, True)
    assert record["origins"]["solver.n_iterations"]["kind"] == "override"


def test_a_folder_with_a_run_is_refused_and_replaced_on_request(
    run_dir: Path, tiny_file: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(run_dir, tmp_path / "run"))
    payload = payload_of(tiny_file, folder, n_iterations=2)
    with refusing("output_dir"):
        solve(payload)
    assert set(verify(folder).values()) == {"ok"}
    (result,) = solve(payload, overwrite=True)
    assert len(result.history) == 2
    assert {path.name for path in folder.iterdir()} == FILES


def test_a_folder_with_a_model_is_refused(tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "wts.h5.zip").touch()
    text = message(lambda: solve(payload_of(tiny_file, tmp_path), overwrite=True))
    assert "expected a folder without a model" in text


def test_what_a_run_found_is_where_the_next_one_starts(
    run_dir: Path, tiny_file: Path, tmp_path: Path
) -> None:
    settings = {"n_iterations": 2, "refine_probe": True}
    first = solved(tiny_file, tmp_path / "flat", **settings).history[0]["deviance_per_pixel"]
    for start in (run_dir, run_dir / "reconstruction.npz"):
        folder = tmp_path / f"from-{start.name}"
        later = solved(tiny_file, folder, start=start, **settings)
        assert later.history[0]["deviance_per_pixel"] < 0.2 * first
        assert later.reconstruction.probe.shape == (2, 32, 32)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"probe": np.ones((1, 32, 32))}, "expected object, complex"),
        ({"object": np.ones((40, 40)), "corner_px": np.zeros(2)}, "expected corner_px, two whole numbers"),
        ({"object": np.full((40, 40), np.nan), "corner_px": np.zeros(2, dtype=int)}, "expected object"),
        (
            {
                "object": np.ones((40, 40)),
                "corner_px": np.zeros(2, dtype=int),
                "positions_px": np.ones((3, 2)),
            },
            "expected positions_px of a scan with the shape (70, 2)",
        ),
        (
            {**SOUND_START, "positions_px": np.arange(140).reshape(70, 2) * 1e9},
            "expected positions_px near those",
        ),
        (
            {**SOUND_START, "positions_px": np.arange(140).reshape(70, 2) * 1e300},
            "expected positions_px near those",
        ),
        (
            {**SOUND_START, "intensities": np.full(70, -1.0)},
            "expected intensities of finite numbers, with light",
        ),
        ({**SOUND_START, "intensities": np.zeros(70)}, "expected intensities of finite numbers, with light"),
        ({**SOUND_START, "probe": np.zeros((1, 32, 32))}, "expected probe of finite numbers, with light"),
        (
            {**SOUND_START, "object": np.full((9, 9), 1e300 + 0j)},
            "expected object, complex (H, W) and finite",
        ),
    ],
)
def test_a_start_that_is_no_object_is_refused(
    arrays: dict[str, np.ndarray], told: str, tiny_file: Path, tiny_scan: RawData, tmp_path: Path
) -> None:
    file = tmp_path / "start.npz"
    np.savez(file, **arrays)
    text = message(lambda: course_of(tiny_file, tiny_scan, start=file))
    assert text.startswith("solver.start: ")
    assert told in text


def test_a_start_that_is_refused_leaves_no_folder(tiny_file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "start.npz", object=np.ones((9, 9)))
    message(lambda: solve(payload_of(tiny_file, tmp_path / "run", start=tmp_path / "start.npz")))
    assert not (tmp_path / "run").exists()


def test_a_start_that_is_not_there_is_refused(tiny_file: Path, tiny_scan: RawData, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="start: expected a run's folder"):
        course_of(tiny_file, tiny_scan, start=tmp_path)
    (tmp_path / "start.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="expected a whole NPZ"):
        course_of(tiny_file, tiny_scan, start=tmp_path / "start.npz")


def test_scans_of_a_folder_are_reconstructed_each_by_itself(tiny_scan: RawData, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("one", "two"):
        tiny_scan.to_file(data / f"{name}.npz")
    results = solve(payload_of(data, tmp_path / "run", n_iterations=2))
    assert [result.run_dir.name for result in results] == ["one", "two"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.json", "one", "run.log", "two",
    }  # fmt: skip
    assert set(verify(tmp_path / "run").values()) == {"ok"}


def test_an_object_that_there_is_no_memory_for_is_refused_before_anything_is_computed(
    tiny_file: Path, tiny_scan: RawData, tmp_path: Path
) -> None:
    positions = tiny_scan.positions_px.copy()
    positions[3] = np.sqrt(available_bytes() / 80)  # a file is read with half of that
    far = dataclasses.replace(tiny_scan, positions_px=positions)
    with pytest.raises(DataError, match="expected an object that fits into memory"):
        solve(payload_of(tiny_file, tmp_path / "run"), [far])
    assert not (tmp_path / "run").exists()


def test_patterns_without_overlap_are_no_success(tiny_file: Path, tmp_path: Path) -> None:
    apart = scan_of(n_positions=30, step_px=24.0)
    result = solved(tiny_file, tmp_path / "run", apart, n_iterations=5)
    assert result.problem is not None
    assert (result.run_dir / "reconstruction.png").is_file()


def test_one_pattern_is_no_success(tiny_file: Path, tmp_path: Path) -> None:
    single = scan_of(n_positions=1, holdout_fraction=0.0, holdout=None)
    result = solved(tiny_file, tmp_path / "run", single)
    assert "got a single one" in str(result.problem)
    assert len(result.history) <= 80
    assert result.metrics["prior"] == "none"


def test_bad_pixels_do_not_count(tiny_file: Path, tiny_scan: RawData, tmp_path: Path) -> None:
    bad = np.zeros((32, 32), dtype=bool)
    bad[10:14, 3:20] = True
    patterns = np.asarray(tiny_scan.patterns).copy()
    spoilt = [patterns.copy(), patterns.copy()]
    spoilt[0][:, bad], spoilt[1][:, bad] = 0, 500
    found = [
        solved(
            tiny_file,
            tmp_path / str(number),
            dataclasses.replace(tiny_scan, patterns=each, bad_pixels=bad),
            n_iterations=5,
        ).reconstruction.object
        for number, each in enumerate(spoilt)
    ]
    np.testing.assert_array_equal(*found)


# Going on -------------------------------------------------------------------------------------------------------------


def stopped(tiny_file: Path, folder: Path, n_done: int, **settings: object) -> Path:
    """A run that was killed after some iterations: its record and its state are there."""
    solve(payload_of(tiny_file, folder, **settings))
    for name in ("metrics.json", "reconstruction.npz", "reconstruction.png", "comparison.png", "loss.png"):
        (folder / name).unlink()
    scan = RawData.from_file(tiny_file)
    course = course_of(tiny_file, scan, **settings)
    while course.n_done < n_done:
        course.advance()
    StateFile(folder, Checksums(folder), scan_fingerprint(scan)).write(course.snapshot())
    return folder


SETTINGS = {"n_iterations": 24, "refine_probe": True}


def test_a_run_that_goes_on_ends_as_one_that_never_stopped(tiny_file: Path, tmp_path: Path) -> None:
    whole = solved(tiny_file, tmp_path / "whole", **SETTINGS)
    folder = stopped(tiny_file, tmp_path / "run", 9, **SETTINGS)
    assert "that was not finished. Resume it (ptycho reconstruct --resume" in message(
        lambda: solve(payload_of(tiny_file, folder))
    )
    (result,) = resume_solving(folder)
    np.testing.assert_array_equal(result.reconstruction.object, whole.reconstruction.object)
    np.testing.assert_array_equal(result.reconstruction.probe, whole.reconstruction.probe)
    assert {path.name for path in folder.iterdir()} == FILES
    assert set(verify(folder).values()) == {"ok"}
    record = json.loads((folder / "config.json").read_text())
    assert [part["from"] for part in record["resumed"]] == [STATE]
    assert record["origins"]["solver.n_iterations"]["kind"] == "override"
    with refusing(str(folder)):
        resume_solving(folder)


def test_a_scan_that_came_to_nothing_before_is_told_where_the_others_go_on(
    tiny_scan: RawData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    scan_of(n_positions=1, holdout_fraction=0.0, holdout=None).to_file(tmp_path / "data" / "one.npz")
    tiny_scan.to_file(tmp_path / "data" / "two.npz")
    folder = tmp_path / "run"
    single, other = solve(payload_of(tmp_path / "data", folder, n_iterations=30))
    assert (single.problem is None, other.problem) == (False, None)
    (folder / "two" / "metrics.json").unlink()
    assert f"ptycho reconstruct --resume {folder}" in message(
        lambda: solve(payload_of(tmp_path / "data", folder))
    )
    assert main(["reconstruct", "--resume", str(folder), "--quiet"]) == 3
    assert "one/metrics.json: positions: expected patterns that overlap" in capsys.readouterr().err


def test_what_cannot_change_is_refused(tiny_file: Path, tmp_path: Path) -> None:
    folder = stopped(tiny_file, tmp_path / "run", 3, **SETTINGS)
    text = message(lambda: resume_solving(folder, {"n_iterations": 50}))
    assert text.startswith("solver.n_iterations: expected the value of the run")
    assert "num_threads: expected" in message(lambda: resume_solving(folder, flags={"num_threads": "many"}))


def test_a_state_of_another_scan_or_a_damaged_one_is_refused(
    tiny_file: Path, tiny_scan: RawData, tmp_path: Path
) -> None:
    folder = stopped(tiny_file, tmp_path / "run", 3, **SETTINGS)
    with pytest.raises(DataError, match="expected the data that the run started with"):
        resume_solving(folder, scans=[scan_of(seed=4)])
    state = folder / STATE
    state.write_bytes(state.read_bytes()[:-200])
    assert "got a damaged file" in message(lambda: resume_solving(folder))


def test_a_state_that_holds_something_else_is_refused(
    tiny_file: Path, tiny_scan: RawData, tmp_path: Path
) -> None:
    folder = stopped(tiny_file, tmp_path / "run", 3, **SETTINGS)
    state = StateFile(folder, Checksums(folder), scan_fingerprint(RawData.from_file(tiny_file)))
    sound: Any = state.read()
    other = sound["descent"] | {"object": sound["descent"]["object"][:-1]}
    for snapshot in (
        {},
        {"progress": {"rows": []}},
        {**sound, "progress": 3},
        {**sound, "progress": {"rows": "text"}},
        {**sound, "descent": {}},
        {**sound, "descent": other},
        {**sound, "descent": sound["descent"] | {"momentum": "text"}},
    ):
        content = {"fingerprint": scan_fingerprint(RawData.from_file(tiny_file)), "snapshot": snapshot}
        torch.save(content, folder / STATE)
        assert "expected the state of a reconstruction; got a damaged file" in message(
            lambda: resume_solving(folder)
        )


def test_one_call_starts_goes_on_and_ends(tiny_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    payload = payload_of(tiny_file, folder, n_iterations=6)
    (whole,) = solve_or_resume(payload)
    record = json.loads((folder / "config.json").read_text())
    assert record["resumed"] == []
    assert solve_or_resume(payload) == []
    left = tmp_path / "left"
    left.mkdir()
    shutil.copy(folder / "config.json", left)  # as a kill before the first state leaves it
    assert f"Resume it (ptycho reconstruct --resume {left};" in message(
        lambda: solve(payload_of(tiny_file, left))
    )
    flags = {"enable_progress_bar": "true"}
    (again,) = solve_or_resume(create_solver_payload(tiny_file, left, {"accelerator": "cpu"}, flags=flags))
    np.testing.assert_array_equal(again.object, whole.object)
    origins = json.loads((left / "config.json").read_text())["origins"]
    assert origins["execution.enable_progress_bar"]["locator"] == "--enable-progress-bar"
    text = message(lambda: solve_or_resume(payload_of(tiny_file, left, n_iterations=7)))
    assert text.startswith(f"solver.n_iterations: expected 6, as {left} was begun; got 7 from override")
    scan_of(seed=4).to_file(tmp_path / "other.npz")
    with pytest.raises(DataError, match="expected the data that the run started with"):
        solve_or_resume(payload_of(tmp_path / "other.npz", left, n_iterations=6))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"configuration": {}, "origins": {}}'])
def test_a_folder_of_no_such_run_is_refused(content: str, tmp_path: Path) -> None:
    if content:
        (tmp_path / "config.json").write_text(content)
    assert str(tmp_path) in message(lambda: resume_solving(tmp_path))


def test_no_model_is_blamed_where_there_is_none(tiny_file: Path, tiny_scan: RawData, tmp_path: Path) -> None:
    """Patterns that are not in the order of their positions."""
    order = np.random.default_rng(0).permutation(len(tiny_scan))
    shuffled = dataclasses.replace(tiny_scan, positions_px=tiny_scan.positions_px[order])
    result = solved(tiny_file, tmp_path, shuffled, n_iterations=4)
    assert result.problem is not None
    assert "the picture is not that of the object" in result.problem
    assert "trained" not in result.problem


def test_a_probe_that_collapsed_is_not_blamed_on_the_scan(tmp_path: Path) -> None:
    scan = scan_of(n_positions=150, nphotons=1e6)
    others = np.random.default_rng(0).permutation(len(scan.patterns))
    shuffled = dataclasses.replace(
        scan, patterns=np.asarray(scan.patterns)[others], object_truth=None, probe_truth=None
    )
    shuffled.to_file(tmp_path / "shuffled.npz")
    (result,) = solve(payload_of(tmp_path / "shuffled.npz", tmp_path / "run"))
    assert result.metrics["overlap"] < 0.2  # of the probe that was refined
    assert result.problem is not None
    assert "the picture is not that of the object" in result.problem
