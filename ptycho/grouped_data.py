"""A scan as `ptycho.loader.load` takes it (historical names)."""

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ptycho.data_error import DataError, problem
from ptycho.stored_array import Stack

Floats = npt.NDArray[np.float64]


class GroupedData(NamedTuple):
    """A scan as `ptycho.loader.load` takes it."""

    amplitude: npt.NDArray[Any]
    """Float (n, N, N), photon**0.5."""
    positions_px: Floats
    """(n, 2), rows (y, x): a patch of N pixels around p begins at pixel p - N/2."""
    middle_px: Floats
    """Middle (y, x) of their bounding box, where a patch is centred on p."""


class Scan(Protocol):
    """What is asked of a `RawData`."""

    @property
    def patterns(self) -> Stack: ...
    @property
    def positions_px(self) -> Floats: ...
    def amplitude(self, index_array: npt.ArrayLike) -> npt.NDArray[Any]: ...


def grouped_data(scan: Scan, N: int, K: int, nsamples: int, gridsize: int) -> GroupedData:
    """See `RawData.generate_grouped_data`."""
    size = scan.patterns.shape[-1]
    for name, value, least in (("K", K, 0), ("nsamples", nsamples, 1), ("gridsize", gridsize, 1)):
        if value < least:
            raise DataError(problem(name, f"an integer >= {least}", str(value), "argument", "Raise it."))
    if size != N:
        raise DataError(problem("N", f"{size}, the side of the patterns", str(N), "argument", "Correct it."))
    low, high = scan.positions_px.min(axis=0), scan.positions_px.max(axis=0)
    return GroupedData(
        scan.amplitude(np.arange(len(scan.patterns))), scan.positions_px + 0.5, (low + high) / 2
    )
