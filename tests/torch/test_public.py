"""`ptycho.train` and `ptycho.reconstruct`, on a scan in memory and on files."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ptycho
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.runs.reconstruction import reconstruct_scans
from ptycho_torch.runs.resuming import train_or_resume
from ptycho_torch.runs.solving import solve
from ptycho_torch.runs.training import train
from tests.legacy_dictionary import legacy_dictionary_restored
from tests.torch.factory_calls import save_model, save_scan

QUICK = {"nepochs": 1, "accelerator": "cpu", "gridsize": 1, "architecture": "cnn"}


@pytest.fixture(scope="module")
def scan() -> ptycho.RawData:
    return ptycho.simulate(N=32, n_positions=40)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    with legacy_dictionary_restored():
        yield tmp_path


@pytest.mark.integration
def test_a_scan_in_memory_is_trained_on_and_reconstructed(scan: ptycho.RawData, place: Path):
    trained = ptycho.train(scan, "runs/memory", **QUICK)
    assert trained.bundle.is_file()
    assert [row["epoch"] for row in trained.history] == [0]
    (kept,) = Path("runs/memory").glob("scan-*.npz")
    assert (ptycho.load(kept).patterns[:] == scan.patterns[:]).all()
    result = ptycho.reconstruct(scan, trained, accelerator="cpu")
    assert result.run_dir.parent == trained.run_dir
    assert (result.object.ndim, result.probe.shape) == (2, (1, 32, 32))
    assert 0 < result.metrics["r_factor"] < 1
    again = ptycho.train(scan, "runs/memory", resume=True, **QUICK)
    assert (again.bundle, again.history) == (trained.bundle, trained.history)
    longer = ptycho.train(scan, "runs/memory", resume=True, **QUICK | {"nepochs": 2})
    assert [row["epoch"] for row in longer.history] == [0, 1]


@pytest.mark.integration
def test_the_run_on_a_file_is_called_after_it(scan: ptycho.RawData, place: Path):
    scan.to_file("star.npz")
    trained = ptycho.train("star.npz", **QUICK)
    assert trained.run_dir == Path("runs/star")
    loaded = ptycho.load("star.npz")
    assert ptycho.reconstruct(loaded, "runs/star", accelerator="cpu").run_dir == Path(
        "runs/star/reconstruction"
    )
    with pytest.raises(ptycho.ConfigError, match="runs/star"):
        ptycho.train(loaded, **QUICK)
    again = ptycho.train(loaded, overwrite=True, **QUICK)
    assert again.run_dir == Path("runs/star")
    assert not list(again.run_dir.glob("scan-*.npz"))


def test_settings_that_are_refused_leave_nothing_behind(scan: ptycho.RawData, place: Path):
    with pytest.raises(ptycho.ConfigError, match=r"nepochs: .*; got 0 from argument\."):
        ptycho.train(scan, "new", nepochs=0)
    assert not Path("new").exists()


def test_a_scan_in_memory_is_not_left_where_its_run_has_not_begun(scan: ptycho.RawData, place: Path):
    Path("held").mkdir()
    Path("held/config.json").write_text('{"configuration": {"train_data_file": "other.npz"}}')
    Path("held/wts.h5.zip").touch()
    for refused in (ptycho.train, ptycho.reconstruct):
        with pytest.raises(ptycho.ConfigError, match="held"):
            refused(scan, output_dir="held", accelerator="cpu")
    assert {path.name for path in Path("held").iterdir()} == {"config.json", "wts.h5.zip"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_kill_while_a_scan_in_memory_is_kept_leaves_nothing_for_good(scan: ptycho.RawData, place: Path):
    def die(source: str | Path, target: str | Path, put: Any = os.replace) -> None:
        os._exit(9) if Path(target).name.startswith("scan-") else put(source, target)

    if (child := os.fork()) == 0:
        os.replace = die
        ptycho.train(scan, "new", **QUICK)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert list(Path("new").iterdir())
    with pytest.raises(ptycho.ConfigError):
        ptycho.train(scan, "new", nepochs=0)
    assert not list(Path("new").iterdir())


@pytest.mark.parametrize(("name", "hint"), [("nepoch", " Did you mean nepochs?"), ("gpus", "")])
def test_a_name_that_is_no_setting_is_refused_as_an_argument(
    scan: ptycho.RawData, place: Path, name: str, hint: str
):
    with pytest.raises(ptycho.ConfigError) as caught:
        ptycho.train(scan, "new", **{name: 1})
    (message,) = caught.value.messages
    assert message.startswith(f"{name}: no such setting.{hint}")


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (None, {"middle_trim": 3, "n_groups": 4, "learning_rate": 0.1, "lr": 0.1, "n_iterations": 0}),
        ("model", {"preview_every": 3, "holdout": 0.1, "scheduler": "Adaptive", "n_groups": 0}),
    ],
)
def test_a_setting_that_a_reconstruction_does_nothing_with_is_refused(
    place: Path, model: str | None, settings: dict[str, Any]
):
    save_scan(Path("small.npz"))
    save_model(Path("model"))
    with pytest.raises(ptycho.ConfigError) as caught:
        ptycho.reconstruct("small.npz", model, **settings)
    assert [failure.name.rpartition(".")[2] for failure in caught.value.failures] == [*settings]
    assert not Path("reconstructions").exists()


def test_a_scan_that_is_loaded_is_not_read_in_another_way(scan: ptycho.RawData, place: Path):
    scan.to_file("small.npz")
    save_model(Path("model"))
    loaded = ptycho.load("small.npz", saturation=1e9)
    settings = {"crop": 16, "measurement_domain": "intensity", "saturation": 3.0}
    for call in (
        lambda: ptycho.train(loaded, **settings),
        lambda: ptycho.reconstruct(loaded, **settings),
        lambda: ptycho.reconstruct(loaded, "model", **settings),
        lambda: ptycho.reconstruct(scan, "model", **settings),
    ):
        with pytest.raises(ptycho.ConfigError) as caught:
            call()
        assert [failure.name for failure in caught.value.failures] == [*settings]
    with pytest.raises(ptycho.ConfigError, match="domain: given twice"):
        ptycho.load("small.npz", "amplitude", measurement_domain="intensity")
    same = {"crop": None, "measurement_domain": "amplitude", "saturation": 1e9}
    Path("reading.toml").write_text("[data]\ncrop = 16\n")
    few = {"n_iterations": 1, "accelerator": "cpu", "file": "reading.toml"}
    for run, settings in (("run", {}), ("same", same)):
        ptycho.reconstruct(loaded, output_dir=run, **few, **settings)
        recorded = json.loads(Path(run, "config.json").read_text())["configuration"]["data"]
        assert (recorded["saturation"], recorded["crop"]) == (1e9, None)


def test_a_setting_of_the_call_is_an_argument_above_the_data_and_an_old_word_still_works(place: Path):
    save_scan(Path("small.npz"))
    payload = create_training_payload(
        "small.npz",
        "new",
        {"batch_size": 2},
        arguments={"max_epochs": 3, "n_groups": 4, "N": 32, "batch_size": 1},
    )
    kinds = {name.partition(".")[2]: origin.kind for name, origin in payload.sources.items()}
    assert [kinds[name] for name in ("nepochs", "N", "batch_size")] == ["argument", "argument", "override"]
    assert (payload.tf_training_config.nepochs, payload.tf_training_config.batch_size) == (3, 2)


def test_settings_come_from_files_and_names_beat_them(scan: ptycho.RawData, place: Path):
    Path("run.toml").write_text('[training]\nnepochs = "many"\n[execution]\nnum_workers = "few"\n')
    with pytest.raises(ptycho.ConfigError) as caught:
        ptycho.train(scan, "new", file="run.toml", nepochs=2)
    assert {failure.name for failure in caught.value.failures} == {"training.nepochs", "num_workers"}


@pytest.mark.parametrize("door", [ptycho.train, ptycho.reconstruct])
def test_a_run_is_not_both_gone_on_with_and_replaced(scan: ptycho.RawData, door: Callable[..., Any]):
    with pytest.raises(ValueError, match="without resume"):
        door(scan, output_dir="new", overwrite=True, resume=True)


def test_a_scan_in_memory_is_not_reconstructed_twice_unasked(scan: ptycho.RawData, place: Path):
    quick = {"n_iterations": 2, "accelerator": "cpu"}
    first = ptycho.reconstruct(scan, **quick)
    with pytest.raises(ptycho.ConfigError, match=r"^reconstructions/scan: expected a folder without a run"):
        ptycho.reconstruct(scan, **quick)
    assert (
        ptycho.reconstruct(scan, resume=True, **quick).run_dir
        == first.run_dir
        == Path("reconstructions/scan")
    )
    other = ptycho.reconstruct(ptycho.simulate(N=32, n_positions=41), **quick)
    assert other.run_dir.name.startswith("scan-")


def test_a_reconstruction_that_has_ended_is_returned(scan: ptycho.RawData, place: Path):
    calls = [
        ptycho.reconstruct(scan, output_dir="run", resume=True, n_iterations=4, accelerator="cpu")
        for _ in "ab"
    ]
    first, again = calls
    assert first.object.tobytes() == again.object.tobytes()
    assert first.probe.tobytes() == again.probe.tobytes()
    assert again.metrics["n_iterations"] == len(again.history) == 4
    assert "4" in again._repr_html_()
    assert again.plot_loss().lines
    Path("run/reconstruction.npz").unlink()
    with pytest.raises(ptycho.ConfigError, match="overwrite"):
        ptycho.reconstruct(scan, output_dir="run", resume=True, n_iterations=4, accelerator="cpu")
    with pytest.raises(ValueError, match="without a model"):
        ptycho.reconstruct(scan, "run", resume=True)


def test_what_is_no_scan_model_or_payload_is_refused_by_its_kind(scan: ptycho.RawData, place: Path):
    for door in (train, train_or_resume, solve, reconstruct_scans):
        with pytest.raises(TypeError, match=r"Payload; got an object of the type str\. .* ptycho\.train"):
            door("scan.npz")  # type: ignore[arg-type]
    for call in (lambda: ptycho.train(3), lambda: ptycho.reconstruct(3)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"scan: expected .*; got an object of the type int"):
            call()
    with pytest.raises(TypeError, match=r"model: expected .*; got an object of the type RawData"):
        ptycho.reconstruct("scan.npz", scan)  # type: ignore[call-overload]
    assert not list(place.iterdir())
