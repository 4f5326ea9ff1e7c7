"""Loading: worker processes, what they prepare, and which groups train and validate."""

import json
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.utils.data import Dataset

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.runs.training import train
from tests.evidence.observed import TINY, observed, run

pytestmark = pytest.mark.integration

HAS_ACCELERATOR = torch.cuda.is_available() or torch.backends.mps.is_available()


@pytest.mark.proves("num_workers", seen="so many processes load for the training, and as many to validate")
@pytest.mark.parametrize("n", [0, 2])
def test_workers_are_processes(n: int, tiny_file: Path, tmp_path: Path) -> None:
    seen = observed(tiny_file, tmp_path, num_workers=n, nepochs=1, val_split=0.5)
    training, either = (set.union(*kind) for kind in (seen.children, seen.validation_children))
    assert (len(training), len(either - training)) == (n, n)


@pytest.mark.proves(
    "persistent_workers", seen="two processes serve training and validation, or two each epoch"
)
@pytest.mark.parametrize(("persistent", "n"), [(True, 2), (False, 6)])
def test_workers_stay_where_asked_for(persistent: bool, n: int, tiny_file: Path, tmp_path: Path) -> None:
    seen = observed(tiny_file, tmp_path, num_workers=1, persistent_workers=persistent, val_split=0.5)
    assert len(set.union(*seen.children, *seen.validation_children)) == n


class Noted(Dataset):
    """Groups that leave a file for every batch that is read."""

    def __init__(self, groups: Any, folder: Path) -> None:
        self.groups, self.folder = groups, folder
        folder.mkdir()

    def __len__(self) -> int:
        return len(self.groups)

    def __getitems__(self, indices: list[int]) -> Any:
        (self.folder / "-".join(map(str, indices))).touch()
        return self.groups.__getitems__(indices)


class NotedScan(ScanDataModule):
    """The groups of a scan, with notes of what is read of them."""

    def __init__(self, folder: Path, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.folder = folder

    def load(self) -> None:
        super().load()
        self.training = Noted(self.training, self.folder / "training")  # type: ignore[assignment]
        self.validation = Noted(self.validation, self.folder / "validation")  # type: ignore[assignment]


class ReadAhead(Callback):
    """How many batches have been read when the first one is used."""

    def __init__(self, folder: Path, expected: int) -> None:
        self.folder, self.expected = folder, expected
        self.found: dict[str, int] = {}

    def count(self, kind: str, index: int) -> None:
        if index == 0:
            deadline_s = time.monotonic() + 20
            while (n := len(list((self.folder / kind).iterdir()))) < self.expected:
                assert time.monotonic() < deadline_s, f"{n} batches were read"
                time.sleep(0.02)
            time.sleep(0.2)  # for those that should not come
            self.found[kind] = len(list((self.folder / kind).iterdir()))

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, index: int) -> None:
        self.count("training", index)

    def on_validation_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, index: int, loader: int = 0
    ) -> None:
        self.count("validation", index)


@pytest.mark.proves("prefetch_factor", seen="so many batches are read ahead by each process")
def test_batches_are_read_ahead(tiny_file: Path, tmp_path: Path) -> None:
    execution = PyTorchExecutionConfig(accelerator="cpu", val_split=0.5, num_workers=1, prefetch_factor=5)
    overrides = TINY | {"batch_size": 1, "nepochs": 1}
    payload = create_training_payload(tiny_file, tmp_path, overrides=overrides, execution_config=execution)
    ahead = ReadAhead(tmp_path, 1 + 5)
    train(payload, data=NotedScan(tmp_path, payload.tf_training_config, execution), callbacks=[ahead])
    assert ahead.found == {"training": 1 + 5, "validation": 1 + 5}


class Loaders(Callback):
    """Whether the loaders of training and validation are to pin their memory."""

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        both = {"training": trainer.train_dataloader, "validation": trainer.val_dataloaders}
        self.pin = {kind: loader.pin_memory for kind, loader in both.items()}


@pytest.mark.proves(
    "pin_memory", seen="batches lie in page-locked memory; without an accelerator a run warns"
)
def test_memory_is_pinned(tiny_file: Path, tmp_path: Path) -> None:
    if HAS_ACCELERATOR:
        payload = create_training_payload(tiny_file, tmp_path, overrides=TINY | {"pin_memory": True})
        data = ScanDataModule(payload.tf_training_config, payload.execution_config)
        data.load()
        for loader in (data.train_dataloader(), data.val_dataloader()):
            assert next(iter(loader))["amplitude"].is_pinned()
        return
    loaders = Loaders()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run(tiny_file, tmp_path, loaders, pin_memory=True, nepochs=1, val_split=0.5)
    assert loaders.pin == {"training": True, "validation": True}
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
        observed(tiny_file, tmp_path / str(number), val_split=0.25, val_split_seed=seed, nepochs=1)
        for number, seed in enumerate((1, 1, 2))
    )
    assert (first.trained, first.validated) == (again.trained, again.validated)
    assert first.validated != other.validated
    for seen in (first, other):
        training, validation = (
            {place for epoch in kind for batch in epoch for place in batch}
            for kind in (seen.trained, seen.validated)
        )
        assert (len(training), len(validation), training & validation) == (12, 4, set())
    assert all(torch.equal(other.start[name], weight) for name, weight in first.start.items())


@pytest.mark.proves("drop_last_batch", seen="a short last batch is left out of training")
def test_a_short_batch_is_dropped(tiny_file: Path, tmp_path: Path) -> None:
    dropped, kept = (
        observed(tiny_file, tmp_path / str(drop), drop_last_batch=drop, batch_size=6, nepochs=1)
        for drop in (True, False)
    )
    assert (dropped.batch_sizes, kept.batch_sizes) == ([[6, 6]], [[6, 6, 4]])
