"""A scan of many patterns: time per pattern and iteration beside a small one, and memory beyond the patterns."""

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.quality_clock import clock_of
from benchmarks.versions import side_by_side
from ptycho.raw_data import RawData
from ptycho_torch.runtime.memory import peak_resident
from ptycho_torch.simulate import simulate_scan
from ptycho_torch.solver import Patterns, prepare, run

N_ITERATIONS = 10
SMALL, LARGE = 500, 100_000
GOAL_RATIO, GOAL_MEMORY_MB = 1.3, 1000.0


class Measured(NamedTuple):
    """One scan in a process of its own."""

    us: float
    """A pattern and iteration."""
    above_mb: float | None
    """Peak resident memory less the size of the patterns; None where the system does not tell it."""


def report_large(accelerator: str, n_patterns: int = LARGE) -> None:
    """Measure, each in a process of its own, and print."""
    found: list[Measured] = []
    with tempfile.TemporaryDirectory() as name:
        small = simulate_scan(N=64, n_positions=SMALL, nphotons=1e6, holdout_fraction=0.0)
        for n in (SMALL, n_patterns):
            _write(small, n, Path(name))
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                found.append(pool.submit(measured, Path(name), accelerator).result())
    ratio, above = found[1].us / found[0].us, found[1].above_mb
    verdict = "goal met" if ratio <= GOAL_RATIO else "goal MISSED"
    print(
        f"  solver, {N_ITERATIONS} iterations: {found[1].us:.1f} us a pattern and iteration; of {SMALL} patterns "
        f"{found[0].us:.1f}; ratio {ratio:.2f}, {verdict}: {GOAL_RATIO}"
    )
    if above is None:
        print("  peak resident memory: this system does not tell it (/proc/self/status)", flush=True)
        return
    verdict = "goal met" if above <= GOAL_MEMORY_MB else "goal MISSED"
    print(
        f"  peak resident memory beyond the patterns: {above:.0f} MB, {verdict}: {GOAL_MEMORY_MB:.0f} MB",
        flush=True,
    )


def _write(small: RawData, n_patterns: int, folder: Path) -> None:
    """Write the arrays of a scan of copies side by side; patterns one copy at a time."""
    n_copies = -(-n_patterns // len(small))
    np.save(folder / "positions.npy", side_by_side(small.positions_px, n_copies)[:n_patterns])
    np.save(folder / "probe.npy", small.probe)
    shape = n_patterns, *small.patterns.shape[1:]
    stored = np.lib.format.open_memmap(folder / "patterns.npy", mode="w+", dtype=np.float32, shape=shape)
    for first in range(0, n_patterns, len(small)):
        stored[first : first + len(small)] = small.patterns[: n_patterns - first]
    stored.flush()


def measured(folder: Path, accelerator: str) -> Measured:
    """Solve a scan whose patterns stay on the disk."""
    torch.set_num_threads(1)
    patterns = np.load(folder / "patterns.npy", mmap_mode="r")
    clock = clock_of(accelerator)
    started_s = clock()
    descent = prepare(
        Patterns(patterns, "amplitude"),
        torch.from_numpy(np.load(folder / "positions.npy")),
        torch.from_numpy(np.load(folder / "probe.npy")),
        device=accelerator,
        probe_from=None,
    )
    run(descent, N_ITERATIONS)
    us = 1e6 * (clock() - started_s) / (len(patterns) * N_ITERATIONS)
    peak = peak_resident()
    return Measured(us, None if peak is None else (peak - patterns.nbytes) / 1e6)
