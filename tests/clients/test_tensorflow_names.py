"""ptychodus trains and reconstructs through its other plugin, by names of TensorFlow's times."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ptychodus.api.settings import SettingsRegistry
from ptychodus.model.ptychopinn.core import PtychoPINNReconstructorLibrary

from ptycho_torch.simulate import simulate_scan
from tests.clients.application import Settings, displacement, held, likeness, reconstructed, write_settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the application's own dependencies

TINY: Settings = {"PtychoPINNTraining": {"NumEpochs": 2, "NumPhotons": 1e5}}


def reconstructor(settings: Settings, folder: Path, mode: str) -> Any:
    registry = SettingsRegistry()
    library = PtychoPINNReconstructorLibrary(registry, is_developer_mode_enabled=False)
    folder.mkdir(parents=True, exist_ok=True)
    write_settings(folder / "settings.ini", settings)
    registry.open_settings(folder / "settings.ini")
    return next(found for found in library if found.name == mode)


@pytest.mark.parametrize(
    ("mode", "dtype"), [("PINN", np.uint16), ("PINN", np.float32), ("Supervised", np.uint16)]
)
def test_a_model_is_trained_saved_loaded_and_used_again(mode: str, dtype: type, tmp_path: Path) -> None:
    data = held(
        simulate_scan(N=64, n_positions=90, nphotons=1e5, seed=3, holdout_fraction=0),
        dtype=dtype,
        known_object=mode == "Supervised",
    )
    before = set(os.listdir())
    used = reconstructor(TINY, tmp_path / "settings", mode)
    source, out = tmp_path / "data", tmp_path / "out"
    source.mkdir()
    used.export_training_data(source / "train_data.npz", data.input())
    used.export_training_data(source / "test_data.npz", data.input())
    list(used.train(source, out))
    assert (out / "wts.h5.zip").is_file()
    first = reconstructed(used, data)
    expected = data.truth_like(first)
    assert max(map(abs, displacement(first, expected))) <= 1
    assert likeness(first, expected) > 0.6
    assert np.abs(first).mean() == pytest.approx(np.abs(expected).mean(), rel=0.25)

    # its own way of saving: an archive whose content it unpacks before it is loaded
    moved = tmp_path / "elsewhere" / "model.zip"
    moved.parent.mkdir()
    used.save_model(moved)
    shutil.rmtree(out)
    other = reconstructor(TINY, tmp_path / "other", mode)
    other.load_model_from_file(moved)
    np.testing.assert_allclose(reconstructed(other, data), first, rtol=0, atol=1e-5)
    assert set(os.listdir()) == before


def test_groups_of_four_and_two_probe_modes(tmp_path: Path) -> None:
    data = held(
        simulate_scan(N=64, n_positions=90, nphotons=1e5, n_modes=2, seed=3, holdout_fraction=0),
        dtype=np.float32,
    )
    used = reconstructor({**TINY, "PtychoPINNModel": {"GridSize": 2}}, tmp_path / "settings", "PINN")
    source, out = tmp_path / "data", tmp_path / "out"
    source.mkdir()
    for name in ("train_data.npz", "test_data.npz"):
        used.export_training_data(source / name, data.input())
    list(used.train(source, out))
    assert json.loads((out / "config.json").read_text())["configuration"]["model"]["gridsize"] == 2
    found = reconstructed(used, data)
    expected = data.truth_like(found)
    assert max(map(abs, displacement(found, expected))) <= 1
    assert likeness(found, expected) > 0.5
