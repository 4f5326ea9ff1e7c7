"""Training throughput beside a bare PyTorch loop, and peak memory: `python -m benchmarks.throughput`.

A training of `ptycho_torch.runs.training` (Lightning's Trainer, the data module, every callback and checkpoint of a
normal run) and a bare loop take turns, epoch by epoch, in one process: same initial weights, batches, loss and
optimizer. The losses of both must agree. The bare loop finds its batches ready in memory.
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

from ptycho.config.canonical import ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.raw_data import RawData
from ptycho_torch.config_factory import TrainingPayload, training_payload_of
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.model import Batch, PtychoPINN_Lightning
from ptycho_torch.optimization import build_optimizer
from ptycho_torch.runs.training import build_module, train
from ptycho_torch.runtime import run_environment
from ptycho_torch.simulate import simulate_scan

N_PIXELS = 64
BATCH_SIZE = 16
GOAL_RATIO = 0.95
GOAL_MEMORY_MB = 1500
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


class Options(NamedTuple):
    """What is measured."""

    n_patterns: int
    epochs: int
    """Epochs that count, after the first, which warms up."""
    gridsizes: list[int]
    clock: Callable[[], float]


class Epoch(NamedTuple):
    """One epoch of the bare loop."""

    loss: float
    """Mean over its groups."""
    time_s: float


class TakingTurns(Callback):
    """Lets an epoch of a bare loop pass before every epoch of a training, and times the training without it.

    An epoch of the training reaches to the next one, with all that is done in between.
    """

    def __init__(self, bare: Iterator[Epoch], clock: Callable[[], float]) -> None:
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


def payload_of(
    gridsize: int, n_groups: int, epochs: int, run_dir: Path, data: Path, **knobs: object
) -> TrainingPayload:
    """Everything a training needs to know: batches in order, no validation, on the CPU but for other knobs."""
    config = TrainingConfig(
        model=ModelConfig(N=N_PIXELS, gridsize=gridsize),
        train_data_file=data,
        n_groups=n_groups,
        batch_size=BATCH_SIZE,
        nepochs=epochs,
        output_dir=run_dir,
        sequential_sampling=True,
    )
    execution = PyTorchExecutionConfig.from_snapshot({"accelerator": "cpu", "val_split": 0.0, **knobs})
    return training_payload_of(config, execution)


def bare_epochs(payload: TrainingPayload, scan: RawData, clock: Callable[[], float]) -> Iterator[Epoch]:
    """The training of a payload, as a loop over batches that are ready; runs epoch by epoch as it is asked for."""
    config, execution = payload.tf_training_config, payload.execution_config
    with run_environment(execution):
        data = ScanDataModule(config, execution, scans=[scan])
        data.load()
        module = build_module(payload, data).train()
    batches: list[Batch] = list(data.train_dataloader())
    optimizer = build_optimizer(
        [parameter for parameter in module.parameters() if parameter.requires_grad],
        payload.pt_training_config,
        execution.learning_rate,
    )
    return (_bare_epoch(module, optimizer, batches, clock) for _ in range(config.nepochs))


def _bare_epoch(
    module: PtychoPINN_Lightning,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    clock: Callable[[], float],
) -> Epoch:
    started_s, total, n_groups = clock(), torch.zeros(()), 0
    for batch in batches:
        optimizer.zero_grad()
        loss = module.loss(batch)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(batch["scan"])
        n_groups += len(batch["scan"])
    return Epoch(float(total) / n_groups, clock() - started_s)


def measure_throughput(gridsize: int, options: Options, folder: Path) -> tuple[float, float, float]:
    """Patterns per second of a training and of the bare loop, and their ratio: medians over the epochs.

    Raises:
        ValueError: the two did not train the same.
    """
    scan = simulate_scan(N=N_PIXELS, n_positions=options.n_patterns, nphotons=1e6, holdout_fraction=0.0)
    n_groups = options.n_patterns // gridsize**2
    run_dir = folder / f"gridsize-{gridsize}"
    payload = payload_of(gridsize, n_groups, options.epochs + 1, run_dir, folder / "in memory.npz")
    turns = TakingTurns(bare_epochs(payload, scan, options.clock), options.clock)
    data = ScanDataModule(payload.tf_training_config, payload.execution_config, scans=[scan])
    history = train(payload, data=data, callbacks=[turns]).history
    losses = [row["train_loss"] for row in history], [epoch.loss for epoch in turns.bare]
    if not np.allclose(*losses, rtol=1e-4):
        raise ValueError(f"losses: expected equal ones; got {losses[0]} and {losses[1]}.")
    pairs = [(time_s, epoch.time_s) for time_s, epoch in zip(turns.times_s, turns.bare, strict=True)][1:]
    n_seen = n_groups * gridsize**2
    return (
        n_seen / median(ours for ours, _ in pairs),
        n_seen / median(bare for _, bare in pairs),
        median(bare / ours for ours, bare in pairs),
    )


def write_large_scan(path: Path, size_mb: float) -> float:
    """Write a scan whose patterns take about this much memory, repeating a small one; returns their MB."""
    scan = simulate_scan(N=N_PIXELS, n_positions=256, nphotons=1e6, holdout_fraction=0.0)
    n_repeats = max(1, round(size_mb * 1e6 / scan.patterns.nbytes))
    step_px = np.ptp(scan.positions_px[:, 1]) + 8.0
    shifts = np.arange(n_repeats)[:, None, None] * np.array([0.0, step_px])
    large = RawData.from_arrays(
        np.tile(scan.patterns, (n_repeats, 1, 1)),
        (scan.positions_px + shifts).reshape(-1, 2),
        scan.probe,
        domain=scan.domain,
    )
    large.to_file(path)
    return large.patterns.nbytes / 1e6


class StopAfter(Callback):
    """Ends a training after some batches; all data are loaded by then, and all memory is in use."""

    def __init__(self, n_batches: int) -> None:
        self.n_batches = n_batches

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Ask the Trainer to stop."""
        trainer.should_stop = trainer.global_step >= self.n_batches


def peak_memory_mb(path: Path, gridsize: int, run_dir: Path, threads: int) -> float | None:
    """Peak resident memory of this process after a training from a file; None where the system does not tell."""
    be_quiet(threads)
    n_groups = len(RawData.from_file(path).patterns) // gridsize**2
    train(payload_of(gridsize, n_groups, 1, run_dir, path), callbacks=[StopAfter(10)])
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), None)


def be_quiet(threads: int) -> None:
    """Set the threads of torch, and leave out what a run reports about itself."""
    torch.set_num_threads(threads)
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)


def report_throughput(options: Options, clock: str, folder: Path) -> None:
    """Measure and print the rates for both group sizes."""
    print(f"patterns/s ({clock} time)   training   bare loop   ratio")
    for gridsize in options.gridsizes:
        ours, bare, ratio = measure_throughput(gridsize, options, folder)
        verdict = "goal met" if ratio >= GOAL_RATIO else "goal MISSED"
        print(
            f"N={N_PIXELS}, gridsize {gridsize}  {ours:15.1f} {bare:11.1f} {ratio:7.3f}   {verdict}: {GOAL_RATIO}"
        )


def report_memory(size_mb: float, gridsizes: list[int], folder: Path, threads: int) -> None:
    """Measure, each in a process of its own, and print the peaks of memory."""
    path = folder / "large.npz"
    data_mb = write_large_scan(path, size_mb)
    print("peak resident memory        training   patterns   above them")
    for gridsize in gridsizes:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            run_dir = folder / f"memory-{gridsize}"
            peak_mb = pool.submit(peak_memory_mb, path, gridsize, run_dir, threads).result()
        if peak_mb is None:
            print("peak resident memory: this system does not tell it (/proc/self/status)")
            return
        above = peak_mb - data_mb
        verdict = "goal met" if above <= GOAL_MEMORY_MB else "goal MISSED"
        columns = f"{peak_mb:12.0f} MB {data_mb:7.0f} MB {above:9.0f} MB"
        print(f"N={N_PIXELS}, gridsize {gridsize}  {columns}   {verdict}: {GOAL_MEMORY_MB} MB")


def main() -> int:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patterns", type=int, default=512, help="patterns in an epoch (default 512)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs that count, of each (default 10)")
    parser.add_argument("--gridsize", type=int, nargs="+", default=[1, 2], help="group sizes (default 1 2)")
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
    measured = Options(options.patterns, options.epochs, options.gridsize, CLOCKS[options.clock])
    with tempfile.TemporaryDirectory() as folder:
        report_throughput(measured, options.clock, Path(folder))
        report_memory(options.memory_mb, options.gridsize, Path(folder), options.threads)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
