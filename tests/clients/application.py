"""A simulated scan as ptychodus holds it, and its own ways to train and reconstruct."""

import configparser
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ptychodus.api.assemble import AssembledDiffractionData
from ptychodus.api.geometry import PixelGeometry
from ptychodus.api.io import save_diffraction_data, save_product
from ptychodus.api.object import Object, ObjectCenter
from ptychodus.api.probe import ProbeSequence
from ptychodus.api.probe_positions import ProbePosition, ProbePositionSequence
from ptychodus.api.product import Product, ProductMetadata
from ptychodus.api.reconstruct import ReconstructInput, TrainableReconstructor, TrainOutput
from ptychodus.api.settings import SettingsRegistry
from ptychodus.model import ModelCore
from ptychodus.model.ptychopinn_torch.core import PtychoPINNTorchReconstructorLibrary

from ptycho.raw_data import RawData

PIXEL_M = 1e-8
"""Side of an object pixel."""
ENERGY_EV = 1e4
WAVELENGTH_M = 1.239841984e-6 / ENERGY_EV
DISTANCE_M = 1.0

Settings = Mapping[str, Mapping[str, Any]]
"""Group of settings -> name -> value, as in the application's settings file."""

TINY: Settings = {
    "PtychoPINNTorchTraining": {"epochs": 2, "num_dataloader_workers": 0},
    "PtychoPINNTorchData": {"model_size": 64, "coordinate_subsampling_factor": 1},
    "PtychoPINNTorchModel": {"num_filters_scale": 1},
}


def merged(*parts: Settings) -> dict[str, dict[str, Any]]:
    """Settings, the later ones before the earlier."""
    result: dict[str, dict[str, Any]] = {}
    for part in parts:
        for group, values in part.items():
            result.setdefault(group, {}).update(values)
    return result


@dataclass
class Held:
    """A scan as the application holds it.

    Attributes:
        scan: what it was made from.
        product: positions, probes and a starting object whose middle is that of the scan.
        patterns: counts (n, N, N).
        bad_pixels: bool (N, N).
    """

    scan: RawData
    product: Product
    patterns: NDArray[Any]
    bad_pixels: NDArray[np.bool_]

    @property
    def middle_px(self) -> NDArray[np.float64]:
        """Midpoint of the positions' bounding box (y, x), in pixels of the true object."""
        positions = self.scan.positions_px - 0.5
        return (positions.min(axis=0) + positions.max(axis=0)) / 2

    def input(self) -> ReconstructInput:
        """What its reconstructors take."""
        return ReconstructInput(self.patterns, self.bad_pixels, self.product)

    def truth_like(self, found: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """The true object on the pixels of a reconstruction."""
        corner = np.round(self.middle_px - (np.array(found.shape) - 1) / 2).astype(int)
        rows, columns = (slice(c, c + n) for c, n in zip(corner, found.shape, strict=True))
        return self.scan.object_truth[rows, columns]


def held(
    scan: RawData,
    *,
    dtype: type = np.uint16,
    bad_pixels: NDArray[np.bool_] | None = None,
    known_object: bool = False,
    unit: float = 1.0,
) -> Held:
    """Put a scan into the application's classes.

    Args:
        scan: with its true object, or one of free space.
        dtype: of the counts.
        bad_pixels: bool (N, N); their counts are spoiled.
        known_object: start from the true object instead of free space.
        unit: factor of the probe, by which the object is divided.
    """
    counts = np.round(np.square(scan.amplitude(np.arange(len(scan))), dtype=np.float64)).astype(dtype)
    bad = np.zeros(counts.shape[1:], dtype=bool) if bad_pixels is None else bad_pixels
    counts[:, bad] = np.iinfo(np.uint16).max
    geometry = PixelGeometry(PIXEL_M, PIXEL_M)
    positions = scan.positions_px - 0.5
    shape = (scan.object_guess if scan.object_truth is None else scan.object_truth).shape
    middle = (positions.min(axis=0) + positions.max(axis=0)) / 2
    start = np.ones(shape, dtype=np.complex128)
    if known_object:
        start, middle = scan.object_truth.astype(np.complex128), (np.array(shape) - 1) / 2
    points = [ProbePosition(i, x * PIXEL_M, y * PIXEL_M) for i, (y, x) in enumerate(positions)]
    product = Product(
        metadata=ProductMetadata(
            name="scan",
            comments="",
            detector_distance_m=DISTANCE_M,
            photon_energy_eV=ENERGY_EV,
            probe_photon_count=float(counts[:, ~bad].sum(axis=1).mean()),
            exposure_time_s=1.0,
            mass_attenuation_m2_per_kg=0.0,
            tomography_angle_deg=0.0,
        ),
        probe_positions=ProbePositionSequence(points),
        probes=ProbeSequence(scan.probe.astype(np.complex128) * unit, None, geometry),
        object_=Object(start / unit, geometry, ObjectCenter(middle[1] * PIXEL_M, middle[0] * PIXEL_M)),
        losses=[],
    )
    return Held(scan, product, counts, bad)


def write_input(folder: Path, scan: Held, settings: Settings, mode: str = "Unsupervised") -> None:
    """Write the input folder of a batch run: data, product, training data, settings."""
    folder.mkdir(parents=True, exist_ok=True)
    side_m = WAVELENGTH_M * DISTANCE_M / (scan.patterns.shape[-1] * PIXEL_M)
    pixel = PixelGeometry(side_m, side_m)
    data = AssembledDiffractionData(np.arange(len(scan.patterns)), scan.patterns, pixel, scan.bad_pixels)
    save_diffraction_data(folder / "diffraction.h5", data)
    save_product(folder / "product.h5", scan.product)
    write_settings(folder / "settings.ini", merged(settings, {"Processing": {"algorithm": algorithm(mode)}}))


def write_settings(path: Path, settings: Settings) -> None:
    """Write a settings file."""
    written = configparser.ConfigParser(interpolation=None)
    written.optionxform = str  # type: ignore[method-assign,assignment]
    for group, values in settings.items():
        written[group] = {name: str(value) for name, value in values.items()}
    with path.open("w") as file:
        written.write(file)


def algorithm(mode: str) -> str:
    """The key of a reconstructor."""
    with ModelCore() as core:
        keys = list(core.processing_core.processing_api.available_reconstructors())
    return next(key for key in keys if "torch" in key.lower() and mode.lower() in key.lower())


def reconstructor(settings: Settings, folder: Path, mode: str = "Unsupervised") -> TrainableReconstructor:
    """A reconstructor of its library, with settings read from a file."""
    registry = SettingsRegistry()
    library = PtychoPINNTorchReconstructorLibrary(registry, is_developer_mode_enabled=False)
    folder.mkdir(parents=True, exist_ok=True)
    write_settings(folder / "settings.ini", settings)
    registry.open_settings(folder / "settings.ini")
    return next(found for found in library if found.name == mode)


@dataclass
class Outcome:
    """A training and a reconstruction through the library.

    Attributes:
        trained: the losses.
        found: the object, complex (H, W).
        used: the reconstructor.
    """

    trained: TrainOutput
    found: NDArray[np.complex64]
    used: TrainableReconstructor


def trained_and_reconstructed(
    folder: Path, scan: Held, settings: Settings = TINY, mode: str = "Unsupervised"
) -> Outcome:
    """Export, train, reconstruct, each in the process that the application starts for it."""
    used, output = trained_reconstructor(folder, scan, settings, mode)
    return Outcome(output, reconstructed(used, scan), used)


def trained_reconstructor(
    folder: Path, scan: Held, settings: Settings = TINY, mode: str = "Unsupervised"
) -> tuple[TrainableReconstructor, TrainOutput]:
    """A reconstructor that was trained on what it exported, below a folder."""
    used = reconstructor(settings, folder, mode)
    source = folder / "data"
    source.mkdir()
    used.export_training_data(source / "train.npz", scan.input())
    (output,) = used.train(source, folder / "out")
    return used, output


def reconstructed(used: TrainableReconstructor, scan: Held) -> NDArray[np.complex64]:
    """The object that a loaded or trained reconstructor finds."""
    (output,) = used.reconstruct(scan.input())
    return output.product.object_.get_layer(0)


def displacement(found: NDArray[Any], expected: NDArray[Any]) -> tuple[int, int]:
    """By how many pixels an image is displaced from another of its shape: the peak of their correlation."""
    spectra = (np.fft.fft2(image - image.mean()) for image in (found, expected))
    first, second = spectra
    peak = np.unravel_index(np.abs(np.fft.ifft2(first * second.conj())).argmax(), found.shape)
    row, column = (int(k) if k <= n // 2 else int(k) - n for k, n in zip(peak, found.shape, strict=True))
    return row, column


def likeness(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """How alike two images are, from 0 to 1, whatever their scale and overall phase.

    The pixels of the first that no patch reached, equal to that in its corner, do not count.
    """
    reached = np.abs(found - found[0, 0]) > 1e-6
    first, second = (image[reached] - image[reached].mean() for image in (found, expected))
    return float(np.abs(np.vdot(first, second)) / np.linalg.norm(first) / np.linalg.norm(second))


def batch(action: str, source: Path, target: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `ptychodus --batch`."""
    return subprocess.run(
        [sys.executable, "-m", "ptychodus", "--batch", action, "-i", str(source), "-o", str(target)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=900,
    )
