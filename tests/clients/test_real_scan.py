"""ptychodus trains and reconstructs a measured scan, the spokes of a Siemens star, in batch mode."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ptychodus.api.io import load_product, save_ptychopinn_training_data

from ptycho.raw_data import RawData
from tests.clients.application import Held, batch, held, write_input

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


def r_factor(data: Held, found: NDArray[np.complex64]) -> float:
    """Of the amplitudes that an object predicts, with the positions rounded to whole pixels."""
    n_pixels, probe = data.patterns.shape[-1], data.scan.probe
    corners = data.scan.positions_px - 0.5 - data.middle_px + (np.array(found.shape) - n_pixels) / 2
    error = total = 0.0
    for (row, column), counts in zip(np.round(corners).astype(int), data.patterns, strict=True):
        patch = found[row : row + n_pixels, column : column + n_pixels]
        waves = np.fft.fftshift(np.fft.fft2(probe * patch, norm="ortho"), axes=(-2, -1))
        predicted = np.sqrt((np.abs(waves) ** 2).sum(axis=0))
        error += np.abs(predicted - np.sqrt(counts)).sum()
        total += np.sqrt(counts).sum()
    return error / total


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
    assert r_factor(data, found) < 0.6 * r_factor(data, np.ones_like(found))
