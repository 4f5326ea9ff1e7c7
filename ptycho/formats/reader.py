"""Reading a scan of any layout into the arrays and units of the data contract."""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from ptycho.config.data import DataConfig
from ptycho.config.quantities import pair_of_numbers
from ptycho.data_error import DataError
from ptycho.formats.detector_masks import masks
from ptycho.formats.frames import Images, Reading, Window, blocks_of, load
from ptycho.formats.geometry import (
    PLANCK_TIMES_LIGHT_J_M,
    Pair,
    Scale,
    object_pixel,
    positions,
    unknown_lengths,
    wavelength,
)
from ptycho.formats.optics import illumination
from ptycho.formats.sources import Found, Sources, opened
from ptycho.formats.trees import Entry, Tree
from ptycho.npz_files import ScanFile
from ptycho.pattern_statistics import SAMPLE, brightest_neighbor
from ptycho.scan_masks import joined
from ptycho.scan_verdicts import fft_order
from ptycho.stored_array import Array, Stack

_NOT_IN_FILE: Final = ("estimate", "optics")


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


def read_foreign(path: Path, settings: DataConfig, domain: str = "auto") -> ScanFile:
    """A scan in a file of any layout; see `DataConfig`.

    Args:
        path: the file.
        settings: of [data].
        domain: 'amplitude' or 'intensity' where it is set; 'auto' leaves it to the file.

    Raises:
        FileNotFoundError: no such file.
        DataError: everything that is wrong with the file, together.
    """
    with opened(path, settings) as sources:
        refuse_near_field(sources)
        plan = planned(sources, domain)
        arrays: dict[str, Stack] = {}
        probe = sources.attempt(lambda: _probe(sources, plan))
        _stated(sources, plan, arrays)
        raise_problems(sources)
        if plan is None or plan.positions is None:
            raise AssertionError("an array is missing, but no problem was found")
        patterns, marks = load(plan.tree.path, plan.images, plan.reading)
        arrays["diff3d"] = patterns
        bad = plan.bad if marks is None else joined(_like(plan.bad, marks), marks)
        if bad is not None:
            arrays["bad_pixels"] = bad
        if probe is not None:
            arrays["probeGuess"] = probe
        offset = _offset(sources, plan)
        arrays["ycoords"], arrays["xcoords"] = (plan.positions + offset).T
        return ScanFile(arrays, _names(sources, plan))


def read_size(path: Path, settings: DataConfig) -> int:
    """Side of the patterns of a scan as they are used; only headers are read, and masks not at all.

    Raises:
        FileNotFoundError, DataError: as `read_foreign`, as far as it is looked at.
    """
    with opened(path, settings) as sources:
        found = sources.attempt(lambda: _images(sources))
        window = None if found is None else sources.attempt(lambda: _window(sources, *found))
        raise_problems(sources)
        if window is None:
            raise AssertionError("a size is missing, but no problem was found")
        return window.n_pixels


def read_photons(path: Path, settings: DataConfig) -> dict[str, Stack]:
    """The photon number that a scan states, where it does."""
    with opened(path, settings) as sources:
        return _photons(sources)


def refuse_near_field(sources: Sources) -> None:
    """Refuse data that their file calls near-field.

    Raises:
        DataError: it does.
    """
    stated = sources.value(sources.layout.far_field)
    if stated is not None and not stated:
        place = sources.layout.far_field[0].replace("/@", "attribute ")
        sources.refuse(
            place,
            "far-field data: patterns that are Fourier transforms of what leaves the sample",
            "False, near-field data",
            "This package models the far field alone; near-field data need a program that propagates by Fresnel's "
            "integral, such as ptypy (its engines with a near-field propagator) or PtyLab.",
        )


def raise_problems(sources: Sources) -> None:
    """Raise everything that was found.

    Raises:
        DataError: when anything was.
    """
    if sources.problems:
        raise DataError(*sources.problems)


def planned(sources: Sources, domain: str = "auto") -> Plan | None:
    """What is to be read of a scan; None where something is wrong, which is kept among the problems."""
    found = sources.attempt(lambda: _images(sources))
    window = None if found is None else sources.attempt(lambda: _window(sources, *found))
    if found is None or window is None:
        sources.attempt(
            lambda: positions(sources, Scale((1.0, 1.0)), 0, (0,))
        )  # what is wrong with them, too
        return None
    tree, images = found
    n = window.n_pixels * window.bin
    of_px = n / window.shape[0], n / window.shape[1]
    n_problems = len(sources.problems)
    sources.attempt(lambda: _object(sources))
    pixel = (1.0, 1.0)
    if len(sources.problems) == n_problems:
        pixel = sources.attempt(lambda: object_pixel(sources, window.n_pixels, window.bin, of_px))
    scale = Scale(pixel if len(sources.problems) == n_problems else (1.0, 1.0), of_px)
    kept = sources.attempt(lambda: _matched(sources, images, scale))
    where = None if kept is None else kept[1]
    if kept is not None and kept[0] is not None:
        images = Images(images.stored, images.axes, kept[0])
    if kept is not None and where is None:
        sources.attempt(lambda: _miss_positions(sources, len(images)))
    marked = sources.attempt(lambda: masks(sources, images, window))
    silent, bad = (None, None) if marked is None else marked
    settings = sources.settings
    squares = sources.attempt(lambda: _adds_squares(sources, images, window, domain)) or False
    reading = Reading(window, settings.dead_value, settings.saturation, squares, silent)
    return Plan(tree, images, reading, bad, pixel, where)


def centre_of(image: Array) -> str | tuple[int, int]:
    """The zero frequency of a mean pattern (H, W): 'corner', or row and column of the middle of its light."""
    height, width = image.shape
    light = np.minimum(image, brightest_neighbor(image))
    if height == width and (order := fft_order(light)) is not None and order.axes == "(-2, -1)":
        return "corner"
    row, column, reach = (height - 1) / 2, (width - 1) / 2, float(max(height, width))
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    for _ in range(8):  # of what is around the middle, until it stays
        near = light * ((np.abs(rows - row) <= reach) & (np.abs(columns - column) <= reach))
        total = float(near.sum()) or 1.0
        row, column = float((near * rows).sum()) / total, float((near * columns).sum()) / total
        reach = min(row, height - 1 - row, column, width - 1 - column)
    return round(row), round(column)


def _images(sources: Sources) -> tuple[Tree, Images]:
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
    axes = sources.settings.axes or default or {3: "nHW", 4: "yxHW"}.get(len(stored.shape), "")
    if len(axes) != len(stored.shape):
        expected = f"{len(axes)} axes ({axes})" if axes else "an array of 3 or 4 axes"
        advice = "Set --axes, or name another array, or an index: --patterns."
        sources.refuse(stored.name, expected, f"shape {stored.shape}", advice, tree.path)
    if 0 in stored.shape:
        sources.refuse(
            stored.name, "some patterns", f"shape {stored.shape}", "Write the file again.", tree.path
        )
    return tree, Images(stored, axes)


def _may_be_patterns(entry: Entry) -> bool:
    return len(entry.shape) in (3, 4) and entry.dtype.kind in "iuf" and min(entry.shape) > 1


def _window(sources: Sources, tree: Tree, images: Images) -> Window:
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
    centre = _centre(sources, tree, images)
    wraps = centre == "corner"
    row, column = (0, 0) if isinstance(centre, str) else centre
    return Window(shape, side, (row - side // 2, column - side // 2), wraps, settings.bin, settings.pad or 0)


def _centre(sources: Sources, tree: Tree, images: Images) -> str | tuple[int, int]:
    written, (height, width) = sources.settings.centre, images.shape
    if written == "none":
        return height // 2, width // 2
    if written == "corner":
        return written
    if written == "auto":
        some = np.unique(np.linspace(0, len(images) - 1, SAMPLE).astype(np.int64))
        whole = (slice(0, height), slice(0, width))
        total = np.zeros((height, width))
        for _, block in blocks_of(tree.path, images, whole, some):
            total += np.where(np.isfinite(block) & (block > 0), block, 0).sum(axis=0, dtype=np.float64)
        return centre_of(total)
    row, column = map(round, cast(Pair, pair_of_numbers(written)))
    if not (row < height and column < width):
        sources.refuse("centre", f"a pixel of the {height} x {width} there are", written, "Give row, column.")
    return row, column


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


def _miss_positions(sources: Sources, n: int) -> None:
    expected = "scan positions, (n, 2) or positions_x and positions_y"

    def fits(entry: Entry) -> bool:
        return entry.dtype.kind in "iuf" and n > 1 and sorted(entry.shape) in (sorted((n, 2)), sorted((n, 3)))

    sources.missing("positions", expected, fits)


def _adds_squares(sources: Sources, images: Images, window: Window, domain: str) -> bool:
    """Whether binning adds up squares: where the patterns are amplitudes.

    Raises:
        DataError: nobody states what they are, and they are not whole numbers.
    """
    stated = domain if domain != "auto" else sources.layout.domain
    if window.bin == 1 or stated:
        return stated == "amplitude"
    some = images.read(np.arange(min(8, len(images))), window.box)
    if not (some == np.rint(some)).all():
        expected = "counts, which are added up, or amplitudes, whose squares are"
        advice = "Set --measurement-domain."
        sources.refuse("bin", expected, "numbers that are not whole, and nobody to say what they are", advice)
    return False


def _probe(sources: Sources, plan: Plan | None) -> Array | None:
    """The probe as the settings ask for it, (modes, N, N); None: it is to be estimated.

    Raises:
        DataError: it is not there, or another size than the patterns.
    """
    wanted = sources.settings.probe
    if wanted == "estimate" or plan is None:
        return None
    if wanted != "optics":
        found = sources.array("probe", sources.layout.probe, "c", "a complex probe, as large as the patterns")
        if found is not None:
            return _as_used(sources, found, plan)
        if wanted == "file":
            sources.missing("probe", "a complex probe", lambda entry: entry.dtype.kind == "c")
    length = wavelength(sources)
    if length is not None and plan.pixel_m is not None:
        return illumination(sources.settings, length, plan.pixel_m, plan.reading.window.n_pixels)
    if wanted == "optics" or sources.settings.convergence or sources.settings.aperture:
        advice = unknown_lengths(sources) or "Set --energy."
        sources.refuse("probe", "the wavelength and the size of an object pixel", "not both", advice)
    return None


def _as_used(sources: Sources, found: Found, plan: Plan) -> Array:
    """A probe of the whole detector, cropped, padded and binned with it: modes (m, N, N)."""
    probe = found.values
    while probe.ndim > 3 and len(probe):  # of several wavelengths, or variable ones, the first
        probe = probe[0]
    probe = probe[None] if probe.ndim == 2 else probe
    window = plan.reading.window
    n = window.n_pixels
    if len(probe) and probe.shape[-2:] == (n, n) and plan.images.shape == (n, n):
        return probe
    if probe.ndim != 3 or not len(probe) or probe.shape[-2:] != plan.images.shape:
        expected = f"a probe of {plan.images.shape[0]} x {plan.images.shape[1]} pixels, as the patterns have"
        advice = "Set --probe estimate to do without it."
        sources.refuse(found.name, expected, f"shape {found.values.shape}", advice, found.path)
    unbinned = window._replace(bin=1, pad=(window.pad or 0) * window.bin, wraps=False)
    middle = [length // 2 - window.side // 2 for length in plan.images.shape]
    unbinned = unbinned._replace(first=(middle[0], middle[1]))
    far = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
    rows, columns = unbinned.box
    far = unbinned.added_up(unbinned.cut(far[..., rows, columns], 0))
    near = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(far, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
    start = near.shape[-1] // 2 - n // 2  # binning cuts the outer part of the window off
    return near[..., start : start + n, start : start + n].astype(np.complex64)


def _photons(sources: Sources) -> dict[str, Stack]:
    found = sources.numbers(sources.layout.photons, positive=False)
    if found is not None and found[0] < 0:
        name = sources.layout.photons[0].replace("@", " attribute ")
        sources.refuse(name, "a number of photons >= 0", f"{found[0]:g}", "Correct it in the file.")
    return {"nphotons": np.array(found[0])} if found is not None and found[0] else {}


def _stated(sources: Sources, plan: Plan | None, arrays: dict[str, Stack]) -> None:
    """Add what a file states of itself: photons, the object, metadata."""
    arrays |= sources.attempt(lambda: _photons(sources)) or {}
    known = sources.attempt(lambda: _object(sources))
    if known is not None and plan is not None and not _is_changed(sources):
        layers = known.values
        arrays["objectGuess"] = layers[0] if layers.ndim == 3 and len(layers) else layers
    stated: dict[str, Any] = {"format": sources.format}
    if sources.layout.domain:
        stated["measurement_domain"] = sources.layout.domain
    length = sources.attempt(lambda: wavelength(sources))
    if length:
        stated["wavelength_m"] = length
        if (sources.settings.particle or sources.layout.particle) == "photon":
            stated["energy_J"] = PLANCK_TIMES_LIGHT_J_M / length
    if plan is not None and plan.pixel_m is not None:
        stated["object_pixel_size_m"] = list(plan.pixel_m)
    arrays["metadata"] = np.array(json.dumps(stated))


def _object(sources: Sources) -> Found | None:
    """The object in the file, (H, W), or a layer more; None where there is none.

    Raises:
        DataError: it is something else.
    """
    found = sources.array("", sources.layout.object_, "c", "a complex object")
    if found is not None and (found.values.ndim not in (2, 3) or not found.values.size):
        got = f"shape {found.values.shape}"
        sources.refuse(found.name, "a complex object, shape (H, W)", got, "Write the file again.", found.path)
    return found


def _is_changed(sources: Sources) -> bool:
    """Whether the object's pixel is another than the file has it."""
    settings = sources.settings
    return bool(settings.crop or settings.pad or settings.bin > 1 or settings.object_pixel)


def _offset(sources: Sources, plan: Plan) -> Array:
    """What brings positions into the object: as the file has it, or so that the first patches begin at its edge."""
    known = _object(sources)
    places = sources.layout.object_centre
    if known is not None and places is not None and plan.pixel_m is not None and not _is_changed(sources):
        centre = [sources.numbers([place], positive=False) or (0.0, 0.0) for place in places]
        shape = known.values.shape[-2:]
        return np.array([(n - 1) / 2 - c[0] / m for n, c, m in zip(shape, centre, plan.pixel_m, strict=True)])
    return plan.reading.window.n_pixels // 2 - cast(Array, plan.positions).min(axis=0)


def _like(bad: Array | None, marks: Array) -> Array | None:
    """Bad pixels with as many axes as marks of single patterns."""
    if bad is None or bad.ndim >= marks.ndim:
        return bad
    return np.broadcast_to(bad, marks.shape)


def _names(sources: Sources, plan: Plan) -> dict[str, str]:
    """What the file calls the arrays."""
    settings, layout = sources.settings, sources.layout
    found = {"diff3d": sources.called(plan.tree, plan.images.stored.name)}
    for key, setting, places in (
        ("probeGuess", "probe", layout.probe),
        ("bad_pixels", "mask", layout.mask),
        ("objectGuess", "", layout.object_),
        (
            "xcoords",
            "positions" if settings.positions or not layout.positions_x else "positions_x",
            layout.positions_x or layout.positions,
        ),
        (
            "ycoords",
            "positions" if settings.positions or not layout.positions_y else "positions_y",
            layout.positions_y or layout.positions,
        ),
    ):
        place = sources.place(setting, places)
        if place is not None:
            found[key] = sources.called(*place)
    return found
