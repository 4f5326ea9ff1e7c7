"""What is to be read of a scan: its patterns and which of their pixels, bad pixels, positions in the object."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ptycho.data_error import DataError
from ptycho.formats.background import Background
from ptycho.formats.detector_masks import masks
from ptycho.formats.frames import Images, Reading, Window
from ptycho.formats.geometry import Pair, object_pixel
from ptycho.formats.light import Marks, background_in, marks_in
from ptycho.formats.positions import Scale, missing_positions, positions
from ptycho.formats.sources import Found, Sources
from ptycho.formats.trees import Entry, Tree
from ptycho.formats.windows import window_of
from ptycho.pattern_statistics import some_rows
from ptycho.stored_array import Array


class Plan(NamedTuple):
    """What is read of a scan, before its patterns are."""

    tree: Tree
    images: Images
    """All patterns of the scan, in the order of the positions."""
    reading: Reading
    bad: Array | None
    """Bad pixels (N, N) or (n, N, N)."""
    pixel_m: Pair | None
    """Of the object."""
    positions: npt.NDArray[np.float64] | None
    """(n, 2), rows (y, x), object pixels, as the file counts them."""
    rows: npt.NDArray[np.int64] | None = None
    """Those of the positions that `images` are at; None: all."""
    marks: Marks | None = None
    """Pixels without a measurement, by some of the images; None: they are looked for in the patterns."""
    background: Background | None = None
    """What one leaves that was taken off; None: none was."""


def planned(sources: Sources, domain: str = "auto", *, some: bool = False) -> Plan | None:
    """What is to be read of a scan; None where something is wrong, which is kept among the problems.

    Args:
        sources: the files.
        domain: 'amplitude' or 'intensity' where it is stated; 'auto': it is not.
        some: whether some of the patterns are enough, see `some_rows`.
    """
    found = sources.attempt(lambda: images_of(sources))
    window = None if found is None else sources.attempt(lambda: window_of(sources, *found))
    if found is None or window is None:
        n_problems = len(sources.problems)
        where = sources.attempt(lambda: positions(sources, Scale((1.0, 1.0)), 0, (0,)))
        if found is None and where is None and len(sources.problems) == n_problems:
            sources.attempt(lambda: missing_positions(sources, 0))
        return None
    tree, images = found
    n = window.n_pixels * window.bin
    of_px = n / window.shape[0], n / window.shape[1]
    n_problems = len(sources.problems)
    sources.attempt(lambda: object_in(sources))
    pixel = (1.0, 1.0)
    if len(sources.problems) == n_problems:
        pixel = sources.attempt(lambda: object_pixel(sources, window.n_pixels, window.bin, of_px))
    scale = Scale(pixel if len(sources.problems) == n_problems else (1.0, 1.0), of_px)
    kept = sources.attempt(lambda: _matched(sources, images, scale))
    where = None if kept is None else kept[1]
    if kept is not None and kept[0] is not None:
        images = images.taken(kept[0])
    if kept is not None and where is None:
        sources.attempt(lambda: missing_positions(sources, len(images)))
    places = np.zeros((len(images), 2)) if where is None else where
    rows = some_rows(places, images.row_bytes, images.n_at_once) if some else None
    if rows is not None:
        images = images.taken(rows)
    plan = Plan(tree, images, Reading(window), None, pixel, where, rows)
    return _with_pixels(plan, sources, domain)


def _with_pixels(plan: Plan, sources: Sources, domain: str) -> Plan:
    """The plan, with what its pixels hold that is no measurement."""
    tree, images, window = plan.tree, plan.images, plan.reading.window
    squares = sources.attempt(lambda: _adds_squares(sources, images, window, domain)) or False
    background = sources.attempt(lambda: background_in(sources, tree, images, domain))
    flagged = None if background is None else background.flagged
    marks, saturation, flags = None, sources.settings.saturation, ()
    if window.bin > 1:
        marks = sources.attempt(
            lambda: marks_in(sources, tree, images, window, squares=squares, flagged=flagged)
        )
    if marks is not None:
        flagged, saturation, flags, _ = marks
    masked = sources.attempt(lambda: masks(sources, images, window, flagged))
    silent, bad = (None, None) if masked is None else masked
    lowest = 0.0 if background is None else background.lowest
    reading = Reading(window, sources.settings.dead_value, saturation, squares, silent, flags, lowest)
    return plan._replace(reading=reading, bad=bad, marks=marks, background=background)


def images_of(sources: Sources) -> tuple[Tree, Images]:
    """Where the patterns are.

    Raises:
        DataError: nowhere, or their axes are others.
    """
    layout = sources.layout
    meaning = "diffraction patterns, real numbers"
    found = sources.stored("patterns", layout.patterns, "iuf", meaning)
    if found is None:
        sources.missing("patterns", meaning, _may_be_patterns)
    tree, stored = found
    default = layout.axes if len(stored.shape) == len(layout.axes) else ""
    if not sources.settings.axes and len(stored.shape) == 4 and stored.shape[-1] == 1 < stored.shape[-2]:
        default = "yHWx"  # an axis of colours that detectors and cameras write
    axes = sources.settings.axes or default or {3: "nHW", 4: "yxHW"}.get(len(stored.shape), "")
    if not axes or len(axes) != len(stored.shape):
        expected = f"{len(axes)} axes ({axes})" if axes else "an array of 3 or 4 axes"
        advice = "Set --axes, or name another array, or an index: --patterns."
        sources.refuse(stored.name, expected, f"shape {stored.shape}", advice, tree.path)
    return tree, Images(stored, axes)


def _may_be_patterns(entry: Entry) -> bool:
    return len(entry.shape) in (3, 4) and entry.dtype.kind in "iuf" and min(entry.shape) > 1


def _matched(
    sources: Sources, images: Images, scale: Scale
) -> tuple[npt.NDArray[np.int64] | None, Array | None]:
    """The patterns that have a position (None: all of them), and the positions.

    Raises:
        DataError: none has one, or the lists do not fit together.
    """
    of_positions, of_patterns = sources.layout.indexes
    meaning = "the numbers of positions and patterns, integers"
    numbers = sources.array("", of_positions, "iu", meaning)
    n = images.n_stored
    if numbers is None:
        return None, positions(sources, scale, n, images.grid)
    indexes = numbers.values.astype(np.int64).reshape(-1)
    found = positions(sources, scale, len(indexes), images.grid, numbers.name)
    if found is None:
        return None, None
    measured = sources.array("", of_patterns, "iu", meaning)
    rows = np.arange(n) if measured is None else measured.values.astype(np.int64).reshape(-1)
    if len(rows) != n and measured is not None:
        advice = "Write the file again."
        expected = f"one for each of the {n} patterns"
        sources.refuse(measured.name, expected, str(len(rows)), advice, measured.path)
    places = {int(number): row for row, number in enumerate(rows)}
    kept = np.array([row for row, number in enumerate(indexes) if int(number) in places], dtype=np.int64)
    if not len(kept):
        what = "indexes" if measured is None else measured.name
        advice = "Save positions and diffraction data of the same scan."
        sources.refuse(what, f"some of the {numbers.name}", "none of them", advice)
    chosen = np.array([places[int(indexes[row])] for row in kept], dtype=np.int64)
    return chosen, found[kept]


def _adds_squares(sources: Sources, images: Images, window: Window, domain: str) -> bool:
    """Whether binning adds up squares: where the patterns are amplitudes.

    Raises:
        DataError: nobody states what they are, and they are not whole numbers.
    """
    if window.bin == 1 or domain != "auto":
        return domain == "amplitude"
    some = images.read(np.arange(min(8, len(images))), window.box)
    if not (some == np.rint(some))[np.isfinite(some)].all():
        expected = "counts, which are added up, or amplitudes, whose squares are"
        advice = "Set --measurement-domain."
        sources.refuse("bin", expected, "numbers that are not whole, without a measurement_domain", advice)
    return False


def object_in(sources: Sources) -> Found | None:
    """The object in the file, (H, W), or a layer more; None where there is none.

    Raises:
        DataError: it is something else.
    """
    found = sources.array("", sources.layout.object_, "c", "a complex object")
    if found is not None and (found.values.ndim not in (2, 3) or not found.values.size):
        got = f"shape {found.values.shape}"
        sources.refuse(found.name, "a complex object, shape (H, W)", got, "Write the file again.", found.path)
    return found


def raise_problems(sources: Sources) -> None:
    """Raise everything that was found.

    Raises:
        DataError: when anything was.
    """
    if sources.problems:
        raise DataError(*sources.problems)
