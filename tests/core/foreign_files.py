"""HDF5 and NPZ files of other layouts, written here, and the scan that is in them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptycho.config.data import DataConfig
from ptycho.raw_data import RawData

N_SCAN = (4, 5)
"""Scan rows and columns."""
N = 20
H, W = 24, 30
"""Of the detector."""
MIDDLE = (11, 16)
"""Row and column of the beam on it."""
PIXEL_M = 2e-8
"""Of the object, with all 24 rows: 1e-10 m * 1.2 m / (24 * 250 um)."""


def counts(seed: int = 3) -> np.ndarray:
    """Counts uint16 (20, 24, 30), with their light around `MIDDLE`."""
    rows, columns = np.indices((H, W))
    light = 200 * np.exp(-((rows - MIDDLE[0]) ** 2 + (columns - MIDDLE[1]) ** 2) / 18)
    return np.random.default_rng(seed).poisson(light, (N, H, W)).astype(np.uint16)


def positions_px() -> np.ndarray:
    """Positions float64 (20, 2), rows (y, x), in object pixels of the whole detector's rows."""
    y, x = np.meshgrid(*(np.arange(n) * 3.0 for n in N_SCAN), indexing="ij")
    return np.stack((y.reshape(-1), 1.5 * x.reshape(-1)), axis=1)


def write_hdf5(path: Path, **arrays: Any) -> Path:
    """Write arrays: `patterns` is at `/entry/patterns`, and so on."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            if array is not None:
                file[f"entry/{name}"] = array
    return path


def standard(path: Path, **changes: Any) -> Path:
    """A file with counts, positions y and x in metres, and nothing else."""
    where = positions_px() * PIXEL_M
    found = {"patterns": counts(), "y": where[:, 0], "x": where[:, 1]}
    return write_hdf5(path, **{**found, **changes})


NAMED = {"patterns": "/entry/patterns", "positions_y": "/entry/y", "positions_x": "/entry/x"}
"""The settings that name the arrays of `standard`."""
LENGTHS = {"wavelength": "1 A", "distance": "1.2 m", "detector_pixel": "250 um"}
SQUARE = {"crop": 20, "centre": "11, 16"}
ALL = NAMED | LENGTHS | SQUARE


def read(path: Path, **settings: Any) -> RawData:
    """A scan, with settings of `[data]`."""
    return RawData.from_file(path, reading=DataConfig(**settings))
