"""The network beside the solver: trained on another scan of the same kind, it reconstructs the scan of a case."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.versions import Clock
from ptycho.config.recipes import STANDARD
from ptycho.raw_data import RawData
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.patches import Frame
from ptycho_torch.reassembly import reconstruct
from ptycho_torch.runs.reconstruction import illuminated_model
from ptycho_torch.runs.trained import load_trained
from ptycho_torch.runs.training import train
from ptycho_torch.runtime import build_fabric, run_environment


class Learned(NamedTuple):
    """What a network found, and what it took."""

    object: NDArray[np.complex64]
    """(H, W), on the canvas that was asked for."""
    modes: NDArray[np.complex64]
    """(M, N, N)."""
    training_s: float
    reconstruction_s: float


def network(
    trained_on: Path,
    data: Path,
    scan: RawData,
    frame: Frame,
    *,
    n_epochs: int,
    accelerator: str,
    clock: Clock,
) -> Learned:
    """Train as `ptycho train` does by default, for some epochs, and reconstruct the patterns that are not held out.

    Args:
        trained_on: scan to train on.
        data: the scan to reconstruct.
        scan: the same, in memory.
        frame: canvas of the result.
        n_epochs: of the training.
        accelerator: cpu or cuda.
        clock: of the times; from files and patterns to the model, and from patterns in memory to the object.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, knobs = Path(name), {"accelerator": accelerator}
        asked = knobs | {"nepochs": n_epochs, "enable_progress_bar": False}
        payload = create_training_payload(trained_on, folder / "run", asked, recipe=STANDARD)
        started_s = clock()
        train(payload)
        training_s = clock() - started_s
        loaded = create_inference_payload(folder / "run", data, folder / "out", knobs | {"n_groups": None})
        execution, known = loaded.execution_config, load_trained(folder / "run")
    configs = loaded.pt_model_config, loaded.pt_data_config
    model = illuminated_model(*configs, known.state_dict, known.probes, scan, known.domains)
    held = np.zeros(len(scan), dtype=bool) if scan.holdout is None else scan.holdout
    with run_environment(execution):
        started_s = clock()
        found = reconstruct(
            model,
            configs[0],
            scan,
            np.flatnonzero(~held),
            inference=loaded.pt_inference_config,
            execution=execution,
            fabric=build_fabric(execution),
        )
        seconds = clock() - started_s
    return Learned(_placed(found.canvas, found.canvas_corner_px, frame), found.probe, training_s, seconds)


def _placed(image: NDArray[np.complex64], corner_px: tuple[int, int], frame: Frame) -> NDArray[np.complex64]:
    """An image on a canvas that holds it."""
    canvas = np.ones(frame.shape, dtype=np.complex64)
    row, column = (own - first for own, first in zip(corner_px, frame.corner_px, strict=True))
    canvas[row : row + image.shape[0], column : column + image.shape[1]] = image
    return canvas
