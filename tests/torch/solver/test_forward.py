"""The pass over the patterns: losses, gradients, adjoints, symmetries, and that chunks and files change nothing."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from ptycho_torch.patches import gather, scatter
from ptycho_torch.solver.forward import Forward, Gradients
from ptycho_torch.solver.patterns import Patterns
from tests.torch.solver.problem import Problem, intensities, loss_of

LOSSES = ("amplitude", "poisson")
DARK = 0.01


def gradients(problem: Problem, forward: Forward, loss: Any = "amplitude") -> Gradients:
    sums = forward.nothing(modes=True, positions=True, intensities=True)
    forward.accumulate(torch.from_numpy(problem.object), problem.ids, loss, DARK, sums)
    return sums


def value(problem: Problem, loss: str, **changed: Any) -> float:
    """The loss by numpy, with some of object, modes and positions replaced."""
    parts = {"object": problem.object, "modes": problem.modes, "positions": problem.positions} | changed
    bad = parts.pop("bad", False)
    predicted = intensities(parts["object"], parts["modes"], parts["positions"], problem.frame.corner_px)
    return loss_of(predicted, problem.patterns, loss, DARK, bad)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n_modes", [1, 3])
@pytest.mark.parametrize("N", [8, 7])
def test_the_loss_is_the_written_out_one(loss: str, n_modes: int, N: int) -> None:
    problem = Problem(n_modes=n_modes, N=N)
    for bad in (None, problem.bad, np.broadcast_to(problem.bad, problem.patterns.shape)):
        found = gradients(problem, problem.forward(bad_pixels=bad), loss).value
        expected = value(problem, loss, bad=False if bad is None else bad)
        assert float(found) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n_modes", [1, 3])
@pytest.mark.parametrize("part", ["object", "modes"])
def test_the_gradient_is_the_slope_of_the_loss(loss: str, n_modes: int, part: str) -> None:
    problem = Problem(n_modes=n_modes, seed=1)
    forward = problem.forward(bad_pixels=problem.bad)
    sums = gradients(problem, forward, loss)
    assert sums.object is not None
    assert sums.modes is not None
    found = sums.object if part == "object" else forward.mode_gradient(sums.modes)
    at = getattr(problem, part)
    for _ in range(3):
        direction = problem.random(*at.shape)
        up, down = (
            value(problem, loss, bad=problem.bad, **{part: at + h * direction}) for h in (1e-5, -1e-5)
        )
        slope = -2 * np.vdot(found.numpy(), direction).real
        assert slope == pytest.approx((up - down) / 2e-5, rel=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n_modes", [1, 3])
def test_the_position_gradient_is_the_slope_of_the_loss(loss: str, n_modes: int) -> None:
    problem = Problem(n_modes=n_modes, seed=2)
    sums = gradients(problem, problem.forward(bad_pixels=problem.bad), loss)
    assert sums.positions is not None
    for j in range(len(problem.positions)):
        for axis in (0, 1):
            step = np.zeros_like(problem.positions)
            step[j, axis] = 1e-5
            up, down = (
                value(problem, loss, bad=problem.bad, positions=problem.positions + sign * step)
                for sign in (1, -1)
            )
            assert -2 * float(sums.positions[j, axis]) == pytest.approx(
                (up - down) / 2e-5, rel=1e-3, abs=1e-3
            )


def test_the_position_curvature_is_that_of_the_loss_where_the_model_is_right() -> None:
    problem = Problem(n_modes=2, seed=3)
    exact = np.sqrt(intensities(problem.object, problem.modes, problem.positions, problem.frame.corner_px))
    problem.patterns = exact
    forward = problem.forward()
    forward.patterns = Patterns(exact, "amplitude")
    found = forward.position_curvature(torch.from_numpy(problem.object), problem.ids)
    step = np.zeros_like(problem.positions)
    step[:, 0] = 1e-3
    values = [value(problem, "amplitude", positions=problem.positions + sign * step) for sign in (1, 0, -1)]
    second = (values[0] - 2 * values[1] + values[2]) / 1e-6
    assert 2 * float(found[:, 0, 0].sum()) == pytest.approx(second, rel=1e-2)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_best_intensity_leaves_nothing_to_scale(loss: Any) -> None:
    problem = Problem(n_modes=2, seed=4)
    problem.patterns = (
        problem.patterns * np.linspace(0.5, 2, len(problem.ids), dtype=np.float32)[:, None, None]
    )
    forward = problem.forward(bad_pixels=problem.bad)
    for _ in range(2):
        sums = gradients(problem, forward, loss)
        assert sums.intensities is not None
        forward.intensities = forward.intensities * sums.intensities
    torch.testing.assert_close(sums.intensities, torch.ones_like(sums.intensities), atol=2e-3, rtol=0)
    best = float(sums.value)
    for factor in (0.99, 1.01):
        scaled = problem.forward(bad_pixels=problem.bad)
        scaled.intensities = forward.intensities * factor
        assert float(gradients(problem, scaled, loss).value) > best


def test_a_pass_by_gathering_finds_what_slices_find(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(n_modes=2)
    by_slices = gradients(problem, problem.forward())
    monkeypatch.setattr("ptycho_torch.solver.forward.cut", gather)
    monkeypatch.setattr("ptycho_torch.solver.forward.add", scatter)
    by_gathering = gradients(problem, problem.forward(chunk=100))
    assert by_slices.object is not None
    assert by_gathering.object is not None
    torch.testing.assert_close(by_slices.object, by_gathering.object)
    torch.testing.assert_close(by_slices.value, by_gathering.value)


@pytest.mark.parametrize("loss", LOSSES)
def test_scale_phase_and_ramp_that_object_and_probe_share_change_no_loss(loss: str) -> None:
    problem = Problem(n_modes=2, seed=6)
    before = float(gradients(problem, problem.forward(), loss).value)
    problem.object, problem.modes = problem.object * 2j, problem.modes / 2
    assert float(gradients(problem, problem.forward(), loss).value) == pytest.approx(before)
    # a ramp of whole periods over the patch is exact on the grid; positions at whole pixels keep it so
    problem.positions = np.round(problem.positions)
    before = float(gradients(problem, problem.forward(), loss).value)
    y, x = (np.arange(n) / problem.N for n in problem.frame.shape)
    problem.object = problem.object * np.exp(2j * np.pi * (y[:, None] - 2 * x[None]))
    y = np.arange(problem.N) / problem.N
    problem.modes = problem.modes * np.exp(-2j * np.pi * (y[:, None] - 2 * y[None]))
    assert float(gradients(problem, problem.forward(), loss).value) == pytest.approx(before)


def test_prediction_and_illumination_hold_the_photons_of_the_probe() -> None:
    problem = Problem(n_modes=2)
    forward = problem.forward()
    flat = torch.ones(problem.frame.shape, dtype=torch.complex128)
    power = float((np.abs(problem.modes) ** 2).sum())
    for _, amplitude in forward.predicted_amplitude(flat, problem.ids):
        torch.testing.assert_close(
            amplitude.square().sum(dim=(-2, -1)), torch.full((len(amplitude),), power).double()
        )
    assert float(forward.illumination(problem.ids).sum()) == pytest.approx(power * len(problem.ids))
    brightness = forward.brightness(2 * flat, problem.ids)
    torch.testing.assert_close(brightness, torch.full_like(brightness, 4.0 * len(problem.ids)))


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_the_size_of_chunks_changes_nothing(chunk: int) -> None:
    problem = Problem(n=7, n_modes=2)
    one, other = gradients(problem, problem.forward()), gradients(problem, problem.forward(chunk=chunk))
    for name in ("object", "modes", "positions", "intensities", "value"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("n_kept", [0, 2, 4, 5])
def test_moved_probes_that_are_kept_change_nothing(n_kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(n_modes=2)
    monkeypatch.setattr("ptycho_torch.solver.forward.KEPT_BYTES", n_kept * 2 * 8 * 8 * 16)
    forward, canvas = problem.forward(chunk=2), torch.from_numpy(problem.object)

    def found(keep: bool, ids: np.ndarray = problem.ids) -> torch.Tensor:
        sums = forward.nothing(modes=True)
        forward.accumulate(canvas, ids, "amplitude", DARK, sums, keep=keep)
        assert sums.object is not None
        return sums.object

    def changed() -> None:
        for _ in range(2):  # made, and then taken again
            assert torch.equal(found(keep=True), found(keep=False))

    changed()
    forward.set_probe(torch.from_numpy(2j * problem.modes))
    changed()
    forward.positions_px = forward.positions_px + 0.3
    changed()
    forward.intensities = forward.intensities * 2
    changed()
    assert torch.equal(found(True, problem.ids[1:4]), found(False, problem.ids[1:4]))


@pytest.mark.parametrize("domain", ["amplitude", "intensity"])
def test_patterns_in_files_are_read_as_those_in_memory(domain: Any, tmp_path: Path) -> None:
    counts = np.random.default_rng(7).poisson(20, (6, 8, 8)).astype(np.uint16)
    stored = np.sqrt(counts).astype(np.float32) if domain == "amplitude" else counts
    np.save(tmp_path / "stored.npy", stored)
    with h5py.File(tmp_path / "stored.h5", "w") as file:
        sources = [
            stored,
            np.load(tmp_path / "stored.npy", mmap_mode="r"),
            file.create_dataset("patterns", data=stored),
            torch.from_numpy(stored.astype(np.float32)),
        ]
        for ids in (np.array([1, 2, 3]), np.array([0, 2, 5])):
            for source in sources:
                read = Patterns(source, domain).read(ids, "intensity", torch.empty(3, 8, 8))
                np.testing.assert_allclose(read, counts[ids], rtol=1e-6)
                read = Patterns(source, domain).read(ids, "amplitude", torch.empty(3, 8, 8))
                np.testing.assert_allclose(read, np.sqrt(counts[ids]), rtol=1e-6)


def test_only_what_was_measured_counts_as_photons_and_pixels() -> None:
    counts = np.full((4, 8, 8), 3.0, dtype=np.float32)
    bad = np.zeros((8, 8), dtype=bool)
    bad[0] = True
    for mask in (bad, np.broadcast_to(bad, counts.shape)):
        patterns = Patterns(counts, "intensity", mask)
        assert patterns.mean_photons(np.arange(4)) == pytest.approx(3 * 56)
        assert patterns.n_measured(np.arange(3)) == 3 * 56
    assert Patterns(counts, "intensity").n_measured(np.arange(3)) == 3 * 64


def test_sums_over_processes_are_those_of_one() -> None:
    problem = Problem(n=6, n_modes=2)
    whole = gradients(problem, problem.forward())
    seen: list[torch.Tensor] = []
    half = problem.forward(reduce=seen.append)
    sums = half.nothing(modes=True)
    half.accumulate(torch.from_numpy(problem.object), problem.ids[:3], "amplitude", DARK, sums)
    other = problem.forward().nothing(modes=True)
    problem.forward().accumulate(torch.from_numpy(problem.object), problem.ids[3:], "amplitude", DARK, other)
    assert [one.shape[:-1] for one in seen[:2]] == [problem.frame.shape, (2, problem.N, problem.N)]
    for name in ("object", "modes", "value"):
        torch.testing.assert_close(getattr(sums, name) + getattr(other, name), getattr(whole, name))
