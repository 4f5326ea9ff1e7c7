"""The arrays of a small scan, and files that hold them."""

import numpy as np


def scan_arrays(n=6, size=8, seed=0):
    """Contract arrays of a scan: amplitudes float32, probe in photon scale."""
    rng = np.random.default_rng(seed)
    probe = (rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))).astype(np.complex64)
    amplitude = np.sqrt(rng.poisson(50.0, (n, size, size))).astype(np.float32)
    probe *= np.sqrt((amplitude.astype(float) ** 2).sum() / n / (np.abs(probe) ** 2).sum())
    return {
        "diff3d": amplitude,
        "xcoords": rng.uniform(10, 30, n),
        "ycoords": rng.uniform(10, 30, n),
        "probeGuess": probe,
    }


def write(path, **arrays):
    """Write arrays to an NPZ file; returns its path."""
    np.savez(path, **arrays)
    return path


AMPLITUDE = scan_arrays()["diff3d"]
COMPLEX = scan_arrays()["probeGuess"]
