"""HDF5 scans whose numbers make no sense."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.faults.hostile_trees import CXI, write_cxi, write_product
from tests.faults.malformed_arrays import Malformed


def _tree(kind: str, change: Callable[[Any], Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = write_cxi(folder / "scan.cxi") if kind == "cxi" else write_product(folder / "product.h5")
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return write


def _replaced(name: str, value: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return change


def trees() -> Iterator[tuple[str, Malformed]]:
    for name in (CXI[2], CXI[4], CXI[5]):
        short = name.rpartition("/")[2]
        for value in (-1.0, 0.0, np.nan, np.inf, 1e30):
            answer = "orderly" if value == 1e30 else "refused"
            wrong = Malformed(_tree("cxi", _replaced(name, value)), answer, short)  # type: ignore[arg-type]
            yield f"CXI: {short} {value}", wrong
    basis = np.array([[0.0, -1.0], [-1.0, 0.0], [0.0, 0.0]])
    probe = np.ones((1, 1, 32, 32), np.complex64)
    for what, name, value in (
        ("basis vectors as columns", CXI[8], basis),
        ("basis vectors of zeros", CXI[8], np.zeros((2, 3))),
        ("basis vectors of NaN", CXI[8], np.full((2, 3), np.nan)),
        ("no illumination", CXI[3], None),
        ("an illumination of four axes", CXI[3], probe),
        ("translations of one axis", CXI[1], np.zeros((36, 1))),
        ("translations of NaN", CXI[1], np.full((36, 3), np.nan)),
        ("too few translations", CXI[1], np.zeros((3, 3))),
        ("a mask of another size", CXI[7], np.zeros((16, 16), np.uint32)),
        ("a mask everywhere", CXI[7], np.ones((32, 32), np.uint32)),
    ):
        yield f"CXI: {what}", Malformed(_tree("cxi", _replaced(name, value)), "orderly")
    near = Malformed(_tree("product", lambda file: file.attrs.update(far_field=False)), "orderly", "near|far")
    yield "product: near field", near
    for what, name, value in (
        ("indexes of no pattern", "probe_position_indexes", np.arange(36) + 1000),
        ("negative indexes", "probe_position_indexes", np.full(36, -1)),
        ("indexes twice", "probe_position_indexes", np.zeros(36, int)),
        ("fewer positions", "probe_position_x_m", np.zeros(3)),
    ):
        yield f"product: {what}", Malformed(_tree("product", _replaced(name, value)), "orderly")
