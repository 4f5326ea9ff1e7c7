"""What other programs read of a reconstruction: a ptychodus product, CXI, and 32-bit TIFF for ImageJ.

All lengths are in metres, with the axes of CXI and of ptychodus: x along columns, y along rows, downwards.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.restoration import unwrap_phase

from ptycho.atomic import atomic_write
from ptycho.config.canonical import InferenceConfig
from ptycho.config.errors import printable
from ptycho.config.solver import SolverConfig
from ptycho.data_error import DataError, problem
from ptycho.geometry import ELEMENTARY_CHARGE_C, Geometry
from ptycho.raw_data import RawData
from ptycho.version import installed_version
from ptycho_torch.runs.metrics import phase_ramp
from ptycho_torch.runs.product import Product

PRODUCT: Final = "reconstruction.h5"
CXI: Final = "reconstruction.cxi"

SMALLEST_TIFF_PIXEL_M: Final = 1e-15
"""The pixels in a micrometre are a number of 32 bits in a TIFF."""

CENTRED_PIXEL: Final = 0.5
"""Here the patch around position p begins at pixel p - N/2; with ptychodus it is centred on p, so that p - 1/2 says the
same there."""


@dataclass(frozen=True)
class Export:
    """What is written for other programs.

    Attributes:
        format: 'h5', 'cxi', 'tiff', 'all' or 'none'.
        unwrap_phase: whether the phase of a TIFF goes on where it would jump by a turn.
        remove_ramp: whether the linear phase ramp, which no pattern tells, is taken off the object.
    """

    format: str = "none"
    unwrap_phase: bool = False
    remove_ramp: bool = False

    @property
    def writers(self) -> Sequence[Callable[[Path, Product], None]]:
        """Functions that write into a folder."""
        known: dict[str, Callable[[Path, Product], None]] = {
            "h5": write_product,
            "cxi": write_cxi,
            "tiff": self._write_tiffs,
        }
        return [writer for name, writer in known.items() if self.format in (name, "all")]

    def refuse(self, scans: Sequence[RawData]) -> None:
        """Refuse a format that holds lengths for a scan whose lengths are not known, before it is reconstructed.

        Raises:
            DataError: the size of an object pixel is not known.
        """
        if self.format not in ("h5", "cxi", "all"):
            return
        problems = [
            problem(
                f"save {self.format}",
                "a scan with the size of an object pixel, or with energy, distance and detector pixel",
                "none of it",
                printable(str(scan.path or "scan")),
                "Add them to its metadata, or save tiff.",
            )
            for scan in scans
            if Geometry.of(scan.metadata, scan.patterns.shape[-1]).object_pixel_m is None
        ]
        if problems:
            raise DataError(*problems)

    def write(self, folder: Path, product: Product) -> None:
        """Write a product into a folder."""
        if self.remove_ramp:
            product = without_ramp(product)
        for writer in self.writers:
            writer(folder, product)

    def _write_tiffs(self, folder: Path, product: Product) -> None:
        write_tiffs(folder, product, unwrap=self.unwrap_phase)


def export_of(config: InferenceConfig | SolverConfig) -> Export:
    """What the settings of a reconstruction ask for."""
    return Export(config.save, config.unwrap_phase, config.remove_ramp)


def without_ramp(product: Product) -> Product:
    """The product with an object whose phase is as level as a linear ramp, and a constant, can make it."""
    seen = np.where(product.coverage > 0, product.object, 0).astype(np.complex128)
    level = phase_ramp(seen, np.abs(seen).astype(np.complex128))
    level = level * np.exp(-1j * np.angle((seen * level).sum()))
    turned = np.where(product.coverage > 0, product.object * level, product.object)
    return replace(product, object=turned.astype(np.complex64))


def phase_of(product: Product, *, unwrap: bool) -> NDArray[np.float32]:
    """Phase of the object in radians, float32 (H, W), NaN where nothing was seen."""
    unseen = product.coverage <= 0
    phase = np.angle(product.object)
    if unwrap:
        phase = np.ma.getdata(unwrap_phase(np.ma.array(phase, mask=unseen), rng=0))
    return np.where(unseen, np.nan, phase).astype(np.float32)


def write_tiffs(folder: Path, product: Product, *, unwrap: bool) -> None:
    """Write object_amplitude.tif, object_phase.tif (H, W), probe_amplitude.tif and probe_phase.tif (modes, N, N).

    32-bit numbers, as ImageJ opens them, with the size of a pixel where it is known and a TIFF can hold it; NaN where
    nothing was seen.

    Args:
        folder: to write into.
        product: what was found.
        unwrap: whether the phase of the object is unwrapped.
    """
    amplitude = np.where(product.coverage > 0, np.abs(product.object), np.nan)
    images = {
        "object_amplitude": amplitude,
        "object_phase": phase_of(product, unwrap=unwrap),
        "probe_amplitude": np.abs(product.probe),
        "probe_phase": np.angle(product.probe),
    }
    scale: dict[str, Any] = {}
    if product.pixel_m is not None and min(product.pixel_m) > SMALLEST_TIFF_PIXEL_M:
        rows, columns = (1e-6 / side for side in product.pixel_m)
        scale = {"resolution": (columns, rows), "metadata": {"unit": "um"}}
    for name, image in images.items():
        content = io.BytesIO()
        tifffile.imwrite(content, image.astype(np.float32), imagej=True, **scale)
        with atomic_write(folder / f"{name}.tif") as file:
            file.write(content.getbuffer())


def write_product(folder: Path, product: Product) -> None:
    """Write reconstruction.h5, a product of ptychodus; what is not known is 0 there."""
    pixel, (height, width) = _pixel(product), product.object.shape
    places = (product.positions_px - CENTRED_PIXEL) * pixel
    middle = (np.array(product.corner_px) + (np.array([height, width]) - 1) / 2) * pixel
    sides = {"pixel_height_m": pixel[0], "pixel_width_m": pixel[1]}
    with atomic_write(folder / PRODUCT) as file, h5py.File(file, "w") as written:
        written.attrs.update(
            {
                "name": product.name,
                "comments": f"ptychopinn {installed_version()}",
                "detector_object_distance_m": product.geometry.distance_m or 0.0,
                "photon_energy_eV": product.geometry.energy_eV or 0.0,
                "probe_photon_count": float(np.square(np.abs(product.probe), dtype=np.float64).sum()),
                **dict.fromkeys(
                    ("exposure_time_s", "mass_attenuation_m2_per_kg", "tomography_angle_deg"), 0.0
                ),
                **dict.fromkeys(("focus_object_distance_m", "tilt_angle_deg"), 0.0),
                "far_field": True,
            }
        )
        written["probe_position_indexes"] = product.rows
        written["probe_position_y_m"], written["probe_position_x_m"] = places.T
        if product.intensities is not None:
            power = written.attrs["probe_photon_count"]
            written["probe_photon_counts"] = power * product.intensities
        written["probe"] = product.probe[None]
        written["probe"].attrs.update(sides)
        written["object"] = product.object[None]
        written["object"].attrs.update({**sides, "center_y_m": middle[0], "center_x_m": middle[1]})
        for name in ("object_layer_spacing_m", "loss_epochs", "loss_values"):
            written[name] = np.zeros(0)


def write_cxi(folder: Path, product: Product) -> None:
    """Write reconstruction.cxi: the object as image 1 with its mask (1: not seen), the probe as the illumination."""
    pixel, geometry = _pixel(product), product.geometry
    with atomic_write(folder / CXI) as file, h5py.File(file, "w") as written:
        written["cxi_version"], written["number_of_entries"] = 160, 1
        entry = written.create_group("entry_1")
        entry["title"], entry["sample_1/name"] = product.name, product.name
        entry["process_1/program"], entry["process_1/version"] = "ptychopinn", installed_version()
        image = entry.create_group("image_1")
        image["data"], image["mask"] = product.object, (product.coverage <= 0).astype(np.uint32)
        image["data_space"], image["data_type"] = "real", "transmission"
        size = np.array(product.object.shape) * pixel
        image["image_size"] = [size[1], size[0], 0.0]
        image["pixel_size"] = [pixel[1], pixel[0]]
        image["corner"] = np.array(product.corner_px)[::-1] * pixel[::-1]
        places = product.positions_px[:, ::-1] * pixel[::-1]
        entry["sample_1/geometry_1/translation"] = np.column_stack([places, np.zeros(len(places))])
        source = entry.create_group("instrument_1/source_1")
        source["illumination"], source["illumination_powers"] = product.probe, product.probe_powers
        if product.intensities is not None:
            source["intensities"] = product.intensities
        if geometry.energy_eV is not None:
            source["energy"] = geometry.energy_eV * ELEMENTARY_CHARGE_C
            source["wavelength"] = geometry.wavelength_m
        detector = entry.create_group("instrument_1/detector_1")
        if geometry.distance_m is not None:
            detector["distance"] = geometry.distance_m
        for axis, side in zip("yx", geometry.detector_pixel_m or (), strict=False):
            detector[f"{axis}_pixel_size"] = side


def _pixel(product: Product) -> NDArray[np.float64]:
    """Side of an object pixel in metres, rows and columns."""
    if product.pixel_m is None:
        raise ValueError("a product without the size of a pixel: refuse it before it is reconstructed")
    return np.array(product.pixel_m)
