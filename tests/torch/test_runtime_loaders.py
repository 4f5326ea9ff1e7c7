"""The data-loading knobs, observed in real loaders and their worker processes."""

import os
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime import loader_arguments, run_environment


class Draws(Dataset):
    """Each sample: its index, the process that read it, and a number of each generator."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> torch.Tensor:
        draws = random.random(), np.random.random(), float(torch.rand(()))
        return torch.tensor([index, os.getpid(), *draws], dtype=torch.float64)


def loader(*, training: bool = True, batch_size: int = 4, **knobs: object) -> DataLoader:
    config = PyTorchExecutionConfig(accelerator="cpu", **knobs)
    return DataLoader(
        Draws(), shuffle=training, **loader_arguments(config, training=training, batch_size=batch_size)
    )


def epoch(batches: DataLoader) -> torch.Tensor:
    return torch.cat(list(batches))


def processes(batches: DataLoader) -> set[int]:
    return {int(process) for process in epoch(batches)[:, 1]}


def test_no_workers_load_in_this_process():
    assert processes(loader()) == {os.getpid()}


def test_workers_are_processes_of_their_own():
    assert len(processes(loader(num_workers=2)) - {os.getpid()}) == 2


def test_persistent_workers_serve_every_epoch():
    batches = loader(num_workers=1, persistent_workers=True)
    assert processes(batches) == processes(batches)


def test_other_workers_serve_one_epoch():
    batches = loader(num_workers=1)
    assert processes(batches) != processes(batches)


def test_workers_draw_from_seeded_generators_of_their_own():
    first, again, other = (epoch(loader(num_workers=2, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first[:, 2:], again[:, 2:])
    assert not torch.equal(first[:, 2:], other[:, 2:])
    for column in first[:, 2:].T:
        assert len(column.unique()) == len(column)


def test_seed_decides_the_order_of_training_samples():
    orders = [epoch(loader(seed=seed))[:, 0].tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(10))


def test_order_changes_from_epoch_to_epoch():
    batches = loader()
    assert epoch(batches)[:, 0].tolist() != epoch(batches)[:, 0].tolist()


def test_prefetch_factor_is_passed_on():
    assert loader(num_workers=1, prefetch_factor=5).prefetch_factor == 5
    assert loader().prefetch_factor is None


@pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(),
    reason="with an accelerator memory is really pinned",
)
def test_pinned_memory_is_passed_on_and_torch_does_not_repeat_the_warning():
    config = PyTorchExecutionConfig(accelerator="cpu")
    batches = loader(pin_memory=True)
    assert batches.pin_memory
    with run_environment(config):
        assert len(epoch(batches)) == 10


def test_incomplete_batch_is_dropped_in_training_only():
    assert [len(batch) for batch in loader(drop_last_batch=True)] == [4, 4]
    assert [len(batch) for batch in loader(drop_last_batch=True, training=False)] == [4, 4, 2]
    assert [len(batch) for batch in loader()] == [4, 4, 2]
