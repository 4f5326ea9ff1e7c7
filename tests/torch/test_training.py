"""A run as its user makes it: a file, a payload, a trained model, a reconstruction."""

import csv
import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.raw_data import DataError, RawData
from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.runs.reconstruction import ReconstructionResult, reconstruct_scans
from ptycho_torch.runs.training import TrainingResult, train
from ptycho_torch.simulate import simulate_scan
from tests.legacy_dictionary import legacy_dictionary_restored

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("legacy")]

SMALL = {
    "n_groups": 60,
    "gridsize": 2,
    "neighbor_count": 6,
    "batch_size": 10,
    "nepochs": 2,
    "n_filters_scale": 1,
    "n_unrolled_steps": 1,
    "n_physics_steps": 3,
}


def trained(file: Path, run_dir: Path, *, overwrite: bool = False, **overrides) -> TrainingResult:
    execution = PyTorchExecutionConfig(accelerator="cpu", val_split=0.1)
    return train(
        create_training_payload(file, run_dir, overrides=SMALL | overrides, execution_config=execution),
        overwrite=overwrite,
    )


def reconstructed(run_dir: Path, file: Path, output_dir: Path, **overrides) -> ReconstructionResult:
    execution = PyTorchExecutionConfig(accelerator="cpu")
    overrides = {"n_groups": None, **overrides}
    payload = create_inference_payload(
        run_dir, file, output_dir, overrides=overrides, execution_config=execution
    )
    return reconstruct_scans(payload)[0]


@pytest.fixture(scope="module")
def result(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    with legacy_dictionary_restored():
        return trained(tiny_file, tmp_path_factory.mktemp("run"), probe_trainable=True)


def test_a_run_directory_holds_everything_about_the_run(result: TrainingResult) -> None:
    names = {path.name for path in result.run_dir.iterdir()}
    assert names == {
        "config.json",
        "run.log",
        "history.csv",
        "loss.png",
        "checkpoints",
        "report.html",
        "training.json",
        "preview.png",
        "preview.npz",
        "wts.h5.zip",
    }
    content = json.loads((result.run_dir / "config.json").read_text())
    assert content["configuration"]["nepochs"] == 2
    assert content["origins"]["training.nepochs"]["kind"] == "override"
    assert content["origins"]["model.N"]["kind"] == "inferred"
    assert content["origins"]["execution.val_split"]["kind"] == "argument"
    assert {"python", "torch", "lightning"} <= content["versions"].keys()
    assert content["seed"] == 42


def test_the_history_has_a_row_for_every_epoch(result: TrainingResult) -> None:
    with (result.run_dir / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1]
    assert [float(row["train_loss"]) for row in rows] == [row["train_loss"] for row in result.history]


def test_the_bundle_holds_weights_and_json_alone(result: TrainingResult) -> None:
    assert sorted(zipfile.ZipFile(result.bundle).namelist()) == ["config.json", "weights.safetensors"]


def test_the_bundle_holds_the_weights_of_the_best_checkpoint(result: TrainingResult) -> None:
    saved = load_bundle(result.bundle).state_dict
    best = torch.load(result.checkpoint, weights_only=True)["state_dict"]
    for name, value in saved.items():
        torch.testing.assert_close(value, best[f"model.{name}"], rtol=0, atol=0)


def test_two_runs_give_equal_weights(tiny_file: Path, result: TrainingResult, tmp_path: Path) -> None:
    again = trained(tiny_file, tmp_path / "again", probe_trainable=True)
    assert load_bundle(again.bundle).state_dict.keys() == load_bundle(result.bundle).state_dict.keys()
    for name, value in load_bundle(again.bundle).state_dict.items():
        assert torch.equal(value, load_bundle(result.bundle).state_dict[name])


def test_a_reconstruction_writes_picture_arrays_and_metrics(
    result: TrainingResult, tiny_file: Path, tmp_path: Path
) -> None:
    found = reconstructed(result.run_dir, tiny_file, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "run.log",
        "metrics.json",
        "patterns.npz",
        "reconstruction.npz",
        "reconstruction.png",
        "report.html",
        "comparison.png",
    }
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["patterns"] == "held out"
    assert 0 < metrics["r_factor"] < 1
    with np.load(tmp_path / "reconstruction.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["object"], found.reconstruction.object)
        assert arrays["object"].dtype == np.complex64


def test_training_improves_on_the_untrained_network(tiny_file: Path, tmp_path: Path) -> None:
    factors = []
    for name, options in {
        "untrained": {"learning_rate": 1e-12, "nepochs": 1},
        "trained": {"nepochs": 6},
    }.items():
        trained(tiny_file, tmp_path / name, **options)
        factors.append(
            reconstructed(tmp_path / name, tiny_file, tmp_path / name / "picture").metrics["r_factor"]
        )
    assert factors[1] < 0.95 * factors[0]


def test_held_out_patterns_enter_no_reconstruction(
    result: TrainingResult, tiny_scan: RawData, tmp_path: Path
) -> None:
    spoiled = tiny_scan.patterns.copy()
    spoiled[tiny_scan.holdout] = 7.0
    files = []
    for name, patterns in {"true": tiny_scan.patterns, "spoiled": spoiled}.items():
        scan = RawData.from_arrays(
            patterns, tiny_scan.positions_px, tiny_scan.probe, domain="amplitude", holdout=tiny_scan.holdout
        )
        files.append(tmp_path / f"{name}.npz")
        scan.to_file(files[-1])
    pictures = [
        reconstructed(result.run_dir, file, tmp_path / file.stem).reconstruction.object for file in files
    ]
    np.testing.assert_array_equal(*pictures)


def test_the_refined_probe_is_used_for_its_own_scan_only(
    result: TrainingResult, tiny_file: Path, tiny_scan: RawData, tmp_path: Path
) -> None:
    own = reconstructed(result.run_dir, tiny_file, tmp_path / "own").reconstruction.probe
    np.testing.assert_allclose(own, result.module.model.probes()[0].numpy(), rtol=1e-5)
    assert np.abs(own - tiny_scan.probe).max() > 1e-3
    other = RawData.from_arrays(
        tiny_scan.patterns, tiny_scan.positions_px, 1.05 * tiny_scan.probe, domain="amplitude"
    )
    other.to_file(tmp_path / "other.npz")
    probe = reconstructed(result.run_dir, tmp_path / "other.npz", tmp_path / "foreign").reconstruction.probe
    np.testing.assert_allclose(probe, other.probe, rtol=1e-4, atol=1e-4)


def test_a_network_trained_on_one_scan_reconstructs_another(result: TrainingResult, tmp_path: Path) -> None:
    simulate_scan("camera", "coffee", N=32, n_positions=50, seed=9).to_file(tmp_path / "unseen.npz")
    found = reconstructed(result.run_dir, tmp_path / "unseen.npz", tmp_path / "picture", debug=True)
    assert np.isfinite(found.reconstruction.object).all()
    with np.load(tmp_path / "picture" / "reconstruction.npz", allow_pickle=False) as arrays:
        assert arrays["pattern_r_factor"].shape == (50,)
        assert arrays["canvas_coverage"].shape == arrays["canvas"].shape


def test_patterns_of_another_size_are_refused(result: TrainingResult, tmp_path: Path) -> None:
    simulate_scan(N=48, n_positions=30).to_file(tmp_path / "large.npz")
    with pytest.raises(ValueError, match=r"48.*32|32.*48"):
        reconstructed(result.run_dir, tmp_path / "large.npz", tmp_path / "picture")


def test_supervised_training_learns_from_labels(tiny_file: Path, tmp_path: Path) -> None:
    losses = [
        row["train_loss"] for row in trained(tiny_file, tmp_path, model_type="supervised", nepochs=6).history
    ]
    assert losses[-1] < losses[0]


def test_supervised_training_without_labels_is_refused(tiny_scan: RawData, tmp_path: Path) -> None:
    scan = RawData.from_arrays(
        tiny_scan.patterns, tiny_scan.positions_px, tiny_scan.probe, domain="amplitude"
    )
    scan.to_file(tmp_path / "blind.npz")
    with pytest.raises(DataError, match="expected a known object"):
        trained(tmp_path / "blind.npz", tmp_path / "run", model_type="supervised")


def test_a_folder_of_scans_is_one_data_set(tiny_scan: RawData, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a", "b"):
        tiny_scan.to_file(folder / f"{name}.npz")
    result = trained(folder, tmp_path / "run")
    assert load_bundle(result.bundle).config["data"]["probe_shape"] == [2, 1, 32, 32]
    payload = create_inference_payload(
        tmp_path / "run", folder, tmp_path / "out", overrides={"n_groups": None}
    )
    with pytest.warns(UserWarning, match="POLICY-001"):
        results = reconstruct_scans(payload)
    assert [found.run_dir.name for found in results] == ["a", "b"]


def test_what_the_machine_lacks_is_said_before_data_is_read(tmp_path: Path, tiny_file: Path) -> None:
    execution = PyTorchExecutionConfig(accelerator="tpu")
    payload = create_training_payload(
        tiny_file, tmp_path / "run", overrides=SMALL, execution_config=execution
    )
    with pytest.raises(ConfigError, match=r"^accelerator: "):
        train(payload)
    assert not (tmp_path / "run").exists()


def test_unsigned_counts_with_bad_pixels_train(tiny_scan: RawData, tmp_path: Path) -> None:
    counts = np.round(tiny_scan.amplitude(np.arange(len(tiny_scan))) ** 2).astype(np.uint32)
    bad = np.zeros((32, 32), dtype=bool)
    bad[3:5, 7] = True
    scan = RawData.from_arrays(counts, tiny_scan.positions_px, tiny_scan.probe, bad_pixels=bad)
    assert scan.domain == "intensity"
    scan.to_file(tmp_path / "counts.npz")
    history = trained(tmp_path / "counts.npz", tmp_path / "run").history
    assert np.isfinite(history[-1]["train_loss"])


def test_positions_of_two_objects_are_not_averaged_on_one_canvas(
    result: TrainingResult, tiny_scan: RawData, tmp_path: Path
) -> None:
    index = np.arange(len(tiny_scan)) % 2
    scan = RawData.from_arrays(
        tiny_scan.patterns, tiny_scan.positions_px, tiny_scan.probe, domain="amplitude", scan_index=index
    )
    scan.to_file(tmp_path / "two.npz")
    with pytest.raises(DataError, match=r"\bscan_index: .*2 objects"):
        reconstructed(result.run_dir, tmp_path / "two.npz", tmp_path / "picture")


def test_another_backend_is_refused_before_data_is_read(tiny_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^training\.backend: .* from override"):
        trained(tiny_file, tmp_path / "run", backend="tensorflow")
    assert not (tmp_path / "run").exists()


def test_a_run_leaves_the_legacy_dictionary_as_its_payload_filled_it(
    tiny_file: Path, tmp_path: Path, legacy: dict[str, object]
) -> None:
    execution = PyTorchExecutionConfig(accelerator="cpu", val_split=0.1)
    training = create_training_payload(tiny_file, tmp_path / "run", SMALL | {"nepochs": 1}, execution)
    filled = dict(legacy)
    train(training)
    assert legacy == filled
    picture = tmp_path / "picture"
    inference = create_inference_payload(tmp_path / "run", tiny_file, picture, {"n_groups": 9}, execution)
    filled = dict(legacy)
    reconstruct_scans(inference)
    assert legacy == filled


def test_any_metric_the_model_logs_can_be_monitored(tiny_file: Path, tmp_path: Path) -> None:
    result = trained(tiny_file, tmp_path, nepochs=1, checkpoint_monitor_metric="epoch_time_s")
    assert "epoch_time_s" in result.checkpoint.name


def test_a_picture_is_kept_where_no_comparison_can_be_made(
    result: TrainingResult, tiny_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = reconstructed(result.run_dir, tiny_file, tmp_path, middle_trim=2)
    assert (tmp_path / "reconstruction.npz").is_file()
    assert "r_factor" in found.metrics
    assert "not compared with the known object" in caplog.text


def test_a_reconstruction_does_not_write_among_the_files_of_its_training(
    result: TrainingResult, tiny_file: Path
) -> None:
    before = (result.run_dir / "config.json").read_bytes()
    with pytest.raises(ConfigError, match="output_dir: expected a folder without a model"):
        reconstructed(result.run_dir, tiny_file, result.run_dir)
    assert (result.run_dir / "config.json").read_bytes() == before


def test_a_reconstruction_that_cannot_start_this_program_again_runs_on_one_device_and_says_so(
    result: TrainingResult, tiny_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = reconstructed(result.run_dir, tiny_file, tmp_path, n_devices=2, strategy="ddp_spawn")
    assert np.isfinite(found.reconstruction.object).all()
    assert "this reconstruction runs on one device" in caplog.text


def test_too_few_groups_for_a_full_batch_are_refused(tiny_file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^drop_last_batch: .*1000"):
        trained(tiny_file, tmp_path, drop_last_batch=True, batch_size=1000, n_groups=None)


def test_a_training_that_diverged_saves_no_model(tiny_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^learning_rate: "):
        trained(tiny_file, tmp_path, optimizer="sgd", learning_rate=1e20, enable_checkpointing=False)
    assert not (tmp_path / "wts.h5.zip").exists()


def test_a_loss_without_weights_is_refused(tiny_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^training\.nll_weight: .*\bmae_weight is 0\.0"):
        trained(tiny_file, tmp_path, nll_weight=0.0)


def test_a_run_in_a_used_folder_leaves_nothing_of_the_earlier_one(tiny_file: Path, tmp_path: Path) -> None:
    trained(tiny_file, tmp_path, nepochs=2)
    trained(tiny_file, tmp_path, nepochs=1, save_last_checkpoint=False, overwrite=True)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    with (tmp_path / "history.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1


def test_wrong_data_lose_nothing_of_an_earlier_run(tiny_file: Path, tmp_path: Path) -> None:
    kept = trained(tiny_file, tmp_path, nepochs=1).bundle.read_bytes()
    with pytest.raises(DataError):
        trained(tiny_file, tmp_path, drop_last_batch=True, batch_size=1000, n_groups=None, overwrite=True)
    assert (tmp_path / "wts.h5.zip").read_bytes() == kept


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"probe_big": False, "pad_object": False},
            "probe_big: false has no effect while pad_object is false",
        ),
        ({"architecture": "cnn"}, "n_unrolled_steps: 1 has no effect while architecture is cnn"),
        (
            {"model_type": "supervised", "mae_weight": 2.0},
            "mae_weight: 2.0 has no effect while model_type is",
        ),
        ({"momentum": 0.5}, "momentum: 0.5 has no effect while optimizer is adam"),
        ({"optimizer": "sgd", "adam_beta1": 0.5}, "adam_beta1: 0.5 has no effect while optimizer is sgd"),
        ({"lr_min_ratio": 0.5}, "lr_min_ratio: 0.5 has no effect while scheduler is Default"),
        ({"plateau_factor": 0.1}, "plateau_factor: 0.1 has no effect while scheduler is Default"),
        ({"probe_mask_sigma": 2.0}, "probe_mask_sigma: 2.0 has no effect while probe_mask is false"),
    ],
)
def test_a_setting_without_effect_is_said(
    settings: dict, words: str, tiny_file: Path, tmp_path: Path
) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trained(tiny_file, tmp_path, nepochs=1, **settings)
    assert any(str(one.message).startswith(words) for one in said), [str(one.message) for one in said]
