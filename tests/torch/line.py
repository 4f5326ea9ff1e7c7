"""A linear model and its training, for observing what the execution configuration does to one."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from ptycho.checksums import Checksums
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.data.groups import EpochOrder
from ptycho_torch.optimization import build_schedule
from ptycho_torch.runtime import LossHistory, build_trainer, loader_arguments, run_environment

SCORES = (5.0, 3.0, 4.0, 1.0, 2.0)
"""A validation loss for each epoch."""
METRICS = ("train_loss", "val_loss")
RATE = 0.1
N_SAMPLES = 8


class Line(LightningModule):
    """y = x w, trained by plain gradient descent; its validation loss in each epoch is given."""

    def __init__(self, val_losses: Sequence[float] = (), *, flat: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.val_losses, self.flat = val_losses, flat
        self.schedule: dict[str, Any] = {}
        self.dtypes: set[torch.dtype] = set()

    def training_step(self, batch: tuple[torch.Tensor, ...], index: int) -> torch.Tensor:
        x, y = batch
        product = x @ self.weight
        self.dtypes.add(product.dtype)
        loss = (product - y).square().mean() * (0 if self.flat else 1)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, ...], index: int) -> None:
        self.log("val_loss", self.val_losses[self.current_epoch], sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=RATE)
        if not self.schedule:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": build_schedule(optimizer, **self.schedule)}


def samples() -> TensorDataset:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(N_SAMPLES, 3, generator=generator)
    return TensorDataset(x, x @ torch.tensor([1.0, -2.0, 3.0]))


class Samples(LightningDataModule):
    """The samples, divided between processes as those of a scan are."""

    def __init__(self, training: dict[str, Any], validation: dict[str, Any] | None, seed: int | None) -> None:
        super().__init__()
        self.training, self.validation, self.seed = training, validation, seed

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.training, self.seed)

    def val_dataloader(self) -> DataLoader[Any] | list[None]:
        return [] if self.validation is None else self.loader(self.validation, None)

    def loader(self, arguments: dict[str, Any], seed: int | None) -> DataLoader[Any]:
        assert self.trainer is not None
        rank, n_processes = self.trainer.global_rank, self.trainer.world_size
        order = EpochOrder(N_SAMPLES, seed=seed, rank=rank, n_processes=n_processes)
        return DataLoader(samples(), sampler=order, **arguments)


def config(**knobs: object) -> PyTorchExecutionConfig:
    return PyTorchExecutionConfig(**{"accelerator": "cpu", "learning_rate": RATE, **knobs})


def train(
    run_dir: Path,
    execution: PyTorchExecutionConfig,
    model: Line,
    *,
    epochs: int,
    batch_size: int = N_SAMPLES,
    shuffle: bool = False,
    checkpoint: Path | None = None,
) -> Trainer:
    has_validation = bool(model.val_losses)
    with run_environment(execution):
        run_dir.mkdir(parents=True, exist_ok=True)
        Checksums(run_dir).write_record({}, [])
        trainer = build_trainer(
            execution,
            run_dir=run_dir,
            epochs=epochs,
            steps_per_epoch=math.ceil(N_SAMPLES / batch_size),
            has_validation=has_validation,
            logged_metrics=METRICS,
        )
        training, validation = (
            loader_arguments(execution, training=training, batch_size=batch_size)
            for training in (True, False)
        )
        data = Samples(training, validation if has_validation else None, execution.seed if shuffle else None)
        trainer.fit(model, datamodule=data, ckpt_path=checkpoint)
    return trainer


def history(trainer: Trainer) -> list[dict[str, float | None]]:
    return next(item for item in trainer.callbacks if isinstance(item, LossHistory)).rows
