"""Training in 32 bits and in mixed bfloat16: rate, loss and peak memory: `python -m benchmarks.precision`."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from benchmarks.throughput import GROUP_SIZE, be_quiet
from benchmarks.versions import N_PIXELS, payload_of, write_scan
from ptycho_torch.runs.training import train
from ptycho_torch.runtime import find_accelerator

PRECISIONS = ("32-true", "bf16-mixed")


class Measured(NamedTuple):
    """One training."""

    patterns_per_s: float
    """Median of the epochs after the first."""
    loss: float
    """Of the last epoch."""
    peak_mb: float | None
    """Of the memory that torch allocated on the GPU; None elsewhere."""


def measure(precision: str, accelerator: str, n_patterns: int, epochs: int, folder: Path) -> Measured:
    """Train in one format."""
    n_groups = n_patterns // GROUP_SIZE
    knobs = {"accelerator": accelerator, "precision": precision, "n_groups": n_groups, "batch_size": 16}
    scan = write_scan(folder / "scan.npz", n_patterns)
    payload = payload_of(scan, folder / precision, epochs + 1, **knobs)
    on_gpu = accelerator == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    history = train(payload).history
    peak_mb = torch.cuda.max_memory_allocated() / 1e6 if on_gpu else None
    time_s = median(float(row["epoch_time_s"] or 0) for row in history[1:])
    return Measured(n_groups * GROUP_SIZE / time_s, float(history[-1]["train_loss"] or 0), peak_mb)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the formats and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accelerator", default=find_accelerator("auto"), help="default: the best there is")
    parser.add_argument("--precision", nargs="+", default=PRECISIONS, help=f"default: {' '.join(PRECISIONS)}")
    parser.add_argument("--patterns", type=int, default=4096, help="patterns in an epoch (default 4096)")
    parser.add_argument("--epochs", type=int, default=5, help="epochs that count (default 5)")
    options = parser.parse_args(argv)
    be_quiet(torch.get_num_threads())
    device = torch.cuda.get_device_name() if options.accelerator == "cuda" else options.accelerator
    print(f"torch {torch.__version__}, {device}, N={N_PIXELS}, groups of {GROUP_SIZE}")
    print("precision     patterns/s   train_loss   peak memory (MB)")
    with tempfile.TemporaryDirectory() as folder:
        for precision in options.precision:
            found = measure(precision, options.accelerator, options.patterns, options.epochs, Path(folder))
            peak = "-" if found.peak_mb is None else f"{found.peak_mb:.0f}"
            print(f"{precision:12} {found.patterns_per_s:11.1f} {found.loss:12.5f}   {peak:>16}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
