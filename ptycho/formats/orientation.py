"""The eight ways to turn and mirror scan positions."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

Matrix = tuple[tuple[int, int], tuple[int, int]]

ORIENTATIONS: Final[Mapping[str, Matrix]] = {
    "identity": ((1, 0), (0, 1)),
    "flip-x": ((1, 0), (0, -1)),
    "flip-y": ((-1, 0), (0, 1)),
    "rotate-180": ((-1, 0), (0, -1)),
    "transpose": ((0, 1), (1, 0)),
    "rotate-90": ((0, 1), (-1, 0)),
    "rotate-270": ((0, -1), (1, 0)),
    "anti-transpose": ((0, -1), (-1, 0)),
}
"""Word -> matrix that takes (y, x) as they stand to those of the object: `flip-x` changes the sign of x, `transpose`
swaps both, `rotate-90` gives (x, -y)."""


def oriented(positions: npt.NDArray[np.float64], orientation: str) -> npt.NDArray[np.float64]:
    """Positions in another orientation.

    Args:
        positions: float64 (n, 2), rows (y, x), in any unit.
        orientation: one of `ORIENTATIONS`.
    """
    return positions @ np.array(ORIENTATIONS[orientation], dtype=np.float64).T
