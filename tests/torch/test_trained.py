"""The domain of a training holds in what its model reconstructs, and its tensors are compared before it is built."""

import json
import logging
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from ptycho.config.errors import ConfigError
from ptycho.model_archive import BundleError
from ptycho.raw_data import DataError, RawData
from ptycho.scan_domain import TrainedDomains
from ptycho_torch.config_factory import create_inference_payload
from ptycho_torch.config_params import ModelConfig
from ptycho_torch.data.groups import GroupDataset, batches
from ptycho_torch.forward_model import build_network
from ptycho_torch.runs.reconstruction import ReconstructionResult, reconstruct_scans
from ptycho_torch.runs.record import recorded_domains
from ptycho_torch.runs.training import TrainingResult
from ptycho_torch.simulate import simulate_scan
from ptycho_torch.workflows.components import load_inference_bundle_torch
from tests.legacy_dictionary import legacy_dictionary_restored
from tests.torch.runs import trained

pytestmark = pytest.mark.usefixtures("legacy")


def silent_file(folder: Path, seed: int = 3, **changes: object) -> Path:
    """Counts as floats, not all whole, and nothing that states it: alone they are read as amplitudes."""
    scan = simulate_scan(N=32, n_positions=70, nphotons=1e5, seed=seed, domain="intensity")
    arrays = {
        "diff3d": np.asarray(scan.patterns).astype(np.float32) + np.float32(0.25),
        "xcoords": scan.xcoords,
        "ycoords": scan.ycoords,
        "probeGuess": scan.probe,
    }
    folder.mkdir(exist_ok=True)
    np.savez(folder / "scan.npz", **(arrays | changes))
    return folder / "scan.npz"


@pytest.fixture(scope="module")
def counts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return silent_file(tmp_path_factory.mktemp("scan") / "a")


@pytest.fixture(scope="module")
def result(counts_file: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    with legacy_dictionary_restored():
        run_dir = tmp_path_factory.mktemp("run")
        return trained(counts_file, run_dir, nepochs=1, measurement_domain="intensity")


def reconstructed(model: Path, file: Path, folder: Path, **overrides: object) -> ReconstructionResult:
    given = {"n_groups": None, "accelerator": "cpu"} | overrides
    return reconstruct_scans(create_inference_payload(model, file, folder, given))[0]


@pytest.mark.integration
def test_what_was_said_in_training_holds_in_reconstruction(
    result: TrainingResult, counts_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert RawData.from_file(counts_file).domain == "amplitude"
    found = reconstructed(result.run_dir, counts_file, tmp_path / "same")
    assert found.scan.domain == "intensity"
    assert found.scan.domain_reason == "as in the earlier run: measurement_domain is set"
    assert "probe: that of the training, which began with the probe of this scan" in caplog.text
    assert "not trained on" not in caplog.text
    record = json.loads((tmp_path / "same" / "config.json").read_text())
    assert recorded_domains(record).scans[0].domain == "intensity"
    other = reconstructed(result.run_dir, silent_file(tmp_path / "b", seed=4), tmp_path / "other")
    assert other.scan.domain == "intensity"
    metadata = np.array(json.dumps({"measurement_domain": "amplitude"}))
    stated = reconstructed(
        result.run_dir, silent_file(tmp_path / "c", seed=5, metadata=metadata), tmp_path / "stated"
    )
    assert stated.scan.domain == "amplitude"


@pytest.mark.integration
def test_a_domain_set_anew_is_followed_and_said(
    result: TrainingResult, counts_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = reconstructed(result.run_dir, counts_file, tmp_path / "out", measurement_domain="amplitude")
    assert found.scan.domain == "amplitude"
    assert "read as amplitude, but the model was trained on them as intensity" in caplog.text


def test_the_domain_of_an_older_record_holds() -> None:
    told = {"measurement_domain": {"a.npz": "intensity (whole numbers)", "b.npz": "intensity (x)"}}
    assert recorded_domains(told).stated == "intensity"
    assert recorded_domains({"measurement_domain": {"a": "intensity", "b": "amplitude"}}).stated is None
    assert recorded_domains({"domains": ["?", {"domain": "no"}]}) == TrainedDomains(None, [])


@pytest.mark.integration
def test_a_log_of_ones_own_gets_odd_names_spelled_out(
    result: TrainingResult, counts_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    odd = Path(shutil.copy(counts_file, tmp_path / "a\x1b[31mb\u2028c.npz"))
    reconstructed(result.run_dir, odd, tmp_path / "out\n")
    assert any("a\\x1b[31mb\\u2028c.npz: r_factor" in message for message in caplog.messages)
    assert all(message.isprintable() for message in caplog.messages)


def spoiled(result: TrainingResult, folder: Path, change) -> Path:
    """The bundle with its tensors changed."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(result.bundle) as old:
        config, weights = old.read("config.json"), safetensors.torch.load(old.read("weights.safetensors"))
    with zipfile.ZipFile(folder / "wts.h5.zip", "w") as new:
        new.writestr("config.json", config)
        new.writestr("weights.safetensors", safetensors.torch.save(change(weights)))
    return folder


def first_weight(weights: dict[str, torch.Tensor]) -> str:
    return next(name for name in sorted(weights) if name.endswith("weight"))


FAULTS = {
    "int8": (lambda w, n: w | {n: w[n].to(torch.int8)}, "int8 .* for the tensor '{}', which is float32"),
    "shape": (lambda w, n: w | {n: w[n][:1].clone()}, "for the tensor '{}', which is float32"),
    "nan": (lambda w, n: w | {n: w[n] * torch.nan}, "NaN or infinity in the tensor '{}'"),
    "missing": (lambda w, n: {k: v for k, v in w.items() if k != n}, "no tensor '{}'"),
    "extra": (lambda w, n: w | {"network.\x1b[2J": torch.ones(1)}, "an unknown tensor 'network"),
    "probe": (lambda w, n: w | {"probe": w["probe"][0].clone()}, "for the tensor 'probe'"),
    "probe of another size": (
        lambda w, n: w | {"probe": torch.ones(1, 1, 64, 64, 2)},
        r"shape \(1, 1, 64, 64, 2\) for the tensor 'probe', which is \(scans, modes, 32, 32, 2\)",
    ),
    "no probe": (lambda w, n: {k: v for k, v in w.items() if k != "probe"}, "none for the tensor 'probe'"),
}


@pytest.mark.integration
@pytest.mark.parametrize("fault", FAULTS)
def test_tensors_that_are_not_those_of_the_model_are_named(
    result: TrainingResult, counts_file: Path, tmp_path: Path, fault: str
) -> None:
    change, message = FAULTS[fault]
    name = first_weight(torch_state(result))
    folder = spoiled(result, tmp_path / "model", lambda weights: change(weights, name))
    for load in (
        lambda: reconstructed(folder, counts_file, tmp_path / "out"),
        lambda: load_inference_bundle_torch(folder),
    ):
        with pytest.raises(BundleError, match=message.format(name)) as caught:
            load()
        assert str(caught.value).isprintable()
        assert "wts.h5.zip" in str(caught.value) or str(folder) in str(caught.value)


def torch_state(result: TrainingResult) -> dict[str, torch.Tensor]:
    with zipfile.ZipFile(result.bundle) as archive:
        return safetensors.torch.load(archive.read("weights.safetensors"))


def test_a_network_of_countless_steps_is_refused_before_it_is_built() -> None:
    with pytest.raises(ConfigError, match=r"\bn_unrolled_steps: "):
        build_network(ModelConfig(n_unrolled_steps=10**9), 32)
    with pytest.raises(ConfigError, match=r"\bn_unrolled_steps: "):
        build_network(ModelConfig(n_physics_steps=10**9), 32)
    with pytest.raises(ConfigError, match=r"\bn_filters_scale: .* got 1000000000"):
        build_network(ModelConfig(n_filters_scale=10**9), 32)


@pytest.mark.integration
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_scan_that_is_cut_short_while_it_is_loaded_is_an_error_of_one_line(
    tmp_path: Path, num_workers: int
) -> None:
    path = silent_file(tmp_path / "scan")
    scan = RawData.from_file(path, "intensity")
    loader = batches(
        GroupDataset([scan], [np.arange(70)[:, None]]),
        batch_size=5,
        num_workers=num_workers,
        prefetch_factor=None,
    )

    def load_on() -> None:
        for _ in loader:
            os.truncate(path, 5000)

    with pytest.raises(DataError, match=r"^scan file: ") as caught:
        load_on()
    assert str(caught.value).isprintable()
