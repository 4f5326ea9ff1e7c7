import json

import numpy as np
import pytest
from scipy.spatial import KDTree

from ptycho.raw_data import RawData
from ptycho_torch.simulate import IMAGES, make_probe, photograph, simulate_scan


def expected_intensity(scan, j):
    """Intensity of pattern j from the definition: explicit Fourier sums, no FFT, no shift theorem shortcuts."""
    size = scan.probe_truth.shape[-1]
    pixel = np.arange(size)
    centred = pixel - size // 2
    whole = np.round(scan.positions_px[j]).astype(int)
    shift_y, shift_x = scan.positions_px[j] - whole
    patch = scan.object_truth[
        whole[0] - size // 2 : whole[0] + size // 2, whole[1] - size // 2 : whole[1] + size // 2
    ]
    analyse = np.exp(-2j * np.pi * np.outer(centred, pixel) / size)
    synth_y = np.exp(2j * np.pi * np.outer(pixel - shift_y, centred) / size) / size
    synth_x = np.exp(2j * np.pi * np.outer(pixel - shift_x, centred) / size) / size
    total = 0
    for mode in scan.probe_truth:
        shifted = synth_y @ (analyse @ mode @ analyse.T) @ synth_x.T
        total = total + np.abs(analyse @ (shifted * patch) @ analyse.T / size) ** 2
    return total


@pytest.mark.parametrize("n_modes", [1, 3])
@pytest.mark.parametrize("pattern", ["fermat", "raster"])
def test_patterns_follow_the_geometry_of_the_contract(pattern, n_modes):
    scan = simulate_scan(
        N=32, n_positions=70, pattern=pattern, n_modes=n_modes, poisson_noise=False, domain="intensity"
    )
    for j in (0, 33, 69):
        expected = expected_intensity(scan, j)
        np.testing.assert_allclose(scan.patterns[j], expected, atol=2e-6 * expected.max())


def test_counts_are_poisson_distributed_about_the_expectation():
    arguments = {"n_positions": 20, "nphotons": 1e5, "domain": "intensity"}
    counts = simulate_scan(**arguments).patterns
    mean = simulate_scan(**arguments, poisson_noise=False).patterns
    bright = mean > 20
    deviation = (counts[bright] - mean[bright]) / np.sqrt(mean[bright])
    assert counts.dtype == np.uint32
    assert abs(deviation.mean()) < 0.05
    assert abs(deviation.std() - 1) < 0.05


def test_amplitudes_are_square_roots_of_the_counts():
    amplitude, counts = (simulate_scan(n_positions=5, domain=domain) for domain in ("amplitude", "intensity"))
    np.testing.assert_allclose(amplitude.patterns**2, counts.patterns, rtol=1e-5)
    np.testing.assert_allclose(amplitude.amplitude([3]), counts.amplitude([3]), rtol=1e-6)


def test_one_seed_gives_one_scan_and_another_seed_another():
    first, same, other = (simulate_scan(n_positions=8, pattern="raster", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.patterns, same.patterns)
    np.testing.assert_array_equal(first.half, same.half)
    assert not np.array_equal(first.positions_px, other.positions_px)


def test_the_truth_is_only_in_the_truth_arrays():
    scan = simulate_scan(n_positions=10)
    assert (scan.object_guess == 1).all()
    assert scan.object_guess.shape == scan.object_truth.shape
    np.testing.assert_allclose(np.abs(scan.object_truth).min(), 0.6, atol=1e-3)
    np.testing.assert_allclose(np.abs(scan.object_truth).max(), 1.0, atol=1e-3)
    np.testing.assert_allclose(np.abs(np.angle(scan.object_truth)).max(), 1.0, atol=1e-3)


def test_the_probe_carries_the_stated_photons():
    scan = simulate_scan(n_positions=10, nphotons=5e4, n_modes=3)
    np.testing.assert_allclose((np.abs(scan.probe) ** 2).sum(), 5e4, rtol=1e-5)
    assert scan.nphotons == 5e4


@pytest.mark.parametrize("N", [32, 64, 128])
def test_the_probe_is_well_sampled_in_both_spaces(N):
    probe = make_probe(N, N / 6)[0]
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(probe))) ** 2
    border = np.ones((N, N), bool)
    border[1:-1, 1:-1] = False
    assert spectrum[border].max() < 1e-9 * spectrum.max()
    assert (np.abs(probe[border]) ** 2).max() < 1e-2 * (np.abs(probe) ** 2).max()
    radius = np.hypot(*(np.indices((N, N)) - N // 2))
    assert 0.78 < (np.abs(probe[radius < 0.225 * N]) ** 2).sum() < 0.97


def test_probe_modes_are_orthogonal_with_falling_power():
    modes = make_probe(64, 10.0, n_modes=4).reshape(4, -1)
    gram = modes @ modes.conj().T
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-12)
    np.testing.assert_allclose(np.diag(gram)[1:] / np.diag(gram)[:-1], 0.25)
    np.testing.assert_allclose(np.trace(gram), 1)


@pytest.mark.parametrize("pattern", ["fermat", "raster"])
def test_positions_overlap_have_sub_pixel_parts_and_stay_on_the_object(pattern):
    scan = simulate_scan(n_positions=225, pattern=pattern, step_px=8.0)
    distance = KDTree(scan.positions_px).query(scan.positions_px, k=2)[0][:, 1]
    assert 5 < distance.mean() < 9
    assert np.abs(scan.positions_px - np.round(scan.positions_px)).mean() > 0.2
    corner = np.round(scan.positions_px).astype(int) - 32
    assert corner.min() >= 0
    assert (corner.max(axis=0) + 64 <= scan.object_truth.shape).all()


def test_masks_mark_a_twentieth_and_two_halves():
    scan = simulate_scan(n_positions=100)
    assert scan.holdout.sum() == 5
    assert (scan.half == 0).sum() == 50


def test_a_simulated_scan_written_and_read_back_is_equal(tmp_path):
    scan = simulate_scan(n_positions=12, domain="intensity")
    scan.to_file(tmp_path / "scan.npz")
    copy = RawData.from_file(tmp_path / "scan.npz")
    for name in ("patterns", "positions_px", "probe", "object_truth", "probe_truth", "holdout", "half"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(scan, name), err_msg=name)
    assert copy.domain == "intensity"
    assert json.dumps(copy.metadata)


@pytest.mark.parametrize("name", IMAGES)
def test_every_listed_image_is_shipped_and_has_structure(name):
    image = photograph(name, (40, 50))
    assert image.shape == (40, 50)
    assert (image.min(), image.max()) == (0, 1)
    assert image.std() > 0.03


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"N": 63}, "N: expected an even number >= 16; got 63"),
        ({"n_positions": 0}, "n_positions: expected at least 1; got 0"),
        *(
            ({"nphotons": value}, r"nphotons: expected a number > 0, at most 1e\+18; got ")
            for value in (np.inf, 0, 1e300)
        ),
        (
            {"nphotons": 1e15, "domain": "intensity"},
            "nphotons: expected at most 4294967295 counts in a pixel",
        ),
        (
            {"n_positions": 10**9},
            "scan: expected one that fits into the available memory, .* for 1000000000 patterns",
        ),
        ({"n_positions": 10**400}, "scan: expected one that fits into the available memory"),
        (
            {"N": 100_000},
            "scan: expected one that fits into the available memory, .* for waves of 100000 x 100000",
        ),
        (
            {"step_px": 1e9},
            r"scan: expected one that fits into the available memory, .* an object of .*step_px",
        ),
        ({"step_px": 1e300}, "scan: expected one that fits into the available memory"),
        ({"defocus_rad": np.inf}, "defocus_rad: expected a finite number; got inf"),
        ({"seed": -1}, "seed: expected an integer >= 0; got -1"),
        ({"domain": "counts"}, "domain: expected 'amplitude' or 'intensity'; got 'counts'"),
        ({"step_px": 0.0}, "step_px: expected a finite number > 0; got 0"),
        ({"step_px": -4.0}, "step_px: expected a finite number > 0; got -4"),
        ({"step_px": float("nan")}, "step_px: expected a finite number > 0; got nan"),
        ({"step_px": float("inf")}, "step_px: expected a finite number > 0; got inf"),
        ({"n_modes": 7}, "n_modes: expected 1 to 6; got 7"),
        ({"holdout_fraction": 1.0}, "holdout_fraction: expected a number"),
        ({"pattern": "spiral"}, "pattern: expected 'fermat' or 'raster'; got 'spiral'"),
        ({"phase_image": "cat"}, "image: expected one of astronaut.*; got 'cat'"),
    ],
)
def test_a_wrong_argument_is_named_with_the_rule(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_scan(**arguments)
