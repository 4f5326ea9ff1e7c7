"""Guesses that compete on a part of a scan: the defocus of a probe that is not known, the orientation of positions."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ptycho.formats.orientation import ORIENTATIONS, oriented
from ptycho.probe import probe_diameter_px
from ptycho.raw_data import RawData
from ptycho.simulation import PUPIL_RADII
from ptycho_torch.simulate import make_probe, simulate_scan
from ptycho_torch.solver import FoundProbe, Patterns, Trials, rank_orientations, search_near, search_probe
from ptycho_torch.solver.probe_search import mean_pattern, probe_of, pupil_radius
from tests.torch.solver.optics import hole, lens, likeness, scan_under

N = 32


def scan_with(defocus_rad: float) -> RawData:
    return simulate_scan(N=N, n_positions=60, nphotons=1e6, defocus_rad=defocus_rad, holdout_fraction=0.0)


def parts(scan: RawData) -> tuple[Patterns, torch.Tensor, NDArray[np.int64]]:
    patterns = Patterns(scan.patterns, scan.domain, scan.bad_pixels)
    return patterns, torch.from_numpy(scan.positions_px), np.arange(len(scan.patterns))


@pytest.mark.parametrize("defocus_rad", [-7.0, 4.0])
def test_the_defocus_of_a_probe_is_found_from_patterns_and_positions(defocus_rad: float) -> None:
    found = search_probe(*parts(scan_with(defocus_rad)))
    true = defocus_rad / PUPIL_RADII[1] ** 2
    assert found.defocus == pytest.approx(true, abs=0.1 * abs(true))
    wave, truth = found.probe[0].numpy(), make_probe(N, defocus_rad)[0]
    moved = np.fft.ifft2(
        np.fft.fft2(wave).conj() * np.fft.fft2(truth)
    )  # a pattern does not tell where a probe is
    assert np.abs(moved).max() / np.linalg.norm(wave) / np.linalg.norm(truth) > 0.95
    assert found.error < 0.5 * found.median


def test_a_search_begins_at_the_defocus_that_is_given() -> None:
    """Far beyond what is tried otherwise, or of a probe whose optics are known but for its distance."""
    scan, rim = scan_with(4.0), PUPIL_RADII[1] ** 2
    assert search_probe(*parts(scan), near=3.0 / rim).defocus == pytest.approx(4.0 / rim, rel=0.1)
    for start, missing in ((-2.0, 6.0), (4.0, 0.0)):
        guess = torch.from_numpy(make_probe(N, start)).to(torch.complex64)
        moved = search_near(*parts(scan), guess)
        assert moved.defocus == pytest.approx(missing / rim, abs=0.4 / rim)
        assert moved.error < 0.01
    assert moved.probe is guess
    probe = hole(64, 24, 150)
    found = search_probe(*parts(scan_under(probe, 5.0)), near=150)
    assert likeness(found.probe[0].numpy(), probe) > 0.95


TEN = [
    lens(64, 0.25, 0.0, 200),
    lens(64, 0.15, 0.05, -600),
    lens(64, 0.35, 0.0, -90),
    lens(64, 0.4, 0.1, 60),
    hole(64, 24, 0),
    hole(64, 16, 150),
    hole(64, 30, -120),
    lens(128, 0.2, 0.0, 700),
    lens(128, 0.3, 0.1, -300),
    hole(128, 50, 0),
]
"""Probes of lenses and holes; those of 64 pixels are found in 2 s of CPU time each, those of 128 in 9."""


def found_under(probe: NDArray[np.complex128]) -> FoundProbe:
    scan = scan_under(probe, 0.25 * probe_diameter_px(probe[None]))
    return search_probe(*parts(scan))


@pytest.mark.integration
@pytest.mark.parametrize("number", range(len(TEN)))
def test_probes_of_lenses_and_holes_are_found_at_any_defocus(number: int) -> None:
    found = found_under(TEN[number])
    assert found.is_clear
    assert likeness(found.probe[0].numpy(), TEN[number]) > 0.9


def test_the_image_of_a_hole_is_found() -> None:
    found = found_under(hole(32, 13, 0))
    assert found.hole_px == pytest.approx(13, rel=0.1)
    assert likeness(found.probe[0].numpy(), hole(32, 13, 0)) > 0.95


def test_the_far_field_of_a_probe_from_the_mean_pattern_has_its_intensity() -> None:
    mean = torch.rand(N, N, generator=torch.Generator().manual_seed(1)) * 100
    for defocus in (0.0, 50.0):
        far = torch.fft.fftshift(torch.fft.fft2(probe_of(mean, defocus)[0], norm="ortho"))
        torch.testing.assert_close(far.abs().square(), mean, rtol=1e-4, atol=1e-3)


def test_unmeasured_pixels_do_not_enter_the_mean_pattern() -> None:
    counts = np.random.default_rng(0).poisson(50.0, (7, N, N)).astype(np.float32)
    bad = np.zeros(counts.shape, dtype=bool)
    bad[3, 4:9] = True
    spoiled = np.where(bad, np.float32(1e6), counts)
    found = mean_pattern(Patterns(spoiled, "intensity", bad), np.arange(7)).numpy()
    np.testing.assert_allclose(found, np.ma.masked_array(counts, bad).mean(axis=0), rtol=1e-5)


def test_the_radius_of_a_pupil_holds_nine_tenths_of_the_counts() -> None:
    along = (np.arange(128) - 64) / 128
    disc = torch.from_numpy((np.hypot(along[:, None], along[None]) <= 0.3).astype(np.float32))
    assert pupil_radius(disc) == pytest.approx(0.3 * np.sqrt(0.9), abs=0.01)


def test_orientations_are_the_eight_of_a_square() -> None:
    matrices = {np.array(matrix).tobytes() for matrix in ORIENTATIONS.values()}
    assert len(matrices) == 8
    assert all(abs(np.linalg.det(np.array(matrix))) == 1 for matrix in ORIENTATIONS.values())
    place = np.array([[3.0, 5.0]])  # y, x
    assert oriented(place, "flip-x").tolist() == [[3.0, -5.0]]
    assert oriented(place, "transpose").tolist() == [[5.0, 3.0]]
    assert oriented(place, "rotate-90").tolist() == [[5.0, -3.0]]


@pytest.mark.parametrize(("wrong", "back"), [("flip-y", "flip-y"), ("rotate-90", "rotate-270")])
def test_the_orientation_that_explains_the_patterns_is_first(wrong: str, back: str) -> None:
    scan = scan_with(5.0)
    patterns, positions, ids = parts(scan)
    trials = Trials(patterns, torch.from_numpy(oriented(positions.numpy(), wrong)), ids)
    first, second, *_ = rank_orientations(trials, torch.from_numpy(scan.probe), ORIENTATIONS)
    assert first.orientation == back
    assert first.error < 0.5 * second.error


def test_one_pattern_is_a_trial_without_a_judge() -> None:
    scan = scan_with(5.0)
    patterns, positions, ids = parts(scan)
    assert np.isfinite(Trials(patterns, positions, ids[:1]).error(torch.from_numpy(scan.probe), 3))


def test_guesses_are_equal_where_no_light_judges_them() -> None:
    patterns, places, ids = parts(scan_with(4.0))
    dark = Patterns(
        np.zeros_like(patterns.read(ids, "amplitude", torch.empty(len(ids), N, N)).numpy()), "amplitude"
    )
    ranked = rank_orientations(
        Trials(dark, places, ids), torch.ones(1, N, N, dtype=torch.complex64), ORIENTATIONS
    )
    assert {one.error for one in ranked} == {1.0}
