"""Quantities as people write them, a number and its unit: `8 keV`, `75 um`, `21.4 mrad`."""

import re
from typing import Final

LENGTHS: Final = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "A": 1e-10, "pm": 1e-12}
"""Unit of length -> metres."""
ENERGIES: Final = {"eV": 1.602176634e-19, "keV": 1.602176634e-16, "J": 1.0}
"""Unit of energy -> joules."""
ANGLES: Final = {"rad": 1.0, "mrad": 1e-3}
"""Unit of angle -> radians."""

_WRITTEN: Final = r"(?a)([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z]+)"


def is_magnitude(value: float) -> bool:
    """Whether a number can be a length or an energy in SI units: products and ratios of a few are finite."""
    return value == 0 or 1e-40 < abs(value) < 1e40


def quantity(written: str, units: dict[str, float]) -> float | None:
    """Read one quantity.

    Args:
        written: A number and a unit, with or without a blank between them.
        units: Unit -> its value in the unit of the result.

    Returns:
        The value; None where the text is something else, or the value is beyond any magnitude.
    """
    found = re.fullmatch(_WRITTEN, written.strip())
    factor = units.get(found[2]) if found else None
    if found is None or factor is None:
        return None
    value = float(found[1]) * factor
    return value if is_magnitude(value) else None


def quantities(written: str, units: dict[str, float]) -> tuple[float, float] | None:
    """Read a quantity for rows and one for columns, `4 nm, 5 nm`, or one for both; None as of `quantity`."""
    found = [quantity(part, units) for part in written.split(",")]
    first, last = found[0], found[-1]
    return None if len(found) > 2 or first is None or last is None else (first, last)


def pair_of_numbers(written: str) -> tuple[float, float] | None:
    """Read two finite numbers, `120.5, 131`; None where the text is something else."""
    parts = written.split(",")
    try:
        first, last = map(float, parts)
    except ValueError:
        return None
    return (first, last) if abs(first) < float("inf") and abs(last) < float("inf") else None
