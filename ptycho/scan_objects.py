"""What a scan says of its objects: which one a position belongs to, and what is known of it there."""

import logging
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ptycho.stored_array import Array, Stack

logger = logging.getLogger(__name__)


class Labels(NamedTuple):
    """Ground-truth object patches of a scan, each real (n, N, N); phase in radians."""

    amplitude: Stack
    phase: Stack


def object_index(scan_index: Array | None, n: int, origin: str) -> npt.NDArray[np.int64]:
    """Object of every position; numbers that all differ count patterns instead: then it is one object."""
    if scan_index is None:
        return np.zeros(n, dtype=np.int64)
    if n > 1 and len(np.unique(scan_index)) == n:
        logger.info(
            "%s: scan_index differs for every position: all positions are taken as one object.", origin
        )
        return np.zeros(n, dtype=np.int64)
    return scan_index.astype(np.int64)
