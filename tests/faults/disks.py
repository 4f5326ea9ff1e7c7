"""Small disks that can be filled, and emptied again."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


class SmallDisk:
    """A file system in memory.

    Args:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, left: int) -> None:
        """Fill it up to a number of bytes that are left (whole pages)."""
        with (self.folder / ".filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        size = (self.folder / ".filler").stat().st_size
        os.truncate(self.folder / ".filler", max(0, size - left))

    def empty(self) -> None:
        """Take away what it was filled with."""
        (self.folder / ".filler").unlink(missing_ok=True)


def may_mount(folder: Path) -> bool:
    """Whether this process may mount a file system."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        return _mount(folder, "1m") and _unmount(folder)
    return False


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """Mount a disk of a size such as '2m' on a folder."""
    folder.mkdir()
    assert _mount(folder, size)
    try:
        yield SmallDisk(folder)
    finally:
        assert _unmount(folder)


def _mount(folder: Path, size: str) -> bool:
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True).returncode == 0


def _unmount(folder: Path) -> bool:
    return subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0
