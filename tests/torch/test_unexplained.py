"""Results that are better than nothing and do not explain the data; and results that do."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

from ptycho.raw_data import RawData
from ptycho_torch.runs.judging import unexplained
from ptycho_torch.runs.solved import SolverResult
from ptycho_torch.simulate import simulate_scan
from tests.torch.solving import solved

pytestmark = pytest.mark.integration

SOUND = simulate_scan(N=32, n_positions=100, nphotons=1e6, seed=1, domain="intensity")


def made(folder: Path, **changes) -> tuple[SolverResult, RawData]:
    arrays = {
        "patterns": SOUND.patterns,
        "positions_px": SOUND.positions_px,
        "probe": SOUND.probe,
        "domain": "intensity",
    }
    scan = RawData.from_arrays(**(arrays | changes))
    path = folder / "scan.npz"
    scan.to_file(path)
    return solved(path, folder / "out", dataclasses.replace(scan, path=path), n_iterations=40), scan


def said(caplog) -> str:
    return " ".join(r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)


@pytest.mark.parametrize("nphotons", [1e3, 1e4, 1e6])
def test_nothing_is_said_of_a_result_that_explains_its_scan(tmp_path, caplog, nphotons):
    scan = simulate_scan(N=32, n_positions=100, nphotons=nphotons, seed=2, domain="intensity")
    result, _ = made(tmp_path, patterns=scan.patterns, positions_px=scan.positions_px, probe=scan.probe)
    assert result.problem is None
    assert result.metrics["unexplained"] < 0.35
    assert "does not explain" not in said(caplog)


@pytest.mark.parametrize("factor", [0.0, 0.02])
def test_positions_in_another_unit_are_told_by_the_scan_and_by_the_result(tmp_path, caplog, factor):
    result, scan = made(tmp_path, positions_px=SOUND.positions_px * factor)
    assert [verdict.name for verdict in scan.verdicts] == ["extent"]
    verdict = unexplained(result.metrics, "solver")
    assert result.problem is not None or verdict.statistic > 0.5
    if result.problem is None:
        assert "what was noticed when the scan was read (extent); positions of the wrong sign" in said(caplog)


def test_counts_read_as_amplitudes_are_told(tmp_path, caplog):
    result, _ = made(tmp_path, domain="amplitude")
    assert (
        result.problem is not None
        or "patterns read in the wrong measurement_domain, or not in photons" in said(caplog)
    )


@pytest.mark.parametrize("turn", [lambda p: p * [1, -1], lambda p: -p, lambda p: p[:, ::-1]])
def test_mirrored_and_exchanged_positions_are_told(tmp_path, caplog, turn):
    result, _ = made(tmp_path, positions_px=np.ascontiguousarray(turn(SOUND.positions_px)))
    assert "positions of the wrong sign, order (x and y exchanged) or unit" in (result.problem or "") + said(
        caplog
    )
