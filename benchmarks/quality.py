"""Images, figures and CPU time of a reconstruction without training: `python -m benchmarks.quality FOLDER`.

Every case runs in a fresh state on one thread. CPU seconds are those of the process from patterns in memory to the
object. R and deviance per pixel are of patterns that were not fitted; the known object, where there is one, judges the
image and nothing else. `objectGuess` never enters.
"""

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ptycho.raw_data import RawData
from ptycho_torch.runs.metrics import Block, agreement, compare
from ptycho_torch.simulate import simulate_scan
from ptycho_torch.solver import Patterns, Solution, prepare, run, weight_by_thinning
from ptycho_torch.solver.descent import Descent
from ptycho_torch.solver.weight import first_weight


class Case(NamedTuple):
    """One scan and how it is solved."""

    scan: str
    n_iterations: int
    options: dict[str, Any]
    probe: str = "probeGuess"
    wrong_by_px: float = 0.0
    """Root mean square of seeded errors of the positions, both axes together."""
    auto_prior: bool = False


N_GUESSED = 120
"""Iterations with a guessed probe before the weight of the prior is chosen."""
FIXED = {"probe_from": None}
CASES = {
    "1e6": Case("synth-64-test-1e6", 100, FIXED),
    "1e6 guessed probe": Case("synth-64-test-1e6", 90, {"switch_at": None}, "probeStart"),
    "1e6 wrong positions": Case(
        "synth-64-test-1e6", 100, {"switch_at": None, "positions_from": 15}, wrong_by_px=0.7
    ),
    "siemens 4 modes": Case("siemens-star-128", 40, {"switch_at": None, "n_modes": 4}),
    "siemens best": Case("siemens-star-128", 120, {"switch_at": None, "n_modes": 6, "positions_from": 40}),
    "1e4 auto prior": Case("synth-64-test-1e4", 100, FIXED, auto_prior=True),
    "16 px steps": Case(
        "sparse", 220, {"switch_at": N_GUESSED, "prior_from": 20}, "probeStart", auto_prior=True
    ),
    "phase +-4 rad": Case("strong phase", 150, FIXED),
}


def scan_of(case: Case, folder: Path) -> tuple[RawData, NDArray[np.complex64]]:
    """A scan and the probe to start from."""
    if case.scan == "sparse":
        known = {"object_amplitude_image": "coins", "phase_image": "moon", "step_px": 16.0, "nphotons": 1e5}
        scan = simulate_scan(N=64, n_positions=200, defocus_rad=7.0, **known)
        guess = simulate_scan(N=64, n_positions=1, step_px=16.0, nphotons=1e5, defocus_rad=11.0)
        return scan, guess.probe
    if case.scan == "strong phase":
        return strong_phase(), strong_phase().probe
    scan = RawData.from_file(folder / f"{case.scan}.npz")
    if case.probe == "probeGuess":
        return scan, scan.probe
    with np.load(folder / f"{case.scan}.npz", allow_pickle=False) as file:
        probe = np.asarray(file[case.probe])
    return scan, probe.reshape(-1, *probe.shape[-2:])


def strong_phase() -> RawData:
    """An object whose phase goes from -4 to 4 rad: 120 patterns of 32 x 32, steps of 4 px, 1e5 photons."""
    scan = simulate_scan("camera", "coffee", N=32, n_positions=120, step_px=4.0, nphotons=1e5)
    assert scan.object_truth is not None
    truth = np.abs(scan.object_truth) * np.exp(4j * np.angle(scan.object_truth))
    n_pixels, whole = 32, np.round(scan.positions_px).astype(int)
    frequency = np.fft.fftfreq(n_pixels)
    counts = np.zeros(scan.patterns.shape, dtype=np.float32)
    rng = np.random.default_rng(1)
    for pattern, place, corner in zip(counts, scan.positions_px, whole - n_pixels // 2, strict=True):
        rest = place - np.round(place)
        ramp = np.exp(-2j * np.pi * (frequency[:, None] * rest[0] + frequency[None] * rest[1]))
        patch = truth[corner[0] : corner[0] + n_pixels, corner[1] : corner[1] + n_pixels]
        far = np.fft.fft2(np.fft.ifft2(np.fft.fft2(scan.probe) * ramp) * patch, norm="ortho")
        pattern[...] = np.sqrt(rng.poisson(np.fft.fftshift((np.abs(far) ** 2).sum(axis=0))))
    return RawData.from_arrays(
        counts, scan.positions_px, scan.probe, domain="amplitude", holdout=scan.holdout, object_truth=truth
    )


class Measured(NamedTuple):
    """What a case gave."""

    cpu_s: float
    figures: dict[str, float]
    note: str


def measure(case: Case, folder: Path) -> Measured:
    """Solve a case."""
    scan, probe = scan_of(case, folder)
    ids = np.arange(len(scan.patterns))
    held = np.zeros(len(ids), dtype=bool) if scan.holdout is None else scan.holdout
    fitted, judged = ids[~held], ids[held]
    rng = np.random.default_rng(0)
    wrong = rng.normal(scale=case.wrong_by_px / 2**0.5, size=scan.positions_px.shape)
    wrong[judged] = 0
    patterns = Patterns(scan.patterns, scan.domain, scan.bad_pixels)
    positions, waves = torch.from_numpy(scan.positions_px + wrong), torch.from_numpy(probe)
    started_s, note = time.process_time(), ""
    descent = prepare(patterns, positions, waves, fitted=fitted, **case.options)
    if case.auto_prior:
        if descent.probe_from is not None:
            descent.prior_weight = first_weight(descent)
            run(descent, N_GUESSED)
        searched_s = time.process_time()
        choice = weight_by_thinning(descent, seed=0)
        descent.reweigh(choice.weight)
        searched_s = time.process_time() - searched_s
        note = f"weight {choice.weight:.1f} (x/ {choice.factor:.2f}), {searched_s:.1f} CPU-s of it"
    solution = run(descent, case.n_iterations)
    cpu_s = time.process_time() - started_s
    if case.wrong_by_px:
        error = (solution.positions_px.numpy() - scan.positions_px)[fitted]
        note += f"positions {np.sqrt(((error - error.mean(axis=0)) ** 2).sum(axis=1).mean()):.3f} px"
    return Measured(cpu_s, figures_of(descent, solution, scan, judged), note)


def figures_of(
    descent: Descent, solution: Solution, scan: RawData, judged: NDArray[np.int64]
) -> dict[str, float]:
    """Figures of the patterns that were not fitted, and of the image where the object is known."""

    def blocks() -> Iterator[Block]:
        for ids, predicted in descent.forward.predicted_amplitude(solution.object, judged):
            bad = (
                None
                if scan.bad_pixels is None
                else scan.bad_pixels[ids if scan.bad_pixels.ndim == 3 else ...]
            )
            yield Block(predicted.numpy(), scan.amplitude(ids), np.array(True) if bad is None else ~bad)

    figures = agreement(blocks)
    if scan.object_truth is not None:
        lit = well_lit(solution, scan.positions_px)
        figures |= compare(solution.object.numpy(), scan.object_truth, solution.corner_px, lit).figures()
    return figures


def well_lit(solution: Solution, positions_px: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where images are compared: the largest rectangle between the outermost positions that has light everywhere.

    A pixel has light from half of the median there; gaps of four pixels, as between wide steps, are closed.
    """
    light = solution.coverage.numpy()
    rows, columns = (np.arange(n) + first for n, first in zip(light.shape, solution.corner_px, strict=True))
    low, high = positions_px.min(axis=0), positions_px.max(axis=0)
    inside = np.outer((rows >= low[0]) & (rows <= high[0]), (columns >= low[1]) & (columns <= high[1]))
    lit = ndimage.binary_closing(inside & (light > 0.5 * np.median(light[inside])), iterations=2) & inside
    found = np.zeros_like(lit)
    found[largest_rectangle(lit)] = True
    return found


def largest_rectangle(lit: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the largest rectangle of true pixels."""
    best, found = 0, (slice(0), slice(0))
    heights = np.zeros(lit.shape[1] + 1, dtype=int)
    for row, line in enumerate(lit):
        heights[:-1] = np.where(line, heights[:-1] + 1, 0)
        rising: list[tuple[int, int]] = []
        for column, height in enumerate(heights.tolist()):
            left = column
            while rising and rising[-1][1] >= height:
                left, tall = rising.pop()
                if tall * (column - left) > best:
                    best, found = (
                        tall * (column - left),
                        (slice(row + 1 - tall, row + 1), slice(left, column)),
                    )
            rising.append((left, height))
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Measure the cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the scans are, as NPZ files")
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), help="which (default all)")
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"torch {torch.__version__}, one thread of {os.cpu_count()} processors, load average {load}")
    print(f"{'case':22} {'CPU-s':>6} {'R':>7} {'deviance':>8} {'amplitude, phase dB':>20}")
    for name in options.case:
        found = measure(CASES[name], options.folder)
        image = [found.figures.get(f"{part}_psnr_db") for part in ("amplitude", "phase")]
        decibels = "" if image[0] is None else f"{image[0]:.2f}, {image[1]:.2f}"
        reciprocal = found.figures["r_factor"], found.figures["poisson_deviance_per_pixel"]
        columns = f"{name:22} {found.cpu_s:6.2f} {reciprocal[0]:7.4f} {reciprocal[1]:8.4f} {decibels:>20}"
        print(f"{columns}  {found.note}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
