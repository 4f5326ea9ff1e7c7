"""One iteration against plain numpy, and what holds for every descent: the objective falls, nothing diverges."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptycho.raw_data import RawData
from ptycho_torch.simulate import simulate_scan
from ptycho_torch.solver import Patterns, prepare, run
from ptycho_torch.solver.descent import SLACK, Descent
from tests.torch.solver.problem import Problem, moved


@pytest.fixture(scope="module")
def scan() -> RawData:
    return simulate_scan(N=32, n_positions=70, nphotons=1e5, seed=5)


def descent_of(scan: RawData, **options: Any) -> Descent:
    patterns = Patterns(scan.patterns, scan.domain, scan.bad_pixels)
    arguments = {"probe": torch.from_numpy(scan.probe)} | options
    return prepare(patterns, torch.from_numpy(scan.positions_px), **arguments)


def test_one_iteration_is_ten_lines_of_numpy() -> None:
    problem = Problem(n=6, N=8)
    N, probe, flat = problem.N, problem.modes[0], np.ones(problem.frame.shape, complex)
    gradient, light = np.zeros_like(flat), np.zeros(problem.frame.shape)
    for position, amplitude in zip(problem.positions, problem.patterns, strict=True):
        row, column = np.round(position).astype(int) - N // 2 - np.array(problem.frame.corner_px)
        here = np.s_[row : row + N, column : column + N]
        shifted = moved(probe, position - np.round(position))
        far = np.fft.fft2(shifted * flat[here], norm="ortho")
        excess = np.fft.ifftshift(amplitude) / np.sqrt(np.abs(far) ** 2 + 1e-6) - 1
        gradient[here] += shifted.conj() * np.fft.ifft2(excess * far, norm="ortho")
        light[here] += np.abs(shifted) ** 2
    descent = Descent(
        problem.forward(),
        torch.from_numpy(flat),
        torch.from_numpy(problem.modes),
        problem.ids,
        probe_from=None,
    )
    descent.step()
    np.testing.assert_allclose(
        descent.state.object, flat + gradient / (light + 0.05 * light.max()), atol=1e-9
    )


@pytest.mark.parametrize("options", [
    {"probe_from": None}, {}, {"n_modes": 2}, {"positions_from": 5}, {"intensities_from": 5}, {"prior_weight": 3.0},
])  # fmt: skip
def test_the_objective_of_the_points_used_falls(scan: RawData, options: dict[str, Any]) -> None:
    descent = descent_of(scan, **options)
    history = run(descent, 60).history
    for loss in ("amplitude", "poisson"):
        used = [row.objective for row in history if row.used and row.loss == loss]
        assert np.all(used <= np.minimum.accumulate(used) * (1 + SLACK))
        assert used[-1] < used[0]
    assert history[-1].deviance_per_pixel < 1.2


@given(st.integers(0, 2**31), st.sampled_from([1, 2]), st.floats(0.5, 12), st.floats(-3, 6), st.booleans())
def test_nothing_diverges_whatever_probe_and_overlap(
    seed: int, n_modes: int, step_px: float, log_photons: float, positions: bool
) -> None:
    rng = np.random.default_rng(seed)
    probe = rng.normal(size=(n_modes, 8, 8)) + 1j * rng.normal(size=(n_modes, 8, 8))
    probe *= 10 ** (log_photons / 2) / np.sqrt((np.abs(probe) ** 2).sum())
    counts = rng.poisson(10**log_photons / 64 * rng.gamma(0.3, 3, size=(9, 8, 8))).astype(np.float32)
    places = np.stack(np.divmod(np.arange(9), 3), axis=1) * step_px + rng.uniform(-1, 1, (9, 2))
    descent = prepare(
        Patterns(counts, "intensity"), torch.from_numpy(places), torch.from_numpy(probe), n_modes=n_modes,
        switch_at=6, positions_from=3 if positions else None, intensities_from=4,
    )  # fmt: skip
    history = run(descent, 14).history
    assert torch.isfinite(torch.view_as_real(descent.state.object)).all()
    assert torch.isfinite(torch.view_as_real(descent.state.modes)).all()
    for loss in ("amplitude", "poisson"):
        used = [row.objective for row in history if row.used and row.loss == loss]
        assert not used or used[-1] <= used[0] * (1 + SLACK) + 1e-6


def test_a_prior_leaves_the_dark_as_it_was(scan: RawData) -> None:
    descent = descent_of(scan, probe_from=None, prior_weight=30.0, margin_px=12)
    run(descent, 80)
    light = descent.forward.illumination(descent.fitted)
    dark = light < 1e-6 * light.max()
    assert dark.sum() > 1000
    assert (descent.state.object[dark] - 1).abs().mean() < 0.01


def test_the_safeguard_saves_a_step_that_is_far_too_long(
    scan: RawData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptycho_torch.solver.descent.FULL_STEP", {"amplitude": 8.0, "poisson": 8.0})
    history = run(descent_of(scan, probe_from=None), 60).history
    assert not all(row.used for row in history)
    assert history[-1].deviance_per_pixel < 1.3


def test_it_goes_on_from_a_saved_state_as_if_it_had_not_stopped(scan: RawData) -> None:
    options: dict[str, Any] = {"positions_from": 5, "prior_weight": 2.0, "switch_at": 7}
    whole = run(descent_of(scan, **options), 16)
    first = descent_of(scan, **options)
    run(first, 9)
    second = descent_of(scan, **options)
    second.load_state_dict(first.state_dict())
    rest = run(second, 16)
    assert [row.number for row in rest.history] == list(range(10, 17))
    assert torch.equal(rest.object, whole.object)
    assert torch.equal(rest.positions_px, whole.positions_px)


def test_wrong_positions_are_found(scan: RawData) -> None:
    rng = np.random.default_rng(8)
    wrong = scan.positions_px + rng.normal(scale=0.5, size=scan.positions_px.shape)
    patterns = Patterns(scan.patterns, scan.domain)
    descent = prepare(patterns, torch.from_numpy(wrong), torch.from_numpy(scan.probe), positions_from=15)
    error = run(descent, 80).positions_px.numpy() - scan.positions_px
    error -= error.mean(axis=0)
    assert np.sqrt((error**2).sum(axis=1).mean()) < 0.12


def test_unequal_intensities_are_found(scan: RawData) -> None:
    factor = np.random.default_rng(9).uniform(0.7, 1.4, len(scan.patterns))
    patterns = Patterns(scan.patterns * np.sqrt(factor)[:, None, None].astype(np.float32), scan.domain)
    places, probe = torch.from_numpy(scan.positions_px), torch.from_numpy(scan.probe)
    found = run(prepare(patterns, places, probe, intensities_from=3), 60).intensities.numpy()
    np.testing.assert_allclose(found, factor / np.exp(np.log(factor).mean()), rtol=0.08)
