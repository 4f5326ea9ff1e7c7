"""The factory of a reconstruction: what the model says, what beats it, and what is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch.config_factory import create_inference_payload
from tests.refusals import message
from tests.torch.factory_calls import infer, save_model, save_scan, train

pytestmark = pytest.mark.usefixtures("legacy")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return save_scan(tmp_path / "scan.npz", nphotons=np.array(1e6))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "run", N=64, gridsize=2, n_filters_scale=3, training={"nphotons": 1e4})


def test_the_model_says_what_it_is(model: Path, scan: Path):
    payload = infer(model, scan)
    config = payload.tf_inference_config
    assert (config.model.N, config.model.gridsize, config.model.n_filters_scale) == (64, 2, 3)
    assert (config.model_path, config.test_data_file, config.n_groups) == (model, scan, 8)
    assert (payload.pt_data_config.C, payload.pt_model_config.C_model, payload.pt_data_config.n_groups) == (
        4,
        4,
        8,
    )
    assert payload.pt_data_config.nphotons == 1e4
    assert payload.sources["model.gridsize"].kind == "inferred"
    assert "version 9.9" in payload.sources["model.gridsize"].locator


def test_the_training_batch_size_is_that_of_reconstruction_unless_said(model: Path, scan: Path):
    assert infer(model, scan).pt_inference_config.batch_size == 4 * 2**2  # groups of 2 x 2 patterns
    assert infer(model, scan, overrides={"inference_batch_size": 7}).pt_inference_config.batch_size == 7


def test_the_archive_itself_may_be_named(model: Path, scan: Path):
    assert infer(model / "wts.h5.zip", scan).tf_inference_config.model.gridsize == 2


def test_the_model_beats_the_file_but_not_an_override(
    model: Path, scan: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "run.toml").write_text("[model]\ngridsize = 3\n[inference]\ndebug = true\n")
    config = infer(model, scan, file=tmp_path / "run.toml").tf_inference_config
    assert (config.model.gridsize, config.debug) == (2, True)
    assert infer(model, scan, overrides={"gridsize": 1}).tf_inference_config.model.gridsize == 1
    assert "model.gridsize: 1 (override) overrules 2 (config.json in" in caplog.text


def test_a_missing_model_is_refused_with_its_path(scan: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"Model archive not found: .*nowhere"):
        infer(tmp_path / "nowhere", scan)


def test_missing_test_data_are_refused_with_the_path(model: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"Scan file not found: .*nowhere\.npz"):
        infer(model, tmp_path / "nowhere.npz")


def test_a_reconstruction_needs_n_groups_too(model: Path, scan: Path):
    assert "inference.n_groups: n_groups is required" in message(
        lambda: create_inference_payload(model, scan, "out")
    )


def test_data_of_another_size_than_the_model_are_refused(model: Path, tmp_path: Path):
    scan = save_scan(tmp_path / "large.npz", n=128)
    text = message(lambda: infer(model, scan))
    assert (
        f"model.N: expected data of 64 pixels, the size that the model was trained on; got 128 from the probe in {scan}"
        in text
    )


def test_a_model_that_says_nothing_leaves_n_to_the_data(
    scan: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "wts.h5.zip").touch()
    assert infer(tmp_path, scan).tf_inference_config.model.N == 64
    assert "does not describe its model" in caplog.text


def test_a_model_of_a_newer_version_is_refused_by_field_and_version(scan: Path, tmp_path: Path):
    folder = save_model(tmp_path / "new", {"n_ghosts": 1}, N=64, n_ghosts=2)
    lines = message(lambda: infer(folder, scan)).splitlines()
    assert [line.split(":")[0] for line in lines] == ["training.n_ghosts", "model.n_ghosts"]
    assert all("written by version 9.9" in line for line in lines)


def test_the_legacy_dictionary_is_filled_for_a_reconstruction(
    model: Path, scan: Path, legacy: dict[str, object]
):
    infer(model, scan)
    assert (legacy["N"], legacy["gridsize"], legacy["test_data_file_path"]) == (64, 2, str(scan))


def test_what_a_training_writes_is_what_a_reconstruction_reads(scan: Path, tmp_path: Path):
    trained = train(scan, overrides={"gridsize": 2, "architecture": "cnn", "probe_trainable": True})
    config = dataclasses.asdict(trained.tf_training_config)
    said = config.pop("model")
    del config["data"]  # a model keeps it under a name of its own
    training = {name: str(value) if isinstance(value, Path) else value for name, value in config.items()}
    payload = infer(save_model(tmp_path / "run", training, **said), scan)
    assert payload.tf_inference_config.model == trained.tf_training_config.model
    assert payload.pt_model_config == trained.pt_model_config
    assert payload.pt_training_config == trained.pt_training_config
