"""What happens beside the training steps: the loss history, checkpoints and early stopping."""

import csv
import io
import logging
import math
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from ptycho.atomic import atomic_write
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.record import LARGEST
from ptycho.regular_files import read_regular
from ptycho.run_files import CHECKPOINTS, HISTORY
from ptycho_torch.runtime.checkpoint_files import is_readable
from ptycho_torch.runtime.metrics import metric_interval, monitored_metric
from ptycho_torch.runtime.progress import EpochBar
from ptycho_torch.runtime.stopped_step import STOPPED, StoppedStep, are_finite
from ptycho_torch.stopping import stop_if_asked

log = logging.getLogger(__name__)

LAST: Final = "last"
_PATHS: Final = ("best_model_path", "kth_best_model_path", "last_model_path")


class LossHistory(Callback):
    """Keeps one row per epoch, in `rows` and in a CSV file that is written anew with each.

    Columns: epoch (from 0), step (optimizer steps taken), train_loss, val_loss (None in an epoch without
    validation), learning_rate (of the first parameter group, at the epoch's first step), epoch_time_s (wall
    clock, with validation). A run resumed from a checkpoint continues the rows saved with it.

    Args:
        path: the file to write; its folder is created.
    """

    COLUMNS: Final = ("epoch", "step", "train_loss", "val_loss", "learning_rate", "epoch_time_s")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[dict[str, float | None]] = []
        self._started_s = 0.0
        self._learning_rate = math.nan
        self._validated = False

    @property
    def rows(self) -> list[dict[str, float | None]]:
        """The rows of the last run; from the file when other processes trained (ddp_spawn, ddp_notebook).

        Raises:
            ConfigError: the file is no such history.
        """
        if not self._rows and self.path.is_file():
            return _read_rows(self.path)
        return self._rows

    def state_dict(self) -> dict[str, Any]:
        """The rows, for the checkpoint, and what is known of the epoch under way."""
        return {
            "rows": [dict(row) for row in self._rows],
            "learning_rate": self._learning_rate,
            "seconds": time.perf_counter() - self._started_s,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of a checkpoint, and the epoch that was under way."""
        self._rows = [dict(row) for row in state_dict["rows"]]
        self._learning_rate = state_dict.get("learning_rate", math.nan)
        self._started_s = time.perf_counter() - state_dict.get("seconds", 0.0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the file."""
        if trainer.is_global_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._write()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the time and the learning rate."""
        self._started_s = time.perf_counter()
        self._learning_rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that val_loss is of this epoch."""
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the row of this epoch."""
        metrics = trainer.callback_metrics
        row: dict[str, float | None] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "train_loss": float(metrics["train_loss"]) if "train_loss" in metrics else None,
            "val_loss": float(metrics["val_loss"]) if self._validated and "val_loss" in metrics else None,
            "learning_rate": self._learning_rate,
            "epoch_time_s": time.perf_counter() - self._started_s,
        }
        self._rows.append(row)
        if trainer.is_global_zero:
            self._write()

    def _write(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.COLUMNS)
        writer.writeheader()
        writer.writerows(self._rows)
        with atomic_write(self.path) as file:
            file.write(text.getvalue().encode("ascii"))


class _Signals(Callback):
    """Ends a run at a signal that was lost on the way."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        stop_if_asked()

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        stop_if_asked()


def _read_rows(path: Path) -> list[dict[str, float | None]]:
    try:
        head, *rows = csv.reader(
            io.StringIO(read_regular(path, LARGEST).decode("ascii"), newline=""), strict=True
        )
        if head != list(LossHistory.COLUMNS):
            raise ValueError(f"other columns than {', '.join(LossHistory.COLUMNS)}")
        return [{name: _number(name, text) for name, text in zip(head, row, strict=True)} for row in rows]
    except FileNotFoundError:
        raise
    except (csv.Error, OSError, ValueError) as error:
        message = f"{path}: expected the history of a training; got a damaged file ({error!s:.200})."
        way_out = "Copy it again, or move it away: a resumed training writes a new one."
        raise ConfigError([Failure(str(path), f"{message} {way_out}")]) from error


def _number(name: str, text: str) -> float | None:
    if name in ("epoch", "step"):
        return int(text)
    return float(text) if text else None


class _EarlyStopping(EarlyStopping):
    """Early stopping that says why it stopped, and keeps its own patience in a training that goes on."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and self.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
            failed = self.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC
            log.log(
                logging.WARNING if failed else logging.INFO,
                "Stopped after epoch %d: %s",
                self.stopped_epoch,
                self.stopping_reason_message,
            )


class _Checkpoints(ModelCheckpoint):
    """Checkpoints that are found again where the folder of a run was moved.

    Those that were removed or damaged are forgotten, and those beyond the number that is kept from now on. Weights that
    are not finite replace none.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if are_finite(trainer, pl_module):
            super().on_train_epoch_end(trainer, pl_module)
        elif trainer.is_global_zero and self.monitor is not None:
            log.warning(
                "Epoch %d: the weights are not finite; no checkpoint is written", trainer.current_epoch
            )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        moved = {name: here(state_dict[name]) for name in _PATHS if state_dict.get(name)}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        found = [path for path in best if is_readable(Path(path))]
        ranked = sorted(found, key=lambda path: float(best[path]), reverse=self.mode == "max")
        if self.save_top_k != -1:
            del ranked[self.save_top_k :]
        if best and not ranked:
            return
        kept = {path: best[path] for path in ranked}
        super().load_state_dict({**state_dict, **moved, "best_k_models": kept, "dirpath": self.dirpath})
        if len(kept) < len(best):
            self.best_model_path, self.kth_best_model_path = ranked[0], ranked[-1]
            self.best_model_score, self.kth_value = kept[ranked[0]], kept[ranked[-1]]


def build_callbacks(
    config: PyTorchExecutionConfig, *, run_dir: Path, has_validation: bool, logged_metrics: Collection[str]
) -> list[Callback]:
    """Loss history, early stopping, and (with enable_checkpointing) the best and the last checkpoints.

    Checkpoints go to `run_dir`/checkpoints: the checkpoint_save_top_k best by the monitored metric, named by
    epoch and metric, and with save_last_checkpoint the state after the latest epoch as last.ckpt. A training that is
    asked to end in an epoch leaves the state after its step as stopped.ckpt.
    early_stop_patience counts epochs; where the metric comes every n epochs, n epochs at a time.

    Raises:
        ConfigError: the model does not log the monitored metric.
    """
    metric = monitored_metric(config, has_validation=has_validation, logged_metrics=logged_metrics)
    interval = metric_interval(config, metric)
    callbacks: list[Callback] = [
        _Signals(),
        LossHistory(run_dir / HISTORY),
        _EarlyStopping(
            metric,
            patience=math.ceil(config.early_stop_patience / interval),
            mode=config.checkpoint_mode,
            check_on_train_epoch_end=interval == 1,
        ),
    ]
    if config.enable_progress_bar:
        callbacks.append(EpochBar())
    if not config.enable_checkpointing:
        return callbacks
    callbacks.append(
        _Checkpoints(
            dirpath=run_dir / CHECKPOINTS,
            filename=f"epoch={{epoch:03d}}-{metric.replace('/', '_')}={{{metric}:.6g}}",
            auto_insert_metric_name=False,
            monitor=metric,
            mode=config.checkpoint_mode,
            save_top_k=config.checkpoint_save_top_k,
            every_n_epochs=interval,
            save_on_train_epoch_end=True,
        )
    )
    if config.save_last_checkpoint:
        # Lightning's own save_last writes only when a best checkpoint is written
        callbacks.append(
            _Checkpoints(
                dirpath=run_dir / CHECKPOINTS,
                filename=LAST,
                enable_version_counter=False,
                save_on_train_epoch_end=True,
            )
        )
    return [*callbacks, StoppedStep(run_dir / CHECKPOINTS / f"{STOPPED}.ckpt")]
