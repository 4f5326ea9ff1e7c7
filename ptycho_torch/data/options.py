"""What the data configuration of this backend says beyond the canonical one: groups, probe guess, labels."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ptycho.grouping import Neighborhood
from ptycho.raw_data import Labels, RawData
from ptycho_torch.config_params import DataConfig

SAMPLE = 64
"""Patterns whose mean tells the peak of the far field."""


def neighborhood_of(data: DataConfig) -> Neighborhood:
    """Which neighbours form groups, and where their centres lie."""
    return Neighborhood(
        function=data.neighbor_function,
        pool_quadrant=data.K_quadrant,
        distances_px=(data.min_neighbor_distance, data.max_neighbor_distance),
        rectangular=data.scan_pattern == "Rectangular",
        lower=(data.y_bounds[0], data.x_bounds[0]),
        upper=(data.y_bounds[1], data.x_bounds[1]),
    )


def with_probe_options(scan: RawData, data: DataConfig) -> RawData:
    """A scan whose probe guess is scaled, and freed of its linear phase, as a configuration asks.

    What is known of the object is scaled by the inverse.
    """
    if data.probe_ramp_removal:
        scan = dataclasses.replace(scan, probe=without_ramp(scan.probe))
    if data.data_scaling == "Max":
        probe = scaled_to_peak(scan.probe, scan)
        scan = _with_probe(scan, probe, float(np.linalg.norm(scan.probe) / np.linalg.norm(probe)))
    return scan


def _with_probe(scan: RawData, probe: NDArray[np.complex64], factor: float) -> RawData:
    """A scan with another probe, and its objects and labels times a factor."""
    scaled = {
        name: None if known is None else (known * factor).astype(np.complex64)
        for name, known in (("object_guess", scan.object_guess), ("object_truth", scan.object_truth))
    }
    held = scan.labels
    labels = None if held is None else Labels((held.amplitude * factor).astype(np.float32), held.phase)
    return dataclasses.replace(scan, probe=probe, labels=labels, **scaled)


def without_ramp(probe: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Remove the linear phase of a probe: the centre of mass of its far field comes to frequency zero.

    Args:
        probe: complex (modes, N, N).

    Returns:
        Complex64 (modes, N, N), of equal modulus.
    """
    power = np.square(np.abs(np.fft.fft2(probe))).sum(axis=0)
    n_pixels = probe.shape[-1]
    turns = np.exp(2j * np.pi * np.fft.fftfreq(n_pixels))
    # the mean on a circle: frequencies are periodic
    slopes = [np.angle((power.sum(axis=other) * turns).sum()) for other in (1, 0)]
    place = np.arange(n_pixels)
    ramp = np.exp(-1j * slopes[0] * place)[:, None] * np.exp(-1j * slopes[1] * place)[None]
    return (probe * ramp).astype(np.complex64)


def scaled_to_peak(probe: NDArray[np.complex64], scan: RawData) -> NDArray[np.complex64]:
    """Scale a probe so that its far field peaks as high as the mean pattern of a scan."""
    sample = np.unique(np.linspace(0, len(scan) - 1, SAMPLE).astype(np.int64))
    measured = np.square(scan.amplitude(sample), dtype=np.float64).mean(axis=0).max()
    expected = np.square(np.abs(np.fft.fft2(probe, norm="ortho"))).sum(axis=0).max()
    return (probe * np.sqrt(measured / expected)).astype(np.complex64)
