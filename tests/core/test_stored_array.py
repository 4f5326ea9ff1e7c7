"""Patterns that stay in their file: indexed like an array, and refused where the file changes under them."""

import os
import pickle
import subprocess
import sys
import tracemalloc

import h5py
import numpy as np
import pytest

from ptycho import pattern_statistics
from ptycho.config.data import DataConfig
from ptycho.formats import frames
from ptycho.raw_data import DataError, RawData
from ptycho.stored_array import StoredArray, silenced
from tests.core.scan_arrays import scan_arrays, write

ARRAYS = scan_arrays(n=12)
PATTERNS = ARRAYS["diff3d"]


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "scan.npz", **ARRAYS)


@pytest.fixture
def stored(path):
    return RawData.from_file(path).patterns


@pytest.mark.parametrize(
    "key",
    [
        *(0, -1, np.int64(3), slice(None), slice(2, 9), slice(9, 2, -2), slice(4, 4), Ellipsis, None),
        *([3, 1, 1, 11], [4, 5, 6], np.array([], int), np.array([[0, 5], [7, 7]]), PATTERNS[:, 0, 0] > 7),
        *((2, 3, 4), (slice(None), 2, 3), ([1, 5], slice(2, 4), 7), (Ellipsis, 0), (slice(None), None)),
        *((slice(None), PATTERNS[0] > 7), ([1, 2], [3, 4], [5, 6]), (3, [1, 2]), PATTERNS > 7, ()),
    ],
    ids=repr,
)
def test_an_index_gives_what_it_gives_of_an_array(stored, key):
    assert isinstance(stored, StoredArray)
    found = stored[key]
    np.testing.assert_array_equal(found, PATTERNS[key])
    assert np.shape(found) == np.shape(PATTERNS[key])


@pytest.mark.parametrize("key", [12, -13, [0, 12], "0", 1.5])
def test_a_wrong_index_is_an_index_error(stored, key):
    with pytest.raises(IndexError):
        stored[key]


def test_it_computes_like_an_array(stored):
    np.testing.assert_array_equal(np.sqrt(stored), np.sqrt(PATTERNS))
    np.testing.assert_array_equal(2 * stored + stored, 3 * PATTERNS)
    np.testing.assert_array_equal(stored.mean(axis=0), PATTERNS.mean(axis=0))
    np.testing.assert_array_equal(stored.T, PATTERNS.T)
    assert (stored.ndim, stored.size, stored.nbytes) == (3, PATTERNS.size, PATTERNS.nbytes)
    assert float(np.sum(stored)) == float(np.sum(PATTERNS))
    assert not hasattr(stored, "no_such_name")


def test_silenced_pixels_are_zero_in_every_reading(stored):
    dead = np.zeros((8, 8), bool)
    dead[2, 3] = True
    expected = PATTERNS.copy()
    expected[:, dead] = 0
    silent = stored.silenced(dead)
    for read in (
        silent,
        silent[3:5],
        pickle.loads(pickle.dumps(silent)),
        np.concatenate([b for _, b in silent.verified_blocks(5)]),
    ):
        np.testing.assert_array_equal(read, expected[3:5] if len(read) == 2 else expected)


def test_pixels_of_single_images_are_silenced_as_they_are_read(stored):
    dead = np.random.default_rng(0).random(PATTERNS.shape) < 0.3
    expected = np.where(dead, 0, PATTERNS)
    rows = np.array([1, 4, 5, 9])
    silent = silenced(stored, dead)
    assert isinstance(silent, StoredArray)
    np.testing.assert_array_equal(silent, expected)
    for key in (3, slice(2, 9, 3), [7, 1], (4, 2, 3)):
        np.testing.assert_array_equal(silent[key], expected[key])
    np.testing.assert_array_equal(silent.taken(rows).taken(np.array([0, 3])), expected[[1, 9]])
    np.testing.assert_array_equal(silenced(stored.taken(rows), dead[rows])[1:], expected[rows[1:]])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(silent.taken(rows))), expected[rows])
    np.testing.assert_array_equal(np.concatenate([b for _, b in silent.verified_blocks(5)]), expected)


@pytest.mark.parametrize("reader", ["npz", "hdf5"])
def test_a_large_file_with_a_mask_of_each_pattern_is_never_in_memory_as_a_whole(
    tmp_path, monkeypatch, reader
):
    for module in (pattern_statistics, frames):
        monkeypatch.setattr(module, "BLOCK_BYTES", 2**18)
    monkeypatch.setattr(frames, "IN_MEMORY", (0.25, 1))
    monkeypatch.setattr(pattern_statistics, "SAMPLE", 8)
    rng = np.random.default_rng(0)
    light = 30 * np.exp(-((np.indices((64, 64)) - 32) ** 2).sum(axis=0) / 90)
    counts = rng.poisson(light, (1000, 64, 64)).astype(np.float64)
    dead = rng.random(counts.shape) < 0.01
    counts[dead] = np.nan
    y, x = np.array(np.divmod(np.arange(1000), 32)) * 3.0
    path, reading = tmp_path / "scan.npz", None
    if reader == "npz":
        write(path, diff3d=counts, bad_pixels=dead, ycoords=y, xcoords=x)
    else:
        with h5py.File(path, "w") as file:
            file["d"], file["m"], file["p"] = counts, dead, np.stack((y, x), axis=1)
        reading = DataConfig(patterns="d", mask="m", positions="p", positions_unit="px", format="hdf5")
    n_bytes = counts.nbytes
    expected = np.where(dead[17], 0, counts[17])
    del counts
    tracemalloc.start()
    scan = RawData.from_file(path, domain="intensity", reading=reading)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < n_bytes / 2  # the mask is an eighth of them
    assert isinstance(scan.patterns, StoredArray)
    np.testing.assert_array_equal(scan.patterns[17], expected)


def test_a_file_cut_short_under_a_reader_is_a_data_error(path, stored):
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match=r"scan file: expected the file as it was .* changed since then"):
        stored[11]


def test_a_file_overwritten_under_a_reader_is_a_data_error(path, stored):
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(content[::-1])
    with pytest.raises(DataError, match=r"scan\.npz\. Write a new scan under another name"):
        stored[0]
    with pytest.raises(DataError, match="changed since then"):
        pickle.dumps(stored)


@pytest.mark.parametrize("change", ["replace", "delete"])
def test_a_file_replaced_or_removed_under_a_reader_is_read_on(path, stored, change):
    if change == "replace":
        write(path.with_name("new.npz"), **scan_arrays(n=12, seed=1))
        path.with_name("new.npz").replace(path)
    else:
        path.unlink()
    np.testing.assert_array_equal(stored, PATTERNS)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stored)), PATTERNS)


def test_a_pickle_does_not_read_another_file_than_it_was_made_of(path, stored):
    content = pickle.dumps(stored)
    write(path, **scan_arrays(n=12, seed=1))
    with pytest.raises(DataError, match="changed since then"):
        pickle.loads(content)


def test_another_process_reads_the_same_file(path, stored):
    code = "import sys, pickle; print(float(pickle.load(sys.stdin.buffer).sum()))"
    found = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(stored), capture_output=True, check=True
    )
    assert float(found.stdout) == float(PATTERNS.sum())


def test_many_scans_hold_one_descriptor_each(path):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else pytest.skip("no /proc")
    scans = [RawData.from_file(path) for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) == before + 5
    del scans
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_error_out_of_a_loading_process_is_one_line():
    text = (
        "Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "x.py", line 1, in f\nptycho.data_error.DataError: scan file: expected a; got b from c. Do.\n'
    )
    assert str(DataError(text)) == "scan file: expected a; got b from c. Do."
