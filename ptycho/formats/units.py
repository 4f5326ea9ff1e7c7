"""Units as files write them: symbols, names, and letters of other alphabets."""

import unicodedata
from typing import Final

from ptycho.config.quantities import ANGLES, LENGTHS

UNIT_ATTRIBUTES: Final = ("units", "unit", "Units")
"""Attributes in which files state the unit of an array."""

RECIPROCAL: Final = {
    f"{unit}{power}": 1 / value for unit, value in LENGTHS.items() for power in ("^-1", "-1")
} | {f"1/{unit}": 1 / value for unit, value in LENGTHS.items()}
"""Unit of spatial frequency -> 1/metres."""

OF_AXES: Final = frozenset({*LENGTHS, *RECIPROCAL, *ANGLES})
"""Units of the coordinates of a raster and its detector."""

_LETTERS: Final = {0xC5: "A", 0x3BC: "u", 0x2212: "-", ord("_"): None}
"""Angstrom, micro and minus signs, as `NFKC` leaves them; older EMD files write `n_m`."""
_NAMES: Final = {
    "meter": "m", "millimeter": "mm", "micrometer": "um", "micron": "um", "nanometer": "nm", "picometer": "pm",
    "angstrom": "A", "ang": "A", "pixel": "px", "ev": "eV", "kev": "keV", "joule": "J",
}  # fmt: skip
"""Name of a unit, in lower case and of one -> its symbol."""


def plain_unit(written: object) -> str:
    """The symbol of a unit where it has a name that is known; else the text as it is, without brackets."""
    found = unicodedata.normalize("NFKC", str(written)).translate(_LETTERS).strip().strip("[]")
    return _NAMES.get(found.lower().removesuffix("s").replace("metre", "meter"), found)
