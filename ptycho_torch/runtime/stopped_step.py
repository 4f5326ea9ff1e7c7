"""Ending a training at a signal in the middle of an epoch, with a checkpoint from which it goes on there."""

import functools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from ptycho.config.errors import printable
from ptycho_torch.runtime.checkpoint_files import CheckpointFiles
from ptycho_torch.stopping import can_wait, is_asked, stop_if_asked, stop_now, wait_for_step

log = logging.getLogger(__name__)

STOPPED: Final = "stopped"
UNDER_WAY: Final = "under_way"
"""What a checkpoint of the middle of an epoch says of that epoch, beside what Lightning keeps."""
_VALIDATION: Final = "epoch_loop.val_loop.batch_progress"
_NONE: Final = {"ready": 0, "started": 0, "processed": 0, "completed": 0}


class StoppedStep(Checkpoint):
    """Lets a training that is asked to end finish its optimizer step, and writes a checkpoint of it.

    The processes of a run agree after every step, so that all end after the same one. Where one of them does not get
    signals (a thread, a process of ddp_spawn), and with strategies that divide the weights, they raise at once instead.
    The checkpoint goes once a later one of a whole epoch is there.

    Args:
        path: of the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waits = False
        self._saves: dict[str, Any] = {}
        self._goes_on: Mapping[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the end of a step from now on."""
        if self._goes_on and self._goes_on["batches"] == trainer.num_training_batches:
            for name, mean in self._take_means(trainer):
                total = torch.tensor(mean.total, device=pl_module.device, dtype=pl_module.dtype)
                total = trainer.strategy.reduce(total, reduce_op="mean")
                pl_module.log(name, total / mean.n_samples, prog_bar=True)
        strategy = trainer.strategy
        whole = isinstance(strategy, SingleDeviceStrategy | DDPStrategy)
        able = can_wait() and whole and isinstance(strategy.checkpoint_io, CheckpointFiles)
        self._waits = strategy.reduce_boolean_decision(able)
        wait_for_step(self._waits)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop here if asked to; after the last step of an epoch validation or the end of the epoch follow."""
        if self._goes_on:
            for name, mean in self._take_means(trainer):
                found = _means_of(trainer)[name]
                found.value = found.value + mean.total
                found.cumulated_batch_size = found.cumulated_batch_size + mean.n_samples
        done = batch_idx + 1
        if done % trainer.accumulate_grad_batches == 0 and done < trainer.num_training_batches:
            self._stop_if_asked(trainer, pl_module, done)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop here if asked to; the whole validation is done again."""
        self._stop_if_asked(trainer, pl_module, int(trainer.num_training_batches))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the checkpoint of an earlier step, and stop here if asked to."""
        here = self.path.parent.resolve()
        is_saved = any(
            isinstance(item, ModelCheckpoint)
            and item._last_global_step_saved == trainer.global_step
            and Path(str(item.dirpath)).resolve() == here
            for item in trainer.callbacks
        )
        if is_saved and trainer.is_global_zero and self.path.exists():
            trainer.strategy.remove_checkpoint(self.path)
        self._stop_if_asked(trainer, pl_module, None, is_saved=is_saved)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait no more."""
        self._end()
        stop_if_asked()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Wait no more."""
        self._end()

    def _end(self) -> None:
        if self._waits:
            self._waits = False
            wait_for_step(False)

    def _stop_if_asked(
        self, trainer: Trainer, pl_module: LightningModule, n_batches: int | None, *, is_saved: bool = False
    ) -> None:
        """Write the checkpoint and stop, if any process of the run is asked to.

        Args:
            trainer: of the run.
            pl_module: that is trained.
            n_batches: that were trained of the epoch under way; None where it is over.
            is_saved: whether a checkpoint of this step is there already.
        """
        if not self._waits or not trainer.strategy.reduce_boolean_decision(is_asked(), all=False):
            return
        if n_batches is not None:
            means = {
                name: {
                    "totals": trainer.strategy.all_gather(found.value).reshape(-1).tolist(),
                    "n_samples": int(found.cumulated_batch_size),
                }
                for name, found in _means_of(trainer).items()
            }
            self._saves = {"batches": n_batches, "means": means}
        stop_now((lambda: None) if is_saved else functools.partial(self._save, trainer, pl_module))

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not are_finite(trainer, pl_module):
            return
        try:
            trainer.save_checkpoint(self.path, False)  # not the weights alone
        except OSError as error:
            log.warning("%s: not written: %s", printable(str(self.path)), printable(str(error)))
            trainer.strategy.barrier()  # where the other processes wait for the end of the writing

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what Lightning does not keep of the epoch under way."""
        if not self._saves:
            return
        checkpoint[UNDER_WAY] = self._saves
        if self._saves["batches"] == trainer.num_training_batches:
            # by this Lightning goes on with a validation, from its start
            begun = {**_NONE, "ready": 1, "started": 1}
            progress = {"total": begun, "current": dict(_NONE), "is_last_batch": False}
            checkpoint["loops"]["fit_loop"][_VALIDATION] = progress

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: Mapping[str, Any]
    ) -> None:
        """Note the epoch that was under way."""
        self._goes_on = checkpoint.get(UNDER_WAY, {})

    def _take_means(self, trainer: Trainer) -> Iterator[tuple[str, "_Mean"]]:
        """What the means of the epoch were made up of so far in this process, once."""
        means, self._goes_on = self._goes_on["means"], {}
        for name, mean in means.items():
            yield name, _Mean(mean["totals"][trainer.global_rank], mean["n_samples"])


class _Mean(NamedTuple):
    """The sum that a mean is made up of, and the number of samples in it."""

    total: float
    n_samples: int


def _means_of(trainer: Trainer) -> dict[str, Any]:
    """The means over the epoch under way that the training steps of a module log, by name."""
    return {
        found.meta.name: found
        for found in trainer.fit_loop.epoch_loop._results.values()
        if found.meta.fx == "training_step" and found.meta.on_epoch and found.meta.is_mean_reduction
    }


def are_finite(trainer: Trainer, pl_module: LightningModule) -> bool:
    """Whether all weights are numbers, in every process of the run."""
    finite = all(bool(value.isfinite().all()) for value in pl_module.state_dict().values())
    return trainer.strategy.reduce_boolean_decision(finite)
