"""Steps of long phase waves: a positive operator, the stiffness of the physics, and a descent that needs few steps."""

import numpy as np
import pytest
import torch

from benchmarks.quality import Scene, solve
from benchmarks.quality_cases import CASES, strong_phase
from ptycho_torch.simulate import make_probe, simulate_scan
from ptycho_torch.solver import Patterns, descent, prepare, run
from ptycho_torch.solver.long_waves import FARTHEST_RAD, long_step

SHAPE = (40, 33)
STIFFNESS = torch.tensor([2.0, 3.5], dtype=torch.float64)


def noise(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def inner(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.vdot(a.reshape(-1), b.reshape(-1)).real)


def test_the_operator_is_symmetric_and_positive_and_leaves_dark_and_gauge_alone() -> None:
    canvas = 1 + 0.3 * noise(0)
    weight = torch.full(SHAPE, 100.0, dtype=torch.float64)
    weight[:5] = 5.0
    one, other = 1e-9 * noise(1), 1e-9 * noise(2)  # the object is turned, which is linear in small steps
    steps = [long_step(canvas, gradient, STIFFNESS, weight) for gradient in (one, other)]
    assert inner(one, steps[1]) == pytest.approx(inner(steps[0], other), rel=1e-6)
    assert inner(one, steps[0]) > 0
    assert not steps[0][:5].abs().any()
    flat = torch.ones(SHAPE, dtype=torch.complex128)
    constant = long_step(flat, 1j * flat, STIFFNESS, 1e12 * torch.ones(SHAPE, dtype=torch.float64))
    assert constant.abs().max() < 1e-20


def test_the_object_is_turned_alone_and_not_far() -> None:
    canvas = 1 + 0.3 * noise(0)
    step = long_step(canvas, 1e9 * noise(1), STIFFNESS / 1e3, torch.ones(SHAPE, dtype=torch.float64))
    assert not step.abs().any()  # where all is as dark as the darkest
    weight = torch.full(SHAPE, 100.0, dtype=torch.float64)
    weight[0, 0] = 5.0
    moved = canvas + long_step(canvas, 1e9 * noise(1), STIFFNESS / 1e3, weight)
    torch.testing.assert_close(moved.abs(), canvas.abs())
    assert float((moved / canvas).angle().abs().max()) == pytest.approx(FARTHEST_RAD)


def test_no_step_is_too_long_for_a_large_object() -> None:
    """The phase of an object of 6000 patterns goes a long way: steps along tangents make the loss rise."""
    scan = simulate_scan(N=32, n_positions=6000, nphotons=1e6, holdout_fraction=0.0)
    descent = prepare(
        Patterns(scan.patterns, scan.domain),
        torch.from_numpy(scan.positions_px),
        torch.from_numpy(scan.probe),
        probe_from=None,
        switch_at=None,
    )
    rows = [descent.step() for _ in range(12)]
    assert all(row.used for row in rows)
    assert rows[-1].objective < 0.14 * rows[3].objective


@pytest.mark.parametrize("n", [(4, 120), (120, 4)])
def test_no_step_is_too_long_for_a_long_narrow_scan(
    n: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it where a small part of a dark object is bright; plain steps are slower."""
    places = 4.0 * np.stack(np.unravel_index(np.arange(n[0] * n[1]), n), axis=1)
    places += 40 + np.random.default_rng(0).uniform(-1, 1, places.shape)
    size = np.ceil(places.max(axis=0) + 40).astype(int)
    y, x = (np.arange(length) / 9 for length in size)
    bright = np.exp(1j * np.sin(y)[:, None] * np.cos(0.3 * x)) * (0.7 + 0.3 * np.sin(x))
    bright[:, : size[1] // 3] *= 0.1
    probe = make_probe(32, 5.0) * 1e3
    near = [probe[0] * bright[r - 16 : r + 16, c - 16 : c + 16] for r, c in np.rint(places).astype(int)]
    far = np.fft.fftshift(np.fft.fft2(np.array(near), norm="ortho"), axes=(1, 2))
    patterns = Patterns(np.abs(far).astype(np.float32), "amplitude")
    ends = []
    for first in (descent.WAVES_FROM, 10**9):
        monkeypatch.setattr(descent, "WAVES_FROM", first)
        where = torch.from_numpy(np.rint(places))
        found = prepare(patterns, where, torch.from_numpy(probe), probe_from=None, switch_at=None)
        rows = [found.step() for _ in range(40)]
        assert all(row.used for row in rows)
        ends.append(rows[-1].objective)
    assert ends[0] < ends[1]


def test_where_nothing_is_predicted_there_are_no_waves() -> None:
    gradient = noise(1)
    for canvas in (torch.zeros_like(gradient), torch.ones_like(gradient)):
        for stiffness in (torch.full((2,), torch.nan), torch.zeros(2)):
            step = long_step(canvas, gradient, stiffness.double(), torch.rand(SHAPE, dtype=torch.float64))
            assert torch.isfinite(step).all()


def test_a_long_narrow_canvas_takes_no_more_memory_than_it_has_pixels() -> None:
    gradient = torch.randn((20, 100_000), dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    step = long_step(torch.ones_like(gradient), gradient, STIFFNESS / 1e3, torch.ones(gradient.shape))
    assert torch.isfinite(step).all()  # waves of all lengths would take 80 GB


@pytest.mark.parametrize("axis", [0, 1])
def test_the_stiffness_is_the_curvature_of_the_loss_along_a_long_wave(axis: int) -> None:
    scan = simulate_scan(N=32, n_positions=60, nphotons=1e9, holdout_fraction=0.0)
    descent = prepare(
        Patterns(scan.patterns, scan.domain),
        torch.from_numpy(scan.positions_px),
        torch.from_numpy(scan.probe),
        real=torch.float64,
        probe_from=None,
        switch_at=None,
    )
    run(descent, 60)
    forward, canvas = descent.forward, descent.state.object
    stiffness = forward.stiffness(canvas, descent.fitted, every=1)
    slope = 0.01
    place = torch.arange(canvas.shape[axis], dtype=torch.float64)
    ramp = torch.polar(torch.ones_like(place), slope * place)
    moved = canvas * (ramp[:, None] if axis == 0 else ramp[None])
    there, here = (forward.value(one, descent.fitted, "amplitude", 0.0) for one in (moved, canvas))
    photons = float(np.square(scan.patterns, dtype=np.float64).sum())
    assert (there - here) / photons == pytest.approx(float(stiffness[axis]) * slope**2, rel=0.2)


def test_phases_across_a_whole_scan_are_found_in_few_iterations() -> None:
    """An object of -4 to 4 rad; plain steps have 25 dB in phase after as many."""
    scan = strong_phase()
    scene = Scene(CASES["phase +-4 rad"], scan, scan.probe)
    last = next(stage for stage in solve(scene) if stage.iterations == 80)
    assert last.figures["r_factor"] <= 0.135
    assert last.figures["amplitude_psnr_db"] >= 28
    assert last.figures["phase_psnr_db"] >= 45


def test_a_raster_of_11_by_11_is_solved() -> None:
    scan = simulate_scan(N=32, n_positions=121, step_px=4.0, nphotons=1e6, pattern="raster")
    scene = Scene(CASES["1e6"]._replace(n_iterations=30), scan, scan.probe)
    last = next(stage for stage in solve(scene) if stage.iterations == 30)
    assert last.figures["amplitude_psnr_db"] >= 38
    assert last.figures["phase_psnr_db"] >= 47
