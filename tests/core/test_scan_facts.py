"""What is learnt about a scan before it is read."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho.raw_data import DataError
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


def test_a_scan_without_probe_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"got none from .*set N"):
        infer_probe_size(save(tmp_path / "a.npz", diff3d=np.ones((2, 64, 64))))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_npz_is_refused(content: bytes, tmp_path: Path):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="nothing readable"):
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
    "arrays",
    [
        {"nphotons": np.array(-1.0)},
        {"nphotons": np.array(np.nan)},
        {"nphotons": np.array(True)},
        {"nphotons": np.array([1.0, 2.0])},
        {"nphotons": np.array({"pickled": 1}, dtype=object)},
        {"metadata": np.array("{")},
        {"metadata": np.array("[1]")},
        {"metadata": np.array(json.dumps({"nphotons": "many"}))},
    ],
)
def test_a_photon_number_that_is_none_is_refused(arrays: dict[str, Any], tmp_path: Path):
    path = save(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match="nphotons: expected") as caught:
        infer_nphotons(path)
    assert str(path) in str(caught.value)


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
