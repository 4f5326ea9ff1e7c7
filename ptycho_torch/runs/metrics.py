"""How good a reconstruction is: in reciprocal space against held-out patterns, in real space against a known object."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ptycho.data_error import DataError

FREQUENCY_OVERSAMPLING = 2
"""A linear phase ramp is searched in steps of half a period across the image, then refined."""


class Block(NamedTuple):
    """Some patterns: what was predicted and what was measured."""

    predicted: NDArray[np.float32]
    """float (k, N, N), predicted amplitude."""
    amplitude: NDArray[np.float32]
    """float (k, N, N), measured amplitude, photon**0.5."""
    measured: NDArray[np.bool_]
    """bool, broadcasts against the amplitude; False leaves a pixel out."""


@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def agreement(blocks: Callable[[], Iterable[Block]]) -> dict[str, float]:
    """How well predicted amplitudes agree with measured ones, over all blocks together.

    Args:
        blocks: called twice, gives the same blocks each time; only one is held at a time.

    Returns:
        ``r_factor``: R = sum abs(A - s A_predicted) / sum A with one least-squares scale s for all patterns; 0 for a
        perfect prediction. ``poisson_deviance_per_pixel``: mean Poisson deviance of the counts, the prediction scaled
        to the same total; about 1 for a perfect model where the counts are many, less where they are few.
        ``noise_poisson_deviance_per_pixel``: that which photon noise leaves of a perfect prediction. NaN where nothing
        was measured, nothing is predicted, or the prediction is not finite.
    """
    product = energy = total = counted = 0.0
    n_pixels = 0
    for predicted, amplitude, measured in blocks():
        seen = np.broadcast_to(measured, amplitude.shape)
        product += float(np.sum(predicted * amplitude, where=seen, dtype=np.float64))
        energy += float(np.sum(np.square(predicted), where=seen, dtype=np.float64))
        total += float(np.sum(amplitude, where=seen, dtype=np.float64))
        counted += float(np.sum(np.square(amplitude), where=seen, dtype=np.float64))
        n_pixels += int(seen.sum())
    scale, power_scale = _ratio(product, energy), _ratio(counted, energy)
    difference = deviance = noise = 0.0
    for predicted, amplitude, measured in blocks():
        seen = np.broadcast_to(measured, amplitude.shape)
        difference += float(np.sum(np.abs(amplitude - scale * predicted), where=seen, dtype=np.float64))
        expected = np.maximum(np.square(predicted, dtype=np.float64) * power_scale, 1e-6)
        counts = np.square(amplitude, dtype=np.float64)
        ratio = np.where(counts > 0, counts / expected, 1.0)
        deviance += float(np.sum(2 * (expected - counts + counts * np.log(ratio)), where=seen))
        noise += float(np.sum(expected_deviance(expected), where=seen))
    return {
        "r_factor": _ratio(difference, total),
        "poisson_deviance_per_pixel": _ratio(deviance, n_pixels),
        "noise_poisson_deviance_per_pixel": _ratio(noise, n_pixels),
    }


def mean_of_others(scan: Iterable[Block], judged: Iterable[Block]) -> Iterator[Block]:
    """Predict each pattern by the mean amplitude of the others: what a scan tells without an object.

    Args:
        scan: all patterns; what they predict is left out of account.
        judged: those to predict, which are among them.

    Yields:
        The latter with these predictions; pixels that no other pattern has measured are left out.
    """
    total = n_measured = np.zeros(())
    for _, amplitude, measured in scan:
        seen = np.broadcast_to(measured, amplitude.shape)
        total = total + np.where(seen, amplitude, 0).sum(axis=0, dtype=np.float64)
        n_measured = n_measured + seen.sum(axis=0)
    for _, amplitude, measured in judged:
        seen = np.broadcast_to(measured, amplitude.shape)
        others = n_measured - seen
        mean = (total - np.where(seen, amplitude, 0)) / np.maximum(others, 1)
        yield Block(mean.astype(np.float32), amplitude, seen & (others > 0))


def excess_deviance(blocks: Iterable[Block]) -> float:
    """Poisson deviance of the counts over the one that a perfect prediction of them is expected to have.

    Args:
        blocks: predicted and measured amplitudes.

    Returns:
        1 where nothing but photon noise is left; NaN where nothing was measured.
    """
    found = expected = 0.0
    for predicted, amplitude, measured in blocks:
        seen = np.broadcast_to(measured, amplitude.shape)
        photons = np.maximum(np.square(predicted, dtype=np.float64), TINY_COUNT)
        counts = np.square(amplitude, dtype=np.float64)
        ratio = np.where(counts > 0, counts / photons, 1.0)
        found += float(np.sum(2 * (photons - counts + counts * np.log(ratio)), where=seen))
        expected += float(np.sum(expected_deviance(photons), where=seen))
    return _ratio(found, expected)


TINY_COUNT = 1e-6
"""Photons in place of fewer, whose logarithm would rule a deviance."""


def expected_deviance(photons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean Poisson deviance of counts around expected photons: about 1 where these are many, and less where few.

    Args:
        photons: > 0, any shape.
    """
    known = _poisson()
    return np.interp(np.log(photons), np.log(known.means), known.deviances)


def unbiased_amplitude(amplitude: NDArray[np.float32]) -> NDArray[np.float32]:
    """The root of the expected photons, from the expected root of the counts, which is less where photons are few.

    A fit of amplitudes tends to the latter, so its square is far below the photons of a dim pixel.

    Args:
        amplitude: photon**0.5, any shape.
    """
    known = _poisson()
    few = np.interp(amplitude, known.roots, np.sqrt(known.means))
    return np.where(amplitude < known.roots[-1], few, np.sqrt(np.square(amplitude) + 0.25)).astype(np.float32)


class _Poisson(NamedTuple):
    """Of counts around each of some means."""

    means: NDArray[np.float64]
    deviances: NDArray[np.float64]
    roots: NDArray[np.float64]
    """Means of the roots of the counts."""


@functools.cache
def _poisson() -> _Poisson:
    means = np.logspace(np.log10(TINY_COUNT), 2.5, 180)
    counts = np.arange(700.0)
    logs = np.log(np.maximum(counts, 1))
    factorials = np.concatenate([[0.0], np.cumsum(logs[1:])])
    chances = np.exp(counts * np.log(means)[:, None] - means[:, None] - factorials)
    each = 2 * (means[:, None] - counts + counts * (logs - np.log(means)[:, None]))
    return _Poisson(means, (chances * each).sum(axis=1), (chances * np.sqrt(counts)).sum(axis=1))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else np.nan


SMALLEST_PX = 7
"""Side of the smallest rectangle that is compared: the window of the structural similarity."""


@dataclass(frozen=True)
class Comparison:
    """A reconstruction beside the known object, on the same pixels, with what no pattern can tell removed.

    Attributes:
        amplitude, phase_rad: float64 (h, w), reconstruction.
        true_amplitude, true_phase_rad: float64 (h, w), known object.
    """

    amplitude: NDArray[np.float64]
    phase_rad: NDArray[np.float64]
    true_amplitude: NDArray[np.float64]
    true_phase_rad: NDArray[np.float64]

    @property
    def pairs(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Known and found image of the amplitude, and of the phase."""
        return {
            "amplitude": (self.true_amplitude, self.amplitude),
            "phase": (self.true_phase_rad, self.phase_rad),
        }

    @np.errstate(divide="ignore", invalid="ignore")
    def psnr_db(self, name: str) -> float:
        """Peak signal-to-noise ratio of amplitude or phase; infinite of two equal images.

        The peak is the range of the known image.
        """
        truth, image = self.pairs[name]
        return float(peak_signal_noise_ratio(truth, image, data_range=float(np.ptp(truth))))

    @np.errstate(divide="ignore", invalid="ignore")
    def figures(self) -> dict[str, float]:
        """Peak signal-to-noise ratio (dB) and structural similarity of amplitude and phase.

        The data range is that of the known object.
        """
        figures: dict[str, float] = {}
        for name, (truth, image) in self.pairs.items():
            figures[f"{name}_psnr_db"] = self.psnr_db(name)
            figures[f"{name}_ssim"] = float(
                structural_similarity(truth, image, data_range=float(np.ptp(truth)))
            )
        return figures


def compare(
    image: NDArray[np.complex64],
    truth: NDArray[np.complex64],
    corner_px: tuple[int, int],
    coverage: NDArray[Any],
) -> Comparison:
    """Compare a reconstruction with the known object.

    A far-field pattern does not tell the global phase, nor (with an imperfect probe) a linear phase ramp and the
    scale between object and probe: these three are fitted and removed. Displacement is not: the registration of
    the canvas is part of what is measured.

    Args:
        image: complex (H, W), reconstruction.
        truth: complex, the known object; pixel (0, 0) is the origin of the scan positions.
        corner_px: row and column of ``image[0, 0]`` in the pixels of ``truth``.
        coverage: float (H, W), weight of each pixel; the comparison is on a rectangle, shrunk side by side until all
            its pixels are covered by at least half of the median coverage.

    Returns:
        Both objects on that rectangle.

    Raises:
        DataError: image and known object do not overlap, or the image is not finite, or zero everywhere.
    """
    rows, columns = _common_rectangle(image.shape, truth.shape, corner_px, coverage)
    part = image[rows, columns].astype(np.complex128)
    if not np.isfinite(part).all():
        raise DataError(
            "comparison: expected an object of finite numbers; got NaN or infinite ones. Train the model again."
        )
    if not part.any():
        raise DataError(
            "comparison: expected an object that is not zero everywhere; got zeros only. Train the model again."
        )
    down, right = corner_px
    known = truth[rows.start + down : rows.stop + down, columns.start + right : columns.stop + right].astype(
        np.complex128
    )
    part = part * phase_ramp(part, known)
    part = part * np.exp(1j * np.angle(np.vdot(part, known)))
    amplitude, true_amplitude = np.abs(part), np.abs(known)
    amplitude = amplitude * (amplitude * true_amplitude).sum() / np.square(amplitude).sum()
    true_phase = np.angle(known * np.exp(-1j * np.angle(known.mean())))
    difference = np.angle(part * known.conj())
    return Comparison(amplitude, true_phase + difference - difference.mean(), true_amplitude, true_phase)


def _common_rectangle(
    shape: tuple[int, ...], true_shape: tuple[int, ...], corner_px: tuple[int, int], coverage: NDArray[Any]
) -> tuple[slice, slice]:
    lit = coverage >= 0.5 * np.median(coverage[coverage > 0])
    for axis in (0, 1):
        index = np.arange(shape[axis]) + corner_px[axis]
        inside = (index >= 0) & (index < true_shape[axis])
        lit = lit & (inside[:, None] if axis == 0 else inside[None, :])
    if not lit.any():
        raise DataError(
            f"comparison: expected a reconstruction that overlaps the known object; got corner {corner_px}, "
            f"shape {shape} against shape {true_shape}. Give the object in the coordinates of the scan positions."
        )
    low, high = [0, 0], list(shape)
    while (
        min(high[0] - low[0], high[1] - low[1]) >= SMALLEST_PX
        and not lit[low[0] : high[0], low[1] : high[1]].all()
    ):
        view = lit[low[0] : high[0], low[1] : high[1]]
        dark = {
            (0, 0): 1 - view[0].mean(),
            (0, 1): 1 - view[-1].mean(),
            (1, 0): 1 - view[:, 0].mean(),
            (1, 1): 1 - view[:, -1].mean(),
        }
        axis, at_end = max(dark, key=lambda side: dark[side])
        if at_end:
            high[axis] -= 1
        else:
            low[axis] += 1
    if min(high[0] - low[0], high[1] - low[1]) < SMALLEST_PX:
        raise DataError(
            f"comparison: expected a well covered rectangle of at least {SMALLEST_PX} x {SMALLEST_PX} pixels; got "
            "none. Use more patterns, or more of each patch (middle_trim)."
        )
    return slice(low[0], high[0]), slice(low[1], high[1])


def phase_ramp(image: NDArray[np.complex128], truth: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """The linear phase ramp that brings image closest to truth.

    The peak of the spectrum of truth * conj(image) gives it roughly; a least-squares plane through the phase that
    is left, weighted with the modulus, gives the rest.
    """
    product = truth * image.conj()
    shape = [FREQUENCY_OVERSAMPLING * n for n in product.shape]
    peak = np.unravel_index(int(np.argmax(np.abs(np.fft.fft2(product, shape)))), shape)
    rows, columns = (np.arange(n) - n / 2 for n in product.shape)
    turns = [np.fft.fftfreq(n)[i] for n, i in zip(shape, peak, strict=True)]
    ramp = np.exp(2j * np.pi * (turns[0] * rows[:, None] + turns[1] * columns[None, :]))
    left = product * ramp.conj()
    left = left * np.exp(-1j * np.angle(left.sum()))
    plane = np.stack(np.broadcast_arrays(1.0, rows[:, None], columns[None, :]), axis=-1).reshape(-1, 3)
    weight = np.sqrt(np.abs(left)).reshape(-1)
    slope, *_ = np.linalg.lstsq(plane * weight[:, None], np.angle(left).reshape(-1) * weight, rcond=None)
    return ramp * np.exp(1j * (slope[1] * rows[:, None] + slope[2] * columns[None, :]))
