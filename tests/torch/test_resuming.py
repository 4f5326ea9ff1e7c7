"""A training that was stopped goes on: to the same numbers, with its own settings, and says what cannot be."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ptycho.checksums import verify
from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.raw_data import DataError, RawData
from ptycho.run_record import read_record
from ptycho_torch.runs.changes import recorded_payload
from ptycho_torch.runs.resuming import resume
from ptycho_torch.simulate import simulate_scan
from tests.refusals import message, told
from tests.torch.runs import SMALL, assert_same, refusal, trained

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("legacy")]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another number of loading processes would leave another number of threads, and other last bits."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


class StopsInEpoch(Callback):
    """Ends a training in the middle of an epoch, as a signal would."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            raise InterruptedError


def stopped(file: Path, run_dir: Path, epoch: int = 2, **settings: Any) -> Path:
    with contextlib.suppress(InterruptedError):
        trained(file, run_dir, StopsInEpoch(epoch), **settings)
    assert not (run_dir / "wts.h5.zip").exists()
    return run_dir


@pytest.mark.parametrize(
    "settings",
    [
        {"scheduler": "WarmupCosine", "lr_warmup_epochs": 1, "probe_trainable": True},
        {"scheduler": "Adaptive", "plateau_patience": 0, "plateau_threshold": 0.5, "optimizer": "adamw"},
        {"scheduler": "MultiStage", "optimizer": "sgd", "learning_rate": 1e-2, "accum_steps": 2},
        {
            "early_stop_patience": 2,
            "checkpoint_monitor_metric": "train_loss",
            "learning_rate": 1e-12,
            "nepochs": 6,
            "checkpoint_save_top_k": 0,
        },
    ],
    ids=["WarmupCosine", "Adaptive", "MultiStage", "early stopping"],
)
def test_a_stopped_training_goes_on_to_the_numbers_of_one_that_was_not(
    tiny_file: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    whole = trained(tiny_file, tmp_path / "whole", **settings)
    assert_same(whole, resume(stopped(tiny_file, tmp_path / "stopped", **settings)))


@pytest.fixture(scope="module")
def killed(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose process was killed in the middle of an epoch, with a loading process beside it."""
    run_dir = tmp_path_factory.mktemp("killed") / "run"
    root = str(Path(__file__).parents[2])
    code = (
        "import sys, time\n"
        "from lightning.pytorch.callbacks import Callback\n"
        "from ptycho_torch.config_factory import create_training_payload\n"
        "from ptycho_torch.runs.training import train\n"
        "class Waits(Callback):\n"
        "    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):\n"
        "        if (trainer.current_epoch, batch_idx) == (2, 1):\n"
        "            print('now', flush=True)\n"
        "            time.sleep(60)\n"
        f"settings = {SMALL | {'num_workers': 1}!r}\n"
        "train(create_training_payload(sys.argv[1], sys.argv[2], settings), callbacks=[Waits()])\n"
    )
    command = [sys.executable, "-c", code, str(tiny_file), str(run_dir)]
    environ = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "now" in process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    return run_dir


def copied(run_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_dir, tmp_path / "copied"))


def test_a_killed_process_is_replaced_to_the_same_numbers_wherever_its_folder_is(
    killed: Path, tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tiny_file, tmp_path / "whole", num_workers=1)
    monkeypatch.setenv("PTYCHO_EXEC_LEARNING_RATE", "0.5")
    monkeypatch.setenv("PTYCHO_EXEC_NUM_WORKERS", "many")
    resumed = resume(copied(killed, tmp_path), flags={"num_workers": "0"})
    assert_same(whole, resumed)
    assert resumed.checkpoint is not None
    assert resumed.checkpoint.parent == tmp_path / "copied" / "checkpoints"
    record = json.loads((resumed.run_dir / "config.json").read_text())
    assert record["execution"]["learning_rate"] == 1e-3
    assert record["origins"]["execution.num_workers"]["locator"] == "--num-workers"
    place = str(killed)
    (entry,) = record["resumed"]
    assert (entry["checkpoint"], entry["epochs_done"]) == ("last.ckpt", 2)
    assert entry["changed"].pop("training.output_dir")["was"] == place
    assert entry["changed"] == {"num_workers": {"was": 1, "now": 0, "from": "flag --num-workers"}}


def test_the_log_of_the_run_goes_on(killed: Path, tmp_path: Path) -> None:
    run_dir = copied(killed, tmp_path)
    before = (run_dir / "run.log").read_text()
    resume(run_dir, {"num_workers": 0})
    after = (run_dir / "run.log").read_text()
    assert after.startswith(before)
    assert "for 4 epochs, 2 of which are done" in after


def test_more_epochs_can_be_trained_after_the_end(tiny_file: Path, tmp_path: Path) -> None:
    run_dir = trained(tiny_file, tmp_path / "run", nepochs=1).run_dir
    assert len(resume(run_dir, {"nepochs": 2}).history) == 2
    record = json.loads((run_dir / "config.json").read_text())
    assert record["resumed"][0]["changed"] == {"training.nepochs": {"was": 1, "now": 2, "from": "override"}}
    assert len(resume(run_dir, {"nepochs": 3}).history) == 3
    assert len(json.loads((run_dir / "config.json").read_text())["resumed"]) == 2


def test_rates_of_more_epochs_are_those_of_their_schedule_from_the_first_step_on(
    tiny_file: Path, tmp_path: Path
) -> None:
    settings = {"scheduler": "WarmupCosine", "lr_warmup_epochs": 1, "lr_min_ratio": 0.01}
    whole = trained(tiny_file, tmp_path / "whole", nepochs=4, **settings)
    run_dir = trained(tiny_file, tmp_path / "run", nepochs=2, **settings).run_dir
    rates = [row["learning_rate"] for row in resume(run_dir, {"nepochs": 4}).history]
    expected = [row["learning_rate"] for row in whole.history]
    assert rates[2:] == pytest.approx(expected[2:])


def test_a_scan_to_validate_on_may_have_moved(tiny_file: Path, tiny_scan: RawData, tmp_path: Path) -> None:
    other, moved = tmp_path / "other.npz", tmp_path / "moved.npz"
    tiny_scan.to_file(other)
    run_dir = trained(tiny_file, tmp_path / "run", nepochs=1, test_data_file=other).run_dir
    other.rename(moved)
    assert len(resume(run_dir, {"nepochs": 2, "test_data_file": moved}).history) == 2
    simulate_scan(N=32, n_positions=30, nphotons=1e5, seed=4).to_file(other)
    with pytest.raises(DataError, match="expected the data of the run so far"):
        resume(run_dir, {"nepochs": 3, "test_data_file": other})


def test_a_scan_may_have_moved_and_may_not_be_another_one(
    killed: Path, tiny_scan: RawData, tmp_path: Path
) -> None:
    run_dir, moved, other = copied(killed, tmp_path), tmp_path / "moved.npz", tmp_path / "other.npz"
    simulate_scan(N=32, n_positions=70, nphotons=1e5, seed=4).to_file(other)
    with pytest.raises(DataError, match="expected the data of the run so far"):
        resume(run_dir, {"num_workers": 0}, train_data_file=other)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        resume(run_dir, train_data_file=tmp_path / "nowhere.npz")
    tiny_scan.to_file(moved)
    assert len(resume(run_dir, {"num_workers": 0}, train_data_file=moved).history) == 4


def test_a_longer_patience_takes_effect(tiny_file: Path, tmp_path: Path) -> None:
    settings = {"learning_rate": 1e-12, "early_stop_patience": 1, "nepochs": 9, "val_split": 0.0}
    first = trained(tiny_file, tmp_path / "run", **settings)
    assert len(first.history) < 9
    with pytest.raises(ConfigError, match=r"^early_stop_patience: "):
        resume(first.run_dir)
    assert len(resume(first.run_dir, {"early_stop_patience": 3}).history) > len(first.history)


# What cannot be ---------------------------------------------------------------------------------------------------


def test_what_the_checkpoint_holds_cannot_change(killed: Path) -> None:
    said = refusal(killed, {"gridsize": 2, "learning_rate": 0.1}, flags={"seed": "7", "num_workers": "0"})
    why = "A resumed training cannot change it: drop it, or start a new run."
    assert sorted(said.splitlines(), key=lambda line: line.partition(":")[0]) == [
        f"learning_rate: expected 0.001, as in {killed}; got 0.1 from override. {why}",
        f"model.gridsize: expected 1, as in {killed}; got 2 from override. {why}",
        f"seed: expected 42, as in {killed}; got 7 from flag --seed. {why}",
    ]


def test_checkpoints_cannot_be_turned_off_and_a_scan_to_validate_on_not_come(
    killed: Path, tiny_file: Path
) -> None:
    assert "enable_checkpointing: expected True" in refusal(killed, {"enable_checkpointing": False})
    assert "training.test_data_file: expected None" in refusal(killed, {"test_data_file": tiny_file})


def test_a_scan_to_validate_on_cannot_go(tiny_file: Path, tmp_path: Path) -> None:
    run_dir = trained(tiny_file, tmp_path / "run", nepochs=1, test_data_file=tiny_file).run_dir
    assert "training.test_data_file: expected" in refusal(run_dir, {"nepochs": 2, "test_data_file": None})


def test_patience_counts_epochs_where_validation_is_rare(tiny_file: Path, tmp_path: Path) -> None:
    rare = {"check_val_every_n_epoch": 2, "early_stop_patience": 4, "nepochs": 12, "learning_rate": 1e-30}
    first = trained(tiny_file, tmp_path / "run", **rare)
    assert len(first.history) < 12
    assert "early_stop_patience: expected more than the 4 epochs" in refusal(first.run_dir)


def test_one_not_a_number_after_good_epochs_costs_the_epochs_since_the_last_sound_one(
    tiny_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Spoils(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if (trainer.current_epoch, batch_idx) == (2, 1):
                batch["amplitude"][0] = float("nan")

    whole = trained(tiny_file, tmp_path / "whole")
    run_dir = trained(tiny_file, tmp_path / "spoiled", Spoils()).run_dir
    assert "Epoch 2: the weights are not finite; no checkpoint is written" in caplog.text
    resumed = resume(run_dir)
    assert_same(whole, resumed)
    (entry,) = json.loads((run_dir / "config.json").read_text())["resumed"]
    assert (entry["checkpoint"], entry["epochs_done"]) == ("last.ckpt", 2)


def test_a_value_that_is_as_it_was_is_no_change(killed: Path, tmp_path: Path) -> None:
    run_dir = copied(killed, tmp_path)
    assert len(resume(run_dir, {"gridsize": 1, "seed": 42, "num_workers": 0}).history) == 4


def test_a_wrong_value_is_refused_as_always(killed: Path) -> None:
    assert (
        refusal(killed, {"num_workers": -1}) == "num_workers: expected an integer >= 0; got -1 from override."
    )
    assert "nepoch: no such setting (override). Did you mean nepochs?" in refusal(killed, {"nepoch": 3})


def test_a_folder_without_a_stopped_training_is_refused(tmp_path: Path, killed: Path) -> None:
    assert told(refusal(tmp_path)) == [(str(tmp_path),)]
    (tmp_path / "config.json").write_text(
        '{"configuration": {"test_data_file": null}, "execution": {}, "origins": {}}'
    )
    assert told(refusal(tmp_path)) == [(str(tmp_path),)]


def test_a_run_without_a_checkpoint_begins_again(
    tiny_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = trained(tiny_file, tmp_path / "whole", nepochs=1)
    run_dir = tmp_path / "stopped"
    run_dir.mkdir()
    shutil.copy(whole.run_dir / "config.json", run_dir)  # as a kill in the first epoch leaves it
    assert f"Resume it (ptycho train --resume {run_dir};" in message(lambda: trained(tiny_file, run_dir))
    assert_same(whole, resume(run_dir))
    assert "there is no checkpoint to resume from; the training starts again" in caplog.text


def test_a_finished_training_is_refused_unless_asked_for_more(tiny_file: Path, tmp_path: Path) -> None:
    run_dir = trained(tiny_file, tmp_path / "run", nepochs=1).run_dir
    assert refusal(run_dir) == (
        f"training.nepochs: expected more than the 1 epoch that {run_dir} has been trained for; got 1 from "
        f"{run_dir}/config.json. Raise it to continue."
    )
    (run_dir / "wts.h5.zip").unlink()  # as if it was stopped before its model was saved
    assert resume(run_dir).bundle.is_file()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"PK not a checkpoint",
        lambda content: content[:2000],
        lambda content: content[:9000] + bytes([content[9000] ^ 1]) + content[9001:],
    ],
    ids=["empty", "foreign", "half", "one bit"],
)
def test_a_damaged_checkpoint_is_passed_over_to_the_same_numbers(
    killed: Path,
    tiny_file: Path,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    last = copied(killed, tmp_path) / "checkpoints" / "last.ckpt"
    last.write_bytes(damage(last.read_bytes()))
    resumed = resume(last.parents[1], {"num_workers": 0})
    assert f"passed over: {last}: expected a checkpoint of a training; got a file that cannot" in caplog.text
    (entry,) = json.loads((resumed.run_dir / "config.json").read_text())["resumed"]
    assert entry["passed_over"] == ["last.ckpt"]
    assert entry["checkpoint"].startswith("epoch=")
    assert_same(trained(tiny_file, tmp_path / "whole"), resumed)
    assert set(verify(resumed.run_dir).values()) == {"ok"}


def test_checkpoints_that_are_all_damaged_are_refused_by_name(killed: Path, tmp_path: Path) -> None:
    files = sorted((copied(killed, tmp_path) / "checkpoints").iterdir())
    for path in files:
        path.write_bytes(b"PK")
    said = refusal(files[0].parents[1]).splitlines()
    assert [line.partition(": expected")[0] for line in said] == [str(path) for path in files]


def test_a_checkpoint_that_would_run_code_is_passed_over(
    killed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = copied(killed, tmp_path) / "checkpoints" / "last.ckpt"
    torch.save({"callbacks": time.sleep}, last)
    resume(last.parents[1], {"num_workers": 0})
    assert "it holds objects other than plain values and tensors" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
@pytest.mark.parametrize("share", [0, 0.5, 1.5])
def test_a_full_disk_leaves_what_there_is_to_go_on_from(
    killed: Path, tiny_file: Path, tmp_path: Path, share: float
) -> None:
    """The limit of a file's size stands for the disk: `share` is of the size of the record."""
    run_dir = copied(killed, tmp_path)
    kept = [run_dir / "config.json", *run_dir.rglob("*.ckpt")]
    before = {path: path.read_bytes() for path in kept}
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    n_bytes = int(share * (run_dir / "config.json").stat().st_size)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, unlimited[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            resume(run_dir, {"num_workers": 0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    written = ".ptycho-lock.json" if share == 0 else "config.json"  # the first file that is too large
    assert share > 1 or caught.value.filename == str(run_dir / written)
    assert {path.read_bytes() == before[path] for path in before if share < 1 or path.suffix == ".ckpt"} == {
        True
    }
    assert_same(trained(tiny_file, tmp_path / "whole"), resume(run_dir, {"num_workers": 0}))


def test_a_record_of_a_newer_version_says_so(killed: Path, tmp_path: Path) -> None:
    path = copied(killed, tmp_path) / "config.json"
    record = json.loads(path.read_text())
    record["execution"]["warp"], record["versions"]["ptychopinn"] = 9, "9.9"
    path.write_text(json.dumps(record))
    assert "The record was written by ptychopinn 9.9; this is " in refusal(path.parent)


def test_the_execution_configuration_of_the_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTYCHO_EXEC_SEED", "9")
    config = PyTorchExecutionConfig.from_snapshot({}).with_overrides({"num_workers": 1})
    assert (config.seed, config.num_workers) == (42, 1)


def test_a_recorded_value_comes_from_the_record(killed: Path) -> None:
    payload = recorded_payload(read_record(killed, "training"), killed, {"num_workers": 0})
    assert str(payload.execution_config.sources["learning_rate"]) == f"{killed}/config.json"
