"""What the pixels of the patterns tell: order and centre, flags, saturation, the mask."""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, cast

import numpy as np
from scipy import ndimage  # pyright: ignore[reportMissingTypeStubs]

from ptycho.logarithms import logarithm_of, undone
from ptycho.pattern_statistics import Mask, Summary, blocks, brightest_neighbor, shares
from ptycho.probe import far_field_light
from ptycho.stored_array import Array, Stack
from ptycho.verdict import Verdict, refusal
from ptycho.wording import counted

IN_FFT_ORDER: Final = (0.4, 2.0, 0.02)
"""A pattern or probe whose central half, taken in FFT order, holds at least this share of it, and at least this many
times as much as its own central half and as that of any other order, is in FFT order, where each of the parts that are
put together there holds at least this share of it."""

ORDERS: Final = {
    (-2, -1): "around the corners",
    (-2,): "at both ends of the columns",
    (-1,): "at both ends of the rows",
}
"""Axes that may be in FFT order, and where the light is then."""

SATURATED: Final = (3, 0.05, 2)
"""Pixels of a pattern at the largest value of all, and the share and number of such patterns, from which on the
detector saturates."""

NEAR_TOP: Final = 0.5
"""Part of the largest value, from which on no other one is half as frequent where it is a bound."""
FEWEST_AT_TOP: Final = 5.0
"""Photons below which a largest value is that of chance."""

OFF_CENTRE: Final = (2.0, 0.03)
"""Distance between the centre of the patterns and that of the probe's far field that is worth a word: in pixels, and
over the side of a pattern, since objects refract by as much."""
OFF_MIDDLE: Final = (2.0, 0.04)
"""The same between that centre and the middle of the patterns, where the probe is not known and may be uneven."""

BRIGHT: Final = 0.1
"""Part of the brightest light from which on a pixel tells where the centre is."""


DARK: Final = (0.01, 0.1)
"""Parts of the pixels, the darkest ones, whose light is nearly equal where it is a background."""

BACKGROUND: Final = (0.03, 1.25, 0.25)
"""Light of the darkest pixels over that of all, from which on it is worth a word; how many times as bright as the first
part the second may be; and the variance of their light over patterns, beyond photon noise, over the square of its mean.
Of sound scans whose light fills the detector, one of the last two is 1.7 or 0.5 at least."""

FLAT: Final = 0.5
"""Part of the lit pixels from which on those that are bright are no pattern, but a background."""


HOT: Final = 8.0
"""Spots are no light if they have this many times that of what is around, in the mean of the patterns, where sound
scans have 1.7 at most."""

RING: Final = np.pad(np.zeros((3, 3), bool), 1, constant_values=True)
"""What is around a block of 3 x 3 pixels."""


class FFTOrder(NamedTuple):
    """An image of which some axes are in FFT order."""

    got: str
    """What is seen."""
    axes: str
    """The argument of `np.fft.fftshift` that mends it."""
    share: float
    """Of the light, in the central half of that order."""


def around_blocks(image: Array) -> Array:
    """The brightest pixel around a block of 3 x 3 pixels of an image (N, N), across its edges.

    Of the nine blocks that a pixel is in, the one with the darkest surroundings.
    """
    rings = cast(Any, ndimage).maximum_filter(image, footprint=RING, mode="wrap")
    return np.asarray(cast(Any, ndimage).minimum_filter(rings, 3, mode="wrap"))


def without_spots(light: Array) -> Array:
    """The light (H, W), of which spots that may be hot are as dark as what is around them.

    These are up to 2 x 2 pixels, or up to 3 x 3 that outshine all around them. Where nothing but a background is left,
    a spot may be the beam: single pixels alone are darkened.
    """
    rest = np.minimum(light, brightest_neighbor(light, 4))  # three others may be of the same spot
    around = around_blocks(light)
    rest = np.where(light > HOT * around, np.minimum(rest, around), rest)
    is_flat = np.count_nonzero(rest >= BRIGHT * rest.max()) > FLAT * np.count_nonzero(light)
    return np.minimum(light, brightest_neighbor(light)) if is_flat else rest


def fft_order(image: Array) -> FFTOrder | None:
    """Which axes of an image (N, N) >= 0 are in FFT order; None for none.

    A pixel that is brighter than all its neighbours counts as the brightest of them: one hot pixel is no order.
    """
    image = np.minimum(image, brightest_neighbor(image))
    centred, *others = shares(image)
    least, times, part = IN_FFT_ORDER
    share = max(others)
    axes = tuple(ORDERS)[others.index(share)]
    rest = [centred, *(other for other in others if other is not share)]
    if share < least or share < times * max(rest):
        return None
    half = image.shape[-1] // 2
    ends = [(slice(None, half), slice(half, None)) if axis in axes else (slice(None),) for axis in (-2, -1)]
    if min(float(image[rows, columns].sum()) for rows in ends[0] for columns in ends[1]) < part * image.sum():
        return None
    order = "" if len(axes) == 2 else " along one axis"
    got = f"{share:.0%} of the light {ORDERS[axes]} and {centred:.0%} around the centre (FFT order{order})"
    return FFTOrder(got, "(-2, -1)" if len(axes) == 2 else str(axes[0]), share)


def of_logarithm(sample: Array) -> Iterator[Verdict]:
    """Whether patterns are logarithms of counts.

    Args:
        sample: (k, N, N), some of them.
    """
    if name := logarithm_of(sample):
        expected, got = "counts or their square roots", f"logarithms of whole numbers ({name})"
        yield refusal("logarithm", "diff3d", expected, got, f"{undone(name)}.")


def of_order(mean: Array | None, probe: Array | None) -> Iterator[Verdict]:
    """Whether patterns and probe have their zero frequency, and their middle, at [N//2, N//2].

    Args:
        mean: (N, N), mean of the patterns; None: it does not show that.
        probe: (modes, N, N), or None.
    """
    if mean is not None and (order := fft_order(without_spots(mean))):
        advice = f"Write np.fft.fftshift(patterns, axes={order.axes}), and the same for their mask."
        if order.axes == "(-2, -1)":
            advice = f"Set centre to corner. Or: {advice}"
        expected = "the zero frequency at the centre, [N//2, N//2]"
        yield refusal(
            "zero_frequency",
            "diff3d",
            expected,
            order.got,
            advice,
            statistic=order.share,
            unit="of the light",
        )
    if probe is not None and (order := fft_order(np.square(np.abs(probe), dtype=np.float64).sum(axis=0))):
        advice = f"Write np.fft.fftshift(probe, axes={order.axes})."
        expected = "a probe centred on [N//2, N//2]"
        yield refusal(
            "probe_order",
            "probeGuess",
            expected,
            order.got,
            advice,
            statistic=order.share,
            unit="of the light",
        )


def of_centre(light: Array, probe: Array | None, bad: Mask | None = None) -> Iterator[Verdict]:
    """Whether the beam is in the middle of the patterns.

    Args:
        light: (N, N), mean counts.
        probe: (modes, N, N); its far field tells where the middle of the patterns should be. None: it is not known.
        bad: bool, (N, N) or (n, N, N), pixels that were not measured; those of all patterns tell nothing.
    """
    meant_light = np.ones_like(light) if probe is None else far_field_light(probe)
    if bad is not None:
        seen: Mask = ~(bad if bad.ndim == 2 else np.asarray(bad.all(axis=0)))
        if probe is None:  # what is on the other side of the middle tells as little
            seen &= np.roll(seen[::-1, ::-1], 1, axis=(0, 1))
        light, meant_light = np.where(seen, light, 0), np.where(seen, meant_light, 0)
    if not meant_light.any():
        return
    found = middle_of(without_spots(light))
    meant = (len(light) / 2, len(light) / 2) if probe is None else middle_of(meant_light)
    down, right = (there - here for there, here in zip(found, meant, strict=True))
    off = float(np.hypot(down, right))
    least, part = OFF_MIDDLE if probe is None else OFF_CENTRE
    if off < max(least, part * len(light)):
        return
    where, harm = "where the probe has it", "the object gets a phase ramp"
    if probe is None:
        where, harm = "the middle of the patterns", "the picture may be displaced"
    yield Verdict(
        "beam_centre", "warning", off, "px",
        f"the beam hits the detector {abs(down):.1f} px {'below' if down > 0 else 'above'} and {abs(right):.1f} px "
        f"{'right' if right > 0 else 'left'} of {where} (row {meant[0]:.1f}, column {meant[1]:.1f}): "
        f"{harm}, and the light beyond the edge is lost",
        "Crop the patterns around the beam (centre = auto), or shift them by whole pixels.",
    )  # fmt: skip


def of_background(counts: Array, bad: Mask | None = None) -> Iterator[Verdict]:
    """Whether a background lies under the patterns: no pixel is dark, and the darkest are equally bright in all.

    Args:
        counts: (k, N, N), some patterns.
        bad: bool, (N, N) or (n, N, N), pixels that were not measured; what is so in any pattern tells nothing.
    """
    seen = counts.reshape(len(counts), -1)
    if bad is not None:
        seen = seen[:, ~np.asarray(bad if bad.ndim == 2 else bad.any(axis=0)).ravel()]
    light = seen.mean(axis=0)
    if not light.any():
        return
    level, next_level = (float(np.quantile(light, part)) for part in DARK)
    least, times, most_varied = BACKGROUND
    share = level / float(light.mean())
    if share < least or next_level > times * level:
        return
    varied = float(seen[:, light <= next_level].var(axis=0).mean())
    if varied - next_level <= most_varied * level**2:
        yield Verdict(
            "background", "warning", share, "of the light",
            f"the darkest pixels hold {level:.3g} on average, all of them alike: a background or the dark level of the "
            f"detector lies under the patterns, {share:.0%} of their light, which no object explains",
            "Subtract it from the patterns, and write 0 where less is left.",
        )  # fmt: skip


def as_in_file(value: float, dtype: np.dtype[Any], in_file: np.dtype[Any] | None) -> float:
    """The flag of patterns, which becomes the largest integer of their dtype, or NaN, as their file holds it.

    Args:
        value: of the patterns.
        dtype: of the patterns.
        in_file: of those in their file; None: the same.
    """
    largest = float(np.iinfo(dtype).max) if dtype.kind in "iu" else np.nan
    if (
        in_file in (None, dtype)
        or in_file.kind not in "iu"
        or not (np.isnan(value) or float(value) == largest)
    ):
        return value
    return float(np.iinfo(in_file).max)


def of_flags(
    summary: Summary, dtype: str, n_patterns: int | None = None, named: Callable[[float], float] = float
) -> Iterator[Verdict]:
    """Values that hold no measurement, and the largest value of an integer.

    Args:
        summary: of the patterns, or of some of them.
        dtype: the name of their dtype.
        n_patterns: how many patterns there are; None: as many as were looked at.
        named: a flag -> what their file holds.
    """
    n_seen = len(summary.frame_total)
    some = f" of the {n_seen} patterns that were looked at" if n_seen < (n_patterns or 0) else ""
    if summary.flagged is not None:
        held = (f"{named(flag):.0f}" if np.isfinite(flag) else "no finite number" for flag in summary.flags)
        values = " or ".join(held)
        n_flagged = int(np.count_nonzero(summary.flagged))
        where, everywhere = "", ""
        if summary.partly is not None:
            n_partly = int(np.count_nonzero(summary.partly))
            where = f" in {len(summary.partly_rows)}{some or f' of {n_seen} patterns'}"
            where, everywhere = (
                where if n_partly == n_flagged else f", {n_partly} of them{where} alone",
                " in all",
            )
        yield Verdict(
            "flagged_pixels", "warning", n_flagged, "pixels",
            f"{counted(n_flagged, 'pixel')} {'holds' if n_flagged == 1 else 'hold'} {values}{where}, which detectors "
            f"write without a measurement: {'it is' if n_flagged == 1 else 'they are'} masked{everywhere}",
            "Mark such pixels as bad (mask_file), or set dead_value, to silence this warning.",
        )  # fmt: skip
    if summary.stray is not None:
        value, is_one = f"{named(summary.stray):.0f}", summary.n_stray == 1
        yield Verdict(
            "flagged_values", "warning", summary.n_stray, "values",
            f"{counted(summary.n_stray, 'value')}{some} {'is' if is_one else 'are'} {value} or more, which detectors "
            f"write without a measurement: {'it is masked in its' if is_one else 'they are masked in their'} "
            f"{'pattern' if is_one else 'patterns'} alone",
            f"Set saturation to {value} to silence this warning.",
        )  # fmt: skip
    if summary.n_saturated:
        yield Verdict(
            "saturation", "warning", summary.n_saturated, "values",
            f"{counted(summary.n_saturated, 'value')}{some} reached {summary.saturated:.0f}, the largest of {dtype}: "
            "the detector saturates, and these pixels are masked where they do",
            f"Set saturation to {summary.saturated:.0f} to silence this warning.",
        )  # fmt: skip


def of_saturation(sample: Array, top: float, power: float) -> Verdict | None:
    """Whether patterns end at one largest value, which is below that of their integer; None: no detector does that.

    Args:
        sample: (k, N, N), some of the patterns as they are stored.
        top: the largest value of all patterns that is no flag, and none of a single bright pixel.
        power: of a stored value that is a count.
    """
    if top**power < FEWEST_AT_TOP:
        return None
    fewest, least_share, least = SATURATED
    n_at_top = np.count_nonzero(sample == top, axis=(1, 2))
    n_patterns = int(np.count_nonzero(n_at_top >= fewest))
    near = sample[(sample < top) & (sample > NEAR_TOP ** (1 / power) * top)]
    usual = int(np.unique(near, return_counts=True)[1].max(initial=0))
    if n_patterns < max(least, least_share * len(sample)) or 2 * usual >= n_at_top.sum():
        return None
    share = n_patterns / len(sample)
    return Verdict(
        "saturation", "warning", share, "of the patterns",
        f"{share:.0%} of the patterns have {fewest} or more pixels at {top:g}, which no pixel exceeds: the "
        "detector saturates there, and these pixels are masked where they do",
        f"Set saturation to {top:g} to silence this warning.",
    )  # fmt: skip


def at_least(patterns: Stack, value: float) -> Mask:
    """Where patterns (n, N, N) have at least this value: bool (n, N, N)."""
    found: Mask = np.zeros(patterns.shape, dtype=bool)
    for first, block in blocks(patterns):
        np.greater_equal(block, value, out=found[first : first + len(block)])
    return found


def of_mask(light: Array, masked: Array, stated: Mask) -> Iterator[Verdict]:
    """Whether the bad pixels of a file are the measured ones.

    Args:
        light: (N, N), mean counts of the pixels that are not masked.
        masked: (k, N, N), counts of those that are.
        stated: the bad pixels.
    """
    lost = np.where(np.ptp(masked, axis=0) > 0, masked.mean(axis=0), 0)  # what never changes is a flag
    lost = np.minimum(lost, brightest_neighbor(lost))
    share = float(lost.sum() / max(lost.sum() + light.sum(), np.finfo(float).tiny))
    if share > 0.5:
        yield Verdict(
            "mask", "warning", share, "of the light",
            f"the bad pixels leave out {share:.0%} of the light, and are {np.mean(stated) * light.size:.0f} of the "
            f"{light.size} pixels: a bad pixel is one that was NOT measured",
            "Invert the mask if it marks the good pixels, or set mask_marks to good.",
        )  # fmt: skip


def middle_of(light: Array) -> tuple[float, float]:
    """Centre of mass of the bright part of an image, row and column."""
    bright = np.where(light >= BRIGHT * light.max(), light, 0)
    total = float(bright.sum()) or 1.0
    steps = np.arange(len(light))
    return float(bright.sum(axis=1) @ steps) / total, float(bright.sum(axis=0) @ steps) / total
