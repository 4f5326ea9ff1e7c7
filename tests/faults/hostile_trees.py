"""HDF5 files (ptychodus products, CXI) that attack their reader, or hold what nobody expects."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.faults.doors import INJECTED
from tests.faults.hostile_scans import Case, sound

PIXEL_M = 1e-8
DETECTOR = "entry_1/instrument_1/detector_1"
SOURCE = "entry_1/instrument_1/source_1"

CXI = (
    *("entry_1/data_1/data", "entry_1/sample_1/geometry_1/translation", f"{SOURCE}/energy"),
    *(
        f"{SOURCE}/illumination",
        f"{DETECTOR}/distance",
        f"{DETECTOR}/x_pixel_size",
        f"{DETECTOR}/y_pixel_size",
    ),
    *(f"{DETECTOR}/mask", f"{DETECTOR}/basis_vectors"),
)
"""Datasets of a CXI file."""
PRODUCT = ("probe_position_x_m", "probe_position_y_m", "probe_position_indexes", "probe", "object")
DIFFRACTION = ("patterns", "indexes", "bad_pixels")


def write_cxi(path: Path, **options: Any) -> Path:
    """A sound CXI file."""
    scan = sound()
    energy_j, distance_m, detector_m = 1.6e-15, 1.0, 1e-4
    wavelength_m = 6.62607015e-34 * 299792458.0 / energy_j
    pixel_m = wavelength_m * distance_m / (32 * detector_m)
    positions = np.stack([-scan["xcoords"], -scan["ycoords"], 0 * scan["xcoords"]], axis=1) * pixel_m
    with h5py.File(path, "w") as file:
        file.create_dataset(CXI[0], data=np.round(scan["diff3d"] ** 2).astype(np.uint16), **options)
        file.create_dataset(CXI[1], data=positions, **options)
        file[CXI[2]], file[CXI[4]] = energy_j, distance_m
        file.create_dataset(CXI[3], data=scan["probeGuess"], **options)
        file[CXI[5]] = file[CXI[6]] = detector_m
        file.create_dataset(CXI[7], data=np.zeros((32, 32), np.uint32), **options)
        file[CXI[8]] = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
    return path


def write_product(path: Path, **options: Any) -> Path:
    """A sound ptychodus product, with diffraction.h5 beside it."""
    scan = sound()
    n = len(scan["xcoords"])
    with h5py.File(path, "w") as file:
        for axis in "xy":
            places = (scan[f"{axis}coords"] - 39.5) * PIXEL_M
            file.create_dataset(f"probe_position_{axis}_m", data=places, **options)
        file["probe_position_indexes"] = np.arange(n)
        file.create_dataset("probe", data=scan["probeGuess"][None, None], **options)
        held = file.create_dataset("object", data=np.ones((1, 80, 80), np.complex64), **options)
        for name in ("pixel_width_m", "pixel_height_m"):
            held.attrs[name] = PIXEL_M
        held.attrs["center_x_m"] = held.attrs["center_y_m"] = 0.0
        file.attrs["probe_photon_count"] = 1e5
    with h5py.File(path.with_name("diffraction.h5"), "w") as file:
        file.create_dataset("patterns", data=np.round(scan["diff3d"] ** 2).astype(np.uint16), **options)
        file["indexes"] = np.arange(n)
        file["bad_pixels"] = np.zeros((32, 32), bool)
    return path


Change = Callable[[Any, str], None]


def _gone(change: Change) -> Change:
    def changed(file: Any, name: str) -> None:
        del file[name]
        change(file, name)

    return changed


def _nothing(file: Any, name: str) -> None:
    pass


def _link(link: Any) -> Change:
    def change(file: Any, name: str) -> None:
        file[name] = link

    return change


def _data(value: Any, **options: Any) -> Change:
    def change(file: Any, name: str) -> None:
        file.create_dataset(name, data=value, **options)

    return change


def _declared(shape: tuple[int, ...], dtype: str = "f4", **options: Any) -> Change:
    def change(file: Any, name: str) -> None:
        file.create_dataset(name, shape, dtype, chunks=tuple(min(length, 64) for length in shape), **options)

    return change


def _outside(file: Any, name: str) -> None:
    file.create_dataset(name, (36, 32, 32), "u1", external=[("/etc/hostname", 0, 36 * 1024)])


def _virtual(file: Any, name: str) -> None:
    layout = h5py.VirtualLayout((36, 32, 32), "f4")
    layout[...] = h5py.VirtualSource("/nowhere.h5", "data", (36, 32, 32))
    file.create_virtual_dataset(name, layout)


def _references(file: Any, name: str) -> None:
    file.create_dataset(name, data=np.array([file.ref] * 3, h5py.ref_dtype), dtype=h5py.ref_dtype)


def _ragged(file: Any, name: str) -> None:
    held = file.create_dataset(name, (36,), h5py.vlen_dtype(np.float32))
    held[0] = np.zeros(3)


CHANGES: dict[str, Change] = {
    "missing": _nothing,
    "a group": lambda file, name: file.create_group(name) and None,
    "a link to nothing": _link(h5py.SoftLink("/nowhere")),
    "a link to itself": lambda file, name: file.__setitem__(name, h5py.SoftLink(f"/{name}")),
    "a link to the root": _link(h5py.SoftLink("/")),
    "a link to a file that is none": _link(h5py.ExternalLink("/etc/passwd", "/x")),
    "a link to a file that is not there": _link(h5py.ExternalLink("nowhere.h5", "/x")),
    "text": _data("\x1b[31mtext"),
    "bytes": _data(np.array([b"a", b"b"])),
    "an escape in a list of text": _data([f"a\n{INJECTED}"] * 36),
    "objects": _references,
    "ragged": _ragged,
    "fields": _data(np.zeros(36, [("a", "f4"), ("b", "i4")])),
    "empty": _data(h5py.Empty("f4")),
    "no elements": _data(np.zeros((0, 0, 0), np.float32)),
    "NaN": _data(np.full((36, 32, 32), np.nan, np.float32)),
    "a number": _data(-1.0),
    "many axes": _data(np.zeros((1,) * 9)),
    "a petabyte that is not stored": _declared((10**9, 1024, 1024)),
    "a row of terabytes": _declared((10**12,)),
    "virtual, of a missing file": _virtual,
    "stored in a file that is none": _outside,
    "raw": _data(np.void(b"\0" * 8)),
    "times": _data(np.zeros((36, 32, 32), np.int64), dtype="i8"),
}


def _changed(kind: str, name: str, change: Change) -> Case:
    """A sound file one dataset of which is changed."""

    def make(folder: Path, _: Path) -> Path:
        path = write_cxi(folder / "scan.cxi") if kind == "cxi" else write_product(folder / "product.h5")
        place = path.with_name("diffraction.h5") if kind == "diffraction" else path
        with h5py.File(place, "r+") as file:
            _gone(change)(file, name)
        return path

    return make


def _attributes() -> Iterator[Case]:
    values: dict[str, Any] = {
        "text": "\x1b[31mten",
        "a list": np.zeros(3),
        "empty": h5py.Empty("f4"),
        "NaN": np.nan,
        "zero": 0.0,
        "negative": -1e-8,
        "infinite": np.inf,
    }
    for name in ("pixel_width_m", "pixel_height_m", "center_x_m"):
        for what, value in values.items():

            def make(folder: Path, _: Path, name: str = name, value: Any = value) -> Path:
                path = write_product(folder / "product.h5")
                with h5py.File(path, "r+") as file:
                    file["object"].attrs[name] = value
                return path

            yield f"product: attribute {name}: {what}", make
    for what, value in values.items():

        def counted(folder: Path, _: Path, value: Any = value) -> Path:
            path = write_product(folder / "product.h5")
            with h5py.File(path, "r+") as file:
                file.attrs["probe_photon_count"] = value
            return path

        yield f"product: attribute probe_photon_count: {what}", counted


def _trees() -> Iterator[Case]:
    for kind, names in (("cxi", CXI), ("product", PRODUCT), ("diffraction", DIFFRACTION)):
        for name in names:
            for what, change in CHANGES.items():
                yield f"{kind}: {name.rpartition('/')[2]}: {what}", _changed(kind, name, change)


def _groups() -> Iterator[Case]:
    for place in ("entry_1", SOURCE, DETECTOR):
        for what in ("text", "a link to nothing", "a link to itself", "a link to a file that is none"):
            yield f"cxi: {place}: {what}", _changed("cxi", place, CHANGES[what])

    def bomb(folder: Path, _: Path) -> Path:
        path = write_cxi(folder / "scan.cxi")
        with h5py.File(path, "r+") as file:
            del file[CXI[0]]
            data = file.create_dataset(
                CXI[0], (10**6, 32, 32), "u2", chunks=(1024, 32, 32), compression="gzip"
            )
            data[:1024] = 0
        return path

    yield "cxi: patterns that unpack to gigabytes", bomb

    def renamed(name: str) -> Callable[[Path, Path], Path]:
        def make(folder: Path, _: Path) -> Path:
            write_product(folder / "product.h5")
            with contextlib.suppress(OSError), h5py.File(folder / "product.h5", "r+") as file:
                file.move("probe", name)
            return folder / "product.h5"

        return make

    for name in ("\x1b[31mprobe", f"a\n{INJECTED}", "x" * 5000):
        yield f"product: a dataset called {name[:10]!r}", renamed(name)

    def alone(folder: Path, _: Path) -> Path:
        write_product(folder / "product.h5")
        (folder / "diffraction.h5").unlink()
        return folder / "product.h5"

    yield "product: without diffraction.h5", alone


TREES: tuple[Case, ...] = (*_trees(), *_attributes(), *_groups())
