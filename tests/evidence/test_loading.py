"""Loading: worker processes, what they prepare, and which groups train and validate."""

import json
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.data.module import ScanDataModule
from tests.evidence.observed import TINY, observed, run

HAS_ACCELERATOR = torch.accelerator.is_available()


def groups_of(file: Path, folder: Path, **knobs: Any) -> tuple[set[int], set[int]]:
    """The central positions of the groups that train, and of those that validate."""
    execution = PyTorchExecutionConfig(accelerator="cpu", **knobs)
    payload = create_training_payload(file, folder, overrides=TINY, execution_config=execution)
    data = ScanDataModule(payload.tf_training_config, execution)
    data.load()
    sets = (data.training, data.validation)
    training, validation = (set() if s is None else {int(i) for i in s.groups[:, 0]} for s in sets)
    return training, validation


@pytest.mark.proves("num_workers", seen="so many processes load beside the training")
def test_workers_are_processes(tiny_file: Path, tmp_path: Path) -> None:
    alone, two = (observed(tiny_file, tmp_path / str(n), num_workers=n, nepochs=1) for n in (0, 2))
    assert {len(children) for children in alone.children} == {0}
    assert {len(children) for children in two.children} == {2}


@pytest.mark.proves("persistent_workers", seen="the same processes serve every epoch, or new ones each")
@pytest.mark.parametrize("persistent", [True, False])
def test_workers_stay_where_asked_for(persistent: bool, tiny_file: Path, tmp_path: Path) -> None:
    seen = observed(tiny_file, tmp_path, num_workers=1, persistent_workers=persistent)
    processes = set.union(*seen.children)
    assert len(processes) == (1 if persistent else 3)


class Noted(Dataset):
    """Groups that leave a file for every batch that is read."""

    def __init__(self, groups: Any, folder: Path) -> None:
        self.groups, self.folder = groups, folder

    def __len__(self) -> int:
        return len(self.groups)

    def __getitems__(self, indices: list[int]) -> Any:
        (self.folder / "-".join(map(str, indices))).touch()
        return self.groups.__getitems__(indices)


@pytest.mark.proves("prefetch_factor", seen="so many batches are read ahead by each process")
def test_batches_are_read_ahead(tiny_file: Path, tmp_path: Path) -> None:
    execution = PyTorchExecutionConfig(accelerator="cpu", val_split=0, num_workers=1, prefetch_factor=5)
    overrides = TINY | {"batch_size": 1}
    payload = create_training_payload(tiny_file, tmp_path, overrides=overrides, execution_config=execution)
    data = ScanDataModule(payload.tf_training_config, execution)
    data.load()
    notes = tmp_path / "notes"
    notes.mkdir()
    data.training = Noted(data.training, notes)  # type: ignore[assignment]
    batches = iter(data.train_dataloader())
    next(batches)
    deadline_s = time.monotonic() + 20
    while len(list(notes.iterdir())) < 6 and time.monotonic() < deadline_s:
        time.sleep(0.02)
    time.sleep(0.2)  # for those that should not come
    assert len(list(notes.iterdir())) == 1 + 5
    del batches


@pytest.mark.proves(
    "pin_memory", seen="batches lie in page-locked memory; without an accelerator a run warns"
)
def test_memory_is_pinned(tiny_file: Path, tmp_path: Path) -> None:
    if HAS_ACCELERATOR:
        payload = create_training_payload(tiny_file, tmp_path, overrides=TINY | {"pin_memory": True})
        data = ScanDataModule(payload.tf_training_config, payload.execution_config)
        data.load()
        assert next(iter(data.train_dataloader()))["amplitude"].is_pinned()
        return
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run(tiny_file, tmp_path, pin_memory=True, nepochs=1)
    assert [str(one.message).split(".")[0] for one in said] == [
        "pin_memory: True has no effect with accelerator cpu; it speeds up copies to CUDA devices"
    ]


@pytest.mark.proves("val_split", seen="this share of the groups validates and does not train")
@pytest.mark.parametrize(("share", "n"), [(0.0, 0), (0.25, 4), (0.5, 8)])
def test_a_share_of_the_groups_validates(share: float, n: int, tiny_file: Path, tmp_path: Path) -> None:
    run(tiny_file, tmp_path, val_split=share, nepochs=1)
    record = json.loads((tmp_path / "config.json").read_text())
    assert (record["n_training_groups"], record["n_validation_groups"]) == (16 - n, n)


@pytest.mark.proves("val_split_seed", seen="it decides which positions validate, and nothing else")
def test_its_seed_decides_the_split(tiny_file: Path, tmp_path: Path) -> None:
    first, again, other = (
        groups_of(tiny_file, tmp_path, val_split=0.25, val_split_seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first[1] != other[1]
    assert not first[0] & first[1]


@pytest.mark.proves("drop_last_batch", seen="a short last batch is left out of training")
def test_a_short_batch_is_dropped(tiny_file: Path, tmp_path: Path) -> None:
    dropped, kept = (
        observed(tiny_file, tmp_path / str(drop), drop_last_batch=drop, batch_size=6, nepochs=1)
        for drop in (True, False)
    )
    assert (dropped.batch_sizes, kept.batch_sizes) == ([[6, 6]], [[6, 6, 4]])
