"""Lengths of an experiment: the wavelength, and the pixels of detector and object."""

import contextlib
from typing import Final

import numpy as np
import numpy.typing as npt

from ptycho.config.quantities import ANGLES, ENERGIES, LENGTHS, quantities, quantity
from ptycho.data_error import DataError
from ptycho.formats.layouts import Places
from ptycho.formats.sources import Sources
from ptycho.formats.units import OF_AXES, RECIPROCAL, plain_unit
from ptycho.geometry import LARGEST_ENERGY_J, PLANCK_TIMES_LIGHT_J_M

ELECTRON_REST_J: Final = 9.1093837015e-31 * 299792458.0**2

SAME: Final = 0.01
"""Relative difference up to which two lengths are the same one, rounded."""

Pair = tuple[float, float]
"""Of rows and columns."""
LARGEST_PIXEL_M: Final = 0.01
"""No detector has larger pixels; longer vectors of a detector are directions."""


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
    stated = sources.numbers(layout.wavelength, LENGTHS)
    if stated is not None:
        return stated[0]
    places, unit = layout.energy
    stated = sources.numbers(places, ENERGIES, unit)
    if stated is not None and stated[0] > LARGEST_ENERGY_J:
        advice = f"If it is in electronvolts, set --energy '{stated[0]:g} eV'."
        sources.refuse(places[0], "the photon energy in joules", f"{stated[0]:g}", advice)
    return None if stated is None else wavelength_of(stated[0], particle)


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
        _refuse_contradiction(sources, n_pixels * binning)
        return quantities(settings.object_pixel, LENGTHS)
    if layout.object_pixel is not None and sources.place("", layout.object_) is not None:
        rows, columns = (_of_whole(sources, places) for places in layout.object_pixel)
        return rows / of_px[0], columns / of_px[1]
    reciprocal = spacing(sources, layout.reciprocal, layout.reciprocal_size)
    if reciprocal is not None and reciprocal[1] in RECIPROCAL:
        side = 1 / (n_pixels * binning * reciprocal[0] * RECIPROCAL[reciprocal[1]])
        return side, side
    length = wavelength(sources)
    if reciprocal is not None and reciprocal[1] in ANGLES and length:
        side = length / (n_pixels * binning * reciprocal[0] * ANGLES[reciprocal[1]])
        return side, side
    distance = sources.length("distance", layout.distance)
    detector = detector_pixel(sources)
    if length is None or distance is None or detector is None:
        return None
    rows, columns = (length * distance[0] / (n_pixels * binning * pixel) for pixel in detector)
    return rows, columns


def _refuse_contradiction(sources: Sources, n_pixels: int) -> None:
    """Refuse an object pixel that is set beside lengths that give another one.

    Raises:
        DataError: they do.
    """
    own = sources.own
    energy = own.energy or own.wavelength
    if not (energy and own.distance and own.detector_pixel and own.object_pixel):
        return
    length, distance = wavelength(sources), quantities(own.distance, LENGTHS)
    detector, stated = (quantities(text, LENGTHS) for text in (own.detector_pixel, own.object_pixel))
    if length is None or distance is None or detector is None or stated is None:
        return
    found = [length * distance[0] / (n_pixels * pixel) for pixel in detector]
    if any(abs(one / other - 1) > SAME for one, other in zip(stated, found, strict=True)):
        sides = ", ".join(f"{side * 1e9:.4g} nm" for side in dict.fromkeys(found))
        expected = f"the {sides} of {energy}, {own.distance}, {own.detector_pixel} and {n_pixels} pixels"
        sources.refuse("object_pixel", expected, own.object_pixel, "Set it or those lengths, not both.")


def _of_whole(sources: Sources, places: Places) -> float:
    """A length that the file must state.

    Raises:
        DataError: it does not.
    """
    found = sources.numbers(places)
    if found is None:
        what = places[0].replace("@", " attribute ")
        sources.refuse(
            what, "a length in metres, > 0", "nothing", "Add it to the file, or set --object-pixel."
        )
    return found[0]


def detector_pixel(sources: Sources) -> Pair | None:
    """The detector's pixel in metres, before binning; None where neither settings nor file say."""
    rows, columns = sources.layout.detector_pixel
    found = sources.length("detector_pixel", rows) or sources.length("detector_pixel", columns)
    if found is None:
        return _of_basis(sources)
    if sources.settings.detector_pixel is not None or rows == columns:
        return found
    other = sources.numbers(columns, LENGTHS)
    return (found[0], other[0]) if other else (found[0], found[0])


def _of_basis(sources: Sources) -> Pair | None:
    """The detector's pixel by the vectors from one to the next; None where there are none, or directions alone."""
    vectors = detector_axes(sources)
    if vectors is None:
        return None
    rows, columns = map(float, np.linalg.norm(vectors, axis=1))
    return (rows, columns) if max(rows, columns) < LARGEST_PIXEL_M else None


def detector_axes(sources: Sources) -> npt.NDArray[np.float64] | None:
    """The vectors (2, 3) along the detector's slow and fast axis; None where the file has none.

    Raises:
        DataError: they are something else.
    """
    found = sources.array("", sources.layout.basis, "iuf", "slow and fast axis, shape (2, 3)")
    if found is None:
        return None
    vectors = found.values.astype(np.float64)
    if vectors.ndim == 3 and (vectors == vectors[0]).all():
        vectors = vectors[0]  # of every pattern
    vectors = vectors.T if vectors.shape == (3, 2) else vectors
    usable = vectors.shape == (2, 3) and bool(np.isfinite(vectors).all())
    if not usable or not np.linalg.norm(vectors, axis=1).all():
        expected, got = "slow and fast axis, shape (2, 3)", f"shape {found.values.shape}"
        sources.refuse(found.name, expected, got, "Leave it out for the default.", found.path)
    return vectors


def unknown_lengths(sources: Sources) -> str:
    """The settings that would give the object's pixel, in words."""
    layout = sources.layout
    reciprocal = spacing(sources, layout.reciprocal, layout.reciprocal_size)
    if reciprocal is not None and reciprocal[1] in ANGLES:
        return "Set --energy, or --object-pixel."
    if layout.axes:
        return (
            "Set --object-pixel: 1 / (side of the patterns x size of a detector pixel in reciprocal space)."
        )
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


def spacing(
    sources: Sources, places: Places, size: tuple[Places, Places], axis: int = 0
) -> tuple[float, str] | None:
    """Step and unit of coordinates along an axis; None where the file has none.

    Args:
        sources: the files.
        places: of the coordinates.
        size: of the step, and its unit, which count before those of the coordinates where the unit is known.
        axis: which of two steps.
    """
    with contextlib.suppress(DataError):
        stated, unit = sources.numbers(size[0]), plain_unit(sources.value(size[1]))
        if stated is not None and unit in OF_AXES:
            return stated[axis], unit
    return _step_along(sources, places)


def _step_along(sources: Sources, places: Places) -> tuple[float, str] | None:
    found = sources.array("", places, "iuf", "coordinates along an axis")
    if found is None:
        return None
    values = found.values.astype(np.float64).reshape(-1)
    step = float(values[1] - values[0]) if len(values) > 1 else 0.0
    if not np.isfinite(step) or step <= 0:
        sources.refuse(
            found.name, "rising coordinates along an axis", f"a step of {step:g}", "Correct it.", found.path
        )
    return step, found.unit
