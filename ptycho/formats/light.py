"""The light on a detector, from some of its images, whole and as they are in the file."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, cast

import numpy as np
from scipy import ndimage  # pyright: ignore[reportMissingTypeStubs]

from ptycho.detector_gaps import may_be_flags
from ptycho.formats.background import Background, background_of
from ptycho.formats.detector_masks import bad_of
from ptycho.formats.frames import Images, Window, blocks_of
from ptycho.formats.sources import Sources
from ptycho.formats.trees import Tree
from ptycho.pattern_statistics import ISOLATED, LOOKED_AT, SAMPLE, Mask, summarize
from ptycho.pixel_verdicts import BRIGHT, of_flags, of_saturation, without_spots
from ptycho.spot_verdicts import hot_pixels
from ptycho.stored_array import Array
from ptycho.verdict import Verdict

FEWEST: Final = 8
"""Images that are looked at, however large they are."""

FEW: Final = 16
"""Images that tell whether values are below 0."""

BRIDGED: Final = (1, 2, 4)
"""Pixels on all sides whose mean stands for one without a measurement; the first that hold some."""

LEAST_KEPT: Final = 0.1
"""Part of the bright light that the pixels in use should hold at least."""


class Marks(NamedTuple):
    """What some images tell of pixels without a measurement, before these are added to others."""

    flagged: Mask | None
    """(H, W), pixels that hold a flag of the detector; None: none."""
    saturation: float | None
    """Value at which the detector saturates; None: it does not."""
    flags: tuple[float, ...]
    """Values that are flags where images hold them that were not looked at: far above all that was measured."""
    verdicts: tuple[Verdict, ...]


class Light(NamedTuple):
    """The mean of some images."""

    mean: Array
    """(H, W) >= 0, of what was measured; 0 where nothing was."""
    silent: Mask
    """(H, W), pixels that are masked or dead, or hold a flag of the detector, in all of these images."""

    def bridged(self) -> "Light":
        """The same with what is beside them in narrow gaps; pixels farther from all that was measured stay silent."""
        mean, silent = self.mean.copy(), self.silent.copy()
        for radius in BRIDGED:
            if not silent.any():
                break
            light, weight = (
                cast(Array, cast(Any, ndimage).uniform_filter(one, 2 * radius + 1, mode="constant"))
                for one in (self.mean, (~self.silent).astype(np.float64))
            )
            near = silent & (weight * (2 * radius + 1) ** 2 > 0.5)
            mean[near] = light[near] / weight[near]
            silent &= ~near
        return Light(mean, silent)


def light_of(sources: Sources, tree: Tree, images: Images) -> Light:
    """The light of some images.

    Raises:
        DataError: they cannot be read.
    """
    seen, silent = _looked_at(sources, tree, images)
    summary = summarize(seen, silent)
    silent |= ~(np.isfinite(seen) & (seen >= 0))
    silent[summary.unmeasured] = True
    if summary.flagged is not None:
        silent |= summary.flagged
    if summary.stray is not None:
        silent |= seen >= summary.stray
    light = np.where(silent, np.zeros((), seen.dtype), seen).sum(axis=0, dtype=np.float64)
    return Light(light / np.maximum(1, np.count_nonzero(~silent, axis=0)), np.asarray(silent.all(axis=0)))


def background_in(sources: Sources, tree: Tree, images: Images, domain: str) -> Background | None:
    """Whether a background was taken off counts; None where nothing is below 0, or something else.

    Args:
        sources: the files.
        tree: the one of the images.
        images: some of them are looked at.
        domain: 'amplitude' or 'intensity' where it is stated.

    Raises:
        DataError: they cannot be read.
    """
    if domain == "amplitude" or images.stored.dtype.kind == "u":
        return None
    if not (_looked_at(sources, tree, images, FEW)[0] < 0).any():
        return None
    return background_of(*_looked_at(sources, tree, images), are_counts=domain == "intensity")


def marks_in(
    sources: Sources,
    tree: Tree,
    images: Images,
    window: Window,
    *,
    squares: bool,
    flagged: Mask | None = None,
) -> Marks:
    """What holds flags of the detector, and where it saturates, as far as the settings do not say it.

    Args:
        sources: the files.
        tree: the one of the images.
        images: some of them are looked at.
        window: which of their pixels are used.
        squares: whether they are amplitudes.
        flagged: bool (H, W), pixels that are known to hold flags; None: none.

    Raises:
        DataError: they cannot be read.
    """
    box, stated = (slice(None), *window.box), sources.settings.saturation
    seen, silent = (one[box] for one in _looked_at(sources, tree, images))
    if stated is not None:
        silent |= seen >= stated
    if flagged is not None:
        silent |= flagged[window.box]
    summary = summarize(seen, silent)
    silent[summary.unmeasured] = True
    if summary.flagged is not None:
        silent = silent | summary.flagged
        flagged = np.zeros(images.shape, bool) if flagged is None else flagged.copy()
        flagged[window.box] |= summary.flagged
    verdicts = [*of_flags(summary, str(seen.dtype), len(images))]
    if summary.stray is not None:
        silent = silent | (seen >= summary.stray)
    bound, power = summary.saturated or summary.stray, 2.0 if squares else 1.0
    if bound is None and stated is None:
        sample = np.where(silent, np.zeros((), seen.dtype), seen)
        hot = hot_pixels(np.square(sample, dtype=np.float32) if squares else sample, everywhere=True)
        level = float(np.where(hot, 0, summary.top).max())
        if said := of_saturation(np.where(hot, 0, sample), level, power):
            verdicts.append(said)
            bound = level
    flags = [value for value in may_be_flags(seen.dtype) if summary.maximum < ISOLATED * value]
    return Marks(flagged, bound if stated is None else stated, tuple(flags), tuple(verdicts))


def _looked_at(sources: Sources, tree: Tree, images: Images, most: int = SAMPLE) -> tuple[Array, Mask]:
    """Some images, whole (k, H, W), and what of them is masked or dead."""
    n_seen = min(most, max(FEWEST, LOOKED_AT // images.row_bytes))
    which = np.unique(np.linspace(0, len(images) - 1, n_seen).astype(np.int64))
    whole = (slice(0, images.shape[0]), slice(0, images.shape[1]))
    seen = np.concatenate([block for _, block in blocks_of(tree.path, images, whole, which)])
    silent = np.zeros(seen.shape, bool)
    masked = sources.attempt(lambda: bad_of(sources, images, which))
    if masked is not None:
        silent |= masked
    if sources.settings.dead_value is not None:
        silent |= seen == sources.settings.dead_value
    return seen, silent


def of_window(sources: Sources, tree: Tree, images: Images, window: Window) -> Iterator[Verdict]:
    """Whether the pixels that are used hold the light.

    Raises:
        DataError: they hold none of it.
    """
    if window.wraps or window.box == (slice(0, window.shape[0]), slice(0, window.shape[1])):
        return
    light = light_of(sources, tree, images).mean
    bright = without_spots(light)
    bright[bright < BRIGHT * bright.max()] = 0
    kept = float(bright[window.box].sum() / (bright.sum() or 1.0))
    if kept >= LEAST_KEPT or not light.any():
        return
    row, column = (first + window.side // 2 for first in window.first)
    size, place = f"{window.side} x {window.side}", f"row {row}, column {column}"
    advice = "Set centre to auto or to where the beam is, or crop to more pixels."
    if not light[window.box].any():
        sources.refuse("centre", f"light in the {size} pixels around it", f"none around {place}", advice)
    yield Verdict(
        "crop", "warning", kept, "of the bright light",
        f"the {size} pixels that are used, around {place}, hold {kept:.0%} of the bright light: the beam lies outside "
        f"of them (centre, crop)",
        advice,
    )  # fmt: skip
