"""The progress bar of a run: which epoch or iteration, its losses, and the time that is left."""

import sys
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from ptycho.display import in_notebook

_FORMAT = "{desc}: {percentage:3.0f}%|{bar:24}| {elapsed}, {remaining} left{postfix}"


def progress_bar(total: int, words: str, *, done: int = 0, shown: bool = True) -> "tqdm[Any]":
    """A bar that tells how far a run is, and the time that is left.

    It is written to the error stream, and in a notebook, which shows that in red, to the output of the cell.

    Args:
        total: steps in all.
        words: what is counted.
        done: steps of an earlier part of the run.
        shown: whether there is one.
    """
    place = sys.stdout if in_notebook() else sys.stderr
    return tqdm(total=total, initial=done, desc=words, disable=not shown, file=place, bar_format=_FORMAT)


class EpochBar(ProgressBar):
    """One bar for all epochs of a training: epoch 1/8, the losses so far, the time that is left.

    Attributes:
        note: shown after the losses, such as a figure of the latest preview.
    """

    def __init__(self) -> None:
        super().__init__()
        self.note = ""
        self._bar: tqdm[Any] | None = None
        self._shown = True

    def enable(self) -> None:
        """Show it."""
        self._shown = True

    def disable(self) -> None:
        """Do not show it, in the further processes of a run."""
        self._shown = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        steps = int(trainer.num_training_batches)
        total = steps * (trainer.max_epochs or 0)
        done = steps * trainer.current_epoch + trainer.fit_loop.epoch_loop.batch_progress.current.completed
        self._bar = progress_bar(total, "epoch", done=min(done, total), shown=self._shown)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name the epoch."""
        if self._bar is not None:
            self._bar.set_description_str(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Go on."""
        if self._bar is not None:
            self._bar.update()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the losses and the note."""
        if self._bar is not None:
            self._bar.set_postfix_str(
                ", ".join(filter(None, [losses_text(trainer.callback_metrics), self.note]))
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End, also where the run was stopped."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def losses_text(values: Mapping[str, Any]) -> str:
    """The losses of an epoch in words."""
    named = ((name, values.get(name)) for name in ("train_loss", "val_loss"))
    return ", ".join(f"{name} {float(value):.4g}" for name, value in named if value is not None)
