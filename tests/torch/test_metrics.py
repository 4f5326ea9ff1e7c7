"""Figures of merit against known answers."""

from collections.abc import Iterator

import numpy as np
import pytest
from skimage import data
from skimage.transform import resize

from ptycho.raw_data import RawData
from ptycho.scan_checks import DataError
from ptycho_torch.runs.metrics import (
    Block,
    Comparison,
    agreement,
    compare,
    mean_of_others,
    unbiased_amplitude,
)
from ptycho_torch.runs.report.evidence import evidence

RNG = np.random.default_rng(3)


def known_object(n: int = 96) -> np.ndarray:
    amplitude = 0.6 + 0.4 * resize(data.camera(), (n, n))
    phase = 2 * resize(data.coins(), (n, n)) - 1
    return (amplitude * np.exp(1j * phase)).astype(np.complex64)


def of(predicted: np.ndarray, amplitude: np.ndarray, measured=np.True_) -> dict[str, float]:
    """Figures of one block."""
    return agreement(lambda: [Block(predicted, amplitude, np.asarray(measured))])


def test_r_factor_ignores_one_global_scale() -> None:
    amplitude = RNG.uniform(1, 5, (3, 8, 8)).astype(np.float32)
    assert of(0.3 * amplitude, amplitude)["r_factor"] == pytest.approx(0, abs=1e-6)


def test_r_factor_is_the_relative_absolute_error() -> None:
    amplitude = np.array([[[3.0, 1.0], [1.0, 3.0]]], dtype=np.float32)
    predicted = np.full((1, 2, 2), 2.0, dtype=np.float32)
    assert of(predicted, amplitude)["r_factor"] == pytest.approx(4 / 8)


def test_deviance_of_the_true_expectation_is_about_one_per_pixel() -> None:
    expected = RNG.uniform(200, 300, (20, 32, 32))
    figures = of(np.sqrt(expected), np.sqrt(RNG.poisson(expected)))
    assert figures["poisson_deviance_per_pixel"] == pytest.approx(1, abs=0.03)


def test_blocks_together_give_the_figures_of_all_patterns_at_once() -> None:
    predicted, amplitude = RNG.uniform(1, 5, (2, 9, 8, 8))
    apart = agreement(
        lambda: (Block(predicted[i : i + 2], amplitude[i : i + 2], np.True_) for i in range(0, 9, 2))
    )
    assert apart == pytest.approx(of(predicted, amplitude))


def test_unmeasured_pixels_count_in_no_figure() -> None:
    predicted, amplitude = RNG.uniform(1, 5, (2, 3, 8, 8))
    measured = np.ones((8, 8), dtype=bool)
    measured[2:5] = False
    spoiled = np.where(measured, amplitude, 1e6)
    assert of(predicted, spoiled, measured) == pytest.approx(
        of(predicted[:, measured], amplitude[:, measured])
    )


@pytest.mark.parametrize(
    ("predicted", "amplitude", "measured"), [(0, 1, True), (1, 0, True), (1, 1, False), (np.nan, 1, True)]
)
def test_a_figure_of_nothing_is_not_a_number(predicted: float, amplitude: float, measured: bool) -> None:
    shape = (2, 8, 8)
    figures = of(np.full(shape, predicted), np.full(shape, amplitude), np.full(shape, measured))
    assert np.isnan(figures["r_factor"])


def test_a_prediction_of_nothing_leaves_whole_arrays_for_the_report(tiny_scan: RawData) -> None:
    def predicted(some: np.ndarray) -> Iterator[Block]:
        amplitude = tiny_scan.amplitude(some)
        yield Block(np.full_like(amplitude, np.nan), amplitude, np.array(True))

    found = evidence(tiny_scan, predicted, tiny_scan.positions_px)
    side = tiny_scan.patterns.shape[-1]
    assert {found[name].shape for name in ("measured", "predicted", "valid")} == {(0, side, side)}


@pytest.mark.parametrize("photons", [0.02, 0.5, 3.0, 40.0, 2e3])
def test_the_mean_root_of_counts_tells_their_mean(photons: float) -> None:
    roots = np.sqrt(RNG.poisson(photons, 400_000)).mean(keepdims=True, dtype=np.float32)
    assert unbiased_amplitude(roots)[0] ** 2 == pytest.approx(photons, rel=0.03)


def test_an_object_that_is_not_finite_is_not_compared() -> None:
    truth = known_object()
    image = truth.copy()
    image[40, 40] = np.nan
    with pytest.raises(DataError, match="finite"):
        compare(image, truth, (0, 0), np.ones(truth.shape))


def test_of_equal_images_the_ratio_is_infinite() -> None:
    pair = Comparison(*(np.eye(16),) * 4)
    assert pair.figures()["phase_psnr_db"] == np.inf


def test_what_no_pattern_tells_is_removed() -> None:
    truth = known_object()
    rows, columns = np.mgrid[0:96, 0:96]
    image = 0.7 * truth * np.exp(1j * (0.4 + 0.013 * rows - 0.021 * columns))
    figures = compare(image[5:90, 3:80], truth, (5, 3), np.ones((85, 77))).figures()
    assert figures["amplitude_psnr_db"] > 60
    assert figures["phase_psnr_db"] > 50


def test_noise_of_known_size_gives_the_psnr_of_its_formula() -> None:
    truth = known_object()
    noise = RNG.normal(0, 0.02, truth.shape)
    pair = compare(truth * (1 + noise / np.abs(truth)), truth, (0, 0), np.ones(truth.shape))
    expected = 20 * np.log10(np.ptp(np.abs(truth)) / 0.02)
    assert pair.figures()["amplitude_psnr_db"] == pytest.approx(expected, abs=0.3)


def test_a_displaced_reconstruction_scores_lower() -> None:
    truth = known_object()
    image, cover = truth[2:90, 2:90] + RNG.normal(0, 1e-3, (88, 88)), np.ones((88, 88))
    right, wrong = (compare(image, truth, corner, cover).figures() for corner in ((2, 2), (3, 2)))
    assert wrong["amplitude_psnr_db"] < right["amplitude_psnr_db"] - 20


def test_dark_margins_are_left_out() -> None:
    truth = known_object()
    image, cover = truth + RNG.normal(0, 1e-4, truth.shape), np.ones(truth.shape)
    image[:10], cover[:10] = 9.0, 0.01
    pair = compare(image, truth, (0, 0), cover)
    assert pair.amplitude.shape == (86, 96)
    assert pair.figures()["amplitude_psnr_db"] > 60


def test_an_object_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="overlaps the known object"):
        compare(known_object()[:20, :20], known_object(), (500, 500), np.ones((20, 20)))


def test_too_little_to_compare_is_refused() -> None:
    truth = known_object()
    cover = np.zeros(truth.shape)
    cover[::3, ::3] = 1
    with pytest.raises(ValueError, match="7 x 7 pixels"):
        compare(truth, truth, (0, 0), cover)


def test_the_mean_of_the_others_predicts_a_pattern_from_all_but_itself() -> None:
    amplitude = RNG.uniform(1, 5, (5, 4, 4)).astype(np.float32)
    measured = RNG.uniform(size=(5, 4, 4)) > 0.5
    scan = [Block(amplitude, amplitude, measured)]
    whole = list(mean_of_others(scan, scan))
    parts = [Block(*(array[i : i + 2] for array in scan[0])) for i in (0, 2, 4)]
    parts = list(mean_of_others(parts, parts))
    for name in Block._fields:
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole[0], name))
    for i in range(5):
        others = np.arange(5) != i
        seen = measured[others].any(axis=0) & measured[i]
        np.testing.assert_array_equal(whole[0].measured[i], seen)
        for row, column in np.argwhere(seen):
            values = amplitude[others, row, column][measured[others, row, column]]
            assert whole[0].predicted[i, row, column] == pytest.approx(values.mean(), rel=1e-6)


def test_an_object_of_zeros_is_not_compared() -> None:
    truth = np.ones((24, 24), dtype=np.complex64)
    with pytest.raises(DataError, match="zeros"):
        compare(np.zeros_like(truth), truth, (0, 0), np.ones(truth.shape))
