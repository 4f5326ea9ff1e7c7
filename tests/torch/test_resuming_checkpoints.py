"""A training goes on from a checkpoint of its own, and leaves one to go on from again."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptycho.raw_data import RawData
from ptycho_torch.runs.resuming import resume
from tests.legacy_dictionary import legacy_dictionary_restored
from tests.torch.runs import refusal, trained

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("legacy")]


@pytest.fixture(scope="module")
def finished(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with legacy_dictionary_restored():
        return trained(tiny_file, tmp_path_factory.mktemp("finished") / "run", nepochs=1).run_dir


def copied(run_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_dir, tmp_path / "copied"))


# Which checkpoints there are ----------------------------------------------------------------------------------------


def test_the_latest_checkpoint_is_the_one_that_says_so(tiny_file: Path, tmp_path: Path) -> None:
    run_dir = trained(tiny_file, tmp_path / "run", nepochs=1).run_dir
    resume(run_dir, {"nepochs": 3, "save_last_checkpoint": False, "checkpoint_save_top_k": -1})
    assert (run_dir / "checkpoints" / "last.ckpt").is_file()  # of the first epoch
    for number, path in enumerate(sorted((run_dir / "checkpoints").glob("epoch*.ckpt"))):
        os.utime(path, (9 - number, 9 - number))
    resume(run_dir, {"nepochs": 4})
    resumed = json.loads((run_dir / "config.json").read_text())["resumed"]
    assert [entry["epochs_done"] for entry in resumed] == [1, 3]


def test_epochs_without_a_checkpoint_are_trained_again_with_a_warning(
    tiny_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"nepochs": 3, "save_last_checkpoint": False, "checkpoint_save_top_k": -1}
    run_dir = trained(tiny_file, tmp_path / "run", **settings).run_dir
    first, *others = sorted((run_dir / "checkpoints").glob("epoch*"))
    for path in others:
        path.unlink()
    assert len(resume(run_dir, {"nepochs": 4}).history) == 4
    assert f"the history has 3 epochs, the latest checkpoint ({first.name}) has 1" in caplog.text


def test_a_training_that_goes_on_keeps_a_checkpoint(finished: Path, tmp_path: Path) -> None:
    run_dir, kept = copied(finished, tmp_path), {"nepochs": 2, "checkpoint_save_top_k": 0}
    nowhere = tmp_path / "nowhere.npz"  # said before data is read
    assert refusal(run_dir, kept, flags={"save_last_checkpoint": "false"}, train_data_file=nowhere) == (
        "checkpoint_save_top_k: expected another number than 0 where save_last_checkpoint is False, since a training "
        "without checkpoints could not be resumed; got 0 from override, and False from flag "
        "--no-save-last-checkpoint. Keep one."
    )
    assert len(resume(run_dir, kept).history) == 2


def test_where_no_best_checkpoint_is_kept_from_now_on_the_model_is_the_last(
    finished: Path, tmp_path: Path
) -> None:
    result = resume(copied(finished, tmp_path), {"nepochs": 3, "checkpoint_save_top_k": 0})
    assert result.checkpoint is None
    last = torch.load(result.run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    weights = result.module.state_dict()
    assert all(torch.equal(weights[name], last[name]) for name in last)


def test_fewer_epochs_than_a_stopped_training_has_done_are_refused(tiny_file: Path, tmp_path: Path) -> None:
    run_dir = trained(tiny_file, tmp_path / "run", nepochs=2).run_dir
    (run_dir / "wts.h5.zip").unlink()
    assert refusal(run_dir, {"nepochs": 1}).startswith("training.nepochs: expected at least 2, ")
    assert resume(run_dir, {"nepochs": 2}).bundle.is_file()


def test_fewer_best_checkpoints_are_kept_from_now_on(tiny_file: Path, tmp_path: Path) -> None:
    run_dir = trained(tiny_file, tmp_path / "run", nepochs=2, checkpoint_save_top_k=2).run_dir
    before = set((run_dir / "checkpoints").glob("epoch*"))
    result = resume(run_dir, {"nepochs": 5, "checkpoint_save_top_k": 1})
    assert set((run_dir / "checkpoints").glob("epoch*")) - before == {result.checkpoint}


def test_a_best_checkpoint_that_was_removed_is_none(tiny_file: Path, tmp_path: Path) -> None:
    run_dir = trained(tiny_file, tmp_path / "run", nepochs=2, learning_rate=1e-30).run_dir
    (best,) = (run_dir / "checkpoints").glob("epoch*")
    best.unlink()
    result = resume(run_dir, {"nepochs": 3})
    assert result.checkpoint is not None
    assert result.checkpoint.name.startswith("epoch=002")


# Whose checkpoint it is ---------------------------------------------------------------------------------------------


def with_checkpoint_of(other: Path, run_dir: Path) -> Path:
    """The last checkpoint of a run, after that of another one was copied over it."""
    return shutil.copyfile(other / "checkpoints" / "last.ckpt", run_dir / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("n_filters_scale", 1, 2),
        ("gridsize", 1, 2),
        ("nll_weight", 1.0, 0.5),
        ("optimizer", "adam", "sgd"),
        ("batch_size", 6, 8),
        ("seed", 42, 7),
        ("subsample_seed", None, 7),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    finished: Path, tiny_file: Path, tmp_path: Path, name: str, ours: Any, theirs: Any
) -> None:
    run_dir = copied(finished, tmp_path)
    other = trained(tiny_file, tmp_path / "other", nepochs=2, **{name: theirs}).run_dir
    last = with_checkpoint_of(other, run_dir)
    said = refusal(run_dir, {"nepochs": 3}).split("\n")
    assert (
        f"{last}: expected {name} {ours!r}, as in the run; got {theirs!r}. Remove the file, or start "
        "a new run."
    ) in said


def test_a_checkpoint_with_other_weights_than_its_settings_tell_is_refused(
    finished: Path, tmp_path: Path
) -> None:
    run_dir = copied(finished, tmp_path)
    last = run_dir / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["global_step"] += 1
    content["state_dict"]["model.probe"] = torch.zeros(3)
    torch.save(content, last)
    record = (run_dir / "config.json").read_bytes()
    assert "for 'model.probe', as in the model; got shape (3,)." in refusal(run_dir, {"nepochs": 3})
    assert (run_dir / "config.json").read_bytes() == record


def test_a_checkpoint_that_tells_of_its_probes_alone_is_refused_by_these(
    finished: Path, tiny_scan: RawData, tmp_path: Path
) -> None:
    run_dir, file = copied(finished, tmp_path), tmp_path / "other.npz"
    replace(tiny_scan, probe=np.roll(tiny_scan.probe, 1, axis=-1)).to_file(file)
    last = with_checkpoint_of(trained(file, tmp_path / "other", nepochs=2).run_dir, run_dir)
    content = torch.load(last, weights_only=True)
    del content["hyper_parameters"]["scan_sha256"]
    torch.save(content, last)
    assert "got one of other data" in refusal(run_dir, {"nepochs": 3})


def test_a_checkpoint_of_another_scan_is_refused_though_its_probe_is_the_same(
    finished: Path, tiny_file: Path, tiny_scan: RawData, tmp_path: Path
) -> None:
    run_dir, file = copied(finished, tmp_path), tmp_path / "other.npz"
    replace(tiny_scan, patterns=np.roll(tiny_scan.patterns, 1, axis=0)).to_file(file)
    last = with_checkpoint_of(trained(file, tmp_path / "other", nepochs=2).run_dir, run_dir)
    assert refusal(run_dir, {"nepochs": 3}) == (
        f"{last}: expected a checkpoint that was trained on {tiny_file}; got one of other data. "
        "Remove the file, or start a new run."
    )
    assert json.loads((run_dir / "config.json").read_text())["resumed"] == []
    last.unlink()
    assert len(resume(run_dir, {"nepochs": 2}).history) == 2
