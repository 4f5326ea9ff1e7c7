"""What a program that calls this package in its own process may rely on: one device, its knobs, its files."""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from ptycho import loader, model_manager, params, probe
from ptycho.checksums import verify
from ptycho.config.canonical import ModelConfig as CanonicalModel
from ptycho.config.canonical import TrainingConfig as CanonicalTraining
from ptycho.config.errors import ConfigError
from ptycho.raw_data import RawData
from ptycho.workflows import components
from ptycho_torch.api.base_api import ConfigManager, InferenceEngine, PtychoDataLoader, PtychoModel
from ptycho_torch.model import PtychoPINN_Lightning
from tests.core.runs import TRAINING, write_run
from tests.legacy_dictionary import legacy_dictionary_restored
from tests.torch.client import SMALL, manager
from tests.torch.conftest import N


@pytest.fixture(autouse=True)
def _process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PTYCHO_EXEC_ACCELERATOR", "cpu")
    monkeypatch.setattr(probe, "_guess", None)
    monkeypatch.setattr(model_manager, "_temporary", False)
    monkeypatch.setattr(model_manager, "_trained", None)
    with legacy_dictionary_restored():
        yield


def trained() -> CanonicalTraining:
    """What the other plugin of ptychodus trains with: its files go to no folder in particular."""
    return CanonicalTraining(
        model=CanonicalModel(N=N, gridsize=1, **SMALL),
        nepochs=1,
        batch_size=32,
        output_dir=Path(),
    )


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def runs(temporary: Path) -> list[Path]:
    return sorted(temporary.glob("ptychopinn-*"))


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Fabric]:
    """The fabrics whose processes were started."""
    seen: list[Fabric] = []
    monkeypatch.setattr(Fabric, "launch", seen.append)
    return seen


@pytest.mark.usefixtures("launched")
def test_the_other_plugin_trains_here_and_its_files_move_to_the_place_of_the_model(
    tiny_scan: RawData,
    tmp_path: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_N_DEVICES", "2")
    monkeypatch.setenv("PTYCHO_EXEC_NUM_NODES", "3")
    _, _, results = components.run_cdi_example(tiny_scan, None, trained())
    assert "n_devices: expected 1, since this training runs in the process of its caller" in caplog.text
    assert "num_nodes: expected 1" in caplog.text
    assert runs(temporary) == [results["run_dir"]]
    place = tmp_path / "place"
    model_manager.save(place)
    assert runs(temporary) == []
    names = {path.name for path in place.iterdir()}
    assert {"wts.h5.zip", "config.json", "run.log", "history.csv", "loss.png"} <= names
    pictures = {path.name for path in (place / "reconstruction").iterdir()}
    assert {"config.json", "reconstruction.npz", "reconstruction.png", "metrics.json"} <= pictures
    assert verify(place / "reconstruction")[str(place / "wts.h5.zip")] == "ok"
    assert model_manager.save(place) == place / "wts.h5.zip"


def test_a_training_that_fails_leaves_no_temporary_folder(tiny_scan: RawData, temporary: Path) -> None:
    wrong = trained()
    wrong.model.N = 64
    with pytest.raises(ValueError, match="patterns: expected 64 x 64"):
        components.run_cdi_example(tiny_scan, None, wrong)
    assert runs(temporary) == []


def when_there_is(pattern: str, temporary: Path, act: Callable[[Path], Any]) -> threading.Thread:
    """Acts on the temporary folder of a run, once it has a file."""

    def wait() -> None:
        while not (found := sorted(temporary.glob(f"ptychopinn-*/{pattern}"))):
            time.sleep(0.02)
        act(temporary / found[0].relative_to(temporary).parts[0])

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_training_that_is_interrupted_keeps_its_temporary_folder(
    tiny_scan: RawData, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = trained()
    long.nepochs = 200
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    when_there_is("checkpoints/last.ckpt", temporary, lambda _: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        components.run_cdi_example(tiny_scan, None, long)
    signal.signal(signal.SIGINT, before)
    (run,) = runs(temporary)
    assert list((run / "checkpoints").glob("*.ckpt"))
    assert f"ptycho train --resume {run}" in caplog.text


def test_a_model_whose_reconstruction_fails_stays_and_can_be_saved(
    tiny_scan: RawData, tmp_path: Path, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    when_there_is("run.log", temporary, lambda run: (run / "reconstruction").write_text("in the way"))
    with pytest.raises(ConfigError, match="reconstruction: expected a folder"):
        components.run_cdi_example(tiny_scan, None, trained())
    assert "ptycho.model_manager.save" in caplog.text
    (runs(temporary)[0] / "reconstruction").unlink()
    assert model_manager.save(tmp_path / "place").is_file()


def saved_run(folder: Path) -> Path:
    """A run in a temporary folder, of a few words, that is remembered as the last one."""
    write_run(folder, "new", (*TRAINING, "notes.txt", "lightning_logs/a.txt"))
    model_manager.remember(folder / "wts.h5.zip", temporary=True)
    return folder


def test_saving_replaces_no_files_of_others_and_follows_no_links(tmp_path: Path) -> None:
    source, place, outside = saved_run(tmp_path / "source"), tmp_path / "place", tmp_path / "outside"
    write_run(outside, "precious", ("a.txt",))
    write_run(place, "mine", ("notes.txt",))
    (place / "lightning_logs").symlink_to(outside)
    with pytest.raises(ConfigError) as caught:
        model_manager.save(place)
    assert {failure.name for failure in caught.value.failures} == {
        str(place / "lightning_logs"),
        str(place / "notes.txt"),
    }
    with pytest.raises(ConfigError, match="got a link"):
        model_manager.save(place, overwrite=True)
    assert (outside / "a.txt").read_text() == "precious"
    assert sorted(path.name for path in place.iterdir()) == ["lightning_logs", "notes.txt"]
    (place / "lightning_logs").unlink()
    model_manager.save(place, overwrite=True)
    assert (place / "notes.txt").read_text() == (place / "lightning_logs" / "a.txt").read_text() == "new"
    assert not source.exists()


def test_saving_in_the_folder_that_goes_is_refused(tmp_path: Path) -> None:
    source = saved_run(tmp_path / "source")
    with pytest.raises(ConfigError, match="expected a folder outside"):
        model_manager.save(source / "saved")
    assert (source / "wts.h5.zip").read_text() == "new"


def predicted(scan: RawData, folder: Path) -> np.ndarray:
    """Patches of the other plugin's model."""
    models: Any = components.load_inference_bundle(folder)[0]
    probe.set_probe_guess(None, scan.probe)
    held = loader.load(lambda: scan.generate_grouped_data(N), scan.probe)
    inputs = [held.X * params.get("intensity_scale"), held.local_offsets]
    return models.predict(inputs)


def test_knobs_of_the_environment_reach_a_reconstruction_of_the_other_plugin(
    tiny_scan: RawData,
    tmp_path: Path,
    launched: list[Fabric],
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    components.run_cdi_example(tiny_scan, None, trained(), do_stitching=False)
    model_manager.save(tmp_path)
    found = {"plain": predicted(tiny_scan, tmp_path)}
    for knob, value in (("MIDDLE_TRIM", "8"), ("PAD_EVAL", "false"), ("INFERENCE_BATCH_SIZE", "7")):
        monkeypatch.setenv(f"PTYCHO_EXEC_{knob}", value)
        found[knob] = predicted(tiny_scan, tmp_path)
    assert not np.allclose(found["plain"], found["MIDDLE_TRIM"])
    assert np.allclose(found["PAD_EVAL"], found["INFERENCE_BATCH_SIZE"], atol=1e-5)
    monkeypatch.setenv("PTYCHO_EXEC_N_DEVICES", "2")
    predicted(tiny_scan, tmp_path)
    assert "n_devices: expected 1, since this reconstruction" in caplog.text
    assert launched == []
    monkeypatch.setenv("PTYCHO_EXEC_PRECISION", "16-mixed")
    with pytest.raises(ConfigError, match=r"^precision: .*\bcpu\b"):
        predicted(tiny_scan, tmp_path)


def alone(**training: Any) -> ConfigManager:
    data = {"grid_size": (1, 1), "measurement_domain": "auto"}
    return manager(data, training=training, inference={"window": 0})


def found(scan: RawData, configs: ConfigManager) -> np.ndarray:
    """The object that a fresh network finds through the classes that ptychodus calls."""
    model = PtychoModel._new_model(model=PtychoPINN_Lightning, config_manager=configs)
    counts = np.square(scan.amplitude(np.arange(len(scan))))
    given = PtychoDataLoader.from_np(counts, scan.probe, scan.positions_px, configs)
    return InferenceEngine(configs, model).predict_and_stitch(given)


def test_a_reconstruction_is_done_here_on_one_device(
    tiny_scan: RawData,
    launched: list[Fabric],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_N_DEVICES", "2")
    monkeypatch.setenv("PTYCHO_EXEC_NUM_NODES", "2")
    monkeypatch.setenv("PTYCHO_EXEC_STRATEGY", "fsdp")
    assert np.isfinite(found(tiny_scan, alone())).all()
    assert launched == []
    for knob in ("n_devices", "num_nodes", "strategy"):
        assert f"{knob}: expected " in caplog.text
        assert f"PTYCHO_EXEC_{knob.upper()}" in caplog.text
    monkeypatch.setenv("PTYCHO_EXEC_PRECISION", "16-mixed")
    with pytest.raises(ConfigError, match=r"^precision: .*\bcpu\b"):
        found(tiny_scan, alone())


@pytest.mark.parametrize("device", ["mps", "tpu"])
def test_a_model_is_used_without_the_accelerator_it_was_trained_on(
    tiny_scan: RawData, device: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for place in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(place, "is_available", lambda: False)
    assert np.isfinite(found(tiny_scan, alone(device=device))).all()
    assert f"device: {device} is not available; computing on cpu" in caplog.text


def given(scan: RawData, domain: str, power: int) -> RawData:
    """The scan from the loader of ptychodus, in a domain, from powers of the amplitudes."""
    configs = manager({"grid_size": (1, 1), "measurement_domain": domain})
    patterns = scan.amplitude(np.arange(len(scan))) ** power
    return PtychoDataLoader.from_np(patterns, scan.probe, scan.positions_px, configs).scans()[0]


def test_patterns_in_memory_are_read_as_the_settings_say(tiny_scan: RawData) -> None:
    every = np.arange(len(tiny_scan))
    for domain, power in (("amplitude", 1), ("intensity", 2), ("auto", 2)):
        scan = given(tiny_scan, domain, power)
        np.testing.assert_allclose(scan.amplitude(every), tiny_scan.amplitude(every), rtol=1e-5)


@pytest.mark.usefixtures("launched")
def test_a_picture_that_is_not_that_of_the_object_is_warned_of(tiny_scan: RawData) -> None:
    configs = alone()
    probe = np.random.default_rng(0).permutation(tiny_scan.probe.ravel()).reshape(tiny_scan.probe.shape)
    scan = RawData.from_arrays(
        tiny_scan.amplitude(np.arange(len(tiny_scan))), tiny_scan.positions_px, probe, domain="amplitude"
    )
    with pytest.warns(UserWarning, match="the picture is not that of the object"):
        found(scan, configs)
