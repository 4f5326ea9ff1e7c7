"""The report of a training: now and then while it is under way, and when it has ended."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from ptycho.checksums import Checksums
from ptycho.config.errors import ConfigError
from ptycho.data_error import DataError
from ptycho.json_files import json_text
from ptycho.run_files import FIGURES, LOSS_PICTURE, OF_RECONSTRUCTION, PREVIEW, REPORT
from ptycho.wording import counted, duration
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.model import PtychoPINN_Lightning
from ptycho_torch.runs.figures import Compared, save_comparison, save_history
from ptycho_torch.runs.pace import PreviewPace
from ptycho_torch.runs.report.contents import read_contents
from ptycho_torch.runs.report.page import report_page
from ptycho_torch.runs.report.preview import preview_of, save_preview
from ptycho_torch.runtime import EpochBar, LossHistory, log_picture, losses_text, warn_once
from ptycho_torch.runtime.memory import peak_memory
from ptycho_torch.stopping import Terminated

WHOLE: Final = SingleDeviceStrategy, DDPStrategy
"""Strategies with which the first process has all weights during a training."""

log = logging.getLogger(__name__)


class LiveReport(Callback):
    """Shows a training under way: a line an epoch where there is no progress bar; now and then a preview and a report.

    Both are of the weights as they are after an epoch, and change nothing of the training.

    Args:
        run_dir: folder of the training, with its record.
        data: what is trained on.
        every: epochs from one preview to the next, see `PreviewPace`.
    """

    def __init__(self, run_dir: Path, data: ScanDataModule, every: int | Literal["auto"]) -> None:
        self._run_dir, self._data, self._pace = run_dir, data, PreviewPace(every)
        self._note = ""
        self._n_shown = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and log what is due."""
        if not trainer.is_global_zero:
            return
        if self._pace.is_due_after(trainer.current_epoch + 1) and isinstance(pl_module, PtychoPINN_Lightning):
            with self._pace.writing():
                self._write(pl_module, trainer)
        bar = trainer.progress_bar_callback
        if isinstance(bar, EpochBar):
            bar.note = self._note
        elif bar is None:
            history = next(item for item in trainer.callbacks if isinstance(item, LossHistory))
            note = self._note if self._n_shown == trainer.current_epoch + 1 else ""
            _log_epoch(history.rows, trainer.max_epochs or 0, note)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Show how far a training came that is stopped; after an error there may be no means to."""
        if trainer.is_global_zero and isinstance(exception, KeyboardInterrupt | Terminated):
            with contextlib.suppress(OSError, ConfigError, DataError):
                self._report()

    def _write(self, module: PtychoPINN_Lightning, trainer: Trainer) -> None:
        if not isinstance(trainer.strategy, WHOLE):
            warn_once("no previews: with this strategy each process holds a part of the weights")
            return
        self._n_shown = trainer.current_epoch + 1
        r_factor = write_preview(self._run_dir, module, self._data, trainer, self._n_shown)
        if r_factor is not None:
            self._note = f"R factor after epoch {self._n_shown} {r_factor:.3f}"
        self._report()

    def _report(self) -> None:
        with Checksums(self._run_dir).write(self._run_dir / REPORT) as file:
            found = replace(read_contents(self._run_dir, run_dir=self._run_dir), figures={})
            file.write(report_page(found).encode())


def write_preview(
    run_dir: Path, module: PtychoPINN_Lightning, data: ScanDataModule, trainer: Trainer, n_epochs: int
) -> float | None:
    """Write the preview of a training in the first process, and send it to its loggers; gives its R factor.

    There is none where the device has no memory left.

    Args:
        run_dir: folder of the training.
        module: the model.
        data: what it is trained on.
        trainer: of the training.
        n_epochs: epochs that the model was trained for.
    """
    try:
        preview = preview_of(module, data)
    except torch.cuda.OutOfMemoryError:
        log.warning("no preview: the device has no memory left during the training")
        return None
    title = f"after {counted(n_epochs, 'epoch')}"
    save_preview(run_dir, preview, title)
    for logger in trainer.loggers:
        logger.log_metrics({"preview_r_factor": preview.r_factor}, step=trainer.global_step)
        log_picture(logger, run_dir / PREVIEW[0], "object", trainer.global_step)
        if preview.pair is not None:
            with TemporaryDirectory() as folder:
                shown = [Compared("reconstructed", preview.pair, preview.product.probe)]
                picture = Path(folder) / OF_RECONSTRUCTION[2]
                save_comparison(picture, shown, data.scans[0].probe_truth, preview.placed(title))
                log_picture(logger, picture, "comparison", trainer.global_step)
    return preview.r_factor


def _log_epoch(rows: Sequence[Mapping[str, Any]], n_epochs: int, note: str) -> None:
    now = rows[-1]
    times = [row["epoch_time_s"] for row in rows]
    left_s = (n_epochs - len(rows)) * sum(times) / len(times)
    left = [f"about {duration(left_s)} left"] if left_s > 0 else []
    words = [losses_text(now), *([note] if note else []), duration(times[-1]), *left]
    log.info("epoch %d/%d: %s", len(rows), n_epochs, ", ".join(words))


def write_training_results(
    run_dir: Path, history: Sequence[Mapping[str, float | None]], figures: Mapping[str, Any]
) -> None:
    """Write the picture of the losses, the figures and the report of a training whose model was saved.

    With the figures, which tell how many times it was resumed, it has ended; see `ptycho.judgement.has_ended`.

    Args:
        run_dir: its folder, with its record and history.
        history: one row for each epoch.
        figures: how many times it was resumed, how well the model predicts patterns, see `predicted_figures`, and
            what is wrong with it.
    """
    save_history(run_dir / LOSS_PICTURE, history)
    checksums = Checksums(run_dir)
    with checksums.write(run_dir / FIGURES) as file:
        file.write(json_text({"n_epochs": len(history), **figures, **peak_memory()}).encode())
    with checksums.write(run_dir / REPORT) as file:
        file.write(report_page(read_contents(run_dir, run_dir=run_dir)).encode())
