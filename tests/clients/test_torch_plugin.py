"""ptychodus trains and reconstructs through its PtychoPINN-Torch plugin: each step in processes it starts."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ptychodus.api.io import load_product, save_ptychopinn_training_data
from ptychodus.model.processing._subprocess_protocol import ChildError

from ptycho.raw_data import RawData
from ptycho_torch.simulate import simulate_scan
from tests.clients.application import (
    TINY,
    Held,
    batch,
    displacement,
    held,
    likeness,
    merged,
    reconstructed,
    reconstructor,
    trained_and_reconstructed,
    trained_reconstructor,
    write_input,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the application's own dependencies

DATA, MODEL, TRAINING = "PtychoPINNTorchData", "PtychoPINNTorchModel", "PtychoPINNTorchTraining"


def scan(**options: Any) -> RawData:
    return simulate_scan(
        **{"N": 64, "n_positions": 90, "nphotons": 1e5, "seed": 3, "holdout_fraction": 0, **options}
    )


@pytest.fixture(scope="module")
def small() -> Held:
    return held(scan())


def check(folder: Path, data: Held, settings: Any, mode: str = "Unsupervised", *, alike: float = 0.5) -> None:
    """Train and reconstruct; losses come for every epoch, and the object is there at its place."""
    outcome = trained_and_reconstructed(folder, data, settings, mode)
    epochs = [loss.epoch for loss in outcome.trained.training_loss]
    assert epochs == list(range(outcome.trained.progress))
    assert [loss.epoch for loss in outcome.trained.validation_loss] == epochs
    assert len(epochs) >= 2
    losses = [loss.value for loss in (*outcome.trained.training_loss, *outcome.trained.validation_loss)]
    assert np.isfinite(losses).all()
    expected = data.truth_like(outcome.found)
    assert max(map(abs, displacement(outcome.found, expected))) <= 1
    assert likeness(outcome.found, expected) > alike


def test_a_model_is_trained_saved_loaded_and_used_again(small: Held, tmp_path: Path) -> None:
    before = set(os.listdir())
    outcome = trained_and_reconstructed(tmp_path, small)
    expected = small.truth_like(outcome.found)
    assert displacement(outcome.found, expected) == (0, 0)
    assert likeness(outcome.found, expected) > 0.7
    # the object goes with the probe that was given: it is about as transparent as the true one
    assert np.abs(outcome.found).mean() == pytest.approx(np.abs(expected).mean(), rel=0.2)

    moved = tmp_path / "elsewhere" / "model.ckpt"
    moved.parent.mkdir()
    outcome.used.save_model(moved)
    torch.load(moved, weights_only=True)
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(tmp_path / "data")
    other = reconstructor(TINY, tmp_path / "other")
    other.load_model_from_file(moved)
    np.testing.assert_allclose(reconstructed(other, small), outcome.found, rtol=0, atol=1e-5)
    assert set(os.listdir()) == before


def test_batch_mode_trains_and_reconstructs(small: Held, tmp_path: Path) -> None:
    source, trained, target = tmp_path / "in", tmp_path / "trained", tmp_path / "out"
    write_input(source, small, TINY)
    save_ptychopinn_training_data(source / "train.npz", small.input())
    done = batch("train", source, trained)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"in", "trained"}
    (model,) = trained.glob("run_*/checkpoints/epoch*.ckpt")
    shutil.copyfile(model, source / "model.ckpt")
    done = batch("reconstruct", source, target)
    assert done.returncode == 0, done.stderr
    (product,) = target.glob("product*.h5")
    found = load_product(product).object_.get_layer(0)
    assert displacement(found, small.truth_like(found)) == (0, 0)
    assert likeness(found, small.truth_like(found)) > 0.7


def test_its_defaults_work_without_a_gpu(tmp_path: Path) -> None:
    """cuda, ddp_spawn, four workers, seven groups for every position, patterns of 128 pixels: only fewer epochs."""
    check(tmp_path, held(scan(N=128, n_positions=10)), {TRAINING: {"epochs": 2}})


def test_variables_of_the_shell_take_effect(
    small: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_LOGGER_BACKEND", "csv")
    monkeypatch.setenv("PTYCHO_EXEC_VAL_SPLIT", "0.25")
    monkeypatch.setenv("PTYCHO_EXEC_LEARNING_RATE", "0.5")  # its own setting is an argument, and stronger
    trained_reconstructor(tmp_path, small)
    (run_dir,) = (tmp_path / "out").iterdir()
    assert (run_dir / "logs" / "csv").is_dir()
    assert "training on 68 groups" in (run_dir / "run.log").read_text()
    assert (run_dir / "history.csv").read_text().splitlines()[1].split(",")[4] == "0.001"


CASES: dict[str, Any] = {
    "one channel": {
        DATA: {"num_channels": 1, "grid_size_x": 1, "grid_size_y": 1},
        MODEL: {"object_big": False},
    },
    "amplitude error, shared decoder, cosine": {
        MODEL: {"loss_function": "MAE", "use_shared_decoder": True},
        TRAINING: {"learning_rate_scheduler": "Cosine", "learning_rate_warmup_epochs": 1},
    },
    "distances, attention": {
        DATA: {"neighbor_lookup_method": "Min_dist", "max_neighbor_distance": 20.0},
        MODEL: {
            "cbam_encoder": True,
            "cbam_bottleneck": True,
            "cbam_decoder": True,
            "eca_encoder": True,
            "eca_decoder": True,
            "spatial_decoder": True,
            "use_batch_normalization": True,
        },
    },
    "four quadrants, further losses": {
        DATA: {"neighbor_lookup_method": "4_quadrant"},
        MODEL: {
            "auxiliary_amplitude_loss": "Total_Variation",
            "auxiliary_phase_loss": "Mean_Deviation",
            "auxiliary_amplitude_loss_coeff": 0.01,
            "auxiliary_phase_loss_coeff": 0.01,
            "amplitude_variance_loss": True,
            "probe_reference_loss_coeff": 0.1,
        },
    },
    "data options": {
        DATA: {
            "data_normalization_mode": "Group",
            "scan_pattern": "Rectangular",
            "normalize_probe": False,
            "probe_ramp_removal": True,
            "data_scaling_method": "Max",
            "coordinate_subsampling_factor": 3,
        }
    },
    "fine-tuning": {
        TRAINING: {"epochs_finetune": 2, "gradient_accumulation_steps": 2, "gradient_clip_val": 1.0}
    },
    "stages": {
        TRAINING: {
            "enable_staged_finetuning": True,
            "finetune_skip_stage3": False,
            "finetune_stage1_epochs": 1,
            "finetune_stage2_epochs": 1,
            "finetune_stage3_epochs": 1,
        }
    },
}


@pytest.mark.parametrize("name", CASES)
def test_every_option_trains_and_reconstructs(name: str, small: Held, tmp_path: Path) -> None:
    check(tmp_path, small, merged(TINY, CASES[name]))


@pytest.mark.parametrize("dtype", [np.float32, np.uint32])
def test_two_modes_and_bad_pixels_in_counts_of_any_type(dtype: type, tmp_path: Path) -> None:
    bad = np.zeros((64, 64), dtype=bool)
    bad[20:23, 40] = bad[5, 5] = True
    check(tmp_path, held(scan(n_modes=2), dtype=dtype, bad_pixels=bad), TINY)


def test_supervised_training_takes_labels_from_the_object_in_its_unit(tmp_path: Path) -> None:
    data = held(scan(), known_object=True, unit=0.1)
    found = trained_and_reconstructed(tmp_path, data, TINY, "Supervised").found
    expected = data.truth_like(found)
    assert max(map(abs, displacement(found, expected))) <= 1
    assert likeness(found, expected) > 0.5
    assert 0.1 * np.abs(found).mean() == pytest.approx(np.abs(expected).mean(), rel=0.25)


def test_a_point_is_found_at_its_place(tmp_path: Path) -> None:
    """A point that absorbs, off the middle of the scan; patterns by the definition of a patch around a position."""
    n, rng = 64, np.random.default_rng(1)
    whole = rng.integers(0, 30, (120, 2))
    truth = np.ones((n + 30, n + 30), dtype=np.complex64)
    truth[40, 55] = 0.0
    probe = simulate_scan(N=n, n_positions=4, nphotons=1e7).probe
    patches = np.stack([truth[r : r + n, c : c + n] for r, c in whole])
    waves = np.fft.fftshift(np.fft.fft2(probe[0] * patches, norm="ortho"), axes=(1, 2))
    data = RawData.from_arrays(
        rng.poisson(np.abs(waves) ** 2), whole + n / 2, probe, domain="intensity", object_truth=truth
    )
    scan_held = held(data)
    found = trained_and_reconstructed(tmp_path, scan_held).found
    place = (
        np.array(
            np.unravel_index(
                np.abs(found - 1)[10:-10, 10:-10].argmax(), (found.shape[0] - 20, found.shape[1] - 20)
            )
        )
        + 10
    )
    assert np.abs(place - (np.array(found.shape) - 1) / 2 + scan_held.middle_px - (40, 55)).max() <= 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {DATA: {"neighbor_lookup_method": "Closest"}},
            "neighbor_function: expected one of Nearest, Min_dist, 4_quadrant",
        ),
        ({MODEL: {"offset": 8}}, "offset: expected 6; got 8"),
        ({TRAINING: {"distributed_strategy": "magic"}}, "strategy: expected one of auto, ddp"),
    ],
)
def test_words_that_mean_nothing_are_refused_with_the_choices(
    settings: Any, words: str, tmp_path: Path
) -> None:
    used = reconstructor(merged(TINY, settings), tmp_path)
    with pytest.raises(ValueError, match=words):
        list(used.train(tmp_path, tmp_path / "out"))


def test_a_grid_that_contradicts_the_channels_is_refused(small: Held, tmp_path: Path) -> None:
    used = reconstructor(merged(TINY, {DATA: {"num_channels": 2}}), tmp_path)
    used.export_training_data(tmp_path / "train.npz", small.input())
    with pytest.raises(ChildError, match=r"DataConfig\.C: expected 4, the patterns of a 2 x 2 grid; got 2"):
        list(used.train(tmp_path, tmp_path / "out"))
