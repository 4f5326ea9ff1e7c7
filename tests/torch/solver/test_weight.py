"""Thinning keeps Poisson statistics, and the weight of the prior is found where its score is lowest."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ptycho.raw_data import RawData
from ptycho_torch.simulate import simulate_scan
from ptycho_torch.solver import Choice, Patterns, prepare, run
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


class Told:
    """Stands where a descent would: has a weight, takes steps."""

    prior_weight = 0.0

    def reweigh(self, weight: float) -> None:
        self.prior_weight = weight

    def step(self) -> None: ...


def chosen(score: Callable[[Any], np.ndarray], first: float = 2.0) -> Choice:
    return choose_weight(Told, score, first, origin="a formula", correction=1 / 0.9)  # type: ignore[arg-type]


def test_the_weight_is_that_of_the_lowest_score() -> None:
    def score(one: Any) -> np.ndarray:
        return 100 + np.log(one.prior_weight / np.linspace(8, 12, 8)) ** 2

    for first in (0.5, 2.0, 200.0):
        choice = chosen(score, first)
        assert choice.weight == pytest.approx(np.exp(np.log(np.linspace(8, 12, 8)).mean()) / 0.9, rel=1e-3)
        assert choice.factor is not None
        assert 1 < choice.factor < 1.2
        assert (choice.bound, choice.origin) == (None, "a formula")
        assert choice.in_words() == "11 (by a formula; uncertain by a factor of 1.05)"


def test_a_weight_at_an_end_of_the_search_is_a_bound() -> None:
    weak, strong = (
        chosen(lambda one, sign=sign: 9 + one.prior_weight**sign * np.ones(8)) for sign in (1, -1)
    )
    assert (weak.bound, weak.factor, weak.in_words()) == ("at most", None, "at most 0.00434 (by a formula)")
    assert (strong.bound, strong.factor) == ("at least", None)


def test_a_weight_that_some_patterns_want_weaker_than_any_tried_is_a_bound() -> None:
    best = np.array([1e-9, *7 * [10.0]])
    choice = chosen(lambda one: 9 + np.array([8, *7 * [1]]) * np.log(one.prior_weight / best) ** 2)
    assert choice.bound == "at most"


def test_how_uncertain_a_weight_is_cannot_be_told_from_one_part() -> None:
    choice = chosen(lambda one: 9 + np.log(one.prior_weight / np.array([10.0])) ** 2)
    assert (choice.factor, choice.bound) == (None, None)
    assert choice.in_words() == "11.1 (by a formula; how uncertain is not known)"


def test_scores_compare_weights_and_not_iterations() -> None:
    """The fit falls to its end in a hundred iterations; the score of its end is best for a weight of 10."""

    class Slow(Told):
        n_done = 0

        def step(self) -> None:
            self.n_done += 1

    for drift in (1e4, -30.0):
        choice = choose_weight(
            Slow,  # type: ignore[arg-type]
            lambda one, drift=drift: (
                1e3 + drift * np.exp(-one.n_done / 25) + np.log(one.prior_weight / np.linspace(8, 12, 8)) ** 2
            ),
            2.0,
            origin="a formula",
        )
        assert choice.weight == pytest.approx(10, rel=0.2)


@pytest.mark.parametrize(("nphotons", "share"), [(1e4, 0.8), (1e6, 1.0), (1e8, 1.02)])
def test_a_chosen_weight_lifts_a_dim_scan_and_leaves_a_bright_one(nphotons: float, share: float) -> None:
    scan = simulate_scan(N=32, n_positions=48, nphotons=nphotons, seed=6, domain="intensity")
    patterns, positions = Patterns(scan.patterns, "intensity"), torch.from_numpy(scan.positions_px)
    ids, probe = np.arange(48), torch.from_numpy(scan.probe)
    choice = weight_by_thinning(prepare(patterns, positions, probe, fitted=ids), seed=2)
    assert choice.origin == "count thinning"

    truth = scan.object_truth
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

    assert error(choice.weight) < share * error(0.0)
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
