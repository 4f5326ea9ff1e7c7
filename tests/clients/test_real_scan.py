"""ptychodus trains and reconstructs a measured scan, the spokes of a Siemens star, in batch mode."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ptychodus.api.io import load_product, save_ptychopinn_training_data
from scipy.ndimage import map_coordinates

from ptycho.raw_data import RawData
from tests.clients.application import batch, held, write_input

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the application's own dependencies

SETTINGS = {
    "PtychoPINNTorchTraining": {
        "epochs": 1,
        "num_dataloader_workers": 0,
        "learning_rate": 0.002,
        "batch_size": 4,
    },
    "PtychoPINNTorchData": {"num_channels": 1, "grid_size_x": 1, "grid_size_y": 1},
    "PtychoPINNTorchModel": {"num_filters_scale": 1, "edge_pad": 0, "loss_function": "MAE"},
    "PtychoPINNTorchInference": {"middle_trim": 0, "window": 0},
}

N_SPOKES = 30
HUB_PX = (-5.5, -22.0)
"""Where the spokes meet (row, column), from the midpoint of the positions' bounding box."""


def share_of_spokes(found: NDArray[np.complex64]) -> float:
    """How much of what the phase does along circles around the hub it does once a spoke, from 0 to 1."""
    row, column = (np.array(found.shape) - 1) / 2 + HUB_PX
    radius, angle = np.meshgrid(np.arange(60, 140, 2), np.linspace(0, 2 * np.pi, 720, endpoint=False))
    places = row + radius * np.sin(angle), column + radius * np.cos(angle)
    power = (np.abs(np.fft.rfft(map_coordinates(np.angle(found), places, order=1), axis=0)) ** 2).sum(axis=1)
    return power[N_SPOKES] / power[1:].sum()


def test_spokes_of_a_siemens_star(shared_data: Path, tmp_path: Path) -> None:
    data = held(RawData.from_file(shared_data / "siemens-star-128.npz"), dtype=np.uint32)
    source, trained, target = tmp_path / "in", tmp_path / "trained", tmp_path / "out"
    write_input(source, data, SETTINGS)
    save_ptychopinn_training_data(source / "train.npz", data.input())
    done = batch("train", source, trained)
    assert done.returncode == 0, done.stderr
    (model,) = trained.glob("run_*/checkpoints/epoch*.ckpt")
    shutil.copyfile(model, source / "model.ckpt")
    done = batch("reconstruct", source, target)
    assert done.returncode == 0, done.stderr
    (product,) = target.glob("product*.h5")
    found = load_product(product).object_.get_layer(0)
    assert share_of_spokes(found) > 0.5
    assert share_of_spokes(found.T) < 0.1  # rows and columns are told apart
