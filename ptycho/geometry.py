"""Lengths of an experiment, from the metadata of its scan: wavelength, distance, pixels of detector and object.

Metadata are in SI units; an axis pair is (rows, columns). `energy_J` and `energy_eV` are of photons.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, cast

from ptycho.config.quantities import is_magnitude

PLANCK_TIMES_LIGHT_J_M: Final = 6.62607015e-34 * 299792458.0
ELEMENTARY_CHARGE_C: Final = 1.602176634e-19
LARGEST_ENERGY_J: Final = 1e-10
"""No photon of an experiment has more; a larger number is in electronvolts."""


@dataclass(frozen=True)
class Geometry:
    """What is known of the lengths of an experiment; None where it is not.

    Attributes:
        wavelength_m: of the radiation.
        distance_m: from the sample to the detector.
        detector_pixel_m: rows, columns.
        object_pixel_m: rows, columns; stated, or else wavelength * distance / (N * detector pixel).
        far_field: what the file states.
        energy_J: of a particle, where it is stated and the wavelength is not: that of a photon is taken.
    """

    wavelength_m: float | None = None
    distance_m: float | None = None
    detector_pixel_m: tuple[float, float] | None = None
    object_pixel_m: tuple[float, float] | None = None
    far_field: bool | None = None
    energy_J: float | None = None

    @classmethod
    def of(cls, metadata: Mapping[str, Any], n_pixels: int) -> Self:
        """From the metadata of a scan with patterns of `n_pixels` x `n_pixels`."""
        wavelength, distance = _number(metadata, "wavelength_m"), _number(metadata, "distance_m")
        stated: float | None = None
        for name, joule in (("energy_J", 1.0), ("energy_eV", ELEMENTARY_CHARGE_C)):
            energy = _number(metadata, name)
            if wavelength is None and energy is not None:
                stated = energy * joule
                wavelength = PLANCK_TIMES_LIGHT_J_M / stated
        detector, image = (_pair(metadata, f"{what}_pixel_size_m") for what in ("detector", "object"))
        if image is None and wavelength and distance and detector and n_pixels:
            image = cast(
                tuple[float, float], tuple(wavelength * distance / (n_pixels * side) for side in detector)
            )
        far = metadata.get("far_field")
        return cls(wavelength, distance, detector, image, far if isinstance(far, bool) else None, stated)

    def fresnel_number(self, width_m: float) -> float | None:
        """Square of a width over wavelength times distance; None where these are not known."""
        if self.wavelength_m is None or self.distance_m is None:
            return None
        return width_m**2 / (self.wavelength_m * self.distance_m)

    @property
    def energy_eV(self) -> float | None:
        """Photon energy; None where the wavelength is not known."""
        return (
            None
            if self.wavelength_m is None
            else PLANCK_TIMES_LIGHT_J_M / self.wavelength_m / ELEMENTARY_CHARGE_C
        )


def _number(metadata: Mapping[str, Any], name: str) -> float | None:
    value = metadata.get(name)
    sound = (
        isinstance(value, int | float) and not isinstance(value, bool) and value > 0 and is_magnitude(value)
    )
    return float(cast(float, value)) if sound else None


def _pair(metadata: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    value = metadata.get(name)
    both = cast(list[Any], value) if isinstance(value, list) else [value, value]
    found = [_number({name: side}, name) for side in both]
    if len(found) != 2 or found[0] is None or found[1] is None:
        return None
    return found[0], found[1]
