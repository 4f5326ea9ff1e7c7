"""Arrays in memory as the data contract has them in a file."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ptycho.data_error import DataError, problem
from ptycho.npz_files import ScanFile
from ptycho.scan_background import with_counts
from ptycho.scan_masks import as_plain
from ptycho.stated_lengths import with_sound_lengths
from ptycho.stored_array import Array

ORIGIN = "scan"
"""What messages call a scan in memory."""


def columns_of(positions_px: npt.ArrayLike) -> dict[str, Array]:
    """Positions, rows (y, x) of object pixels, as columns and rows apart.

    Raises:
        DataError: they are of another shape than (n, 2).
    """
    positions = np.asanyarray(positions_px)
    if positions.ndim != 2 or positions.shape[1] != 2:
        got, advice = f"shape {positions.shape}", "Stack y and x."
        raise DataError(problem("positions_px", "rows (y, x), shape (n, 2)", got, ORIGIN, advice))
    return {"ycoords": positions[:, 0], "xcoords": positions[:, 1]}


def scan_of_arrays(given: Mapping[str, npt.ArrayLike | None], domain: str) -> ScanFile:
    """A scan in memory, with verdicts on counts below 0 and on lengths in its metadata.

    Its patterns are kept, or copied where counts below 0 become 0 (`ptycho.scan_background`).

    Args:
        given: by their key in the data contract; None: not given.
        domain: 'amplitude' or 'intensity' where it is set; 'auto' leaves it to the metadata.

    Raises:
        DataError: values of other arrays than the patterns are masked.
    """
    arrays = {key: np.asanyarray(value) for key, value in given.items() if value is not None}
    return with_sound_lengths(with_counts(as_plain(arrays, ORIGIN), domain), None)
