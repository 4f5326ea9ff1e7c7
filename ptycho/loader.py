"""Patterns and positions in the form that a loaded model predicts from (historical names)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho import params
from ptycho.raw_data import GroupedData


@dataclass(frozen=True)
class PtychoDataContainer:
    """One scan, ready for `predict`.

    Attributes:
        X: float32 (n, N, N), measured amplitude over the legacy parameter `intensity_scale`.
        local_offsets: float64 (n, 2), positions (y, x) in pixels, from the middle of their bounding box.
        global_offsets: the same, for the reassembly.
    """

    X: npt.NDArray[np.float32]
    local_offsets: npt.NDArray[np.float64]
    global_offsets: npt.NDArray[np.float64]


def load(
    cb: Callable[[], GroupedData], probeGuess: Any, which: str | None = None, create_split: bool = False
) -> PtychoDataContainer:
    """Make the container of what `RawData.generate_grouped_data` gave.

    Args:
        cb: returns it.
        probeGuess: not kept here; see `ptycho.probe.set_probe_guess`.
        which: `train` or `test` of a split; None, since nothing is split here.
        create_split: False for the same reason.

    Raises:
        ValueError: a split is asked for.
    """
    if create_split or which is not None:
        raise ValueError("create_split: expected False, and which None; got a split. Load two scans instead.")
    grouped = cb()
    scale = float(params.cfg.get("intensity_scale", 1.0))  # type: ignore[arg-type]
    positions = grouped.positions_px - grouped.middle_px
    amplitude: npt.NDArray[np.float32] = (grouped.amplitude / scale).astype(np.float32)
    return PtychoDataContainer(amplitude, positions, positions)
