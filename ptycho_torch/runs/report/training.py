"""The report of a training: now and then while it is under way, and when it has ended."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ptycho.checksums import Checksums
from ptycho.json_files import json_text
from ptycho.run_folder import FIGURES, LOSS_PICTURE, REPORT
from ptycho.wording import duration
from ptycho_torch.runs.figures import save_history
from ptycho_torch.runs.pace import PREVIEW_S, Pace
from ptycho_torch.runs.report.contents import read_contents
from ptycho_torch.runs.report.page import report_page
from ptycho_torch.runtime import LossHistory
from ptycho_torch.runtime.memory import peak_memory

log = logging.getLogger(__name__)


class LiveReport(Callback):
    """Writes `report.html` after an epoch, now and then; and logs one line an epoch where there is no progress bar.

    Args:
        run_dir: folder of the training, with its record.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir, self._pace = run_dir, Pace(PREVIEW_S)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and log what is due."""
        if not trainer.is_global_zero:
            return
        if trainer.progress_bar_callback is None:
            history = next(item for item in trainer.callbacks if isinstance(item, LossHistory))
            _log_epoch(history.rows, trainer.max_epochs or 0)
        if self._pace.is_due:
            with self._pace.writing(), Checksums(self._run_dir).write(self._run_dir / REPORT) as file:
                found = replace(read_contents(self._run_dir, run_dir=self._run_dir), figures={})
                file.write(report_page(found).encode())


def _log_epoch(rows: Sequence[Mapping[str, Any]], n_epochs: int) -> None:
    now = rows[-1]
    losses = [f"{name} {now[name]:.4g}" for name in ("train_loss", "val_loss") if now[name] is not None]
    times = [row["epoch_time_s"] for row in rows]
    left_s = (n_epochs - len(rows)) * sum(times) / len(times)
    left = [f"about {duration(left_s)} left"] if left_s > 0 else []
    log.info("epoch %d/%d: %s", len(rows), n_epochs, ", ".join([*losses, duration(times[-1]), *left]))


def write_training_results(
    run_dir: Path, history: Sequence[Mapping[str, float | None]], figures: Mapping[str, Any]
) -> None:
    """Write the picture of the losses, the figures and the report of a training that has ended.

    Args:
        run_dir: its folder, with its record and history.
        history: one row for each epoch.
        figures: how well the model predicts patterns, see `predicted_figures`, and what is wrong with it.
    """
    save_history(run_dir / LOSS_PICTURE, history)
    checksums = Checksums(run_dir)
    with checksums.write(run_dir / FIGURES) as file:
        file.write(json_text({"n_epochs": len(history), **figures, **peak_memory()}).encode())
    with checksums.write(run_dir / REPORT) as file:
        file.write(report_page(read_contents(run_dir, run_dir=run_dir)).encode())
