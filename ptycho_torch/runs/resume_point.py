"""Where a training goes on, and what it does not go on with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.raw_data import DataError
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.model import PtychoPINN_Lightning
from ptycho_torch.runs.fingerprints import probe_fingerprints, scan_fingerprints


class ResumePoint(NamedTuple):
    """Where a training goes on."""

    checkpoint: Path
    """Its latest checkpoint."""
    epochs_done: int
    """Epochs that it was trained for."""
    batches_done: int
    """Batches of the next epoch that it was trained on."""
    shapes: Mapping[str, torch.Size]
    """Those of the weights and buffers in it, by name."""
    fingerprints: Sequence[str] | None
    """Of the scans it was trained on; None where they are not known."""
    checkpoint_fingerprints: Sequence[str] | None
    """Of the scans that the checkpoint was trained on; None where they are not known."""
    probes: Sequence[str] | None
    """Fingerprints of the probes that the checkpoint was trained with; None where they are not known."""
    record: Sequence[Mapping[str, Any]]
    """Every time that it went on, and what was changed; for config.json."""
    started: Mapping[str, Any]
    """How the run was started, for config.json."""
    origins: Mapping[str, Any]
    """Where the values that were not changed came from, as recorded."""

    def how_far(self) -> str:
        """The end of a line of the log: what is done, and the checkpoint that it is taken from."""
        further = f" and {self.batches_done} of the batches of the next" if self.batches_done else ""
        return f", {self.epochs_done} of which are done{further} ({printable(self.checkpoint.name)})"


def refuse_other_scans(data: ScanDataModule, fingerprints: Sequence[str] | None) -> None:
    """Refuse other scans than those of a run.

    Args:
        data: what was read.
        fingerprints: as the run recorded them; None where it did not.

    Raises:
        DataError: they differ.
    """
    scans = scan_fingerprints(data)
    if scans != (fingerprints or scans):
        raise DataError(
            f"{_paths(data)}: expected the data of the run so far; got other shapes, positions, "
            "probes or patterns. Name the data of the run, or start a new one."
        )


def refuse_other_weights(module: PtychoPINN_Lightning, resumed: ResumePoint) -> None:
    """Refuse a checkpoint whose weights are not those of the model that its settings describe.

    Raises:
        ConfigError: a name or a shape differs.
    """
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    names = sorted(shapes.keys() | resumed.shapes.keys())
    wrong = next((name for name in names if shapes.get(name) != resumed.shapes.get(name)), None)
    if wrong is not None:
        want, have = (held.get(wrong) for held in (shapes, resumed.shapes))
        place = str(resumed.checkpoint)
        rule = f"expected {_shape_text(want)} for {wrong!r:.200}, as in the model; got {_shape_text(have)}"
        raise ConfigError([Failure(place, f"{place}: {rule}. Remove the file, or start a new run.")])


def _shape_text(shape: torch.Size | None) -> str:
    return "no tensor" if shape is None else f"shape {tuple(shape)}"


def refuse_other_checkpoint(data: ScanDataModule, resumed: ResumePoint) -> None:
    """Refuse a checkpoint that another run has left, of other scans.

    Raises:
        ConfigError: scans or probes differ.
    """
    scans, probes = scan_fingerprints(data), probe_fingerprints(data)
    # a checkpoint of an earlier version tells its probes alone
    if scans != (resumed.checkpoint_fingerprints or scans) or probes != (resumed.probes or probes):
        place = str(resumed.checkpoint)
        rule = f"expected a checkpoint that was trained on {_paths(data)}; got one of other data"
        raise ConfigError([Failure(place, f"{place}: {rule}. Remove the file, or start a new run.")])


def _paths(data: ScanDataModule) -> str:
    return ", ".join(str(scan.path or "scan") for scan in data.scans)
