"""What a run has found for a scan, taken over by the training and the reconstruction of a network."""

import dataclasses
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from ptycho.config.data import DataConfig
from ptycho.config.errors import ConfigError
from ptycho.formats.orientation import oriented
from ptycho.raw_data import DataError, RawData
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.config_params import InferenceConfig
from ptycho_torch.data.completing import Findings, completed, find, of_orientation
from ptycho_torch.data.found import read_found, with_found
from ptycho_torch.data.groups import GroupDataset
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.model import PtychoPINN
from ptycho_torch.reassembly import predicted_amplitude, reconstruct
from ptycho_torch.runs.completing import as_found
from ptycho_torch.runs.reconstruction import ReconstructionResult, reconstruct_scans
from ptycho_torch.runs.resuming import resume
from ptycho_torch.runtime import build_fabric
from ptycho_torch.simulate import simulate_scan
from tests.torch.conftest import TinyModel
from tests.torch.runs import SMALL, assert_same, refusal, trained
from tests.torch.solving import solved

FLICKER = np.exp(np.random.default_rng(0).normal(scale=0.3, size=70))


@pytest.fixture(scope="module")
def run_dir(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan that the solver has reconstructed with everything refined."""
    folder = tmp_path_factory.mktemp("solved")
    refined = dict.fromkeys(("refine_probe", "refine_positions", "refine_intensities"), True)
    solved(tiny_file, folder, n_iterations=12, positions_from=4, probe_modes=2, **refined)
    return folder


def found_in(run_dir: Path) -> dict[str, np.ndarray]:
    with np.load(run_dir / "reconstruction.npz", allow_pickle=False) as file:
        return {name: file[name] for name in ("probe", "positions_px", "intensities")}


def assert_started(scan: RawData, run_dir: Path) -> None:
    for name, values in found_in(run_dir).items():
        np.testing.assert_array_equal(getattr(scan, name), values)


def reconstructed(model: Path, file: Path, folder: Path, **settings: Any) -> ReconstructionResult:
    settings |= {"n_groups": None, "accelerator": "cpu", "reconstruction_window": 0}
    return reconstruct_scans(create_inference_payload(model, file, folder, settings))[0]


def test_a_scan_takes_what_a_run_has_found(run_dir: Path, tiny_scan: RawData) -> None:
    for place in (run_dir, run_dir / "reconstruction.npz"):
        assert_started(with_found(tiny_scan, place, "training.start"), run_dir)
    assert with_found(tiny_scan, None, "training.start") is tiny_scan
    assert np.ptp(found_in(run_dir)["intensities"]) > 0


def test_a_scan_takes_what_a_run_of_several_has_found_for_it(
    run_dir: Path, tiny_scan: RawData, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "reconstruction.npz").write_bytes((run_dir / "reconstruction.npz").read_bytes())
    mine = dataclasses.replace(tiny_scan, path=Path("somewhere/mine.npz"))
    assert_started(with_found(mine, tmp_path, "training.start"), run_dir)
    with pytest.raises(FileNotFoundError, match="start: expected a run's folder"):
        with_found(dataclasses.replace(mine, path=Path("other.npz")), tmp_path, "training.start")


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"object": np.ones((40, 40))}, "expected one or several of the arrays probe, positions_px"),
        ({"probe": np.ones((64, 64))}, "expected probe of a scan with the shape"),
        ({"positions_px": np.ones((3, 2))}, "expected positions_px of a scan with the shape (70, 2)"),
        ({"intensities": np.zeros(70)}, "expected intensities of finite numbers"),
        ({"positions_px": np.full((70, 2), np.nan)}, "expected positions_px of finite numbers"),
    ],
)
def test_what_is_of_no_use_is_refused(
    arrays: dict[str, np.ndarray], told: str, tiny_scan: RawData, tmp_path: Path
) -> None:
    np.savez(tmp_path / "found.npz", **arrays)
    with pytest.raises(ConfigError) as caught:
        with_found(tiny_scan, tmp_path / "found.npz", "inference.start")
    assert str(caught.value).startswith("inference.start: ")
    assert told in str(caught.value)


def test_what_a_run_has_found_is_not_searched_for_again(
    run_dir: Path, tiny_scan: RawData, tmp_path: Path, caplog: pytest.LogCaptureFixture, legacy: object
) -> None:
    """Neither the probe nor the orientation, at any of the three doors."""
    bare = RawData.from_arrays(tiny_scan.patterns, tiny_scan.positions_px, None, domain="amplitude")
    bare.to_file(tmp_path / "bare.npz")
    asked = {"start": run_dir, "n_iterations": 2, "orientation": "auto"}
    with caplog.at_level("INFO"):
        solved(tmp_path / "bare.npz", tmp_path / "again", **asked)
        module_of(tmp_path / "bare.npz", run_dir, orientation="auto")
        read = dataclasses.replace(bare, reading=DataConfig(orientation="auto"))
        known = with_found(read, run_dir, "inference.start")
    assert not [one for one in caplog.messages if "estimated" in one or "explains the patterns best" in one]
    assert find(known, np.arange(70)) == Findings(None, "identity")


def test_a_damaged_file_is_refused(tiny_scan: RawData, tmp_path: Path) -> None:
    (tmp_path / "found.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="expected a whole NPZ"):
        with_found(tiny_scan, tmp_path / "found.npz", "inference.start")


def test_known_intensities_make_up_for_a_beam_that_flickers(tiny_scan: RawData) -> None:
    """Network and figures give for patterns that flicker what they give for steady ones."""
    patterns = np.asarray(tiny_scan.patterns, dtype=np.float32)
    flickering = dataclasses.replace(
        tiny_scan, patterns=patterns * np.sqrt(FLICKER, dtype=np.float32)[:, None, None]
    )
    known = dataclasses.replace(flickering, intensities=FLICKER)
    tiny = TinyModel()

    def found(scan: RawData) -> Any:
        torch.manual_seed(0)
        model = PtychoPINN(tiny.model_config, tiny.data_config, torch.from_numpy(scan.probe)[None])
        fabric, inference = build_fabric(tiny.execution_config), InferenceConfig(window=0)
        arguments = {"inference": inference, "execution": tiny.execution_config, "fabric": fabric}
        return reconstruct(model, tiny.model_config, scan, np.arange(len(scan)), **arguments)

    steady, made_up, unknown = (found(scan) for scan in (tiny_scan, known, flickering))
    lit = steady.coverage > 0.1 * steady.coverage.max()
    errors = [np.abs(one.object - steady.object)[lit].max() for one in (made_up, unknown)]
    assert errors[0] < 0.1 * errors[1]
    some = np.array([1, 5])
    of_known, of_steady = (predicted_amplitude(steady, scan, some) for scan in (known, tiny_scan))
    np.testing.assert_allclose(of_known, of_steady * np.sqrt(FLICKER[some])[:, None, None], rtol=1e-5)


def test_counts_are_expected_with_the_intensity_of_each_pattern(tiny_scan: RawData) -> None:
    tiny = TinyModel()
    model = PtychoPINN(tiny.model_config, tiny.data_config, torch.from_numpy(tiny_scan.probe)[None])
    group = [np.array([[0, 1, 2, 3]])]
    expected: list[torch.Tensor] = []
    for intensities in (None, FLICKER):
        batch = GroupDataset([dataclasses.replace(tiny_scan, intensities=intensities)], group).__getitems__(
            [0]
        )
        with torch.no_grad():
            _, patterns = model(batch)
        expected.append(patterns.intensity_factor.flatten())
    torch.testing.assert_close(expected[1] / expected[0], torch.from_numpy(FLICKER[:4]).float())


def module_of(file: Path, start: Path | None, **more: Any) -> ScanDataModule:
    settings = SMALL | {"start": start} | more
    payload = create_training_payload(file, file.parent / "unused", settings)
    module = ScanDataModule(payload.tf_training_config, payload.execution_config)
    module.load()
    return module


def test_a_training_reads_its_scan_as_the_run_found_it(
    run_dir: Path, tiny_file: Path, legacy: object
) -> None:
    module = module_of(tiny_file, run_dir)
    assert_started(module.scans[0], run_dir)
    assert "intensity" in next(iter(module.train_dataloader()))


def test_a_scan_that_validates_has_the_probe_of_the_training_scan_whose_guess_it_shares(
    run_dir: Path, tiny_file: Path, legacy: object
) -> None:
    module = module_of(tiny_file, run_dir, test_data_file=tiny_file)
    assert len(module.probe_scans) == 1
    assert module.scans[1].intensities is None


@pytest.mark.integration
@pytest.mark.usefixtures("legacy")
class TestRuns:
    def test_a_network_is_trained_and_reconstructs_from_a_run(
        self, run_dir: Path, tiny_file: Path, tmp_path: Path
    ) -> None:
        trained(tiny_file, tmp_path / "run", nepochs=1, start=run_dir, intensity_scale_trainable=False)
        result = reconstructed(tmp_path / "run", tiny_file, tmp_path / "found", start=run_dir)
        assert_started(result.scan, run_dir)
        np.testing.assert_allclose(result.probe, found_in(run_dir)["probe"], rtol=1e-4, atol=1e-3)
        plain = reconstructed(tmp_path / "run", tiny_file, tmp_path / "plain")
        np.testing.assert_allclose(plain.probe, plain.scan.probe, rtol=1e-4, atol=1e-3)

    def test_a_training_that_started_from_a_run_goes_on(
        self, run_dir: Path, tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        whole = trained(tiny_file, tmp_path / "whole", start=run_dir)
        trained(tiny_file, tmp_path / "parts", start=run_dir, nepochs=2)
        assert_same(whole, resume(tmp_path / "parts", {"nepochs": 4}))

    def test_another_start_is_refused_when_a_training_goes_on(
        self, run_dir: Path, tiny_file: Path, tmp_path: Path
    ) -> None:
        trained(tiny_file, tmp_path / "run", start=run_dir, nepochs=1)
        assert "training.start: expected" in refusal(tmp_path / "run", {"start": None, "nepochs": 2})


@pytest.mark.integration
@pytest.mark.parametrize("word", ["flip-x", "transpose"])
def test_mirrored_positions_are_noticed_where_no_probe_fits_them(word: str) -> None:
    made = simulate_scan(N=64, n_positions=120, nphotons=1e6, domain="intensity", seed=4)
    mirrored = RawData.from_arrays(made.patterns, oriented(made.positions_px, word), None, domain="intensity")
    ids = np.arange(len(made))
    findings = find(mirrored, ids)
    assert findings.unclear_error is not None
    verdict = of_orientation(completed(mirrored, findings), ids, findings.unclear_error)
    assert verdict is not None
    turned = {"flip-x": "flip-y", "transpose": "anti-transpose"}[word]
    assert word in verdict.text or turned in verdict.text


@pytest.mark.parametrize("name", ["object", "positions_px"])
def test_an_archive_that_unpacks_to_far_more_than_it_holds_is_no_start(
    tiny_scan: RawData, tmp_path: Path, name: str
) -> None:
    np.savez_compressed(tmp_path / "found.npz", **{name: np.zeros((70, 2**17))})
    with pytest.raises(DataError, match=rf"^{name}: expected arrays as a run writes them; got an archive"):
        read_found(tmp_path / "found.npz", tiny_scan, "solver.start", (name,))


def test_mirrored_positions_are_noticed_by_a_training_and_its_reconstruction(
    tmp_path: Path, legacy: object, caplog: pytest.LogCaptureFixture
) -> None:
    scan = simulate_scan(N=32, n_positions=60, nphotons=1e6, seed=2)
    dataclasses.replace(scan, positions_px=oriented(scan.positions_px, "flip-x") + 60).to_file(
        tmp_path / "scan.npz"
    )
    module = module_of(tmp_path / "scan.npz", None)
    assert [one.name for one in module.scans[0].verdicts] == ["orientation"]
    assert "set orientation to flip-x" in caplog.text
    known = as_found(RawData.from_file(tmp_path / "scan.npz"), Fabric(accelerator="cpu", devices=1))
    assert [one.name for one in known.verdicts] == ["orientation"]


def test_positions_that_are_turned_may_be_a_probe_of_the_other_defocus() -> None:
    scan = simulate_scan(N=32, n_positions=60, nphotons=1e6, seed=2)
    turned = dataclasses.replace(scan, positions_px=oriented(scan.positions_px, "rotate-180") + 200)
    found = of_orientation(turned, np.arange(60))
    assert found is not None
    assert found.remedy == (
        "Check the axes and the signs of the positions, and the sign of the probe's defocus, or set orientation to "
        "rotate-180."
    )


def test_the_search_for_a_probe_begins_at_the_optics_that_are_set(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scan = simulate_scan(N=32, n_positions=60, nphotons=1e6, seed=2)
    far = np.abs(np.fft.fft2(scan.probe[0]))
    radius = np.sqrt((far > 0.3 * far.max()).sum() / np.pi) / 32  # cycles per pixel
    lengths = {"wavelength_m": 1e-10, "distance_m": 1.0, "detector_pixel_size_m": [1e-4, 1e-4]}
    pixel_m = 1e-10 / (32 * 1e-4)
    unlit = dataclasses.replace(scan, has_probe=False, metadata={**scan.metadata, **lengths})
    unlit.to_file(tmp_path / "scan.npz")
    optics = {"convergence": f"{1e3 * radius * 1e-10 / pixel_m} mrad", "defocus": "1 um"}
    read = RawData.from_file(tmp_path / "scan.npz", reading=DataConfig(**optics))
    found = find(read, np.arange(60))
    assert found.probe is not None
    assert "Correct defocus" in caplog.text
    kept = RawData.from_file(tmp_path / "scan.npz", reading=DataConfig(**optics, probe="optics"))
    assert find(kept, np.arange(60)).probe is None
    distance = found_m(caplog.text)
    turned = DataConfig(convergence=optics["convergence"], defocus=f"{-distance} m")
    caplog.clear()
    assert find(RawData.from_file(tmp_path / "scan.npz", reading=turned), np.arange(60)).probe is not None
    assert found_m(caplog.text) == pytest.approx(distance, rel=0.2)
    right = DataConfig(convergence=optics["convergence"], defocus=f"{distance} m")
    caplog.clear()
    assert find(RawData.from_file(tmp_path / "scan.npz", reading=right), np.arange(60)).probe is None
    assert "convergence" not in caplog.text
    positions = oriented(scan.positions_px, "rotate-180") + 200
    dataclasses.replace(unlit, positions_px=positions).to_file(tmp_path / "turned.npz")
    either = DataConfig(convergence=optics["convergence"], defocus=f"{distance} m", orientation="auto")
    caplog.clear()
    turned_scan = RawData.from_file(tmp_path / "turned.npz", reading=either)
    assert find(turned_scan, np.arange(60)) == (None, "rotate-180", None)
    (said,) = [one for one in caplog.records if "orientation rotate-180 explains" in one.getMessage()]
    assert said.levelno == logging.WARNING
    assert "Only the sign of the defocus tells it from identity" in said.getMessage()
    wide = DataConfig(convergence=f"{2e3 * radius * 1e-10 / pixel_m} mrad")
    caplog.clear()
    find(RawData.from_file(tmp_path / "scan.npz", reading=wide), np.arange(60))
    assert "Correct convergence (half the angle of the cone)" in caplog.text
    assert "explained clearly better" not in caplog.text


def found_m(text: str) -> float:
    """The distance that a search tells."""
    (told,) = re.findall(r"clearly better by a defocus of \S+ rad px\^2, (\S+) m ", text)
    return float(told)


def test_a_search_among_one_or_two_patterns_tells_what_it_did(caplog: pytest.LogCaptureFixture) -> None:
    scan = simulate_scan(N=32, n_positions=20, nphotons=1e4, seed=1, domain="intensity")
    for n, judged in ((1, "of the pattern that was fitted"), (2, "of patterns that were not fitted")):
        caplog.clear()
        few = RawData.from_arrays(scan.patterns[:n], scan.positions_px[:n], None, domain="intensity")
        with caplog.at_level(logging.INFO):
            find(few, np.arange(n))
        (said,) = [one for one in caplog.messages if "no probe in the file" in one]
        assert judged in said
        found = re.search(r"a defocus of (\S+) rad", said)
        reach = re.search(r"a defocus of \+-(\S+) rad", said)
        assert found is not None
        assert reach is None or abs(float(found[1])) <= float(reach[1])
