"""The settings of a reconstruction without a network, seen in what it writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from ptycho.raw_data import RawData
from ptycho_torch.runs.solved import SolverResult
from ptycho_torch.runs.solving import solve
from tests.torch.solving import payload_of, scan_of, solved

pytestmark = pytest.mark.integration

FAINT = {"nphotons": 3e3}
"""Photons of a scan that needs a prior."""
WEIGHT = {"prior_weight": 20.0}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "tiny.npz"
    scan_of().to_file(path)
    return path


def run(file: Path, folder: Path, scan: RawData | None = None, **settings: Any) -> SolverResult:
    return solved(file, folder, scan, **{"n_iterations": 8, "refine_probe": False, **settings})


def changes(result: SolverResult, column: str) -> list[bool]:
    return [row[column] > 0 for row in result.history]


@pytest.mark.proves(
    "solver.data_file", "solver.output_dir", seen="that scan is reconstructed, in that folder"
)
def test_the_scan_named_is_reconstructed_in_the_folder_named(file: Path, tmp_path: Path) -> None:
    result = run(file, tmp_path / "here", n_iterations=1)
    assert (result.scan.path, result.run_dir) == (file, tmp_path / "here")
    assert (tmp_path / "here" / "reconstruction.npz").is_file()


@pytest.mark.proves("solver.measurement_domain", seen="the same values are read as counts, or as amplitudes")
def test_patterns_are_read_as_the_domain_says(file: Path, tmp_path: Path) -> None:
    for domain in ("amplitude", "intensity"):
        folder = tmp_path / domain
        assert run(file, folder, n_iterations=1, measurement_domain=domain).scan.domain == domain
        assert domain in json.loads((folder / "config.json").read_text())["measurement_domain"][str(file)]


@pytest.mark.proves("solver.n_iterations", seen="so many iterations are in the history")
def test_there_are_so_many_iterations(file: Path, tmp_path: Path) -> None:
    assert [len(run(file, tmp_path / str(n), n_iterations=n).history) for n in (1, 5)] == [1, 5]


@pytest.mark.proves("solver.loss", seen="the history names the loss of every iteration")
@pytest.mark.parametrize(
    ("loss", "losses"),
    [
        ("amplitude", ["amplitude"] * 9),
        ("poisson", ["poisson"] * 9),
        ("auto", ["amplitude"] * 3 + ["poisson"] * 6),
    ],
)
def test_the_loss_is_the_one_named(loss: str, losses: list[str], file: Path, tmp_path: Path) -> None:
    result = run(file, tmp_path, n_iterations=9, loss=loss)
    assert [row["loss"] for row in result.history] == losses


@pytest.mark.proves("solver.probe_modes", seen="so many modes, with their powers, are written")
@pytest.mark.parametrize("n_modes", [None, 1, 3])
def test_the_probe_has_so_many_modes(n_modes: int | None, file: Path, tmp_path: Path) -> None:
    two = scan_of(n_modes=2)
    result = run(file, tmp_path, two, probe_modes=n_modes, refine_probe=True)
    expected = n_modes or 2
    assert result.probe.shape == (expected, 32, 32)
    powers = result.metrics["probe_mode_powers"]
    assert len(powers) == expected
    assert powers == sorted(powers, reverse=True)


@pytest.mark.proves("solver.refine_probe", seen="the probe that is written is that of the file, or another")
@pytest.mark.parametrize("refine", [True, False])
def test_the_probe_moves_where_it_is_refined(refine: bool, file: Path, tmp_path: Path) -> None:
    result = run(file, tmp_path, refine_probe=refine)
    assert np.allclose(result.probe, result.scan.probe, rtol=1e-3, atol=1e-2) != refine
    assert result.metrics["refined"] == (["probe"] if refine else [])


@pytest.mark.proves("solver.refine_positions", "solver.positions_from", seen="positions move from then on")
@pytest.mark.parametrize("start", [3, 5])
def test_positions_move_from_the_iteration_named(start: int, file: Path, tmp_path: Path) -> None:
    moved = run(file, tmp_path / "moved", refine_positions=True, positions_from=start)
    assert changes(moved, "positions_change_px") == [False] * start + [True] * (8 - start)
    assert not np.array_equal(moved.positions_px, moved.scan.positions_px)
    still = run(file, tmp_path / "still")
    np.testing.assert_array_equal(still.positions_px, still.scan.positions_px)


@pytest.mark.proves("solver.refine_intensities", seen="the intensities that are written differ")
@pytest.mark.parametrize("refine", [True, False])
def test_intensities_are_fitted_where_asked_for(refine: bool, file: Path, tmp_path: Path) -> None:
    assert (np.ptp(run(file, tmp_path, refine_intensities=refine).intensities) > 0) == refine


@pytest.mark.proves("solver.prior", seen="the object varies less with the prior, which few photons call for")
def test_a_prior_makes_the_object_smooth(file: Path, tmp_path: Path) -> None:
    faint = scan_of(**FAINT)
    found = {
        prior: run(file, tmp_path / prior, faint, prior=prior, n_iterations=30, **weight)
        for prior, weight in {"none": {}, "tv": WEIGHT, "auto": WEIGHT}.items()
    }
    steps = {prior: np.abs(np.diff(result.object)).mean() for prior, result in found.items()}
    assert steps["tv"] == steps["auto"] < 0.7 * steps["none"]
    assert run(file, tmp_path / "bright", **WEIGHT).metrics["prior"] == "none"


@pytest.mark.proves("solver.prior_weight", seen="a larger weight makes it smoother; auto tells what chose it")
def test_the_weight_is_the_number_given_or_chosen(file: Path, tmp_path: Path) -> None:
    faint = scan_of(**FAINT)
    weak, strong = (
        run(file, tmp_path / str(weight), faint, n_iterations=30, prior_weight=weight)
        for weight in (1.0, 50.0)
    )
    assert np.abs(np.diff(strong.object)).mean() < 0.7 * np.abs(np.diff(weak.object)).mean()
    assert (strong.metrics["prior_weight"], strong.metrics["prior_weight_origin"]) == (50.0, "set")
    chosen = run(file, tmp_path / "auto", faint).metrics
    assert chosen["prior_weight_origin"] == "count thinning"
    assert chosen["prior_weight_uncertain_by_factor"] >= 1


@pytest.mark.proves("solver.start", seen="the first iteration is as good as the run that it starts from")
def test_a_run_starts_from_the_object_of_another(file: Path, tmp_path: Path) -> None:
    first = run(file, tmp_path / "first", n_iterations=30)
    later = run(file, tmp_path / "later", start=tmp_path / "first", n_iterations=1)
    flat, warm = first.history[0]["deviance_per_pixel"], later.history[0]["deviance_per_pixel"]
    assert warm < 0.1 * flat


@pytest.mark.proves("solver.holdout", seen="so many patterns judge before they are fitted")
@pytest.mark.parametrize(("share", "told"), [(0.1, ("set aside", 7)), (0.0, ("fitted", 70))])
def test_a_share_of_the_patterns_judges(
    share: float, told: tuple[str, int], file: Path, tmp_path: Path
) -> None:
    whole = scan_of(holdout=None)
    result = solve(payload_of(file, tmp_path, holdout=share, n_iterations=6), [whole])[0]
    assert (result.metrics["patterns"], result.metrics["n_patterns"]) == told
    assert result.metrics["n_patterns_used"] == 70


@pytest.mark.proves("solver.save", seen="files of that format are beside reconstruction.npz")
def test_the_format_named_is_written(file: Path, tmp_path: Path) -> None:
    run(file, tmp_path / "out", n_iterations=1, save="tiff")
    assert len([*(tmp_path / "out").glob("*.tif")]) == 4


@pytest.mark.proves("solver.unwrap_phase", "solver.remove_ramp", seen="object_phase.tif differs")
@pytest.mark.parametrize("name", ["unwrap_phase", "remove_ramp"])
def test_the_phase_is_unwrapped_and_levelled(tmp_path: Path, name: str) -> None:
    scan = scan_of()
    y = np.arange(len(scan.object_truth))[:, None]
    turned = scan.object_truth * np.exp(0.4j * y)
    np.savez(tmp_path / "start.npz", object=turned.astype(np.complex64), corner_px=np.array([0, 0]))
    scan.to_file(tmp_path / "tiny.npz")
    phases = []
    for value in (False, True):
        settings = {"n_iterations": 1, "save": "tiff", "start": tmp_path / "start.npz", name: value}
        run(tmp_path / "tiny.npz", tmp_path / f"{value}", **settings)
        phases.append(tifffile.imread(tmp_path / f"{value}" / "object_phase.tif"))
    assert np.nanmax(np.abs(phases[1] - phases[0])) > 1
