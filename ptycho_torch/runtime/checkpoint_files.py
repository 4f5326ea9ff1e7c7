"""Checkpoints on the disk: written whole, listed with their SHA-256, and read only as they were written."""

import functools
import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from ptycho.checksums import Checksums
from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.model_archive import UNREADABLE
from ptycho.regular_files import open_regular

_UNREADABLE: Final = (*UNREADABLE, OSError, zlib.error, torch.serialization.pickle.UnpicklingError)
"""What zipfile and torch raise for a file that is damaged, or holds more than plain values and tensors."""
_TENSORS: Final = "/data/"
_BLOCK_BYTES: Final = 2**20


class CheckpointError(ConfigError):
    """A file that is no sound checkpoint.

    Args:
        path: the file.
        message: what was expected, what is there, and the way out.
    """

    def __init__(self, path: Path, message: str) -> None:
        super().__init__([Failure(str(path), f"{path}: {message}")])
        self.path = path


class CheckpointFiles(TorchCheckpointIO):
    """How Lightning writes and reads the checkpoints of a run.

    Args:
        run_dir: folder of the run.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    @functools.cached_property
    def _checksums(self) -> Checksums:
        return Checksums(self._run_dir)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: None = None
    ) -> None:
        """Write a checkpoint; an error or a kill on the way leaves the file that was there.

        Raises:
            OSError: the file cannot be written; the error names it.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with io.BytesIO() as content:  # an error of the disk inside torch.save would lose its cause
            torch.save(checkpoint, content)
            with self._checksums.write(Path(path)) as file:
                file.write(content.getvalue())

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, plain values and tensors alone, as `read_checkpoint` does."""
        return read_checkpoint(Path(path), map_location or "cpu")

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove a checkpoint."""
        with self._checksums.remove(Path(path)):
            super().remove_checkpoint(path)


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint, without executing anything from it.

    Raises:
        CheckpointError: the file is damaged, or no checkpoint.
        FileNotFoundError: there is no such file.
    """
    refuse_damaged(path)
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise
    except _UNREADABLE as error:
        raise unreadable(path, _worded(error)) from None


def read_description(path: Path) -> dict[str, Any]:
    """What a checkpoint says, with its tensors mapped from the file and not yet compared with their checksums.

    Raises:
        CheckpointError: the rest of the file is damaged, or it is no checkpoint.
        FileNotFoundError: there is no such file.
    """
    _compare(path, with_tensors=False)
    try:
        return torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise
    except _UNREADABLE as error:
        raise unreadable(path, _worded(error)) from None


def refuse_damaged(path: Path) -> None:
    """Compare a checkpoint with the checksums in it, which torch does not.

    Raises:
        CheckpointError: the file is damaged, or no checkpoint.
        FileNotFoundError: there is no such file.
    """
    _compare(path, with_tensors=True)


def is_readable(path: Path) -> bool:
    """Whether a checkpoint is there and as it was written."""
    try:
        read_checkpoint(path)
    except (CheckpointError, FileNotFoundError):
        return False
    return True


def unreadable(path: Path, reason: Exception | str) -> CheckpointError:
    """The error of a file that cannot be read as a checkpoint."""
    shortened = printable(" ".join(str(reason).split()))[:120]
    message = f"expected a checkpoint of a training; got a file that cannot be read ({shortened})."
    return CheckpointError(path, f"{message} Take another one, or train again.")


def _worded(error: Exception) -> Exception | str:
    if isinstance(error, torch.serialization.pickle.UnpicklingError):
        return "it holds objects other than plain values and tensors"
    return (isinstance(error, OSError) and error.strerror) or error


def _compare(path: Path, *, with_tensors: bool) -> None:
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED or member.external_attr:
                    # of what is marked as a folder, torch reads nothing and gives what lies in memory
                    raise unreadable(path, f"{member.filename!r} is not stored as torch stores it")
                if with_tensors or _TENSORS not in member.filename:
                    with archive.open(member) as stream:
                        while stream.read(_BLOCK_BYTES):
                            pass
    except (CheckpointError, FileNotFoundError):
        raise
    except _UNREADABLE as error:
        raise unreadable(path, _worded(error)) from None
