"""Thinning keeps Poisson statistics, and the weight of the prior is found where its score is lowest."""

from typing import Any

import numpy as np
import pytest
import torch

from ptycho.raw_data import RawData
from ptycho_torch.simulate import simulate_scan
from ptycho_torch.solver import Patterns, prepare, run
from ptycho_torch.solver.weight import (
    are_raw_counts,
    central,
    choose_weight,
    folds_of,
    thin,
    thinned,
    weight_by_thinning,
)


@pytest.fixture(scope="module")
def dim() -> RawData:
    return simulate_scan(N=32, n_positions=64, nphotons=3e3, seed=6, domain="intensity")


def test_thinned_counts_are_independent_poisson_counts_of_each_share() -> None:
    counts = np.random.default_rng(0).poisson(30, (40, 50, 50))
    kept = thin(counts, seed=1, share=0.9)
    left = counts - kept
    for part, mean in ((kept, 27), (left, 3)):
        assert part.mean() == pytest.approx(mean, rel=0.01)
        assert part.var() == pytest.approx(mean, rel=0.02)
    assert abs(np.corrcoef(kept.ravel(), left.ravel())[0, 1]) < 0.01
    np.testing.assert_array_equal(kept, thin(counts, seed=1, share=0.9))


def test_a_split_scan_holds_all_counts(dim: RawData) -> None:
    ids = np.array([3, 4, 9])
    patterns = Patterns(
        dim.patterns, "intensity", np.broadcast_to(np.eye(32, dtype=bool), dim.patterns.shape)
    )
    split = thinned(patterns, torch.from_numpy(dim.positions_px), ids, seed=2)
    np.testing.assert_array_equal(split.fitted.stored + split.judging.stored, dim.patterns[ids])
    np.testing.assert_array_equal(split.positions_px, dim.positions_px[ids])
    assert split.judging.n_measured(np.arange(3)) == 3 * 32 * 31


def test_raw_counts_are_told_from_scaled_ones(dim: RawData) -> None:
    ids = np.arange(64)
    assert are_raw_counts(Patterns(dim.patterns, "intensity"), ids)
    roots = np.sqrt(dim.patterns).astype(np.float32)
    assert are_raw_counts(Patterns(roots, "amplitude"), ids)
    assert not are_raw_counts(Patterns(dim.patterns * np.float32(1.3), "intensity"), ids)


def test_the_middle_of_a_scan_is_its_nearest_patterns() -> None:
    positions = torch.stack(torch.meshgrid(*2 * [torch.arange(5.0)], indexing="ij"), dim=-1).reshape(-1, 2)
    np.testing.assert_array_equal(central(positions, np.arange(25), 5), [7, 11, 12, 13, 17])
    np.testing.assert_array_equal(central(positions, np.arange(25), 100), np.arange(25))


def test_the_weight_is_that_of_the_lowest_score() -> None:
    class Told:
        """Stands where a descent would: has a weight, takes steps."""

        prior_weight = 0.0

        def reweigh(self, weight: float) -> None:
            self.prior_weight = weight

        def step(self) -> None: ...

    def score(one: Any) -> np.ndarray:
        return 100 + np.log(one.prior_weight / np.linspace(8, 12, 8)) ** 2

    for first in (0.5, 2.0, 200.0):
        choice = choose_weight(Told, score, first, origin="a formula", correction=1 / 0.9)  # type: ignore[arg-type]
        assert choice.weight == pytest.approx(np.exp(np.log(np.linspace(8, 12, 8)).mean()) / 0.9, rel=1e-3)
        assert 1 < choice.factor < 1.2
        assert choice.origin == "a formula"


def test_a_dim_scan_gets_a_weight_that_lifts_it(dim: RawData) -> None:
    patterns, positions = Patterns(dim.patterns, "intensity"), torch.from_numpy(dim.positions_px)
    ids, probe = np.arange(64), torch.from_numpy(dim.probe)
    choice = weight_by_thinning(prepare(patterns, positions, probe, fitted=ids), seed=0)
    assert choice.origin == "count thinning"

    truth = dim.object_truth
    assert truth is not None

    def error(weight: float) -> float:
        descent = prepare(patterns, positions, probe, margin_px=0, probe_from=None, prior_weight=weight)
        found = run(descent, 50)
        row, column = found.corner_px
        height, width = found.object.shape
        known = torch.from_numpy(truth[row : row + height, column : column + width])
        light = found.coverage * (found.coverage > 0.3 * found.coverage.max())
        phase = torch.vdot((found.object * light).reshape(-1), known.reshape(-1))
        return float(
            (found.object * phase / phase.abs() - known).abs().square().mul(light).sum() / light.sum()
        )

    assert error(choice.weight) < 0.8 * error(0.0)
    assert error(choice.weight) < 1.15 * min(error(choice.weight * factor) for factor in (0.3, 3.0))


def test_a_score_is_the_loss_of_the_patterns_that_judge(dim: RawData) -> None:
    patterns, positions = Patterns(dim.patterns, "intensity"), torch.from_numpy(dim.positions_px)
    ids = np.arange(64)
    descent = prepare(patterns, positions, torch.from_numpy(dim.probe))
    score = folds_of(descent.forward, ids, 0.01, 1.0)
    found = score(descent)
    assert len(found) == 8
    descent.forward.set_probe(descent.state.modes)
    assert found.sum() == pytest.approx(descent.forward.value(descent.state.object, ids, "poisson", 0.01))
