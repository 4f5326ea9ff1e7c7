"""The factory of a training: what is refused, and what the refusal says."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.raw_data import DataError
from ptycho_torch.config_factory import (
    create_training_payload,
    infer_probe_size,
    inference_payload_of,
    training_payload_of,
)
from tests.refusals import message
from tests.torch.factory_calls import save_scan, train

pytestmark = pytest.mark.usefixtures("legacy")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return save_scan(tmp_path / "scan.npz", nphotons=np.array(1e6))


def test_missing_training_data_are_refused_with_the_path(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"Training data file not found: .*nowhere\.npz"):
        train(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("overrides", [None, {}, {"nepochs": 3}])
def test_n_groups_is_required(overrides: dict[str, Any] | None, scan: Path):
    assert "n_groups is required" in message(lambda: create_training_payload(scan, "out", overrides))


def test_n_groups_may_come_from_any_level(scan: Path, tmp_path: Path):
    (tmp_path / "run.toml").write_text("[training]\nn_groups = 3\n")
    assert create_training_payload(scan, "out", file=tmp_path / "run.toml").tf_training_config.n_groups == 3
    assert (
        create_training_payload(scan, "out", flags={"n_groups": "none"}).tf_training_config.n_groups is None
    )


def test_everything_wrong_is_reported_at_once(scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "run.toml").write_text("[model]\ngridsize = 0\n")
    monkeypatch.setenv("PTYCHO_EXEC_PREFETCH_FACTOR", "many")
    text = message(
        lambda: create_training_payload(
            scan, "out", {"gridsiz": 2, "batch_size": 0}, flags={"nepochs": "x"}, file=tmp_path / "run.toml"
        )
    )
    for part in (
        "gridsiz: no such setting (override). Did you mean gridsize?",
        "training.batch_size: expected an integer >= 1; got 0 from override.",
        "training.nepochs: expected an integer >= 1; got 'x' from flag --nepochs.",
        f"model.gridsize: expected an integer >= 1; got 0 from {tmp_path / 'run.toml'}:2.",
        "n_groups is required",
        "PTYCHO_EXEC_PREFETCH_FACTOR",
    ):
        assert part in text


def test_a_wrong_value_is_reported_although_it_loses(scan: Path):
    assert "got -1 from command-line default" in message(
        lambda: train(scan, overrides={"nepochs": 3}, cli_defaults={"nepochs": -1})
    )


@pytest.mark.parametrize(
    ("name", "meant"), [("num_worker", "num_workers"), ("max_epoch", "max_epochs"), ("n", "N"), ("zzz", None)]
)
def test_an_unknown_name_is_refused_with_the_near_one(name: str, meant: str | None, scan: Path):
    text = message(lambda: train(scan, overrides={name: 3}))
    assert text == f"{name}: no such setting (override)." + (f" Did you mean {meant}?" if meant else "")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"overrides": [1]}, "override: expected a mapping of names to values"),
        ({"overrides": {3: 4}}, "override: expected names that are text; got 3."),
        ({"overrides": {"mode": ["pinn"]}}, "training.n_groups: n_groups is required"),
        (
            {"execution_config": {"num_workers": 3}},
            "execution_config: expected a PyTorchExecutionConfig or none",
        ),
        ({"file": "nowhere.toml"}, "nowhere.toml: no such file"),
    ],
)
def test_a_request_of_the_wrong_kind_is_refused(options: dict[str, Any], complaint: str, scan: Path):
    assert complaint in message(lambda: create_training_payload(scan, "out", **options))


def test_no_data_are_not_found(scan: Path):
    with pytest.raises(FileNotFoundError, match=r"^Training data file not found: .*None"):
        create_training_payload(None, "out", {"n_groups": 3})


def test_an_override_must_not_name_other_data_than_the_argument(scan: Path):
    assert "training.train_data_file: given twice" in message(
        lambda: train(scan, overrides={"train_data_file": "b"})
    )
    assert train(scan, flags={"train_data_file": str(scan)}).tf_training_config.train_data_file == scan


def test_a_failed_request_leaves_the_legacy_dictionary_alone(scan: Path, legacy: dict[str, object]):
    message(lambda: train(scan, overrides={"nepochs": 0}))
    assert legacy == {}


def test_middle_trim_is_at_most_the_patch(scan: Path):
    assert message(lambda: train(scan, overrides={"middle_trim": 65})).startswith(
        f"middle_trim: 65 (override) needs patches of 65 pixels or more; N is 64 (the probe in {scan})."
    )


@pytest.mark.parametrize("n_pixels", [32, 64, 128])
def test_middle_trim_is_at_most_the_patch_of_a_ready_configuration(n_pixels: int):
    config = TrainingConfig(model=ModelConfig(N=n_pixels))
    rule = f"middle_trim: {n_pixels + 1} (argument) needs patches of {n_pixels + 1} pixels or more; N is {n_pixels}"
    too_large = PyTorchExecutionConfig(middle_trim=n_pixels + 1)
    assert message(lambda: training_payload_of(config, too_large)).startswith(rule)
    trained = training_payload_of(config, PyTorchExecutionConfig(middle_trim=n_pixels))
    inference = InferenceConfig(model=config.model)
    assert inference_payload_of(inference, trained).execution_config.middle_trim == n_pixels
    trained = dataclasses.replace(trained, execution_config=too_large)
    assert message(lambda: inference_payload_of(inference, trained)).startswith(rule)


def test_patterns_tell_n_where_there_is_no_probe(tmp_path: Path):
    scan = tmp_path / "a.npz"
    np.savez(scan, diff3d=np.ones((2, 64, 64)))
    assert train(scan).tf_training_config.model.N == 64


def test_a_size_that_no_network_takes_is_refused_with_its_origin(tmp_path: Path):
    text = message(lambda: train(save_scan(tmp_path / "a.npz", n=50)))
    assert "model.N: expected a multiple of 16 from 32 up" in text
    assert "got 50 from the probe in" in text


def test_a_folder_of_scans_is_one_data_set(tmp_path: Path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("b.npz", "a.npz"):
        save_scan(folder / name, n=128, nphotons=np.array(1e5))
    payload = train(folder)
    assert (payload.tf_training_config.model.N, payload.tf_training_config.nphotons) == (128, 1e5)
    assert payload.sources["model.N"].locator == f"the probe in {folder / 'a.npz'}"


def test_scans_of_one_data_set_must_agree_unless_overruled(tmp_path: Path):
    save_scan(tmp_path / "a.npz", nphotons=np.array(1e5))
    save_scan(tmp_path / "b.npz", nphotons=np.array(1e6))
    with pytest.raises(DataError, match=r"nphotons: .*100000\.0 in .*a\.npz"):
        train(tmp_path)
    assert train(tmp_path, overrides={"nphotons": 2e5}).tf_training_config.nphotons == 2e5


def test_the_size_of_a_probe_is_public(scan: Path):
    assert infer_probe_size(scan) == 64
