"""A real training on a tiny scan, and what a callback sees of it."""

import csv
import multiprocessing
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.runs.reconstruction import ReconstructionResult, reconstruct_scans
from ptycho_torch.runs.training import TrainingResult, train

TINY = {
    "n_groups": 16,
    "gridsize": 1,
    "batch_size": 4,
    "nepochs": 3,
    "n_filters_scale": 1,
    "n_unrolled_steps": 1,
    "n_physics_steps": 1,
}
PLAIN = {"optimizer": "sgd", "momentum": 0.0}
"""Gradient descent: a step is the learning rate times the gradient."""


Place = tuple[float, float]
"""Row and column of the first pattern of a group."""


def places(batch: Any) -> list[Place]:
    """Where the groups of a batch lie."""
    corners = batch["corner"][:, 0] + batch["remainder"][:, 0].double()
    return [(row, column) for row, column in corners.tolist()]


def children() -> set[int | None]:
    """The processes that this one has started."""
    return {child.pid for child in multiprocessing.active_children()}


class Seen(Callback):
    """What every step was: its learning rate, the gradient the optimizer saw, the weights after it.

    And of every batch where its groups lie, and which loading processes there were.
    """

    def __init__(self) -> None:
        self.start: dict[str, Tensor] = {}
        self.rates: list[list[float]] = []
        self.gradients: list[dict[str, Tensor]] = []
        self.weights: list[dict[str, Tensor]] = []
        self.children: list[set[int | None]] = []
        self.trained: list[list[list[Place]]] = []
        self.validated: list[list[list[Place]]] = []
        self.validation_children: list[set[int | None]] = []

    @property
    def batch_sizes(self) -> list[list[int]]:
        return [[len(batch) for batch in epoch] for epoch in self.trained]

    @property
    def gradient_norms(self) -> list[float]:
        return [float(torch.cat([g.flatten() for g in step.values()]).norm()) for step in self.gradients]

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.start = _copies(module, "data")

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.rates.append([])
        self.trained.append([])

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, index: int) -> None:
        self.children.append(children())
        self.trained[-1].append(places(batch))

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.validated.append([])

    def on_validation_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, index: int, loader: int = 0
    ) -> None:
        self.validation_children.append(children())
        self.validated[-1].append(places(batch))

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.rates[-1].append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if len(self.gradients) < trainer.global_step:
            self.gradients.append(_copies(module, "grad"))
            self.weights.append(_copies(module, "data"))


def _copies(module: LightningModule, attribute: str) -> dict[str, Tensor]:
    found = ((name, getattr(value, attribute)) for name, value in module.named_parameters())
    return {name: value.clone() for name, value in found if value is not None}


def run(file: Path, run_dir: Path, *callbacks: Callback, **settings: Any) -> TrainingResult:
    """Train as `settings` say: knobs of the execution configuration, the others overrides."""
    knobs = {name: settings.pop(name) for name in PyTorchExecutionConfig.model_fields if name in settings}
    execution = PyTorchExecutionConfig(**{"accelerator": "cpu", "val_split": 0.0, **knobs})
    payload = create_training_payload(file, run_dir, overrides=TINY | settings, execution_config=execution)
    return train(payload, callbacks=callbacks)


def observed(file: Path, run_dir: Path, **settings: Any) -> Seen:
    seen = Seen()
    run(file, run_dir, seen, **settings)
    return seen


def reconstructed(run_dir: Path, file: Path, output_dir: Path, **knobs: Any) -> ReconstructionResult:
    execution = PyTorchExecutionConfig(**{"accelerator": "cpu", "reconstruction_window": 0, **knobs})
    payload = create_inference_payload(
        run_dir, file, output_dir, overrides={"n_groups": None}, execution_config=execution
    )
    return reconstruct_scans(payload)[0]


def rows(run_dir: Path) -> list[dict[str, str]]:
    """The loss history."""
    return list(csv.DictReader((run_dir / "history.csv").read_text().splitlines()))


def checkpoints(run_dir: Path) -> set[str]:
    """What names the kept checkpoints before their metric: their epoch, or `last`."""
    return {path.stem.split("-")[0] for path in (run_dir / "checkpoints").glob("*.ckpt")}


def note_process(folder: Path) -> Callback:
    """A callback that leaves a file named by the process for every batch it trains on."""

    class Note(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, module: LightningModule, batch: Any, index: int
        ) -> None:
            (folder / f"{os.getpid()}-{trainer.current_epoch}-{index}").touch()

    return Note()
