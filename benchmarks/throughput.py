"""Throughput of training and reconstruction, and peak memory: `python -m benchmarks.throughput`.

All with what `ptycho train` and `ptycho reconstruct` do by default. A training of `ptycho_torch.runs.training`
(Lightning's Trainer, the data module, every callback and checkpoint of a normal run) and a bare loop take turns, epoch
by epoch, in one process: same initial weights, batches, loss and optimizer. The losses of both must agree. The bare
loop finds its batches ready in memory.
"""

import argparse
import logging
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from benchmarks.versions import N_PIXELS, Clock, payload_of, repeated, timed_reconstruction, write_scan
from ptycho.config.canonical import ModelConfig
from ptycho.config.recipes import STANDARD
from ptycho.config.request import Request
from ptycho.raw_data import RawData
from ptycho_torch.config_factory import TrainingPayload
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.model import Batch
from ptycho_torch.optimization import build_optimizer, build_schedule
from ptycho_torch.runs.training import build_module, train
from ptycho_torch.runtime import run_environment
from ptycho_torch.runtime.memory import peak_resident

GROUP_SIZE = Request([ModelConfig], recipe=STANDARD).answer()[ModelConfig].gridsize ** 2
LOSSES_AGREE = 1e-3
"""Rounding, which the steps of a training at this rate make grow."""
GOAL_RATIO = 0.95
GOAL_MEMORY_MB = 1500
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


class Options(NamedTuple):
    """What is measured."""

    epochs: int
    """Epochs that count, after the first, which warms up."""
    clock: Clock


class Epoch(NamedTuple):
    """One epoch of the bare loop."""

    loss: float
    """Mean over its groups."""
    time_s: float


class TakingTurns(Callback):
    """Lets an epoch of a bare loop pass before every epoch of a training, and times the training without it.

    An epoch of the training reaches to the next one, with all that is done in between.
    """

    def __init__(self, bare: Iterator[Epoch], clock: Clock) -> None:
        self.bare: list[Epoch] = []
        self.times_s: list[float] = []
        self._next = bare
        self._clock = clock
        self._started_s: float | None = None

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Run the bare loop's epoch."""
        self._stop()
        self.bare.append(next(self._next))
        self._started_s = self._clock()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note the end of the last epoch."""
        self._stop()

    def _stop(self) -> None:
        if self._started_s is not None:
            self.times_s.append(self._clock() - self._started_s)


def bare_epochs(payload: TrainingPayload, scan: RawData, clock: Clock) -> Iterator[Epoch]:
    """The training of a payload, as a loop over batches that are ready; runs epoch by epoch as it is asked for."""
    config, execution = payload.tf_training_config, payload.execution_config
    with run_environment(execution):
        data = ScanDataModule(config, execution, scans=[scan])
        data.load()
        module = build_module(payload, data).train()
    batches: list[Batch] = list(data.train_dataloader())
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = build_optimizer(parameters, payload.pt_training_config, execution.learning_rate)
    built = build_schedule(
        optimizer,
        execution,
        payload.pt_training_config,
        n_epochs=config.nepochs,
        steps_per_epoch=len(batches),
        monitor="train_loss",
        checks_every_n_epochs=1,
    )
    assert built is not None

    def step(batch: Batch) -> Tensor:
        optimizer.zero_grad()
        loss = module.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, execution.gradient_clip_val or torch.inf)
        optimizer.step()
        built["scheduler"].step()
        return loss.detach()

    return (_bare_epoch(step, batches, clock) for _ in range(config.nepochs))


def _bare_epoch(step: Callable[[Batch], Tensor], batches: Sequence[Batch], clock: Clock) -> Epoch:
    started_s, total, n_groups = clock(), torch.zeros(()), 0
    for batch in batches:
        total += step(batch) * len(batch["scan"])
        n_groups += len(batch["scan"])
    return Epoch(float(total) / n_groups, clock() - started_s)


def measure_training(data: Path, options: Options, folder: Path) -> tuple[float, float, float]:
    """Time of an epoch of a training and of the bare loop, s, and the ratio of their rates: medians over the epochs.

    Raises:
        ValueError: the two did not train the same.
    """
    payload = payload_of(data, folder / "run", options.epochs + 1)
    scan = RawData.from_file(data)
    turns = TakingTurns(bare_epochs(payload, scan, options.clock), options.clock)
    module = ScanDataModule(payload.tf_training_config, payload.execution_config, scans=[scan])
    history = train(payload, data=module, callbacks=[turns]).history
    losses = [row["train_loss"] for row in history], [epoch.loss for epoch in turns.bare]
    if not np.allclose(*losses, rtol=LOSSES_AGREE):
        raise ValueError(f"losses: expected equal ones; got {losses[0]} and {losses[1]}.")
    pairs = [(time_s, epoch.time_s) for time_s, epoch in zip(turns.times_s, turns.bare, strict=True)][1:]
    ours, bare = (median(column) for column in zip(*pairs, strict=True))
    return ours, bare, median(bare / ours for ours, bare in pairs)


def write_large_scan(path: Path, size_mb: float) -> float:
    """Write a scan whose patterns take about this much memory, repeating a small one; returns their MB."""
    scan = RawData.from_file(write_scan(path, 256))
    large = repeated(scan, max(1, round(size_mb * 1e6 / scan.patterns.nbytes)))
    large.to_file(path)
    return large.patterns.nbytes / 1e6


class StopAfter(Callback):
    """Ends a training after some batches; all data are loaded by then, and all memory is in use."""

    def __init__(self, n_batches: int) -> None:
        self.n_batches = n_batches

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Ask the Trainer to stop."""
        trainer.should_stop = trainer.global_step >= self.n_batches


def peak_memory_mb(path: Path, run_dir: Path, threads: int) -> float | None:
    """Peak resident memory of this process after a training from a file; None where the system does not tell."""
    be_quiet(threads)
    train(payload_of(path, run_dir, 2), callbacks=[StopAfter(10)])
    peak = peak_resident()
    return None if peak is None else peak / 1e6


def be_quiet(threads: int) -> None:
    """Set the threads of torch, and leave out what a run reports about itself."""
    torch.set_num_threads(threads)
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)


def report_training(data: Path, options: Options, folder: Path) -> None:
    """Measure and print the rates of a training: a pattern counts each time that a group has it."""
    ours, bare, ratio = measure_training(data, options, folder)
    n_positions = len(RawData.from_file(data))
    n_seen = n_positions * GROUP_SIZE
    verdict = "goal met" if ratio >= GOAL_RATIO else "goal MISSED"
    print(f"training: groups of {GROUP_SIZE} patterns, one for each of {n_positions} positions")
    print(f"  patterns of groups a second    {n_seen / ours:10.1f}")
    print(
        f"  the bare loop                  {n_seen / bare:10.1f}   ratio {ratio:.3f}, {verdict}: {GOAL_RATIO}"
    )
    print(f"  ms a pattern of a group and step {1e3 * ours / n_seen:8.2f}")
    print(f"  ms a scan position and epoch   {1e3 * ours / n_positions:10.2f}")


def report_reconstruction(data: Path, n_repeats: Sequence[int], clock: Clock, folder: Path) -> None:
    """Measure and print what a pattern costs in each pass of a reconstruction, for scans of several sizes."""
    payload = payload_of(data, folder / "model", 2)
    scan = RawData.from_file(data)
    module = ScanDataModule(payload.tf_training_config, payload.execution_config, scans=[scan])
    module.load()
    model = build_module(payload, module).model
    print(f"reconstruction: {model.network.n_passes} passes, {len(model.network.unets)} with a U-Net")
    print("  us a pattern and pass      U-Nets   all else")
    timed_reconstruction(payload, model, scan, clock)
    for repeats in n_repeats:
        large = repeated(scan, repeats)
        unets, rest, _ = timed_reconstruction(payload, model, large, clock)
        print(f"  {len(large):8} patterns {unets:14.1f} {rest:10.1f}")


def report_memory(size_mb: float, folder: Path, threads: int) -> None:
    """Measure, in a process of its own, and print the peak of memory of a training."""
    path = folder / "large.npz"
    data_mb = write_large_scan(path, size_mb)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        peak_mb = pool.submit(peak_memory_mb, path, folder / "memory", threads).result()
    if peak_mb is None:
        print("peak resident memory: this system does not tell it (/proc/self/status)")
        return
    above = peak_mb - data_mb
    verdict = "goal met" if above <= GOAL_MEMORY_MB else "goal MISSED"
    print(
        f"peak resident memory of a training: {peak_mb:.0f} MB, {above:.0f} MB above the patterns, ", end=""
    )
    print(f"{verdict}: {GOAL_MEMORY_MB} MB")


def main() -> int:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--positions", type=int, default=128, help="positions of the scan (default 128)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs that count, of each (default 3)")
    sizes = "copies of it, side by side, to reconstruct (default 4 64)"
    parser.add_argument("--repeats", type=int, nargs="+", default=[4, 64], help=sizes)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch (default: all)")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu on a busy machine (default wall)"
    )
    parser.add_argument(
        "--memory-mb", type=float, default=500, help="size of the scan that memory is measured with"
    )
    options = parser.parse_args()
    be_quiet(options.threads)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = (
        f"Python {platform.python_version()}, torch {torch.__version__}, Lightning {lightning.__version__}"
    )
    print(f"{versions}, {options.threads} of {os.cpu_count()} processors, load average {load}")
    print(f"N={N_PIXELS}, defaults of ptycho train and ptycho reconstruct, {options.clock} time")
    clock = CLOCKS[options.clock]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_scan(folder / "scan.npz", options.positions)
        report_training(data, Options(options.epochs, clock), folder)
        report_reconstruction(data, options.repeats, clock, folder)
        report_memory(options.memory_mb, folder, options.threads)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
