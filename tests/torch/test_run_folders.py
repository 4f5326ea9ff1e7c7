"""Trainings and reconstructions started again in the folder they were in, one after the other and at the same time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ptycho.checksums import verify
from ptycho.config.errors import ConfigError
from ptycho.run_files import MEMBERS, earlier_run
from ptycho.scan_checks import DataError
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.runs.checkpoints import latest
from ptycho_torch.runs.reconstruction import reconstruct_scans
from ptycho_torch.runs.resuming import EndedTraining, resume, train_or_resume
from ptycho_torch.runs.training import TrainingResult, train
from ptycho_torch.simulate import simulate_scan
from tests.legacy_dictionary import legacy_dictionary_restored
from tests.refusals import refusing
from tests.torch.runs import SMALL, trained
from tests.wires import program

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("legacy")]

ROOT = Path(__file__).parents[2]


OF_UNKNOWN = ("metrics.json", "patterns.npz", "reconstruction.npz", "reconstruction.png", "report.html")
"""Results of a scan whose object is not known."""


class StopAfter(Callback):
    """Interrupts a training after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epochs:
            raise RuntimeError("stopped")


@pytest.fixture(scope="module")
def finished(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with legacy_dictionary_restored():
        return trained(tiny_file, tmp_path_factory.mktemp("finished") / "run", nepochs=2).run_dir


def copied(run_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_dir, tmp_path / "copied"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def anyway(
    file: Path, run_dir: Path, *callbacks: Callback, **settings: Any
) -> TrainingResult | EndedTraining:
    return train_or_resume(create_training_payload(file, run_dir, SMALL | settings), callbacks=callbacks)


def test_what_a_training_leaves_is_what_counts_as_a_run(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} <= set(MEMBERS)


def test_a_training_is_not_repeated_over_itself_unasked(tiny_file: Path, finished: Path) -> None:
    before = files(finished)
    with pytest.raises(ConfigError, match=r"--resume .*--overwrite"):
        trained(tiny_file, finished)
    assert files(finished) == before


def test_a_replaced_training_that_fails_leaves_the_earlier_one(
    tiny_file: Path, finished: Path, tmp_path: Path
) -> None:
    run_dir = copied(finished, tmp_path)
    payload = create_training_payload(tiny_file, run_dir, SMALL)
    before = files(run_dir)
    with pytest.raises(RuntimeError, match="stopped"):
        train(payload, callbacks=[StopAfter(0)], overwrite=True)
    assert files(run_dir) == before
    with pytest.raises(RuntimeError, match="stopped"):
        train(payload, callbacks=[StopAfter(1)], overwrite=True)
    earlier = earlier_run(run_dir)
    assert earlier is not None
    assert files(earlier) == before
    assert isinstance(anyway(tiny_file, run_dir), TrainingResult)  # goes on with the new one
    assert earlier_run(run_dir) is None


def test_a_replaced_model_is_told_of_its_reconstructions(
    tiny_file: Path, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = copied(finished, tmp_path)
    reconstructed(run_dir, tiny_file, run_dir / "of-it")
    reconstructed(finished, tiny_file, run_dir / "of-another")
    before = files(run_dir / "of-it")
    train(create_training_payload(tiny_file, run_dir, SMALL | {"nepochs": 1}), overwrite=True)
    assert files(run_dir / "of-it") == before
    assert f"{run_dir / 'of-it'}: made with the replaced model" in caplog.text
    assert "of-another: made with" not in caplog.text
    assert verify(run_dir / "of-it")[str(run_dir / "wts.h5.zip")] == "changed"


def test_one_call_starts_goes_on_and_ends(tiny_file: Path, tmp_path: Path) -> None:
    for epochs in (0, 2):  # before the first checkpoint, and after one
        with pytest.raises(RuntimeError, match="stopped"):
            anyway(tiny_file, tmp_path / "run", StopAfter(epochs))
    with refusing("training.nepochs"):
        anyway(tiny_file, tmp_path / "run", nepochs=1)
    small = {name: value for name, value in SMALL.items() if name != "nepochs"}
    with pytest.raises(ConfigError, match="got 1 from flag --nepochs"):
        train_or_resume(create_training_payload(tiny_file, tmp_path / "run", small, flags={"nepochs": 1}))
    keep_none = {"checkpoint_save_top_k": 0, "save_last_checkpoint": "false"}
    with pytest.raises(ConfigError, match="got 0 from flag --checkpoint-save-top-k, and False from flag"):
        train_or_resume(create_training_payload(tiny_file, tmp_path / "run", SMALL, flags=keep_none))
    result = anyway(tiny_file, tmp_path / "run")
    assert [row["epoch"] for row in result.history] == [0, 1, 2, 3]
    record = json.loads((result.run_dir / "config.json").read_text())
    assert [part["epochs_done"] for part in record["resumed"]] == [2]
    assert record["resumed"][0]["changed"] == {}
    before = files(result.run_dir)
    ended = anyway(tiny_file, tmp_path / "run")
    assert isinstance(ended, EndedTraining)
    assert (ended.bundle, ended.history, ended.problem) == (result.bundle, result.history, None)
    assert files(result.run_dir) == before
    longer = anyway(tiny_file, tmp_path / "run", nepochs=5)
    assert len(longer.history) == 5


@pytest.mark.parametrize("name", ["config.json", "history.csv"])
def test_files_of_others_are_not_replaced_by_a_training_that_may_go_on(
    tiny_file: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text('{"mine": 1}')
    with refusing("output_dir"):
        anyway(tiny_file, tmp_path)
    assert files(tmp_path) == {name: b'{"mine": 1}'}


def test_a_reconstruction_does_not_replace_a_model_that_was_unpacked(
    finished: Path, tiny_file: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    with zipfile.ZipFile(finished / "wts.h5.zip") as packed:
        packed.extractall(model)
    before = files(model)
    with refusing("output_dir"):
        reconstructed(model, tiny_file, model, overwrite=True)
    assert files(model) == before


def test_what_cannot_change_is_refused_by_the_place_that_says_it(
    tiny_file: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_SEED", "8")
    with pytest.raises(ConfigError) as caught:
        anyway(tiny_file, finished, nepochs=9, batch_size=3)
    names = {failure.name for failure in caught.value.failures}
    assert names == {"training.batch_size", "seed"}
    assert "got 8 from environment variable PTYCHO_EXEC_SEED" in str(caught.value)


def test_a_training_on_another_scan_is_not_taken_for_this_one(finished: Path, tmp_path: Path) -> None:
    simulate_scan(N=32, n_positions=70, nphotons=1e5, seed=4).to_file(tmp_path / "other.npz")
    with pytest.raises(DataError, match="expected the data of the run"):
        anyway(tmp_path / "other.npz", finished, nepochs=2)


def reconstructed(run_dir: Path, data: Path, folder: Path, *, overwrite: bool = False) -> list[Any]:
    settings = {"n_groups": None, "accelerator": "cpu"}
    return reconstruct_scans(create_inference_payload(run_dir, data, folder, settings), overwrite=overwrite)


def test_a_reconstruction_is_one_set_and_not_repeated_over_itself_unasked(
    finished: Path, tiny_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "picture"
    reconstructed(finished, tiny_file, folder)
    before = files(folder)
    with refusing("output_dir"):
        reconstructed(finished, tiny_file, folder)
    (tmp_path / "damaged.npz").write_text("no scan")
    with pytest.raises(DataError):
        reconstructed(finished, tmp_path / "damaged.npz", folder, overwrite=True)
    assert files(folder) == before
    unknown = replace(simulate_scan(N=32, n_positions=40, seed=6), object_truth=None)
    unknown.to_file(tmp_path / "unknown.npz")
    reconstructed(finished, tmp_path / "unknown.npz", folder, overwrite=True)
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "run.log", *OF_UNKNOWN}
    results = dict.fromkeys(OF_UNKNOWN, "ok")
    read = (tmp_path / "unknown.npz", finished / "wts.h5.zip")
    assert verify(folder) == dict.fromkeys(map(str, read), "ok") | results
    (folder / "metrics.json").write_text("{}")
    assert verify(folder)["metrics.json"] == "changed"


def test_a_reconstruction_does_not_replace_a_training_that_was_not_finished(
    finished: Path, tiny_file: Path, tmp_path: Path
) -> None:
    run_dir = copied(finished, tmp_path)
    (run_dir / "wts.h5.zip").unlink()
    with refusing("output_dir"):
        reconstructed(finished, tiny_file, run_dir, overwrite=True)


def test_odd_names_of_scans_stay_in_the_folder(finished: Path, tiny_file: Path, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("...npz", "a\n.npz", "a\t.npz", "checkpoints.npz"):
        shutil.copyfile(tiny_file, scans / name)
    found = reconstructed(finished, scans, tmp_path / "out")
    folders = {result.run_dir.name for result in found}
    assert folders == {"scan", "a-", "a--2", "checkpoints-scan"}
    states = verify(tmp_path / "out")
    assert set(states.values()) == {"ok"}
    assert {f"{name}/reconstruction.npz" for name in folders} <= states.keys()
    assert {path.name for path in tmp_path.iterdir()} == {"scans", "out"}


# Processes ----------------------------------------------------------------------------------------------------------

FLAGS = ("--n-unrolled-steps=1", "--n-filters-scale=1", "--accelerator=cpu", "--quiet", "--batch-size=16")


def command(file: Path, run_dir: Path, *more: str) -> list[str]:
    return [sys.executable, *program(), "train", str(file), f"--output-dir={run_dir}", *FLAGS, *more]


def started(line: list[str]) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(line, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if list(path.parent.glob(path.name)):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError(f"{path} was not written")


def test_a_second_job_is_refused_and_a_killed_one_goes_on_by_the_same_line(
    tiny_file: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    line = command(tiny_file, run_dir, "--resume=auto", "--num-workers=1")
    first = started([*line, "--nepochs=400"])
    try:
        wait_for(run_dir / "checkpoints" / "last.ckpt", first)
        second = started(command(tiny_file, run_dir, "--overwrite"))
        said = second.communicate(timeout=300)[1]
        assert second.returncode == 2, said
        assert f"in use by process {first.pid} on " in said
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    done = latest(run_dir / "checkpoints").epochs_done
    for end in ("trained for ", "the training has finished already"):
        again = started([*line, f"--nepochs={done + 1}"])
        out, said = again.communicate(timeout=300)
        assert again.returncode == 0, said
        assert end in out


def test_a_kill_in_the_middle_of_a_replacement_loses_nothing(
    finished: Path, tiny_file: Path, tmp_path: Path
) -> None:
    run_dir = copied(finished, tmp_path)
    before = files(run_dir)
    job = started(command(tiny_file, run_dir, "--overwrite", "--nepochs=400"))
    wait_for(run_dir / ".earlier-1", job)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    earlier = earlier_run(run_dir)
    assert earlier is not None
    assert files(earlier) == before
    refused = started(command(tiny_file, run_dir))
    said = refused.communicate(timeout=300)[1]
    assert refused.returncode == 2, said


def test_a_progress_bar_is_recorded_with_what_decided_on_it_last(tiny_file: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"

    def told() -> tuple[bool, str, str]:
        record = json.loads((run_dir / "config.json").read_text())
        origin = record["origins"]["execution.enable_progress_bar"]
        return record["execution"]["enable_progress_bar"], origin["kind"], origin["locator"]

    for nepochs, is_watched in ((1, True), (2, False)):
        stated = {"enable_progress_bar": is_watched}
        settings = SMALL | {"nepochs": nepochs}
        train_or_resume(create_training_payload(tiny_file, run_dir, settings, cli_defaults=stated))
        assert told() == (is_watched, "cli-default", "")
    resume(run_dir, {"nepochs": 3}, flags={"enable_progress_bar": "false"})
    assert told() == (False, "override", "--no-enable-progress-bar")
