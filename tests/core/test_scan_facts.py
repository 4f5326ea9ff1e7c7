"""What is learnt about a scan before it is read."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho.config.data import DataConfig
from ptycho.raw_data import DataError, RawData
from ptycho.scan_facts import disagreement, infer_nphotons, infer_probe_size, scan_facts, scan_files


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def probe(*shape: int) -> np.ndarray:
    return np.ones(shape, dtype=np.complex64)


@pytest.mark.parametrize("shape", [(64, 64), (1, 48, 48), (3, 128, 128)])
def test_the_size_is_that_of_the_probe(shape: tuple[int, ...], tmp_path: Path):
    assert infer_probe_size(save(tmp_path / "a.npz", probeGuess=probe(*shape))) == shape[-1]


def test_the_header_is_enough(tmp_path: Path):
    whole = save(tmp_path / "whole.npz", probeGuess=probe(64, 64))
    with zipfile.ZipFile(whole) as archive:
        header = archive.read("probeGuess.npy")[:128]
    with zipfile.ZipFile(tmp_path / "header.npz", "w") as archive:
        archive.writestr("probeGuess.npy", header)
    assert infer_probe_size(tmp_path / "header.npz") == 64


@pytest.mark.parametrize("shape", [(), (64,), (64, 32), (0, 0), (2, 2, 64, 64)])
def test_a_probe_of_another_shape_is_refused(shape: tuple[int, ...], tmp_path: Path):
    path = save(tmp_path / "a.npz", probeGuess=probe(*shape))
    with pytest.raises(
        DataError, match=r"probeGuess: expected an array \(N, N\) or \(modes, N, N\)"
    ) as caught:
        infer_probe_size(path)
    assert str(path) in str(caught.value)


def test_without_a_probe_the_size_is_that_of_the_patterns(tmp_path: Path):
    assert infer_probe_size(save(tmp_path / "a.npz", diff3d=np.ones((2, 64, 64)))) == 64
    with pytest.raises(DataError, match=r"got none from .*set N"):
        infer_probe_size(save(tmp_path / "b.npz", xcoords=np.ones(2)))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_npz_is_refused(content: bytes, tmp_path: Path):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="scan file: expected a whole NPZ"):
        infer_probe_size(path)


def test_a_missing_file_is_not_found(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        infer_probe_size(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({}, None),
        ({"nphotons": np.array(1e6)}, 1e6),
        ({"nphotons": np.array(1000)}, 1000.0),
        ({"metadata": np.array(json.dumps({"nphotons": 1e5}))}, 1e5),
        ({"metadata": np.array(json.dumps({"energy_eV": 9000}))}, None),
        ({"nphotons": np.array(1e6), "metadata": np.array(json.dumps({"nphotons": 1e5}))}, 1e6),
    ],
)
def test_the_photon_number_is_as_stated(arrays: dict[str, Any], expected: float | None, tmp_path: Path):
    assert infer_nphotons(save(tmp_path / "a.npz", probeGuess=probe(64, 64), **arrays)) == expected


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"nphotons": np.array(-1.0)}, "nphotons: .*got -1.0"),
        ({"nphotons": np.array(np.nan)}, "nphotons: .*got nan"),
        ({"nphotons": np.array(True)}, "nphotons: .*got dtype bool"),
        ({"nphotons": np.array([1.0, 2.0])}, r"nphotons: .*got shape \(2,\)"),
        ({"nphotons": np.array({"pickled": 1}, dtype=object)}, "nphotons: expected a plain array"),
        ({"metadata": np.array("{")}, r"metadata: .*got '\{'"),
        ({"metadata": np.array("[1]")}, r"metadata: .*got '\[1\]'"),
        ({"metadata": np.array("null")}, "metadata: .*got 'null'"),
        ({"metadata": np.array(5)}, r"metadata: .*got dtype int64, shape \(\)"),
        (
            {"metadata": np.array(json.dumps({"nphotons": "many"}))},
            "metadata 'nphotons': .*got 'many'",
        ),
    ],
)
def test_a_photon_number_that_is_none_is_refused_as_when_the_scan_is_read(
    arrays: dict[str, Any], complaint: str, tmp_path: Path
):
    path = save(tmp_path / "a.npz", **arrays)
    for read in (infer_nphotons, RawData.from_file):
        with pytest.raises(DataError) as caught:
            read(path)
        assert any(re.match(complaint, line) and str(path) in line for line in str(caught.value).splitlines())


@pytest.mark.parametrize("name", ["metadata", "nphotons", "probeGuess"])
@pytest.mark.parametrize("save_as", [np.savez, np.savez_compressed])
def test_a_damaged_member_is_refused(save_as: Callable[..., None], name: str, tmp_path: Path):
    path = tmp_path / "a.npz"
    save_as(path, probeGuess=probe(64, 64), nphotons=1e4, metadata=json.dumps({"nphotons": 1e4}))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
    start = info.header_offset + 50 + len(info.filename)  # past the local header and its extra field
    content[start : start + info.compress_size] = bytes(info.compress_size)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"expected (a|the) "):
        scan_facts(path)


@pytest.mark.parametrize(
    ("name", "place"), [("product.h5", "patterns"), ("scan.cxi", "entry_1/data_1/data"), ("x.h5", "a/b")]
)
def test_no_pattern_of_an_hdf5_file_is_read(name: str, place: str, tmp_path: Path):
    with h5py.File(tmp_path / name, "w") as file:
        patterns = file.create_dataset(place, shape=(10**6, 96, 96), dtype=np.float32)
        patterns[7] = 1  # of 40 GB, in a file with holes
        if name == "product.h5":
            file["indexes"] = np.arange(3)
            file.attrs["probe_photon_count"] = 5000.0
    facts = scan_facts(tmp_path / name, DataConfig(patterns=place))
    assert facts == (tmp_path / name, 96, 5000.0 if name == "product.h5" else None)


@pytest.mark.parametrize("name", ["product.h5", "scan.cxi"])
def test_an_hdf5_file_without_patterns_is_refused(name: str, tmp_path: Path):
    h5py.File(tmp_path / name, "w").close()
    with pytest.raises(DataError, match=r"patterns: .*got none \(the file is empty\)"):
        scan_facts(tmp_path / name)


def test_a_folder_is_its_npz_files_in_order(tmp_path: Path):
    for name in ("b.npz", "a.npz", "product.h5"):
        (tmp_path / name).touch()
    assert [path.name for path in scan_files(tmp_path)] == ["a.npz", "b.npz"]


@pytest.mark.parametrize("name", ["", "nowhere.npz"])
def test_nothing_there_is_not_found(name: str, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="Check the path"):
        scan_files(tmp_path / name)


def test_scans_that_differ_are_named_with_their_values(tmp_path: Path):
    first = scan_facts(save(tmp_path / "a.npz", probeGuess=probe(64, 64)))
    second = scan_facts(save(tmp_path / "b.npz", probeGuess=probe(32, 32)))
    assert disagreement([first, first], "n_pixels") is None
    assert disagreement([first, second], "n_pixels") == f"64 in {first.path} and 32 in {second.path}"


def test_a_path_that_is_not_there_is_spelled_out(tmp_path: Path):
    with pytest.raises(FileNotFoundError) as caught:
        scan_files(tmp_path / "a\x1b[31m\nb.npz")
    assert r"a\x1b[31m\nb.npz: expected a file" in str(caught.value)
