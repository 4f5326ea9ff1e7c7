"""Which pixels of a detector are used, and where the zero frequency is."""

from typing import Final, cast

import numpy as np

from ptycho.config.quantities import pair_of_numbers
from ptycho.formats.frames import Images, Window
from ptycho.formats.geometry import Pair
from ptycho.formats.light import light_of
from ptycho.formats.positions import advice_on_axes
from ptycho.formats.sources import Sources
from ptycho.formats.trees import Tree
from ptycho.memory import available_bytes, size_text, too_large
from ptycho.pattern_statistics import SAMPLE, Mask
from ptycho.pixel_verdicts import fft_order, without_spots
from ptycho.stored_array import Array
from ptycho.wording import counted

ROUNDS: Final = 30
"""Times that the middle of the light is computed of what is around the one before."""

PIXEL_BYTES: Final = 16
"""Memory for each pixel of a pattern that is looked at, with what is computed of it."""


def window_of(sources: Sources, tree: Tree, images: Images) -> Window:
    """Which pixels are used.

    Raises:
        DataError: the settings do not fit the detector.
    """
    settings, shape = sources.settings, images.shape
    name = sources.called(tree, images.stored.name)
    side = settings.crop or (shape[0] if shape[0] == shape[1] else 0)
    if not side or side % 2:
        largest = min(shape) // 2 * 2
        advice = f"Set --crop, to {largest} or less, and --centre where the beam is not in the middle."
        advice = advice_on_axes(sources) or advice
        sources.refuse(name, "square patterns with an even side", f"{shape[0]} x {shape[1]} pixels", advice)
    if side > max(shape):
        sources.refuse(
            "crop", f"at most the {max(shape)} pixels of {name}", str(side), "Set --pad to add pixels."
        )
    if side % settings.bin or (side // settings.bin) % 2:
        expected = f"a divisor of {side} that leaves an even side"
        sources.refuse("bin", expected, str(settings.bin), "Set --crop to a multiple of twice --bin.")
    if settings.pad is not None and settings.pad < side // settings.bin:
        sources.refuse(
            "pad", f"at least {side // settings.bin}", str(settings.pad), "Set --crop to cut off pixels."
        )
    _refuse_too_large(sources, len(images), settings.pad or side // settings.bin)
    centre = _centre(sources, tree, images)
    wraps = centre == "corner"
    row, column = (0, 0) if isinstance(centre, str) else centre
    return Window(shape, side, (row - side // 2, column - side // 2), wraps, settings.bin, settings.pad or 0)


def _refuse_too_large(sources: Sources, n: int, n_pixels: int) -> None:
    """Refuse patterns of which the sample that is looked at does not fit into memory.

    Raises:
        DataError: it does not.
    """
    n_seen = min(n, SAMPLE)
    n_bytes = n_seen * n_pixels**2 * PIXEL_BYTES
    if too_large(n_bytes):
        name, advice = ("pad", "Lower it.") if sources.settings.pad else ("crop", "Lower it, or raise --bin.")
        expected = f"patterns that fit into the available memory, {size_text(available_bytes())}"
        got = f"{n_pixels} x {n_pixels} pixels, {size_text(n_bytes)} for {counted(n_seen, 'pattern')}"
        sources.refuse(name, expected, got, advice)


def _centre(sources: Sources, tree: Tree, images: Images) -> str | tuple[int, int]:
    written, (height, width) = sources.settings.centre, images.shape
    if written == "none":
        return height // 2, width // 2
    if written == "corner":
        return written
    if written == "auto":
        return centre_of(*light_of(sources, tree, images).bridged())
    row, column = map(round, cast(Pair, pair_of_numbers(written)))
    if not (row < height and column < width):
        sources.refuse("centre", f"a pixel within {height} x {width}", written, "Give row, column.")
    return row, column


def centre_of(image: Array, silent: Mask | None = None) -> str | tuple[int, int]:
    """The zero frequency of a mean pattern (H, W): 'corner', or row and column of the middle of its light.

    Args:
        image: of what was measured.
        silent: bool (H, W), pixels without a measurement; those on the other side of the middle tell as little.
    """
    height, width = image.shape
    light = without_spots(image)
    if height == width and (order := fft_order(light)) is not None and order.axes == "(-2, -1)":
        return "corner"
    known = np.ones(image.shape, bool) if silent is None else ~silent
    row, column, reach = (height - 1) / 2, (width - 1) / 2, float(max(height, width))
    rows, columns = np.ogrid[:height, :width]
    for _ in range(ROUNDS):  # of what is around the middle, until it stays
        there = round(2 * row) - rows, round(2 * column) - columns
        inside = (abs(rows - row) <= reach) & (abs(columns - column) <= reach)
        mirrored = known[there[0].clip(0, height - 1), there[1].clip(0, width - 1)]
        near = light * (inside & known & mirrored)
        total = float(near.sum()) or 1.0
        row, column = float(np.sum(near * rows)) / total, float(np.sum(near * columns)) / total
        reach = min(row, height - 1 - row, column, width - 1 - column)
    return round(row), round(column)
