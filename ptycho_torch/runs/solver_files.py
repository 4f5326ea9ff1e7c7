"""Files of a reconstruction without a network under way: its state, from which it goes on, and its history."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from ptycho.checksums import Checksums
from ptycho.config.errors import ConfigError, Failure
from ptycho.run_files import HISTORY, STATE
from ptycho_torch.runs.pace import Pace
from ptycho_torch.runtime import CheckpointError, read_checkpoint

EVERY_S: Final = 2.0
"""Seconds from one state on the disk to the next."""


class StateFile:
    """The state of one scan on the disk.

    Args:
        folder: of the scan.
        checksums: of the run.
        fingerprint: of the scan.
    """

    def __init__(self, folder: Path, checksums: Checksums, fingerprint: str) -> None:
        self.path, self._checksums, self._fingerprint = folder / STATE, checksums, fingerprint
        self._pace = Pace(EVERY_S)

    @property
    def is_due(self) -> bool:
        """Whether it is time to write."""
        return self._pace.is_due

    def read(self) -> Mapping[str, Any] | None:
        """The snapshot to go on from; None where there is none.

        Raises:
            ConfigError: the file is damaged, or of another scan.
        """
        if not self.path.is_file():
            return None
        try:
            saved = read_checkpoint(self.path)
            fingerprint, snapshot = saved["fingerprint"], saved["snapshot"]
        except (CheckpointError, KeyError, TypeError) as error:
            raise self.damaged(error) from None
        if fingerprint != self._fingerprint:
            message = (
                f"{self.path}: expected the state of a reconstruction of this scan; got one of another scan."
            )
            way_out = "Name the scan of the run, or remove the file."
            raise ConfigError([Failure(str(self.path), f"{message} {way_out}")])
        return snapshot

    def damaged(self, error: Exception) -> ConfigError:
        """The error of a file that holds no state to go on from."""
        message = (
            f"{self.path}: expected the state of a reconstruction; got a damaged file ({str(error)[:120]})."
        )
        way_out = "Remove it: the reconstruction of this scan then starts again."
        return ConfigError([Failure(str(self.path), f"{message} {way_out}")])

    def write(self, snapshot: Mapping[str, Any]) -> None:
        """Write the state, and the history beside it."""
        with self._pace.writing():
            self.path.parent.mkdir(exist_ok=True)
            with io.BytesIO() as content:
                torch.save({"fingerprint": self._fingerprint, "snapshot": dict(snapshot)}, content)
                with self._checksums.write(self.path) as file:
                    file.write(content.getvalue())
            with self._checksums.write(self.path.with_name(HISTORY)) as file:
                file.write(history_of(snapshot["progress"]["rows"]).encode("ascii"))

    def remove(self) -> None:
        """Remove it, once the results are there."""
        if self.path.is_file():
            with self._checksums.remove(self.path):
                self.path.unlink()


def history_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """The history as CSV: see `solver.Iteration` for its columns."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
