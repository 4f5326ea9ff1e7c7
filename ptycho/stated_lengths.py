"""Lengths in the metadata of a scan in the data contract: those that no experiment has, or that contradict each other.

They are refused; where the size of the object's pixel is set, none of them is needed, and a warning names them.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Final, NamedTuple

import numpy as np

from ptycho.config.data import DataConfig
from ptycho.formats.geometry import shown, wavelength_of
from ptycho.formats.lengths import (
    DETECTOR_PIXEL,
    DISTANCE,
    ENERGY,
    PARTICLES,
    ROUNDED,
    WAVELENGTH,
    Kind,
    Pair,
    differ,
    is_possible,
    likely_unit,
    range_of,
)
from ptycho.geometry import ELEMENTARY_CHARGE_C, Geometry
from ptycho.npz_files import ScanFile
from ptycho.scan_background import metadata_of
from ptycho.verdict import Verdict, refusal

OF_LIGHT: Final = ("energy", "wavelength")
"""Settings of which any replaces what metadata state of the light."""


class _Stated(NamedTuple):
    key: str
    kind: Kind
    number: Pair
    """As it is written."""
    unit: str
    values: Pair
    """In joules or metres."""

    @property
    def text(self) -> str:
        """As it is written, with its unit."""
        return ", ".join(dict.fromkeys(f"{side:g} {self.unit}" for side in self.number))


def with_sound_lengths(file: ScanFile, settings: DataConfig | None) -> ScanFile:
    """A scan whose metadata state no wrong lengths, nor any that settings replace, with verdicts on the wrong ones.

    Args:
        file: by keys of the data contract; metadata that cannot be read stay as they are.
        settings: of [data], which count before the metadata; None: there are none, as for arrays in memory.
    """
    metadata, patterns = metadata_of(file.arrays), file.arrays.get("diff3d")
    if not metadata:
        return file
    n_pixels = patterns.shape[-1] if patterns is not None and len(patterns.shape) == 3 else 0
    known = settings or DataConfig()
    stated = [*_stated(metadata)]
    replaced = [one for one in stated if _is_replaced(one, known)]
    wrong = _wrong([one for one in stated if one not in replaced], known, is_file=settings is not None)
    left_out = {one.key for one in replaced} | {key for keys, _ in wrong for key in keys}
    rest = {key: value for key, value in metadata.items() if key not in left_out}
    found = [verdict if known.object_pixel is None else _as_warning(verdict) for _, verdict in wrong]
    found += [] if known.object_pixel else _of_pixel(rest, n_pixels)
    if not left_out and not found:
        return file
    arrays = {**file.arrays, "metadata": np.array(json.dumps(rest))}
    return file._replace(arrays=arrays, verdicts=(*file.verdicts, *found))


def _wrong(stated: list[_Stated], settings: DataConfig, *, is_file: bool) -> list[tuple[list[str], Verdict]]:
    """Lengths that no experiment has, or that contradict each other: their keys, and a verdict."""
    particles = (settings.particle,) if settings.particle else PARTICLES
    of_light: list[_Stated] = []
    wrong: list[tuple[list[str], Verdict]] = []
    for one in stated:
        if not any(is_possible(one.kind, one.values, particle) for particle in particles):
            wrong.append(([one.key], _impossible(one, particles, is_file=is_file)))
        elif one.kind in (ENERGY, WAVELENGTH):
            of_light.append(one)
    clash = _contradiction(of_light, particles, is_file=is_file)
    return wrong if clash is None else [*wrong, ([one.key for one in of_light], clash)]


def _stated(metadata: Mapping[str, Any]) -> Iterator[_Stated]:
    """The lengths and energies that metadata state, as far as they are numbers."""
    for key, kind, unit, factor in (
        ("wavelength_m", WAVELENGTH, "m", 1.0),
        ("energy_J", ENERGY, "J", 1.0),
        ("energy_eV", ENERGY, "eV", ELEMENTARY_CHARGE_C),
        ("distance_m", DISTANCE, "m", 1.0),
        ("detector_pixel_size_m", DETECTOR_PIXEL, "m", 1.0),
    ):
        if key in metadata:
            alone = Geometry.of({key: metadata[key]}, 0)
            length = alone.energy_J if kind is ENERGY else alone.wavelength_m
            found = length or alone.distance_m
            both = alone.detector_pixel_m or (None if found is None else (found, found))
            if both is not None:
                yield _Stated(key, kind, (both[0] / factor, both[1] / factor), unit, both)


def _is_replaced(one: _Stated, settings: DataConfig) -> bool:
    """Whether a setting counts before what metadata state."""
    names = OF_LIGHT if one.kind in (ENERGY, WAVELENGTH) else (one.kind.setting,)
    return any(getattr(settings, name) is not None for name in names)


def _impossible(one: _Stated, particles: tuple[str, ...], *, is_file: bool) -> Verdict:
    """That no experiment has such a length."""
    advice = f"Correct it{f', or set {one.kind.flag}' if is_file else ''}."
    likely = likely_unit(one.kind, one.number[0], particles[0])
    if likely is not None and likely != one.unit:
        advice = f"If it is in {likely}, write it in {one.unit}. {advice}"
    expected = " or ".join(dict.fromkeys(range_of(one.kind, particle) for particle in particles))
    return refusal(one.kind.setting, f"metadata '{one.key}'", expected, one.text, advice)


def _contradiction(stated: list[_Stated], particles: tuple[str, ...], *, is_file: bool) -> Verdict | None:
    """The first two of wavelength and energies that are of no one particle; None: there are none."""
    lengths = {
        particle: [
            wavelength_of(one.values[0], particle) if one.kind is ENERGY else one.values[0] for one in stated
        ]
        for particle in particles
    }
    for first, second in combinations(range(len(stated)), 2):
        pairs = [(found[first], found[second]) for found in lengths.values()]
        if all(differ((one, one), (other, other), ROUNDED) for one, other in pairs):
            one, other, length = stated[first], stated[second], pairs[0][1]
            expected = f"the {shown((length, length), 'A')} of {other.key} {other.text} ({particles[0]})"
            advice = f"Correct the one that is wrong{', or set --energy or --wavelength' if is_file else ''}."
            return refusal("wavelength", f"metadata '{one.key}'", expected, one.text, advice)
    return None


def _of_pixel(metadata: Mapping[str, Any], n_pixels: int) -> Iterator[Verdict]:
    """Whether the object's pixel is another than the one that follows from the other lengths."""
    stated = Geometry.of(metadata, 0).object_pixel_m
    others = {key: value for key, value in metadata.items() if key != "object_pixel_size_m"}
    followed = Geometry.of(others, n_pixels).object_pixel_m
    if stated is not None and followed is not None and differ(stated, followed, ROUNDED):
        text = f"metadata state object_pixel_size_m {shown(stated, 'nm')}, and their other lengths give "
        text += f"{shown(followed, 'nm')}: object_pixel_size_m counts"
        yield Verdict("object_pixel", "warning", None, "", text, "Correct the one that is wrong.")


def _as_warning(error: Verdict) -> Verdict:
    sentence = f"{error.sentence}, which is left out, as object_pixel is set"
    return error._replace(severity="warning", sentence=sentence)
