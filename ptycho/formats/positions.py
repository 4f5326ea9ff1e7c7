"""Scan positions in the object: where the arrays are, their unit and order, and rasters that have no list of them."""

import contextlib
import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ptycho.config.quantities import ANGLES, LENGTHS, quantities
from ptycho.data_error import DataError
from ptycho.formats.geometry import Pair, detector_axes, spacing, unknown_lengths
from ptycho.formats.orientation import oriented
from ptycho.formats.sources import Found, Sources
from ptycho.formats.trees import Entry
from ptycho.stored_array import Array
from ptycho.verdict import Verdict

UNITS: Final = (*LENGTHS, "px")
"""Of positions."""

ORDERS: Final = {3: ("nHW", "HWn"), 4: ("yxHW", "xyHW", "HWyx", "HWxy")}
"""Number of axes of patterns -> the orders that programs write, the usual one first; see `DataConfig.axes`."""


class Scale(NamedTuple):
    """What brings positions to object pixels."""

    pixel_m: Pair | None
    """The object's pixel in metres; None: it is not known."""
    of_px: Pair = (1.0, 1.0)
    """Pixels for each pixel of patterns as they are in the file, before cropping, binning and padding."""


def positions(
    sources: Sources, scale: Scale, n: int, grid: tuple[int, ...], counted: str = "patterns"
) -> Array | None:
    """Where the beam is, float64 (n, 2), rows (y, x), in object pixels, from an origin of the file's.

    Args:
        sources: the files.
        scale: what brings them to object pixels.
        n: how many positions there must be; 0: any number.
        grid: scan rows and columns of a raster; or that number alone.
        counted: what there are n of, for messages.

    Returns:
        None where the file has none.

    Raises:
        DataError: they are something else, or their unit needs lengths that the file does not state.
    """
    found = _arrays(sources)
    if not found:
        return _raster(sources, scale, grid)
    found, unit = _in_one_unit(sources, found)
    if len(grid) == 2 and (stored := _scan_shapes(found)[0]) == grid[::-1] != grid:
        got, names = f"{stored[0]} x {stored[1]}", " and ".join(one.name for one in found)
        advice = advice_on_axes(sources) or "Name another array."
        sources.refuse(names, f"{grid[0]} x {grid[1]} scan rows and columns, as of patterns", got, advice)
    listed = _listed(sources, found, n, grid, counted)
    columns = listed.T if len(found) == 2 else [listed]
    for one, values in zip(found, columns, strict=True):
        if not np.isfinite(values).all():
            got = f"{np.count_nonzero(~np.isfinite(one.values))} NaN or infinite values"
            sources.refuse(one.name, "finite positions", got, "Correct them in the file.", one.path)
    return oriented(_in_pixels(sources, listed, unit, scale), sources.settings_orientation)


def _in_pixels(sources: Sources, listed: Array, unit: str, scale: Scale) -> Array:
    if unit == "px":
        return listed * np.array(scale.of_px)
    if scale.pixel_m is None:
        unknown = _unknown_units(sources)
        of_file = (
            f" (the file states {' and '.join(map(repr, unknown))}, which is not known)" if unknown else ""
        )
        got = f"positions in {unit}{of_file}, and no size of an object pixel"
        reciprocal = spacing(sources, sources.layout.reciprocal, sources.layout.reciprocal_size)
        if reciprocal is not None and reciprocal[1] not in ANGLES:
            got += f" (detector in '{reciprocal[1]}')"
        advice = unknown_lengths(sources)
        if sources.format == "hdf5" and sources.settings.positions_unit is None:
            advice += " If positions are in object pixels, set --positions-unit px."
        sources.refuse("object_pixel", "the divisor of positions", got, advice)
    return listed * LENGTHS[unit] / np.array(scale.pixel_m)


def _arrays(sources: Sources) -> tuple[Found, ...]:
    """The arrays of positions: those of y and x, also in a group or table that is named, or one of both; or none.

    Raises:
        DataError: one of y and x is missing, or is something else.
    """
    layout, group = sources.layout, sources.settings.positions
    meaning = "scan positions, real numbers"
    y, x = (
        sources.array(
            f"positions_{axis}", (f"{group}/{axis}", f"{group}[{axis}]") if group else places, "iuf", meaning
        )
        for axis, places in (("y", layout.positions_y), ("x", layout.positions_x))
    )
    if y is not None and x is not None:
        return y, x
    if y is not None or x is not None:
        there, lacks = ("y", "x") if y is not None else ("x", "y")
        name = f"positions_{lacks}"
        sources.missing(name, f"scan positions along {lacks}, beside positions_{there}", _is_list)
    both = sources.array("positions", layout.positions, "iuf", meaning)
    return () if both is None else (both,)


def _in_one_unit(sources: Sources, arrays: tuple[Found, ...]) -> tuple[tuple[Found, ...], str]:
    """Positions and their unit: as set, as the file states it, or as its format has it.

    Raises:
        DataError: one coordinate is in pixels, and the other is a length.
    """
    written, default = sources.settings.positions_unit, sources.layout.positions_unit
    stated = [found.unit for found in arrays if found.unit in UNITS]
    units = list(dict.fromkeys(stated))
    if written or len(units) < 2:
        return arrays, written or (units[0] if units else default)
    if "px" in units:
        names = " and ".join(found.name for found in arrays)
        sources.refuse(names, "positions in one unit", " and ".join(units), "Set --positions-unit.")
    metres = [
        found._replace(values=found.values * LENGTHS[unit])
        for found, unit in zip(arrays, stated, strict=True)
    ]
    return tuple(metres), "m"


def _unknown_units(sources: Sources) -> list[str]:
    """Units of positions that the file states and that are not known, where none is set."""
    found = () if sources.settings.positions_unit else _arrays(sources)
    return [*dict.fromkeys(one.unit for one in found if one.unit and one.unit not in UNITS)]


def of_reading(sources: Sources) -> Iterator[Verdict]:
    """How positions are read, as far as no setting says it: their unit, and which of two columns is which."""
    settings, layout = sources.settings, sources.layout
    found = _arrays(sources)
    for unit in _unknown_units(sources):
        text = f"the unit of the positions, {unit!r}, is not known: {layout.positions_unit} is taken for it"
        yield Verdict("positions_unit", "warning", None, "", text, "Set positions_unit.")
    for unit in dict.fromkeys(one.unit for one in found if settings.positions_unit is None):
        if unit in UNITS and unit != layout.positions_unit:
            text = f"positions are in {unit}, as the file states"
            yield Verdict("positions_unit", "note", None, "", text, "")
    if len(found) == 1 and not layout.positions and not layout.basis and settings.positions_axes is None:
        text = f"the first coordinate in {found[0].name} is taken as y (rows), the second as x (columns)"
        remedy = "Set positions_axes to xy if x comes first."
        yield Verdict("positions_axes", "note", None, "", text, remedy)


def missing_positions(sources: Sources, n: int) -> None:
    """Refuse a file without positions, for n patterns; 0: for a number that is not known.

    Raises:
        DataError: always.
    """

    def of_both(entry: Entry) -> bool:
        shape = sorted(entry.shape)
        of_each = (n,) if n else range(4, shape[-1] + 1 if shape else 0)
        return entry.dtype.kind in "iuf" and len(shape) == 2 and shape[0] in (2, 3) and shape[1] in of_each

    def of_one(entry: Entry) -> bool:
        fits = entry.size == n and len(entry.shape) < 3 if n else max(entry.shape, default=0) == entry.size
        return entry.dtype.kind in "iuf" and entry.size > 3 and fits

    expected = "scan positions, (n, 2) or positions_x and positions_y"
    sources.missing("positions", expected, of_both, of_one)


def advice_on_axes(sources: Sources) -> str | None:
    """How to set the axes of the patterns, as a sentence; None: no other order fits the positions better."""
    with contextlib.suppress(DataError):
        stored = sources.stored("patterns", sources.layout.patterns, "iuf", "")
        shape: tuple[int, ...] = () if stored is None else stored[1].shape
        written = sources.settings.axes or sources.layout.axes
        usual, arrays = ORDERS.get(len(shape), ()), _arrays(sources)
        orders = [written, *usual] if len(written) == len(shape) else [*usual]
        fits = [one for one in orders if arrays and _fits(dict(zip(one, shape, strict=True)), arrays)]
        if fits and fits[0] != orders[0]:
            return f"Set --axes {fits[0]}: there are then as many patterns as positions."
    return None


def _fits(lengths: dict[str, int], arrays: tuple[Found, ...]) -> bool:
    """Whether patterns with axes of these lengths, by their letters, are as many as positions."""
    scan = tuple(lengths[letter] for letter in ("n" if "n" in lengths else "yx"))
    return any(
        scan == shape if len(scan) == len(shape) else math.prod(scan) == math.prod(shape)
        for shape in _scan_shapes(arrays)
    )


def _scan_shapes(arrays: tuple[Found, ...]) -> list[tuple[int, ...]]:
    """What a scan may be by its positions: scan rows and columns, or the number of positions."""
    shapes = [tuple(length for length in found.values.shape if length > 1) for found in arrays]
    if len(arrays) == 1:
        return [shapes[0][1:] if _lies(arrays[0].values) else shapes[0][:-1]]
    if shapes[0] == shapes[1] and len(shapes[0]) != 1:
        return shapes[:1]
    sizes = (arrays[0].values.size, arrays[1].values.size)
    return [sizes] if sizes[0] != sizes[1] else [sizes[:1], sizes]


def _lies(array: Array) -> bool:
    """Whether the coordinates of positions are along the first axis of their array, and not along the last."""
    return array.ndim > 1 and array.shape[0] in (2, 3) and array.shape[-1] not in (2, 3)


def _listed(
    sources: Sources, arrays: tuple[Found, ...], n: int, grid: tuple[int, ...], counted: str
) -> npt.NDArray[np.float64]:
    """Positions from a list, (n, 2), rows (y, x), in their unit."""
    settings, layout = sources.settings, sources.layout
    if len(arrays) == 2:
        return _joined(sources, (arrays[0], arrays[1]), n, grid, counted)
    (found,) = arrays
    array = found.values.astype(np.float64)
    if array.ndim > 1:
        array = array.reshape(len(array), -1).T if _lies(array) else array.reshape(-1, array.shape[-1])
    if array.ndim != 2 or array.shape[1] not in (2, 3) or (n and len(array) != n):
        expected = f"{n} positions, shape ({n}, 2)" if n else "positions, shape (n, 2)"
        sources.refuse(
            found.name,
            expected,
            f"shape {found.values.shape}",
            advice_on_axes(sources) or "Name another array: --positions.",
            found.path,
        )
    if layout.basis and settings.positions_axes is None:
        return _on_detector(sources, array)
    order = settings.positions_axes or layout.positions_axes
    return array[:, :2] if order == "yx" else array[:, 1::-1]


def _joined(
    sources: Sources, apart: tuple[Found, Found], n: int, grid: tuple[int, ...], counted: str
) -> npt.NDArray[np.float64]:
    """Both coordinates of every position, also from the coordinates of scan rows and columns."""
    y, x = (found.values.astype(np.float64).reshape(-1) for found in apart)
    if (len(grid) == 2 and (len(y), len(x)) == grid and len(y) != n) or (not n and len(y) != len(x)):
        y, x = (array.reshape(-1) for array in np.meshgrid(y, x, indexing="ij"))
    for found, array in zip(apart, (y, x), strict=True):
        if n and len(array) != n:
            advice = advice_on_axes(sources) or "Name another array, or write the file again."
            expected = f"one for each of the {n} {counted}"
            sources.refuse(found.name, expected, str(len(array)), advice, found.path)
    return np.stack((y, x), axis=1)


def _on_detector(sources: Sources, moved: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where the beam hits the sample, along detector rows and columns.

    CXI gives translations of the sample, so on it the beam moves against them. Without basis vectors the detector's
    rows run along -y and its columns along -x (CXI's x axis points left when looking downstream).
    """
    axes = detector_axes(sources)
    axes = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]]) if axes is None else axes
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    return -moved @ axes[:, : moved.shape[1]].T


def _raster(sources: Sources, scale: Scale, grid: tuple[int, ...]) -> Array | None:
    """Positions of a raster whose steps are set, or stated in the file; None where the patterns are no raster."""
    if len(grid) != 2:
        return None
    written, step_px, got = sources.settings.scan_step, None, "none"
    if written is not None:
        step_px = quantities(written, {"px": 1.0})
        metres = quantities(written, LENGTHS)
    else:
        layout = sources.layout
        along = [
            spacing(sources, places, layout.scan_size, axis)
            for axis, places in enumerate(layout.scan_step or ())
        ]
        known = [one[0] * LENGTHS[one[1]] for one in along if one and one[1] in LENGTHS]
        metres = (known[0], known[1]) if len(known) == 2 else None
        got = " and ".join(f"{one[0]:g} '{one[1]}'" for one in along if one) or got
    step = step_px or metres
    if step is None:
        advice = "Set it, as in --scan-step '4 px' or '30 nm'."
        sources.refuse("scan_step", f"the step of the {grid[0]} x {grid[1]} raster", got, advice)
    step_px = _in_pixels(sources, np.array([step]), "px" if step_px else "m", scale)[0]
    y, x = np.meshgrid(*(np.arange(length) for length in grid), indexing="ij")
    found = np.stack((y.reshape(-1), x.reshape(-1)), axis=1) * step_px
    return oriented(found, sources.settings_orientation)


def _is_list(entry: Entry) -> bool:
    return len(entry.shape) in (1, 2) and entry.dtype.kind == "f" and max(entry.shape) > 1
