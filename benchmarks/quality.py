"""Images, figures and CPU time of reconstructions without training: `python -m benchmarks.quality FOLDER`.

The solver is measured beside other iterative codes, all on one thread and in one process: CPU seconds are those of the
process from patterns in memory to the object. R and deviance per pixel are of patterns that were not fitted; the known
object, where there is one, judges the image and nothing else. `objectGuess` never enters.
"""

import argparse
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.quality_peers import PEERS, Peer, Problem
from ptycho.raw_data import RawData
from ptycho_torch.patches import frame_of
from ptycho_torch.runs.metrics import Block, agreement, compare
from ptycho_torch.runs.plan import MILD, PROBE_FROM
from ptycho_torch.simulate import simulate_scan
from ptycho_torch.solver import Patterns, carried_along, prepare, run, weight_by_thinning
from ptycho_torch.solver.forward import Forward
from ptycho_torch.solver.probes import start_modes
from ptycho_torch.solver.solve import MARGIN_PX
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
    peers: tuple[str, ...] = ()
    """Which other codes are measured beside it."""

    @property
    def n_modes(self) -> int:
        """Probe modes."""
        return self.options.get("n_modes", 1)

    @property
    def refine_probe(self) -> bool:
        """Whether the probe is to be refined."""
        return "probe_from" not in self.options


N_GUESSED = 120
"""Iterations with a guessed probe before the weight of the prior is chosen."""
FIXED = {"probe_from": None}
REFINED = {"switch_at": None, "prior_weight": MILD, "prior_from": PROBE_FROM}
"""What `ptycho reconstruct` does where the probe is refined, and the scan needs no prior."""
ALL = tuple(PEERS)
SEVERAL_MODES = ("lsqml", "cdtools")
CASES = {
    "1e6": Case("synth-64-test-1e6", 50, FIXED, peers=ALL),
    "1e6 guessed probe": Case("synth-64-test-1e6", 60, REFINED, "probeStart", peers=ALL),
    "1e6 wrong positions": Case("synth-64-test-1e6", 80, REFINED | {"positions_from": 15}, wrong_by_px=0.7),
    "siemens": Case("siemens-star-128", 60, REFINED, peers=ALL),
    "siemens 4 modes": Case("siemens-star-128", 40, REFINED | {"n_modes": 4}, peers=SEVERAL_MODES),
    "siemens best": Case("siemens-star-128", 80, REFINED | {"n_modes": 4, "positions_from": 40}),
    "1e4": Case("synth-64-test-1e4", 40, FIXED | {"switch_at": None}, peers=ALL),
    "1e4 auto prior": Case("synth-64-test-1e4", 50, FIXED, auto_prior=True, peers=ALL),
    "16 px steps": Case(
        "sparse", 220, {"switch_at": N_GUESSED, "prior_from": 20}, "probeStart", auto_prior=True
    ),
    "phase +-4 rad": Case("strong phase", 80, FIXED),
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


@dataclass(frozen=True)
class Scene:
    """A scan, what is fitted of it, and how everything that was found is judged."""

    case: Case
    scan: RawData
    probe: NDArray[np.complex64]
    """(M, N, N) to start from."""

    @property
    def held(self) -> NDArray[np.bool_]:
        """(n,), True for patterns that are judged and not fitted."""
        nothing = np.zeros(len(self.scan.patterns), dtype=bool)
        return nothing if self.scan.holdout is None else self.scan.holdout

    @property
    def patterns(self) -> Patterns:
        """The measured patterns."""
        return Patterns(self.scan.patterns, self.scan.domain, self.scan.bad_pixels)

    @cached_property
    def forward(self) -> Forward:
        """Predicts patterns from what was found, at the positions of the file."""
        positions, n_pixels = torch.from_numpy(self.scan.positions_px), self.scan.patterns.shape[-1]
        frame = frame_of(positions, n_pixels, MARGIN_PX)
        return Forward(self.patterns, positions, frame, self.case.n_modes)

    @cached_property
    def lit(self) -> NDArray[np.bool_]:
        """Where images are compared, whatever found them: lit by the probe of the file."""
        modes = torch.from_numpy(self.scan.probe)
        forward = Forward(self.patterns, self.forward.positions_px, self.forward.frame, len(modes))
        forward.set_probe(modes)
        light = forward.illumination(np.flatnonzero(~self.held)).numpy()
        return well_lit(light, forward.frame.corner_px, self.scan.positions_px)

    def problem(self) -> Problem:
        """What the other codes get."""
        scan, fitted = self.scan, np.flatnonzero(~self.held)
        bad = scan.bad_pixels
        if bad is not None and bad.ndim == 3:
            raise ValueError("bad pixels: expected one mask for all patterns; got one for each.")
        measured = np.ones(scan.patterns.shape[1:], dtype=bool) if bad is None else ~bad
        modes = start_modes(torch.from_numpy(self.probe), self.case.n_modes).numpy()
        counts = np.square(scan.amplitude(fitted))
        return Problem(
            counts, measured, scan.positions_px[fitted], modes, self.forward.frame, self.case.refine_probe
        )

    def figures(
        self, image: NDArray[np.complex64], modes: NDArray[np.complex64], forward: Forward | None = None
    ) -> dict[str, float]:
        """Figures of the patterns that were not fitted, and of the image where the object is known."""
        if forward is None:
            forward = self.forward
            forward.set_probe(torch.from_numpy(modes))
        canvas, scan = torch.from_numpy(image), self.scan
        judged = np.flatnonzero(self.held)

        def blocks() -> Iterator[Block]:
            for ids, predicted in forward.predicted_amplitude(canvas, judged):
                bad = self.patterns.bad_pixels(ids)
                yield Block(predicted.numpy(), scan.amplitude(ids), np.array(True) if bad is None else ~bad)

        figures = agreement(blocks)
        if scan.object_truth is not None:
            corner = self.forward.frame.corner_px
            figures |= compare(image, scan.object_truth, corner, self.lit).figures()
        return figures


class Stage(NamedTuple):
    """Where a code is after some iterations."""

    iterations: int
    cpu_s: float
    figures: dict[str, float]
    note: str = ""

    @property
    def quality(self) -> tuple[float, ...]:
        """Higher is better: amplitude and phase of the image (dB) where the object is known, R else."""
        if "phase_psnr_db" in self.figures:
            return self.figures["amplitude_psnr_db"], self.figures["phase_psnr_db"]
        return (-self.figures["r_factor"],)


N_STAGES, N_MORE = 10, 20
"""Looks at the solver, and how many more of them where a peer is still better."""
PLATEAU_DB, PLATEAU_SHARE = 0.1, 0.005
"""A plateau is reached where no later figure is better by more than this, or than this share of R."""


def solve(scene: Scene) -> Iterator[Stage]:
    """The solver, looked at after every tenth of its iterations, and beyond."""
    case, scan = scene.case, scene.scan
    rng = np.random.default_rng(0)
    wrong = rng.normal(scale=case.wrong_by_px / 2**0.5, size=scan.positions_px.shape)
    wrong[scene.held] = 0
    positions, fitted = torch.from_numpy(scan.positions_px + wrong), np.flatnonzero(~scene.held)
    started_s, note = time.process_time(), ""
    descent = prepare(scene.patterns, positions, torch.from_numpy(scene.probe), fitted=fitted, **case.options)
    if case.auto_prior:
        if descent.probe_from is not None:
            descent.prior_weight = first_weight(descent)
            run(descent, N_GUESSED)
        searched_s = time.process_time()
        choice = weight_by_thinning(descent, seed=0)
        descent.reweigh(choice.weight)
        searched_s = time.process_time() - searched_s
        note = f"weight {choice.in_words()}, {searched_s:.1f} CPU-s of it"
    cpu_s, first = time.process_time() - started_s, descent.state.iteration
    for place in range(1, N_STAGES + N_MORE + 1):
        n = first + round((case.n_iterations - first) * place / N_STAGES)
        started_s = time.process_time()
        solution = run(descent, n)
        cpu_s += time.process_time() - started_s
        if descent.positions_from is not None:
            judged = np.flatnonzero(scene.held)
            descent.forward.positions_px = carried_along(positions, solution.positions_px, fitted, judged)
        figures = scene.figures(solution.object.numpy(), solution.modes.numpy(), descent.forward)
        if case.wrong_by_px:
            error = (solution.positions_px.numpy() - scan.positions_px)[fitted]
            rms = np.sqrt(((error - error.mean(axis=0)) ** 2).sum(axis=1).mean())
            note = f"positions {rms:.3f} px"
        yield Stage(n, cpu_s, figures, note)


def follow(peer: Peer, scene: Scene) -> list[Stage]:
    """Another code, until it gets no better or ends by itself."""
    found, cpu_s, stages = peer.run(scene.problem()), 0.0, list[Stage]()
    while len(stages) < 2 or plateau(stages) is stages[-1]:
        started_s = time.process_time()
        now = next(found, None)
        cpu_s += time.process_time() - started_s
        if now is None:
            break
        stages.append(Stage(now.epochs, cpu_s, scene.figures(now.object, now.modes)))
    found.close()
    return stages


def plateau(stages: Sequence[Stage]) -> Stage:
    """The first stage that no later one beats by more than a little."""
    for stage in stages:
        tolerance = PLATEAU_DB if len(stage.quality) == 2 else PLATEAU_SHARE * -stage.quality[0]
        means = [np.mean(other.quality) for other in stages]
        if np.mean(stage.quality) >= max(means) - tolerance:
            return stage
    raise ValueError("stages: expected some whose figures are finite; got none.")


def ratio(peer: Stage, ours: Iterable[Stage]) -> str:
    """CPU time of a peer by that of our first stage that is at least as good in everything it is judged by."""
    for stage in ours:
        if all(mine >= other for mine, other in zip(stage.quality, peer.quality, strict=True)):
            return (
                f"{peer.cpu_s / stage.cpu_s:5.1f} x ({stage.iterations} iterations, {stage.cpu_s:.1f} CPU-s)"
            )
    return "not reached"


def well_lit(
    light: NDArray[np.floating], corner_px: tuple[int, int], positions_px: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Where images are compared: the largest rectangle between the outermost positions that has light everywhere.

    A pixel has light from half of the median there; gaps of four pixels, as between wide steps, are closed.
    """
    rows, columns = (np.arange(n) + first for n, first in zip(light.shape, corner_px, strict=True))
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


def row(name: str, stage: Stage, more: str) -> None:
    """Print what a code gave."""
    image = [stage.figures.get(f"{part}_psnr_db") for part in ("amplitude", "phase")]
    decibels = "" if image[0] is None else f"{image[0]:.2f}, {image[1]:.2f}"
    reciprocal = stage.figures["r_factor"], stage.figures["poisson_deviance_per_pixel"]
    columns = f"{stage.iterations:5} {stage.cpu_s:7.2f} {reciprocal[0]:7.4f} {reciprocal[1]:8.4f}"
    print(f"{name:24} {columns} {decibels:>14}  {more}".rstrip(), flush=True)


def main(given: Sequence[str] | None = None) -> int:
    """Measure the cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the scans are, as NPZ files")
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), help="which (default all)")
    parser.add_argument("--peer", nargs="*", choices=PEERS, default=list(PEERS), help="which (default all)")
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"torch {torch.__version__}, one thread of {os.cpu_count()} processors, load average {load}")
    labels = {name: PEERS[name].load() for name in options.peer}
    for name in (name for name, label in labels.items() if label is None):
        print(f"{PEERS[name].label} is not installed, and left out")
    print(
        f"{'':24} {'steps':>5} {'CPU-s':>7} {'R':>7} {'deviance':>8} {'image, dB':>14}  CPU time by the solver's"
    )
    for name in options.case:
        case = CASES[name]
        scene = Scene(case, *scan_of(case, options.folder))
        print(name)
        others = [(PEERS[peer], label) for peer in case.peers if (label := labels.get(peer))]
        later = solve(scene)
        ours = list(islice(later, N_STAGES))
        row("  solver", ours[-1], ours[-1].note)
        for place, (peer, label) in enumerate(others):
            if place > 0:
                later = solve(scene)
                ours = list(islice(later, N_STAGES))
            stage = plateau(follow(peer, scene))
            row(f"  {label}", stage, ratio(stage, chain(ours, later)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
