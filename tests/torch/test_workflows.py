"""The historical workflows: a ready configuration, scans in memory or in files."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ptycho import params
from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.raw_data import DataError, RawData
from ptycho.run_folder import RunFolder
from ptycho.workflows import backend_selector, components
from ptycho_torch.workflows.components import (
    load_inference_bundle_torch,
    run_cdi_example_torch,
    train_cdi_model_torch,
)

pytestmark = pytest.mark.usefixtures("legacy")


def config(tmp_path: Path, **training: Any) -> TrainingConfig:
    model = ModelConfig(N=32, gridsize=1, n_unrolled_steps=1, n_filters_scale=1)
    return TrainingConfig(model=model, nepochs=1, output_dir=tmp_path / "run", **training)


@pytest.fixture
def on_cpu() -> PyTorchExecutionConfig:
    return PyTorchExecutionConfig(accelerator="cpu")


def test_a_scan_in_memory_is_trained_on_and_reconstructed(
    tiny_scan: RawData, tmp_path: Path, on_cpu: PyTorchExecutionConfig
) -> None:
    amplitude, phase, results = run_cdi_example_torch(
        tiny_scan, None, config(tmp_path), execution_config=on_cpu
    )
    assert amplitude is not None
    assert phase is not None
    assert amplitude.dtype == phase.dtype == np.float32
    assert amplitude.shape == phase.shape
    assert results["backend"] == "pytorch"
    assert len(results["history"]) == 1
    assert results["metrics"]["r_factor"] < 1
    assert results["problem"] is None
    assert params.get("N") == 32
    saved = json.loads((results["run_dir"] / "reconstruction" / "config.json").read_text())
    assert saved["origins"]["inference.output_dir"]["kind"] == "argument"
    assert saved["origins"]["execution.accelerator"]["value"] == "cpu"


def test_without_stitching_there_is_no_picture(
    tiny_file: Path, tmp_path: Path, on_cpu: PyTorchExecutionConfig
) -> None:
    amplitude, phase, results = run_cdi_example_torch(
        tiny_file, None, config(tmp_path), do_stitching=False, execution_config=on_cpu
    )
    assert (amplitude, phase) == (None, None)
    assert "metrics" not in results
    assert results["bundle"].is_file()


def test_a_training_that_came_to_nothing_is_warned_of_and_told_in_the_results(
    tiny_scan: RawData, tmp_path: Path
) -> None:
    execution = PyTorchExecutionConfig(accelerator="cpu", learning_rate=0.3)
    given = config(tmp_path, batch_size=6, lr_warmup_epochs=0)
    given.nepochs = 4
    with pytest.warns(UserWarning, match="(Usual|Likely) causes") as caught:
        *_, results = run_cdi_example_torch(tiny_scan, None, given, execution_config=execution)
    told = [str(one.message) for one in caught]
    assert any("The model does not predict the patterns" in line for line in told)
    assert any("the picture is not that of the object" in line for line in told)
    assert "The model does not predict the patterns" in results["problem"]
    assert results["reconstructions"][0].problem is not None


def test_the_test_scan_validates(tiny_scan: RawData, tmp_path: Path) -> None:
    execution = PyTorchExecutionConfig(accelerator="cpu", val_split=0.0)
    results = train_cdi_model_torch(tiny_scan, tiny_scan, config(tmp_path), execution)
    assert results["history"][0]["val_loss"] is not None


def test_the_size_of_the_patterns_comes_from_the_data_where_it_is_left_open(
    tiny_scan: RawData, tmp_path: Path, on_cpu: PyTorchExecutionConfig
) -> None:
    given = config(tmp_path)
    given.model.N = 0
    train_cdi_model_torch(tiny_scan, None, given, on_cpu)
    assert given.model.N == 0
    assert params.get("N") == 32


def test_a_scan_of_another_size_is_refused(
    tiny_scan: RawData, tmp_path: Path, on_cpu: PyTorchExecutionConfig
) -> None:
    given = config(tmp_path)
    given.model.N = 64
    with pytest.raises(DataError, match=r"model\.N.*32 x 32"):
        train_cdi_model_torch(tiny_scan, None, given, on_cpu)


def test_a_subsample_has_a_group_for_each_of_its_positions_unasked(
    tiny_scan: RawData, tmp_path: Path, on_cpu: PyTorchExecutionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    train_cdi_model_torch(tiny_scan, None, config(tmp_path, n_subsample=30), on_cpu)
    assert "training on 28 groups of 1 pattern, validating on 2" in caplog.text
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.parametrize("do", [train_cdi_model_torch, run_cdi_example_torch])
@pytest.mark.parametrize(
    ("knob", "value"),
    [("accelerator", "mps"), ("strategy", "deepspeed"), ("checkpoint_monitor_metric", "lost")],
)
def test_what_cannot_be_followed_is_refused_before_data_are_read(
    do: Any, knob: str, value: str, tmp_path: Path
) -> None:
    (tmp_path / "damaged.npz").write_text("not a scan")
    execution = PyTorchExecutionConfig(**{"accelerator": "cpu", "n_devices": 1, knob: value})
    with pytest.raises(ConfigError, match=f"^{knob}: .*'{value}' from argument"):
        do(tmp_path / "damaged.npz", None, config(tmp_path), execution_config=execution)


def test_no_training_scan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^training\.train_data_file: "):
        train_cdi_model_torch(None, None, config(tmp_path))


def test_a_bundle_loads_as_it_was_trained(
    tiny_scan: RawData, tmp_path: Path, on_cpu: PyTorchExecutionConfig
) -> None:
    results = train_cdi_model_torch(tiny_scan, None, config(tmp_path), on_cpu)
    params.cfg.clear()
    models, settings = load_inference_bundle_torch(results["run_dir"])
    trained = results["models"]["diffraction_to_obj"].state_dict()
    for name, value in models["diffraction_to_obj"].state_dict().items():
        assert torch.equal(value, trained[name]), name
    assert (settings["N"], settings["gridsize"]) == (32, 1)
    assert params.get("N") == 32


def test_the_core_reaches_this_backend_by_its_entry_point(tiny_file: Path, tmp_path: Path) -> None:
    given = config(tmp_path, train_data_file=tiny_file)
    _, _, results = backend_selector.run_cdi_example_with_backend(
        None, None, given, False, torch_execution_config=PyTorchExecutionConfig(accelerator="cpu", seed=7)
    )
    assert results["models"].keys() == {"diffraction_to_obj"}
    models, _ = components.load_inference_bundle(results["run_dir"])
    assert models.keys() == {"diffraction_to_obj"}


def test_tensorflow_is_refused_with_the_way_out(tiny_scan: RawData, tmp_path: Path) -> None:
    given = config(tmp_path, backend="tensorflow")
    with pytest.raises(RuntimeError, match=r"Set backend='pytorch'"):
        components.run_cdi_example(tiny_scan, None, given)
    with pytest.raises(RuntimeError, match=r"Set backend='pytorch'"):
        run_cdi_example_torch(tiny_scan, None, given)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 'pytorch'; got 'jax'"):
        backend_selector.run_cdi_example_with_backend(None, None, SimpleNamespace(backend="jax"))


def test_outputs_are_arrays_pictures_and_metrics(tmp_path: Path) -> None:
    image = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    components.save_outputs(image, 2 * image, {"metrics": {"r_factor": 0.5}}, tmp_path / "out")
    assert np.array_equal(np.load(tmp_path / "out" / "reconstructed_phase.npy"), 2 * image)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "metrics.json",
        *(f"reconstructed_{what}.{kind}" for what in ("amplitude", "phase") for kind in ("npy", "png")),
    }


def test_outputs_of_two_calls_are_not_mixed(tmp_path: Path) -> None:
    image = np.ones((3, 4), dtype=np.float32)
    components.save_outputs(image, image, {"metrics": {"r_factor": 0.5}}, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=r"\(overwrite=True\)"):
        components.save_outputs(2 * image, None, {}, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    components.save_outputs(2 * image, None, {}, tmp_path, overwrite=True)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"reconstructed_amplitude.npy", "reconstructed_amplitude.png"}
    assert np.array_equal(np.load(tmp_path / "reconstructed_amplitude.npy"), 2 * image)


def test_outputs_wait_for_no_other_writer_and_replace_no_reconstruction(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "busy"), pytest.raises(ConfigError, match="in use by process"):
        components.save_outputs(None, None, {"metrics": {"r_factor": 0.5}}, tmp_path / "busy")
    (tmp_path / "reconstruction.npz").touch()
    with pytest.raises(ConfigError, match="a reconstruction"):
        components.save_outputs(None, None, {"metrics": {"r_factor": 0.5}}, tmp_path, overwrite=True)
    assert not (tmp_path / "metrics.json").exists()


def test_a_metric_that_is_not_finite_is_null_in_the_file(tmp_path: Path) -> None:
    components.save_outputs(None, None, {"metrics": {"r_factor": float("nan")}}, tmp_path)
    said = json.loads((tmp_path / "metrics.json").read_text())
    assert said == {"r_factor": None, "r_factor_reason": "not a number (NaN)"}


@pytest.mark.parametrize("given", [np.ones(3), np.ones((3, 3), complex), np.array([[{}]]), 1.0])
def test_what_is_no_image_is_not_saved(given: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"phase: expected real numbers of shape \(H, W\)"):
        components.save_outputs(np.ones((3, 3)), given, {}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_to_save_is_no_error(tmp_path: Path) -> None:
    components.save_outputs(None, None, {}, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
