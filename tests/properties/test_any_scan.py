"""Whatever a scan file holds, only DataError and ConfigError come out of reading it."""

import functools
import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ptycho.config.errors import ConfigError
from ptycho.raw_data import DataError, RawData
from ptycho.scan_facts import scan_facts
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.simulate import simulate_scan
from tests.properties.written import examples

pytestmark = pytest.mark.usefixtures("legacy")

KEYS = (
    *("diff3d", "diffraction", "xcoords", "ycoords", "probeGuess", "objectGuess", "metadata", "bad_pixels"),
    *(
        "holdout",
        "half",
        "scan_index",
        "xcoords_start",
        "ycoords_start",
        "label_amp",
        "label_phase",
        "nphotons",
    ),
)
DTYPES = ("?", "i1", "u2", "i8", "f2", "f4", "f8", "c8", "c16", "U3", "S3", "O")
odd_array = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(
        dtype,
        arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        elements=st.none() if dtype == "O" else None,
    )
)
metadata = st.text().map(np.array) | st.sampled_from(
    [np.array(text) for text in ("{}", "[]", '{"nphotons": -1}', '{"nphotons": "x"}', '{"domain": 3}', "{")]
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@functools.cache
def scan() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "scan.npz"
        simulate_scan(N=32, n_positions=4).to_file(path)
        with np.load(path) as file:
            return dict(file)


@functools.cache
def whole() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **scan())
    return buffer.getvalue()


def read_every_way(path: Path) -> None:
    for read in (
        RawData.from_file,
        scan_facts,
        lambda file: create_training_payload(file, file.parent / "out", {"n_groups": None}),
    ):
        with suppress(DataError, ConfigError):
            read(path)


@examples(0.5)
@given(
    st.dictionaries(st.sampled_from(KEYS), odd_array | metadata, max_size=3), st.sets(st.sampled_from(KEYS))
)
@example({"label_amp": np.zeros((1, 0, 0))}, {"diff3d"})
@example({"scan_index": np.zeros(0, dtype=np.float16)}, {"diff3d"})
def test_odd_arrays_raise_nothing_else(folder: Path, odd: dict[str, Any], missing: set[str]):
    kept = {name: array for name, array in scan().items() if name not in missing}
    path = folder / "odd.npz"
    np.savez(path, **(kept | odd))
    read_every_way(path)


@examples(0.5)
@given(
    st.binary(),
    st.integers(0, 2**16),
    st.booleans(),
    st.integers(0, 255) | st.sampled_from(b"()[]{}'#,"),
    st.sampled_from([".npz", ".h5", ".cxi"]),
)
@example(b"", 323, False, 127, ".npz")
def test_damaged_files_raise_nothing_else(
    folder: Path, content: bytes, place: int, in_header: bool, byte: int, suffix: str
):
    damaged = bytearray(whole())
    if in_header:
        starts = [found.start() for found in re.finditer(b"\x93NUMPY", damaged)]
        place = starts[place % len(starts)] + place // len(starts) % 90
    damaged[place % len(damaged)] = byte
    path = folder / f"damaged{suffix}"
    for written in (content, bytes(damaged), bytes(damaged[: place % len(damaged)])):
        path.write_bytes(written)
        read_every_way(path)
