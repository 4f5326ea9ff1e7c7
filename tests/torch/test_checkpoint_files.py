"""Checkpoints are written whole or not at all, and read as they were written or not at all."""

import random
import resource
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from ptycho.checksums import Checksums, verify
from ptycho_torch.runtime.checkpoint_files import (
    CheckpointError,
    CheckpointFiles,
    is_readable,
    read_checkpoint,
    read_description,
)

N_DAMAGES = 300


def content(value: float = 1.0) -> dict[str, Any]:
    return {
        "epoch": 3,
        "callbacks": {"LossHistory": {"rows": [{"epoch": 0, "train_loss": value}]}},
        "state_dict": {name: torch.full((40, 50), value) for name in ("weight", "bias")},
    }


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return bool(torch.equal(first, second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
    return bool(first == second)


@pytest.fixture
def last(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints" / "last.ckpt"
    Checksums(tmp_path).write_record({}, [])
    CheckpointFiles(tmp_path).save_checkpoint(content(), path)
    return path


def test_what_is_written_is_read_and_listed(last: Path) -> None:
    assert same(read_checkpoint(last), content())
    assert same(CheckpointFiles(last.parent).load_checkpoint(last), content())
    assert verify(last.parents[1]) == {"checkpoints/last.ckpt": "ok"}


def test_a_checkpoint_that_is_removed_is_no_longer_listed(last: Path) -> None:
    CheckpointFiles(last.parents[1]).remove_checkpoint(last)
    assert not last.exists()
    assert verify(last.parents[1]) == {}


def test_damaged_bytes_are_refused_or_change_nothing(last: Path) -> None:
    """A byte anywhere, of the tensors and of the tables of the archive alike."""
    sound, draw = last.read_bytes(), random.Random(7)
    refused = 0
    for place in draw.sample(range(len(sound)), N_DAMAGES):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << draw.randrange(8)
        last.write_bytes(damaged)
        try:
            assert same(read_checkpoint(last), content()), place
        except CheckpointError:
            refused += 1
        try:
            read_description(last)
        except CheckpointError:
            assert not is_readable(last)
    assert refused > N_DAMAGES // 2


def test_a_damaged_table_of_the_archive_is_refused_or_changes_nothing(last: Path) -> None:
    sound = last.read_bytes()
    with zipfile.ZipFile(last) as archive:
        table = archive.start_dir
    for place in range(table, len(sound)):
        damaged = bytearray(sound)
        damaged[place] ^= 0xFF
        last.write_bytes(damaged)
        try:
            assert same(read_checkpoint(last), content()), place
        except CheckpointError:
            continue


def test_a_part_of_a_checkpoint_is_refused(last: Path) -> None:
    sound = last.read_bytes()
    for n_bytes in range(0, len(sound), 997):
        last.write_bytes(sound[:n_bytes])
        with pytest.raises(CheckpointError, match="got a file that cannot be read"):
            read_checkpoint(last)
        with pytest.raises(CheckpointError, match="got a file that cannot be read"):
            read_description(last)


def test_what_would_run_code_or_unpack_to_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"callbacks": subprocess.run}, path)
    with pytest.raises(CheckpointError, match="holds objects other than plain values and tensors"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 2**20)
    with pytest.raises(CheckpointError, match="is not stored as torch stores it"):
        read_checkpoint(path)


def test_a_link_to_what_never_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="got a pipe, a device or a folder"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_a_file_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    for read in (read_checkpoint, read_description):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "no.ckpt")


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_write_that_fails_at_any_byte_leaves_the_checkpoint_before_and_names_the_file(last: Path) -> None:
    """The limit of a file's size stands for a full disk: the system refuses the rest of the bytes alike."""
    before, unlimited = last.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    files = CheckpointFiles(last.parents[1])
    for n_bytes in (0, 1, 1000, len(before) // 2, len(before) - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, unlimited[1]))
        try:
            with pytest.raises(OSError, match="too large") as caught:
                files.save_checkpoint(content(2.0), last)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert caught.value.filename == str(last)
    assert last.read_bytes() == before
    assert verify(last.parents[1]) == {"checkpoints/last.ckpt": "ok"}
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]
