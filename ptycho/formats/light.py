"""The light on a detector, from some of its images, whole and as they are in the file."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from ptycho.formats.detector_masks import bad_of
from ptycho.formats.frames import Images, Window, blocks_of
from ptycho.formats.sources import Sources
from ptycho.formats.trees import Tree
from ptycho.pattern_statistics import LOOKED_AT, SAMPLE, Mask, summarize
from ptycho.pixel_verdicts import BRIGHT, hot_pixels, of_flags, of_saturation, without_spots
from ptycho.stored_array import Array
from ptycho.verdict import Verdict

FEWEST: Final = 8
"""Images that are looked at, however large they are."""

LEAST_KEPT: Final = 0.1
"""Part of the bright light that the pixels in use should hold at least."""


class Marks(NamedTuple):
    """What some images tell of pixels without a measurement, before these are added to others."""

    flagged: Mask | None
    """(H, W), pixels that hold a flag of the detector; None: none."""
    saturation: float | None
    """Value at which the detector saturates; None: it does not."""
    verdicts: tuple[Verdict, ...]


def light_of(sources: Sources, tree: Tree, images: Images) -> Array:
    """The mean of some images (H, W), 0 in pixels that are masked, dead, or hold a flag of the detector.

    Raises:
        DataError: they cannot be read.
    """
    seen, silent = _looked_at(sources, tree, images)
    flagged = summarize(seen, silent).flagged
    silent |= ~(np.isfinite(seen) & (seen > 0))
    if flagged is not None:
        silent |= flagged
    return np.where(silent, np.zeros((), seen.dtype), seen).mean(axis=0, dtype=np.float64)


def marks_in(sources: Sources, tree: Tree, images: Images, window: Window, *, squares: bool) -> Marks:
    """What holds flags of the detector, and where it saturates, as far as the settings do not say it.

    Args:
        sources: the files.
        tree: the one of the images.
        images: some of them are looked at.
        window: which of their pixels are used.
        squares: whether they are amplitudes.

    Raises:
        DataError: they cannot be read.
    """
    box, stated = (slice(None), *window.box), sources.settings.saturation
    seen, silent = (one[box] for one in _looked_at(sources, tree, images))
    if stated is not None:
        silent = silent | (seen >= stated)
    summary, flagged = summarize(seen, silent), None
    if summary.flagged is not None:
        silent = silent | summary.flagged
        flagged = np.zeros(images.shape, bool)
        flagged[window.box] = summary.flagged
    verdicts = [*of_flags(summary, str(seen.dtype), len(images))]
    bound, power = summary.saturated, 2.0 if squares else 1.0
    if bound is None and stated is None:
        sample = np.where(silent, np.zeros((), seen.dtype), seen)
        hot = hot_pixels(np.square(sample, dtype=np.float32) if squares else sample, everywhere=True)
        level = float(np.where(hot, 0, summary.top).max())
        if said := of_saturation(np.where(hot, 0, sample), level, power):
            verdicts.append(said)
            bound = level
    return Marks(flagged, bound if stated is None else stated, tuple(verdicts))


def _looked_at(sources: Sources, tree: Tree, images: Images) -> tuple[Array, Mask]:
    """Some images, whole (k, H, W), and what of them is masked or dead."""
    n_seen = min(SAMPLE, max(FEWEST, LOOKED_AT // images.row_bytes))
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
    light = light_of(sources, tree, images)
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
