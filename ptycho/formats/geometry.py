"""Lengths of an experiment: the wavelength, the pixel of the object, and scan positions in it."""

import unicodedata
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ptycho.config.quantities import ENERGIES, LENGTHS, quantities, quantity
from ptycho.formats.orientation import oriented
from ptycho.formats.sources import Found, Sources
from ptycho.formats.trees import Entry
from ptycho.geometry import LARGEST_ENERGY_J, PLANCK_TIMES_LIGHT_J_M
from ptycho.stored_array import Array

ELECTRON_REST_J: Final = 9.1093837015e-31 * 299792458.0**2

SAME: Final = 0.01
"""Relative difference up to which two lengths are the same one, rounded."""

Pair = tuple[float, float]
"""Of rows and columns."""
_LETTERS: Final = {0xC5: "A", 0x3BC: "u", 0x2212: "-"}
"""Angstrom, micro and minus signs, as `NFKC` leaves them."""
_ANGULAR: Final = {"mrad": 1e-3, "rad": 1.0}
_RECIPROCAL: Final = {
    f"{unit}{power}": 1 / value for unit, value in LENGTHS.items() for power in ("^-1", "-1")
} | {f"1/{unit}": 1 / value for unit, value in LENGTHS.items()}


def wavelength_of(energy_J: float, particle: str) -> float:
    """Wavelength in metres of a photon, or of an electron of this kinetic energy (relativistic)."""
    if particle == "photon":
        return PLANCK_TIMES_LIGHT_J_M / energy_J
    return PLANCK_TIMES_LIGHT_J_M / float(np.sqrt(energy_J * (energy_J + 2 * ELECTRON_REST_J)))


def wavelength(sources: Sources) -> float | None:
    """The wavelength, as set or as the file states it; None where neither does.

    Raises:
        DataError: what the file states is none; or energy and wavelength are set, and contradict each other.
    """
    settings, layout = sources.settings, sources.layout
    particle = settings.particle or layout.particle
    energy = quantity(settings.energy, ENERGIES) if settings.energy else None
    of_energy = energy and wavelength_of(energy, particle)
    if settings.wavelength is not None:
        found = quantities(settings.wavelength, LENGTHS)
        if found and of_energy and abs(found[0] / of_energy - 1) > SAME:
            expected = f"the {of_energy * 1e10:.4g} A of {settings.energy} ({particle})"
            sources.refuse("wavelength", expected, settings.wavelength, "Set energy or wavelength, not both.")
        return found and found[0]
    if of_energy:
        return of_energy
    places, unit = layout.energy
    stated = sources.numbers(places)
    if stated is not None:
        energy = stated[0] * ENERGIES[unit]
        if energy > LARGEST_ENERGY_J:
            advice = "Multiply electronvolts by 1.602176634e-19 in the file, or set the energy."
            sources.refuse(places[0], "the photon energy in joules", f"{energy:g}", advice)
        return wavelength_of(energy, particle)
    stated = sources.numbers(layout.wavelength)
    return stated and stated[0]


def object_pixel(sources: Sources, n_pixels: int, binning: int, of_px: Pair) -> Pair | None:
    """The object's pixel in metres: as set, as the file states it, or from wavelength, distance and detector.

    Args:
        sources: the files.
        n_pixels: side of the patterns as they are used.
        binning: detector pixels along the side of one of theirs.
        of_px: as of `Scale`.

    Returns:
        None where the file does not say enough.

    Raises:
        DataError: what the file states is no such number.
    """
    settings, layout = sources.settings, sources.layout
    if settings.object_pixel is not None:
        return quantities(settings.object_pixel, LENGTHS)
    if layout.object_pixel is not None:
        rows, columns = (_of_whole(sources, place) for place in layout.object_pixel)
        return rows / of_px[0], columns / of_px[1]
    reciprocal = _spacing(sources, layout.reciprocal)
    if reciprocal is not None and reciprocal[1] in _RECIPROCAL:
        side = 1 / (n_pixels * binning * reciprocal[0] * _RECIPROCAL[reciprocal[1]])
        return side, side
    length = wavelength(sources)
    if reciprocal is not None and reciprocal[1] in _ANGULAR and length:
        side = length / (n_pixels * binning * reciprocal[0] * _ANGULAR[reciprocal[1]])
        return side, side
    distance = sources.length("distance", layout.distance)
    detector = detector_pixel(sources)
    if length is None or distance is None or detector is None:
        return None
    rows, columns = (length * distance[0] / (n_pixels * binning * pixel) for pixel in detector)
    return rows, columns


def _of_whole(sources: Sources, place: str) -> float:
    """A length that the file must state.

    Raises:
        DataError: it does not.
    """
    found = sources.numbers([place])
    if found is None:
        what = place.replace("@", " attribute ")
        sources.refuse(
            what, "a length in metres, > 0", "nothing", "Add it to the file, or set --object-pixel."
        )
    return found[0]


def detector_pixel(sources: Sources) -> Pair | None:
    """The detector's pixel in metres, before binning; None where neither settings nor file say."""
    rows, columns = sources.layout.detector_pixel
    found = sources.length("detector_pixel", rows)
    if found is None or sources.settings.detector_pixel is not None or rows == columns:
        return found
    other = sources.numbers(columns)
    return (found[0], other[0]) if other else (found[0], found[0])


def unknown_lengths(sources: Sources) -> str:
    """The settings that would give the object's pixel, in words."""
    reciprocal = _spacing(sources, sources.layout.reciprocal)
    if reciprocal is not None and reciprocal[1] in _ANGULAR:
        return "Set --energy, or --object-pixel."
    lacking = [
        name
        for name, found in (
            ("energy", wavelength(sources)),
            ("distance", sources.length("distance", sources.layout.distance)),
            ("detector-pixel", detector_pixel(sources)),
        )
        if found is None
    ]
    return f"Set {' and '.join(f'--{name}' for name in lacking)}, or --object-pixel." if lacking else ""


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
    unit = sources.settings.positions_unit or sources.layout.positions_unit
    listed = _listed(sources, n, grid, counted)
    if listed is None:
        return _raster(sources, scale, grid)
    if not np.isfinite(listed).all():
        got = f"{np.count_nonzero(~np.isfinite(listed))} NaN or infinite values"
        sources.refuse(_names(sources), "finite positions", got, "Correct them in the file.")
    return oriented(_in_pixels(sources, listed, unit, scale), sources.settings_orientation)


def _in_pixels(sources: Sources, listed: Array, unit: str, scale: Scale) -> Array:
    if unit == "px":
        return listed * np.array(scale.of_px)
    if scale.pixel_m is None:
        got = f"positions in {unit}, and no size of an object pixel"
        reciprocal = _spacing(sources, sources.layout.reciprocal)
        if reciprocal is not None and reciprocal[1] not in _ANGULAR:
            got += f" (detector in '{reciprocal[1]}')"
        sources.refuse("object_pixel", "the divisor of positions", got, unknown_lengths(sources))
    return listed * LENGTHS[unit] / np.array(scale.pixel_m)


def _listed(sources: Sources, n: int, grid: tuple[int, ...], counted: str) -> npt.NDArray[np.float64] | None:
    """Positions from a list, (n, 2), rows (y, x), in their unit; None where there is no list."""
    settings, layout = sources.settings, sources.layout
    meaning = "scan positions, real numbers"
    apart = [
        sources.array(f"positions_{axis}", () if settings.positions else places, "iuf", meaning)
        for axis, places in (("y", layout.positions_y), ("x", layout.positions_x))
    ]
    if apart[0] is not None and apart[1] is not None:
        return _joined(sources, (apart[0], apart[1]), n, grid, counted)
    if apart[0] is not None or apart[1] is not None:
        there, lacks = ("y", "x") if apart[0] is not None else ("x", "y")
        name = f"positions_{lacks}"
        sources.missing(name, f"scan positions along {lacks}, beside positions_{there}", _is_list)
    found = sources.array("positions", layout.positions, "iuf", meaning)
    if found is None:
        return None
    array = found.values.astype(np.float64)
    if array.ndim > 2:
        array = array.reshape(-1, array.shape[-1])
    if array.ndim == 2 and array.shape[0] in (2, 3) and array.shape[1] not in (2, 3):
        array = array.T
    if array.ndim != 2 or array.shape[1] not in (2, 3) or (n and len(array) != n):
        expected = f"{n} positions, shape ({n}, 2)" if n else "positions, shape (n, 2)"
        sources.refuse(
            found.name,
            expected,
            f"shape {found.values.shape}",
            "Name another array: --positions.",
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
    if len(grid) == 2 and (len(y), len(x)) == grid and len(y) != n:
        y, x = (array.reshape(-1) for array in np.meshgrid(y, x, indexing="ij"))
    for found, array in zip(apart, (y, x), strict=True):
        if n and len(array) != n:
            advice = "Name another array, or write the file again."
            expected = f"one for each of the {n} {counted}"
            sources.refuse(found.name, expected, str(len(array)), advice, found.path)
    return np.stack((y, x), axis=1)


def _on_detector(sources: Sources, moved: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where the beam hits the sample, along detector rows and columns.

    CXI gives translations of the sample, so on it the beam moves against them. Without basis vectors the detector's
    rows run along -y and its columns along -x (CXI's x axis points left when looking downstream).
    """
    basis = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
    found = sources.array("", sources.layout.basis, "iuf", "slow and fast axis, shape (2, 3)")
    if found is not None:
        basis = found.values.astype(np.float64)
        basis = basis.T if basis.shape == (3, 2) else basis
        usable = basis.shape == (2, 3) and bool(np.isfinite(basis).all())
        if not usable or not np.linalg.norm(basis, axis=1).all():
            advice = "Leave it out for the default."
            sources.refuse(
                found.name,
                "slow and fast axis, shape (2, 3)",
                f"shape {found.values.shape}",
                advice,
                found.path,
            )
        basis = basis / np.linalg.norm(basis, axis=1, keepdims=True)
    return -moved @ basis[:, : moved.shape[1]].T


def _raster(sources: Sources, scale: Scale, grid: tuple[int, ...]) -> Array | None:
    """Positions of a raster whose steps are set, or stated in the file; None where the patterns are no raster."""
    if len(grid) != 2:
        return None
    written, step_px, got = sources.settings.scan_step, None, "none"
    if written is not None:
        step_px = quantities(written, {"px": 1.0})
        metres = quantities(written, LENGTHS)
    else:
        along = [_spacing(sources, places) for places in sources.layout.scan_step or ()]
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


def _spacing(sources: Sources, places: tuple[str, ...]) -> tuple[float, str] | None:
    """Step and unit of coordinates along an axis; None where the file has none."""
    found = sources.array("", places, "iuf", "coordinates along an axis")
    if found is None:
        return None
    values = found.values.astype(np.float64).reshape(-1)
    step = float(values[1] - values[0]) if len(values) > 1 else 0.0
    unit = sources.value([f"{found.name}@units"])
    if not np.isfinite(step) or step <= 0:
        sources.refuse(
            found.name, "rising coordinates along an axis", f"a step of {step:g}", "Correct it.", found.path
        )
    return step, unicodedata.normalize("NFKC", str(unit)).translate(_LETTERS).strip().strip("[]")


def _is_list(entry: Entry) -> bool:
    return len(entry.shape) in (1, 2) and entry.dtype.kind == "f" and max(entry.shape) > 1


def _names(sources: Sources) -> str:
    settings, layout = sources.settings, sources.layout
    named = settings.positions or settings.positions_x or next(iter(layout.positions), "")
    return named or "positions"
