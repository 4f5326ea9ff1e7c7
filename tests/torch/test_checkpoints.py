"""The latest and the best checkpoint are those that say so of themselves, and are sound."""

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ptycho.config.errors import ConfigError
from ptycho_torch.lightning_utils import find_best_checkpoint
from ptycho_torch.runs.checkpoints import SECTIONS, best, latest
from ptycho_torch.runtime.checkpoint_files import CheckpointFiles

LOSSES = [0.5, 0.2, 0.3, 0.4]


def checkpoint(
    folder: Path, name: str, n_epochs: int, *, mode: str = "min", top_k: int = 2, weight: float = 1.0
) -> Path:
    """A checkpoint after some of the epochs with `LOSSES`."""
    rows = [
        {"epoch": epoch, "val_loss": loss, "train_loss": None} for epoch, loss in enumerate(LOSSES[:n_epochs])
    ]
    knobs = {"checkpoint_mode": mode, "checkpoint_save_top_k": top_k}
    content: dict[str, Any] = {
        "global_step": 5 * n_epochs,
        "callbacks": {
            "LossHistory": {"rows": rows},
            "Checkpoints": {"monitor": "val_loss", "best_model_path": "elsewhere.ckpt"},
        },
        "hyper_parameters": {section: {} for section in SECTIONS} | {"execution_config": knobs},
        "state_dict": {"weight": torch.tensor([weight])},
        "lr_schedulers": [],
        "loops": {},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.tensor([weight])}}}],
    }
    CheckpointFiles(folder.parent).save_checkpoint(content, folder / name)
    return folder / name


def means(totals: list[Any], name: str = "train_loss") -> dict[str, Any]:
    """What a checkpoint of the middle of an epoch says of a mean over it."""
    return {name: {"totals": totals, "n_samples": 6}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "checkpoints"


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_neither_names_nor_times_decide(folder: Path, order: tuple[int, ...]) -> None:
    files = [checkpoint(folder, f"{name}.ckpt", n) for name, n in zip("abc", (2, 3, 4), strict=True)]
    for path, time in zip(files, order, strict=True):
        os.utime(path, (1e9 + time, 1e9 + time))
    moved = Path(shutil.copytree(folder.parent, folder.parents[1] / "copy", copy_function=shutil.copyfile))
    for at in (folder, moved / "checkpoints"):
        assert (latest(at).path, best(at)) == (at / "c.ckpt", at / "a.ckpt")
    assert find_best_checkpoint(moved) == moved / "checkpoints" / "a.ckpt"


def test_the_largest_value_is_best_where_the_run_looks_for_it(folder: Path) -> None:
    files = [checkpoint(folder, f"{n}.ckpt", n, mode="max") for n in (1, 2, 3)]
    assert best(folder) == files[0]


def test_last_is_the_latest_of_equals_and_not_the_best(folder: Path) -> None:
    epoch, last = checkpoint(folder, "epoch.ckpt", 2), checkpoint(folder, "last.ckpt", 2)
    assert (latest(folder).path, best(folder)) == (last, epoch)


def test_where_no_best_is_kept_the_best_is_the_latest(folder: Path) -> None:
    checkpoint(folder, "epoch.ckpt", 2)
    last = checkpoint(folder, "last.ckpt", 4, top_k=0)
    assert best(folder) == last


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_that_is_not_finite_is_passed_over(
    folder: Path, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    sound = checkpoint(folder, "epoch.ckpt", 3)
    last = checkpoint(folder, "last.ckpt", 4, weight=value)
    found = latest(folder)
    assert (found.path, found.epochs_done, found.passed_over) == (sound, 3, ["last.ckpt"])
    assert f"passed over: {last}: expected finite weights" in caplog.text
    assert f" is {sound}, " in caplog.text


def damaged(path: Path, place: int) -> Path:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    return path


def first_byte_of_tensor(path: Path) -> int:
    return path.read_bytes().index(torch.tensor([1.0]).numpy().tobytes())


def test_a_damaged_one_is_passed_over_as_latest_and_as_best(folder: Path) -> None:
    third, second = checkpoint(folder, "3.ckpt", 3), checkpoint(folder, "2.ckpt", 2)
    last = checkpoint(folder, "last.ckpt", 4)
    damaged(last, first_byte_of_tensor(last))
    assert latest(folder).passed_over == ["last.ckpt"]
    assert best(folder) == second
    damaged(second, first_byte_of_tensor(second))
    assert best(folder) == third
    assert latest(folder).passed_over == ["last.ckpt"]  # an earlier one is not read


def test_where_none_is_sound_each_is_told(folder: Path) -> None:
    first, second = checkpoint(folder, "a.ckpt", 1), checkpoint(folder, "b.ckpt", 2, weight=float("nan"))
    first.write_bytes(b"PK")
    for asked in (latest, best):
        with pytest.raises(ConfigError) as caught:
            asked(folder)
        assert [failure.name for failure in caught.value.failures] == [str(first), str(second)]


@pytest.mark.parametrize("content", [{}, {"callbacks": 3}, [1], torch.tensor(1.0)])
def test_a_file_of_another_program_is_none_of_this_one(folder: Path, content: Any) -> None:
    sound = checkpoint(folder, "a.ckpt", 1)
    torch.save(content, folder / "z.ckpt")
    assert (latest(folder).path, latest(folder).passed_over) == (sound, ["z.ckpt"])


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held["callbacks"]["LossHistory"].update(rows=["\x1b[31m"]),
        lambda held: held["callbacks"]["LossHistory"]["rows"][0].update(val_loss="\x1b[31m"),
        lambda held: held["callbacks"]["LossHistory"].update(rows=3),
        lambda held: held.update(global_step="\x1b[31m"),
        lambda held: held.pop("optimizer_states"),
        lambda held: held.pop("loops"),
        lambda held: held["callbacks"].update(Checkpoints=3),
        lambda held: held["callbacks"]["LossHistory"].update(seconds="\x1b[31m"),
        lambda held: held.update(under_way=3),
        lambda held: held.update(under_way={"batches": 1, "means": {}}),
        lambda held: held.update(under_way={"batches": "\x1b[31m", "means": means([0.5])}),
        lambda held: held.update(under_way={"batches": 1, "means": means(["\x1b[31m"])}),
        lambda held: held.update(under_way={"batches": 1, "means": means([0.5], "\x1b[31m")}),
    ],
)
def test_one_that_says_something_else_of_itself_is_passed_over(
    folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    sound, other = checkpoint(folder, "a.ckpt", 1), checkpoint(folder, "z.ckpt", 2)
    content = torch.load(other, weights_only=True)
    change(content)
    torch.save(content, other)
    assert (latest(folder).path, latest(folder).passed_over) == (sound, ["z.ckpt"])
    assert best(folder) == sound


def test_one_of_the_middle_of_an_epoch_is_later_and_never_the_best(folder: Path) -> None:
    first, second = checkpoint(folder, "a.ckpt", 1), checkpoint(folder, "b.ckpt", 2)
    second.rename(folder / "stopped.ckpt")
    content = torch.load(folder / "stopped.ckpt", weights_only=True)
    torch.save(content | {"under_way": {"batches": 3, "means": means([0.5])}}, folder / "stopped.ckpt")
    found = latest(folder)
    assert (found.path.name, found.epochs_done, found.batches_done) == ("stopped.ckpt", 2, 3)
    assert best(folder) == first
    assert latest(folder, n_processes=1).path == found.path
    assert latest(folder, n_processes=2).path == first


def test_a_folder_without_checkpoints_is_told(folder: Path) -> None:
    with pytest.raises(ConfigError, match="got none"):
        latest(folder)
    assert find_best_checkpoint(folder.parent) is None
