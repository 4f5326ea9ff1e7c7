"""A sound scan, files that hold it with a change, and what is said while they are read."""

import json
import logging

import numpy as np

from ptycho_torch.simulate import simulate_scan


def sound(domain="intensity", **options):
    options = {"N": 32, "n_positions": 60, "nphotons": 1e5, "seed": 1, "step_px": 5.0} | options
    return simulate_scan(domain=domain, **options)


SCAN = sound()


def write(path, scan=SCAN, **changes):
    arrays = {
        "diff3d": np.asarray(scan.patterns),
        "xcoords": scan.xcoords,
        "ycoords": scan.ycoords,
        "probeGuess": scan.probe,
        "metadata": np.array(json.dumps({"measurement_domain": scan.domain})),
    }
    arrays = {key: value for key, value in (arrays | changes).items() if value is not None}
    np.savez(path / "scan.npz", **arrays)
    return path / "scan.npz"


def hit(scan, place, counts):
    """The patterns of a scan, with so many counts more in one pixel (pattern, row, column)."""
    patterns = np.array(scan.patterns)
    patterns[place] += counts
    return patterns


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
