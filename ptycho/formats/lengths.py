"""Energy, wavelength, distance and detector pixel, each as it is set or as a file states it, with its place.

What no experiment has is refused: the limits are wide, and are there for units that are missing or wrong.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, cast

from ptycho.config.quantities import ENERGIES, LENGTHS, quantities, quantity
from ptycho.data_error import DataError
from ptycho.formats.layouts import Places
from ptycho.formats.sources import EQUAL, Sources

Pair = tuple[float, float]
"""Of rows and columns."""

PARTICLES: Final = ("photon", "electron")

SAME: Final = 0.01
"""Relative difference up to which two lengths are the same one, rounded."""
ROUNDED: Final = 0.05
"""The same of two that a file states, perhaps with two digits."""


class Kind(NamedTuple):
    """What a setting of [data] holds."""

    setting: str
    units: dict[str, float]
    """Unit -> its value in metres or joules."""
    limits: Mapping[str, tuple[str, str]]
    """Particle -> the smallest and the largest that experiments have."""
    likely: tuple[tuple[str, float], ...]
    """A unit, and the number below which one that is beyond the limits is likely to be in it, in rising order."""
    example: str
    is_pair: bool = False
    """Whether rows and columns may have their own."""

    @property
    def flag(self) -> str:
        """Of the command line."""
        return f"--{self.setting.replace('_', '-')}"


ENERGY: Final = Kind(
    "energy", ENERGIES, {"photon": ("0.001 eV", "2000 keV"), "electron": ("0.01 eV", "10000 keV")},
    (("J", 1e-10), ("keV", 500.0), ("eV", 1e6)), "8 keV",
)  # fmt: skip
WAVELENGTH: Final = Kind(
    "wavelength", LENGTHS, {"photon": ("0.5 pm", "1 mm"), "electron": ("0.1 pm", "10 nm")},
    (("nm", 0.5), ("A", 50.0), ("nm", 5000.0), ("pm", 1e6)), "1.55 A",
)  # fmt: skip
DISTANCE: Final = Kind(
    "distance", LENGTHS, {"photon": ("1 um", "200 m"), "electron": ("1 um", "10000 m")},
    (("mm", 1e5), ("um", 1e8)), "1.2 m",
)  # fmt: skip
DETECTOR_PIXEL: Final = Kind(
    "detector_pixel", LENGTHS, dict.fromkeys(PARTICLES, ("10 nm", "10 mm")),
    (("mm", 0.5), ("um", 5000.0), ("nm", 1e6)), "75 um", is_pair=True,
)  # fmt: skip


class Length(NamedTuple):
    """An energy or a length."""

    values: Pair
    """In joules or metres."""
    text: str
    """As it is written, with its unit and its place in the file."""
    name: str
    """The setting, or the place."""
    path: Path


def particle_of(sources: Sources) -> str:
    """The particles of the beam."""
    return sources.settings.particle or sources.layout.particle


def as_set(sources: Sources, kind: Kind) -> Length | None:
    """A length as it is set, or as metadata state it; None where it is not.

    Raises:
        DataError: no experiment has such a one.
    """
    written = cast(str | None, getattr(sources.settings, kind.setting))
    values = None if written is None else quantities(written, kind.units)
    if written is None or values is None:
        return None
    found = Length(values, written, kind.setting, sources.path)
    if not is_possible(kind, values, particle_of(sources)):
        advice = f"Set {kind.flag} with its unit, as in '{kind.example}'."
        _refuse(sources, kind, found, written, advice)
    return found


def as_stated(sources: Sources, kind: Kind, places: Places, unit: str = "m") -> Length | None:
    """A length as the file states it, whatever is set; None where it does not.

    Args:
        sources: the files.
        kind: what it is.
        places: where it may be.
        unit: that of the format, where no attribute states one.

    Raises:
        DataError: it is something else, its unit is not known, or no experiment has such a one.
    """
    found = sources.stated(places, kind.units)
    if found is None:
        return None
    first, last = found.values
    one_of = f"Set {kind.flag} with its unit, as in '{kind.example}'."
    if found.unit and found.unit not in kind.units:
        expected, got = f"a unit that is known: {', '.join(kind.units)}", f"{first:g} '{found.unit}'"
        sources.refuse(found.name, expected, got, one_of, found.path)
    unit = found.unit or unit
    if not kind.is_pair and abs(first / last - 1) > EQUAL:
        sources.refuse(found.name, "one number", f"{first:g} and {last:g} {unit}", one_of, found.path)
    sides = dict.fromkeys(f"{side:g} {unit}" for side in found.values)
    written, factor = ", ".join(sides), kind.units[unit]
    length = Length((first * factor, last * factor), f"{written} ({found.name})", found.name, found.path)
    if not is_possible(kind, length.values, particle_of(sources)):
        if (likely := likely_unit(kind, first, particle_of(sources))) is not None:
            one_of = f"If it is in {likely}, set {kind.flag} '{first:g} {likely}'."
        _refuse(sources, kind, length, f"{written}{'' if found.unit else ' (no unit is stated)'}", one_of)
    return length


def unused(sources: Sources, kind: Kind, places: Places) -> str:
    """What a file of no format has in the place of a length, and is none, in words; empty where nothing is."""
    if sources.format != "hdf5":
        return ""
    with contextlib.suppress(DataError):
        found = sources.place("", places)
        if found is not None and as_stated(sources, kind, places) is None:
            tree, name = found
            values, unit = tree.stored(name).read(), sources.unit(tree, name)
            if values.dtype.kind not in "iuf" or not values.size:
                return ""
            lowest, highest = (f"{value:g}" for value in (values.min(), values.max()))
            number = lowest if lowest == highest else f"{lowest} to {highest}"
            of_unit = f" '{unit}'" if unit else " without a unit"
            return f" ({name} states {number}{of_unit})"
    return ""


def differ(first: Pair, second: Pair, most: float = SAME) -> bool:
    """Whether two lengths are not the same one."""
    return any(abs(one / other - 1) > most for one, other in zip(first, second, strict=True))


def _limits(kind: Kind, particle: str) -> Pair:
    lowest, highest = (quantity(limit, kind.units) for limit in kind.limits[particle])
    return cast(float, lowest), cast(float, highest)


def is_possible(kind: Kind, values: Pair, particle: str) -> bool:
    """Whether experiments with a particle have such values, in joules or metres."""
    lowest, highest = _limits(kind, particle)
    return lowest <= min(values) and max(values) <= highest


def likely_unit(kind: Kind, number: float, particle: str) -> str | None:
    """The unit that a number without a known one is likely to be in; None: there is none."""
    unit = next((unit for unit, below in kind.likely if number < below), None)
    value = number * kind.units[unit] if unit else 0.0
    return unit if is_possible(kind, (value, value), particle) else None


def range_of(kind: Kind, particle: str) -> str:
    """What experiments with a particle have, in words."""
    lowest, highest = kind.limits[particle]
    what = kind.setting.replace("_", " ")
    of_particle = f" of {particle}s" if kind in (ENERGY, WAVELENGTH) else ""
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}{of_particle} from {lowest} to {highest}"


def _refuse(sources: Sources, kind: Kind, found: Length, got: str, advice: str) -> None:
    sources.refuse(found.name, range_of(kind, particle_of(sources)), got, advice, found.path)
