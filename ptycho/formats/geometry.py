"""Lengths of an experiment: the wavelength, and the pixels of detector and object."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from ptycho.config.quantities import ANGLES, LENGTHS, quantities
from ptycho.data_error import DataError
from ptycho.formats.layouts import Places
from ptycho.formats.lengths import (
    DETECTOR_PIXEL,
    DISTANCE,
    ENERGY,
    ROUNDED,
    SAME,
    WAVELENGTH,
    Length,
    Pair,
    as_set,
    as_stated,
    differ,
    particle_of,
    unused,
)
from ptycho.formats.sources import Sources
from ptycho.formats.units import OF_AXES, RECIPROCAL, plain_unit
from ptycho.geometry import PLANCK_TIMES_LIGHT_J_M
from ptycho.verdict import Verdict

ELECTRON_REST_J: Final = 9.1093837015e-31 * 299792458.0**2

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
        DataError: what the file states is none; or energy and wavelength contradict each other.
    """
    found = _wavelength(sources)
    return None if found is None else found.values[0]


def _wavelength(sources: Sources) -> Length | None:
    return _set_wavelength(sources) or _of_file(sources, _stated_wavelength)


def _of_file(sources: Sources, find: Callable[[Sources], Length | None]) -> Length | None:
    """A length as the file states it; none where it is wrong and the object's pixel is set, see `of_lengths`.

    Raises:
        DataError: it is wrong, and that pixel is not set.
    """
    with contextlib.suppress(*([] if sources.own.object_pixel is None else [DataError])):
        return find(sources)
    return None


def _set_wavelength(sources: Sources) -> Length | None:
    length, of_energy = as_set(sources, WAVELENGTH), _of_energy(sources, as_set(sources, ENERGY))
    if length is not None and of_energy is not None:
        _refuse_other(sources, length, of_energy, SAME, "Set energy or wavelength, not both.")
    return length or of_energy


def _stated_wavelength(sources: Sources) -> Length | None:
    """The wavelength as the file states it, by itself or by the energy."""
    length, of_energy = _stated_wavelengths(sources)
    if length is not None and of_energy is not None:
        advice = "Set --energy or --wavelength to the one that is right."
        _refuse_other(sources, length, of_energy, ROUNDED, advice)
    return length or of_energy


def _stated_wavelengths(sources: Sources) -> tuple[Length | None, Length | None]:
    """The wavelength as the file states it, and that of the energy."""
    places, unit = sources.layout.energy
    length, energy = as_stated(sources, WAVELENGTH, sources.layout.wavelength), None
    # beside a wavelength what is no energy contradicts nothing
    with contextlib.suppress(*([] if length is None else [DataError])):
        energy = as_stated(sources, ENERGY, places, unit)
    return length, _of_energy(sources, energy)


def _refuse_other(sources: Sources, length: Length, of_energy: Length, most: float, advice: str) -> None:
    """Refuse a wavelength that differs by more from that of an energy."""
    if differ(length.values, of_energy.values, most):
        expected = f"the {shown(of_energy.values, 'A')} of {of_energy.text} ({particle_of(sources)})"
        sources.refuse(length.name, expected, length.text, advice, length.path)


def _of_energy(sources: Sources, energy: Length | None) -> Length | None:
    """The wavelength of an energy, in the words of the energy."""
    if energy is None:
        return None
    length = wavelength_of(energy.values[0], particle_of(sources))
    return energy._replace(values=(length, length))


def distance(sources: Sources) -> float | None:
    """The distance from sample to detector in metres; None where neither settings nor file say.

    Raises:
        DataError: what the file states is no such length.
    """
    found = _distance(sources)
    return None if found is None else found.values[0]


def _distance(sources: Sources) -> Length | None:
    return as_set(sources, DISTANCE) or _of_file(sources, _stated_distance)


def _stated_distance(sources: Sources) -> Length | None:
    return as_stated(sources, DISTANCE, sources.layout.distance)


def detector_pixel(sources: Sources) -> Pair | None:
    """The detector's pixel in metres, before binning; None where neither settings nor file say.

    Raises:
        DataError: what the file states is no such length, or contradicts itself.
    """
    found = _pixel(sources)
    return None if found is None else found.values


def _pixel(sources: Sources) -> Length | None:
    return as_set(sources, DETECTOR_PIXEL) or _of_file(sources, _stated_pixel)


def _stated_pixel(sources: Sources) -> Length | None:
    """The detector's pixel as the file states it: by its sides, or by the vectors from one to the next."""
    found, basis = _stated_pixels(sources)
    if found is not None and basis is not None and differ(found.values, basis.values, ROUNDED):
        advice = f"Set {DETECTOR_PIXEL.flag} to the one that is right."
        sources.refuse(found.name, f"the {basis.text}", found.text, advice, found.path)
    return found or basis


def _stated_pixels(sources: Sources) -> tuple[Length | None, Length | None]:
    """The detector's pixel by its sides, and by the vectors from one to the next."""
    places = sources.layout.detector_pixel
    sides = [as_stated(sources, DETECTOR_PIXEL, one) for one in places]
    found = sides[0] or sides[1]
    if places[0] != places[1] and sides[0] and sides[1]:
        text = ", ".join(dict.fromkeys(side.text for side in (sides[0], sides[1])))
        found = sides[0]._replace(values=(sides[0].values[0], sides[1].values[-1]), text=text)
    return found, _of_basis(sources)


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
        DataError: what the file states is no such number, or contradicts itself.
    """
    settings, own = sources.settings, sources.own
    if settings.object_pixel is not None:
        stated, lengths = quantities(settings.object_pixel, LENGTHS), None
        if own.object_pixel and (own.energy or own.wavelength) and own.distance and own.detector_pixel:
            lengths = _of_lengths(sources, n_pixels * binning)
        if stated and lengths and differ(stated, lengths.values):
            expected, advice = f"the {lengths.text}", "Set it or those lengths, not both."
            sources.refuse("object_pixel", expected, settings.object_pixel, advice)
        return stated
    stated, followed = _object_pixels(sources, n_pixels * binning, of_px)
    if stated is None:
        return None if followed is None else followed.values
    is_set = own.energy or own.wavelength or own.distance or own.detector_pixel
    if followed is not None and differ(stated.values, followed.values, SAME if is_set else ROUNDED):
        advice = "Set --object-pixel, or the length that is wrong."
        sources.refuse(stated.name, f"the {followed.text}", stated.text, advice)
    return stated.values


def _object_pixels(sources: Sources, n_pixels: int, of_px: Pair) -> tuple[Length | None, Length | None]:
    """The object's pixel as the file states it, and as it follows from other lengths in the far field."""
    layout, followed = sources.layout, _followed(sources, n_pixels)
    if layout.object_pixel is None or sources.place("", layout.object_) is None:
        return None, followed
    rows, columns = (_of_whole(sources, places) for places in layout.object_pixel)
    values = rows / of_px[0], columns / of_px[1]
    name = layout.object_pixel[0][0].replace("@", " attribute ")
    stated = Length(values, shown(values, "nm"), name, sources.path)
    return stated, followed if sources.value(layout.far_field) in (None, True) else None


def _followed(sources: Sources, n_pixels: int) -> Length | None:
    """The object's pixel that follows from other lengths, with these in words."""
    layout = sources.layout
    reciprocal = spacing(sources, layout.reciprocal, layout.reciprocal_size)
    if reciprocal is None:
        return _of_lengths(sources, n_pixels)
    step, unit = reciprocal
    side, length = None, wavelength(sources)
    if unit in RECIPROCAL:
        side = 1 / (n_pixels * step * RECIPROCAL[unit])
    elif unit in ANGLES and length:
        side = length / (n_pixels * step * ANGLES[unit])
    if side is None:
        return _of_lengths(sources, n_pixels)
    text = f"{shown((side, side), 'nm')} of {n_pixels} pixels of {step:g} {unit}"
    return Length((side, side), text, "object_pixel", sources.path)


def _of_lengths(sources: Sources, n_pixels: int) -> Length | None:
    """The object's pixel by wavelength, distance and detector."""
    light, far, detector = _wavelength(sources), _distance(sources), _pixel(sources)
    if light is None or far is None or detector is None:
        return None
    rows, columns = (light.values[0] * far.values[0] / (n_pixels * side) for side in detector.values)
    lengths = f"{light.text}, {far.text}, {detector.text} and {n_pixels} pixels"
    text = f"{shown((rows, columns), 'nm')} of {lengths}"
    return Length((rows, columns), text, "object_pixel", sources.path)


def of_lengths(sources: Sources, n_pixels: int, of_px: Pair) -> Iterator[Verdict]:
    """Lengths that are set and differ from what the file states, or from what follows from the others; wrong ones.

    Args:
        sources: the files.
        n_pixels: detector pixels along the side of the patterns as they are used.
        of_px: as of `Scale`.
    """
    own = sources.own
    for name, is_set, pair in (
        ("wavelength", own.energy or own.wavelength, _stated_wavelengths),
        ("detector_pixel", own.detector_pixel, _stated_pixels),
        ("object_pixel", own.object_pixel, partial(_object_pixels, n_pixels=n_pixels, of_px=of_px)),
    ):
        with contextlib.suppress(DataError):
            used, other = (None, None) if is_set else pair(sources)
            if (
                used
                and other
                and differ(used.values, other.values)
                and not differ(used.values, other.values, ROUNDED)
            ):
                text = (
                    f"the file states {name.replace('_', ' ')} {used.text} and {other.text}: the first counts"
                )
                yield Verdict(name, "warning", None, "", text, f"Set {name} if that is wrong.")
    for name, is_set, of_setting, of_file in (
        ("wavelength", own.energy or own.wavelength, _set_wavelength, _stated_wavelength),
        ("distance", own.distance, _distance, _stated_distance),
        ("detector_pixel", own.detector_pixel, _pixel, _stated_pixel),
    ):
        what = name.replace("_", " ")
        try:
            used, other = of_setting(sources) if is_set else None, of_file(sources)
        except DataError as error:  # of the file, which does not count
            if not is_set:
                text = f"the {what} of the file is left out, as object_pixel is set: {error}"
                yield Verdict(name, "warning", None, "", text.removesuffix("."), "")
            continue
        if used is not None and other is not None and differ(used.values, other.values):
            text = f"the {what} is set to {used.text}, and the file states {other.text}"
            yield Verdict(name, "note", None, "", f"{text}: what is set counts", "")
    if own.object_pixel is None:
        return
    with contextlib.suppress(DataError):
        pixel, followed = quantities(own.object_pixel, LENGTHS), _followed(sources, n_pixels)
        if pixel is not None and followed is not None and differ(pixel, followed.values):
            text = f"object_pixel is set to {own.object_pixel}, and other lengths give the {followed.text}"
            remedy = "Leave object_pixel out, or set the length that is wrong."
            yield Verdict("object_pixel", "warning", None, "", f"{text}: what is set counts", remedy)


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


def _of_basis(sources: Sources) -> Length | None:
    """The detector's pixel by the vectors from one to the next; None where there are none, or directions alone."""
    vectors = detector_axes(sources)
    if vectors is None:
        return None
    rows, columns = map(float, np.linalg.norm(vectors, axis=1))
    if max(rows, columns) >= LARGEST_PIXEL_M:
        return None
    name = sources.layout.basis[0]
    return Length((rows, columns), f"{shown((rows, columns), 'um')} ({name})", name, sources.path)


def shown(sides: Pair, unit: str) -> str:
    """Lengths of rows and columns in a unit, or one for both."""
    return ", ".join(dict.fromkeys(f"{side / LENGTHS[unit]:.4g} {unit}" for side in sides))


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
    of_energy = unused(sources, WAVELENGTH, layout.wavelength) or unused(sources, ENERGY, layout.energy[0])
    lacking = [
        f"{kind.flag}{of_file}"
        for kind, found, of_file in (
            (ENERGY, wavelength(sources), of_energy),
            (DISTANCE, distance(sources), unused(sources, DISTANCE, layout.distance)),
            (
                DETECTOR_PIXEL,
                detector_pixel(sources),
                unused(sources, DETECTOR_PIXEL, sum(layout.detector_pixel, ())),
            ),
        )
        if found is None
    ]
    return f"Set {' and '.join(lacking)}, or --object-pixel." if lacking else ""


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
