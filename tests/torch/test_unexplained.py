"""Results that are better than nothing and do not explain the data; and results that do."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

from ptycho.judgement import recorded_judgement
from ptycho.raw_data import RawData
from ptycho_torch.runs.solved import SolverResult
from ptycho_torch.simulate import make_probe, photograph, simulate_scan
from tests.torch.solver.optics import transformed
from tests.torch.solving import solved

pytestmark = pytest.mark.integration

SOUND = simulate_scan(N=32, n_positions=100, nphotons=1e6, seed=1, domain="intensity")


def made(
    folder: Path, n_iterations: int | str = 40, prior: str = "auto", **changes
) -> tuple[SolverResult, RawData]:
    arrays = {
        "patterns": SOUND.patterns,
        "positions_px": SOUND.positions_px,
        "probe": SOUND.probe,
        "domain": "intensity",
    }
    scan = RawData.from_arrays(**(arrays | changes))
    path = folder / "scan.npz"
    scan.to_file(path)
    found = dataclasses.replace(scan, path=path)
    return solved(path, folder / "out", found, n_iterations=n_iterations, prior=prior), scan


def said(caplog) -> str:
    return " ".join(r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)


@pytest.mark.parametrize("nphotons", [1e3, 1e4, 1e6])
def test_nothing_is_said_of_a_result_that_explains_its_scan(tmp_path, caplog, nphotons):
    scan = simulate_scan(N=32, n_positions=100, nphotons=nphotons, seed=2, domain="intensity")
    result, _ = made(tmp_path, patterns=scan.patterns, positions_px=scan.positions_px, probe=scan.probe)
    assert result.problem is None
    assert result.metrics["unexplained"] < 0.35
    assert "does not explain" not in said(caplog)


@pytest.mark.parametrize("n_pixels", [32, 64])
def test_a_dose_that_hides_the_object_is_told_as_what_it_is(tmp_path, caplog, n_pixels):
    scan = simulate_scan(N=n_pixels, n_positions=80, nphotons=100, seed=2, domain="intensity")
    arrays = {"patterns": scan.patterns, "positions_px": scan.positions_px, "probe": scan.probe}
    result, _ = made(tmp_path, prior="none", **arrays)
    assert "photons, whose noise hides most of what tells one pattern from another" in said(caplog)
    assert "does not explain" not in said(caplog)
    assert recorded_judgement(tmp_path / "out", "solver").level == ("bad" if result.problem else "doubtful")


@pytest.mark.parametrize("factor", [0.0, 0.02])
def test_positions_in_another_unit_are_told_by_the_scan_and_by_the_result(tmp_path, caplog, factor):
    result, scan = made(tmp_path, positions_px=SOUND.positions_px * factor)
    assert [verdict.name for verdict in scan.verdicts] == ["extent"]
    assert result.problem is not None
    assert "positions of the wrong sign" in said(caplog)


def test_counts_read_as_amplitudes_are_told(tmp_path, caplog):
    result, _ = made(tmp_path, domain="amplitude")
    assert (
        result.problem is not None
        or "patterns read in the wrong measurement_domain, or not in photons" in said(caplog)
    )


@pytest.mark.parametrize("level", [60, 300])
def test_a_dark_level_of_the_detector_is_told_first(tmp_path, caplog, level):
    noise = np.random.default_rng(0).normal(level, 2, np.shape(SOUND.patterns))
    dark = np.asarray(SOUND.patterns) + np.rint(noise).astype(int)
    result, scan = made(tmp_path, patterns=dark)
    assert [verdict.name for verdict in scan.verdicts] == ["background"]
    assert result.problem is not None
    assert "Likely causes, the likeliest first: what was noticed when the scan was read (background)" in said(
        caplog
    )


@pytest.mark.parametrize("turn", [lambda p: p * [1, -1], lambda p: -p, lambda p: p[:, ::-1]])
def test_mirrored_and_exchanged_positions_are_told(tmp_path, caplog, turn):
    result, _ = made(tmp_path, positions_px=np.ascontiguousarray(turn(SOUND.positions_px)))
    assert result.problem is not None
    assert "turned or mirrored" in said(caplog)
    assert [one["name"] for one in result.metrics["noticed"]] == ["orientation"]


# Faults that are mended: the right picture all the same ---------------------------------------------------------

HOT = np.zeros((32, 32), bool)
HOT[(2, 27, 20, 16, 5), (0, 9, 31, 2, 22)] = True
COUNTS = np.asarray(SOUND.patterns)


def gaps() -> np.ndarray:
    counts = COUNTS.copy()
    counts[:, 3, :] = counts[:, :, 26] = np.iinfo(counts.dtype).max
    return counts


def empty_frames() -> np.ndarray:
    counts = COUNTS.copy()
    counts[3::10] = 0
    return counts


MENDED = {
    "saturation": lambda: np.minimum(COUNTS, int(0.3 * COUNTS.max())),
    "flagged_pixels": gaps,
    "hot_pixels": lambda: np.where(HOT, 100_000, COUNTS),
    "empty_frames": empty_frames,
}


@pytest.mark.parametrize("name", MENDED)
def test_a_fault_of_the_patterns_that_is_told_is_mended(tmp_path, name):
    result, scan = made(tmp_path, patterns=MENDED[name](), object_truth=SOUND.object_truth)
    assert [verdict.name for verdict in scan.verdicts] == [name]
    assert result.problem is None
    assert result.metrics["phase_psnr_db"] > 30
    assert result.metrics["amplitude_psnr_db"] > 25


@pytest.mark.parametrize(("rad", "n_iterations"), [(1.0, 40), (4.0, "auto")])
def test_a_raster_and_a_strong_object_are_reconstructed(tmp_path, caplog, rad, n_iterations):
    """Positions exactly on a grid of 11 x 11, step 4; phases of 1 and of 4 radians either way."""
    probe, N = make_probe(32, 6.0)[0] * 1e3, 32
    positions = np.indices((11, 11)).reshape(2, -1).T * 4.0 + N // 2
    truth = photograph("camera", (80, 80)) * 0.4 + 0.6
    truth = truth * np.exp(1j * rad * (2 * photograph("coffee", (80, 80)) - 1))
    corners = positions.astype(int) - N // 2
    light = [np.abs(transformed(probe * truth[y : y + N, x : x + N])) ** 2 for y, x in corners]
    counts = np.random.default_rng(0).poisson(light)
    arrays = {"patterns": counts, "positions_px": positions, "probe": probe, "object_truth": truth}
    result, scan = made(tmp_path, n_iterations, **arrays)
    assert scan.verdicts == ()
    assert "does not explain" not in said(caplog)
    assert result.metrics["r_factor"] < 0.05
    assert result.metrics["phase_psnr_db"] > (30 if rad == 1 else 15)


def test_counts_that_may_be_rounded_roots_are_told_first_where_no_picture_explains_them(tmp_path, caplog):
    roots = np.rint(np.sqrt(np.asarray(SOUND.patterns, float))).astype(np.uint16)
    result, scan = made(tmp_path, patterns=roots, domain="auto")
    assert scan.domain == "intensity"
    assert [one["name"] for one in result.metrics["noticed"]] == ["measurement_domain"]
    assert result.problem is not None
    assert "the likeliest first: patterns read in the wrong measurement_domain" in result.problem
