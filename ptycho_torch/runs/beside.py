"""Several reconstructions of one scan in one picture, beside the known object."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ptycho.raw_data import DataError, RawData
from ptycho_torch.reassembly import Reconstruction
from ptycho_torch.runs.figures import Compared, Placed, save_comparison
from ptycho_torch.runs.metrics import compare


def save_beside(path: Path, scan: RawData, found: Mapping[str, Reconstruction]) -> None:
    """Draw reconstructions of a scan, all on the same pixels: those that every one of them has light on.

    Args:
        path: PNG to write.
        scan: with a known object.
        found: name -> reconstruction at the positions of the scan, from above to below.

    Raises:
        DataError: no object is known, or they share too few pixels.
    """
    if scan.object_truth is None:
        raise DataError(f"{scan.path or 'scan'}: objectTruth: expected a known object; got none.")
    lit = [one.coverage >= 0.5 * np.median(one.coverage[one.coverage > 0]) for one in found.values()]
    common = np.logical_and.reduce(lit).astype(np.float32)
    shown = [
        Compared(name, compare(one.canvas, scan.object_truth, one.canvas_corner_px, common), one.probe)
        for name, one in found.items()
    ]
    save_comparison(path, shown, scan.probe_truth, Placed("Where all have light"))
