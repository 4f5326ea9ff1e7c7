"""Whether patterns are logarithms of counts, as pictures of them are drawn: by their values."""

from typing import Final

import numpy as np

from ptycho.stored_array import Array

FEWEST: Final = 5
"""Different values that must be logarithms of whole numbers, and not whole themselves."""

ERROR: Final = 2.5e-7
"""Relative error of a logarithm in single precision."""

MOST: Final = 1e4
"""The largest whole number whose logarithm tells by it."""

BASES: Final = {
    "log10": (10.0, "10**patterns"),
    "log": (np.e, "np.exp(patterns)"),
    "log2": (2.0, "2**patterns"),
}
"""Name of a logarithm -> its base, and what undoes it."""


def logarithm_of(sample: Array) -> str | None:
    """The name of the logarithm of whole numbers that patterns are; None: they are none.

    Args:
        sample: real (k, N, N), some of them; values that are not finite and > 0 tell nothing.
    """
    for name, (base, _) in BASES.items():
        if _are_logarithms(sample[len(sample) // 2], base, 0) and _are_logarithms(sample, base, FEWEST):
            return name
    return None


def undone(name: str) -> str:
    """What to do about patterns that are such a logarithm."""
    back = BASES[name][1]
    return f"Write the counts to the file: {back}, or {back} - 1 if 1 was added to them before"


def _are_logarithms(values: Array, base: float, fewest: int) -> bool:
    found = np.unique(values[np.isfinite(values) & (values > 0)]).astype(np.float64)
    found = found[found <= np.log(MOST) / np.log(base)]
    if np.count_nonzero(found != np.rint(found)) < fewest:
        return False
    numbers = base**found
    error = ERROR * np.log(base) * found * numbers
    are_whole = bool((np.abs(numbers - np.rint(numbers)) <= error).all()) and bool((numbers > 1.5).all())
    multiples = found / found.min(initial=np.inf)
    return are_whole and (not fewest or bool((np.abs(multiples - np.rint(multiples)) > 1e-3).any()))
