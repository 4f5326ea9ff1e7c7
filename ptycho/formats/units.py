"""Units as files write them: symbols, names, and letters of other alphabets."""

import unicodedata
from typing import Final

from ptycho.config.quantities import ANGLES, LENGTHS

UNIT_ATTRIBUTES: Final = ("units", "unit", "Units", "Unit", "UNITS", "UNIT")
"""Attributes in which files state the unit of an array."""

RECIPROCAL: Final = {
    f"{unit}{power}": 1 / value for unit, value in LENGTHS.items() for power in ("^-1", "-1")
} | {f"1/{unit}": 1 / value for unit, value in LENGTHS.items()}
"""Unit of spatial frequency -> 1/metres."""

OF_AXES: Final = frozenset({*LENGTHS, *RECIPROCAL, *ANGLES})
"""Units of the coordinates of a raster and its detector."""

_LETTERS: Final = {0x3BC: "u", 0x2212: "-", **dict.fromkeys(map(ord, "_$\\"))}
"""Micro and minus signs, as `NFKD` leaves them; older EMD files write `n_m`, and some programs LaTeX."""
_NAMES: Final = {
    "meter": "m", "centimeter": "cm", "millimeter": "mm", "micrometer": "um", "micron": "um", "mum": "um",
    "nanometer": "nm", "picometer": "pm", "angstrom": "A", "angstroem": "A", "ang": "A", "pixel": "px", "pix": "px",
    "ev": "eV", "electronvolt": "eV", "kev": "keV", "joule": "J",
}  # fmt: skip
"""Name of a unit, in lower case and of one -> its symbol."""
_SYMBOLS: Final = {unit.lower(): unit for unit in (*LENGTHS, "px") if unit != "A"}
"""Symbol in lower case, as some programs write it in capitals -> the symbol."""


def plain_unit(written: object) -> str:
    """The symbol of a unit where it has a name that is known; else the text as it is, without brackets."""
    parts = unicodedata.normalize("NFKD", str(written))
    found = "".join(part for part in parts if not unicodedata.combining(part))  # rings and dots of letters
    found = found.translate(_LETTERS).strip("[]() .")
    lower = found.lower()
    return _SYMBOLS.get(lower) or _NAMES.get(lower.removesuffix("s").replace("metre", "meter"), found)
