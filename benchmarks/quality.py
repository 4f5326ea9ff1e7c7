"""Images, figures and CPU time of reconstructions without training: `python -m benchmarks.quality FOLDER`.

The solver is measured beside other iterative codes, all on one thread and in one process: CPU seconds are those of the
process from patterns in memory to the object. R and deviance per pixel are of patterns that were not fitted; the known
object, where there is one, judges the image and nothing else. `objectGuess` never enters.
"""

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.quality_cases import CASES, N_GUESSED, Case, scan_of
from benchmarks.quality_clock import clock_of
from benchmarks.quality_large import report_large
from benchmarks.quality_network import network
from benchmarks.quality_peers import PEERS, Peer, Problem
from ptycho.raw_data import RawData
from ptycho.wording import counted
from ptycho_torch.patches import frame_of
from ptycho_torch.runs.metrics import Block, agreement, compare
from ptycho_torch.solver import Patterns, carried_along, prepare, run, search_probe, weight_by_thinning
from ptycho_torch.solver.forward import Forward
from ptycho_torch.solver.probes import start_modes
from ptycho_torch.solver.solve import MARGIN_PX
from ptycho_torch.solver.weight import first_weight


@dataclass(frozen=True)
class Scene:
    """A scan, what is fitted of it, and how everything that was found is judged."""

    case: Case
    scan: RawData
    probe: NDArray[np.complex64]
    """(M, N, N) to start from."""
    accelerator: str = "cpu"

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
            counts,
            measured,
            scan.positions_px[fitted],
            modes,
            self.forward.frame,
            self.case.refine_probe,
            self.accelerator,
        )

    def figures(
        self, image: NDArray[np.complex64], modes: NDArray[np.complex64], forward: Forward | None = None
    ) -> dict[str, float]:
        """Figures of the patterns that were not fitted, and of the image where the object is known."""
        if forward is None:
            forward = self.forward
            forward.set_probe(torch.from_numpy(modes))
        canvas, scan = torch.from_numpy(image).to(forward.device), self.scan
        judged = np.flatnonzero(self.held)

        def blocks() -> Iterator[Block]:
            for ids, predicted in forward.predicted_amplitude(canvas, judged):
                bad = self.patterns.bad_pixels(ids)
                yield Block(
                    predicted.cpu().numpy(), scan.amplitude(ids), np.array(True) if bad is None else ~bad
                )

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
    clock, note, probe = clock_of(scene.accelerator), "", torch.from_numpy(scene.probe)
    started_s = clock()
    if case.probe is None:
        probe = search_probe(scene.patterns, positions, fitted).probe
        note = f"search of the probe {clock() - started_s:.1f} s of it"
    descent = prepare(
        scene.patterns,
        positions,
        probe,
        fitted=fitted,
        device=scene.accelerator,
        **case.options,
    )
    if case.auto_prior:
        if descent.probe_from is not None:
            descent.prior_weight = first_weight(descent)
            run(descent, N_GUESSED)
        searched_s = clock()
        choice = weight_by_thinning(descent, seed=0)
        descent.reweigh(choice.weight)
        searched_s = clock() - searched_s
        note = f"weight {choice.in_words()}, {searched_s:.1f} s of it"
    cpu_s, first = clock() - started_s, descent.state.iteration
    for place in range(1, N_STAGES + N_MORE + 1):
        n = first + round((case.n_iterations - first) * place / N_STAGES)
        started_s = clock()
        solution = run(descent, n)
        cpu_s += clock() - started_s
        if descent.positions_from is not None:
            judged = np.flatnonzero(scene.held)
            start_px = positions.to(solution.positions_px)
            descent.forward.positions_px = carried_along(start_px, solution.positions_px, fitted, judged)
        figures = scene.figures(solution.object.cpu().numpy(), solution.modes.cpu().numpy(), descent.forward)
        if case.wrong_by_px:
            error = (solution.positions_px.cpu().numpy() - scan.positions_px)[fitted]
            rms = np.sqrt(((error - error.mean(axis=0)) ** 2).sum(axis=1).mean())
            note = f"positions {rms:.3f} px"
        yield Stage(n, cpu_s, figures, note)


def follow(peer: Peer, scene: Scene) -> list[Stage]:
    """Another code, until it gets no better or ends by itself."""
    found, cpu_s, stages = peer.run(scene.problem()), 0.0, list[Stage]()
    clock = clock_of(scene.accelerator)
    while len(stages) < 2 or plateau(stages) is stages[-1]:
        started_s = clock()
        now = next(found, None)
        cpu_s += clock() - started_s
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


NETWORK, MANY = "network", "100,000 patterns"


def main(given: Sequence[str] | None = None) -> int:
    """Measure the cases and print a table."""
    options = _options(given)
    accelerator = options.accelerator
    if accelerator == "cuda" and not torch.cuda.is_available():
        print(f"skipped: torch {torch.__version__} finds no CUDA device")
        return 0
    torch.set_num_threads(1)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    where = torch.cuda.get_device_name() if accelerator == "cuda" else "CPU"
    print(f"torch {torch.__version__} on {where}, one thread of {os.cpu_count()} processors, load {load}")
    labels = {name: PEERS[name].load() for name in options.peer if name != NETWORK}
    for name in (name for name, label in labels.items() if label is None):
        print(f"{PEERS[name].label} is not installed, and left out")
    times = "CPU" if accelerator == "cpu" else "GPU"
    print(
        f"{'':24} {'steps':>5} {times + '-s':>7} {'R':>7} {'deviance':>8} {'image, dB':>14}  "
        f"{times} time by the solver's"
    )
    for name in options.case:
        if name == MANY:
            print(name)
            report_large(accelerator)
        elif CASES[name].gpu_alone and accelerator == "cpu":
            print(f"{name}: skipped, takes too long without a GPU (--accelerator cuda)")
        else:
            _report(name, labels, options)
    return 0


def _options(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names, peers = [*CASES, MANY], [*PEERS, NETWORK]
    parser.add_argument("folder", type=Path, help="where the scans are, as NPZ files")
    parser.add_argument("--case", nargs="+", choices=names, default=names, help="which (default all)")
    parser.add_argument("--peer", nargs="*", choices=peers, default=peers, help="which (default all)")
    parser.add_argument(
        "--accelerator", choices=("cpu", "cuda"), default="cpu", help="where to compute (default cpu)"
    )
    parser.add_argument(
        "--network-epochs", type=int, default=2, help="epochs of the network's training (default 2)"
    )
    return parser.parse_args(given)


def _report(name: str, labels: Mapping[str, str | None], options: argparse.Namespace) -> None:
    """One case: the solver, and what is measured beside it."""
    case = CASES[name]
    scene = Scene(case, *scan_of(case, options.folder), options.accelerator)
    print(name)
    others = [(PEERS[peer], label) for peer in case.peers if (label := labels.get(peer))]
    later = solve(scene)
    ours = list(islice(later, N_STAGES))
    row("  solver", ours[-1], ours[-1].note)
    if case.network_from is not None and NETWORK in options.peer:
        row("  network", *learned(scene, options.folder, options.network_epochs))
    for place, (peer, label) in enumerate(others):
        if options.accelerator == "cuda" and not peer.on_gpu:
            print(f"  {label}: not measured on a GPU")
            continue
        if place > 0:
            later = solve(scene)
            ours = list(islice(later, N_STAGES))
        stage = plateau(follow(peer, scene))
        row(f"  {label}", stage, ratio(stage, chain(ours, later)))


def learned(scene: Scene, folder: Path, n_epochs: int) -> tuple[Stage, str]:
    """The network's reconstruction, whose iterations are the epochs of its training; and what the training took."""
    trained_on = f"{scene.case.network_from}.npz"
    found = network(
        folder / trained_on,
        folder / f"{scene.case.scan}.npz",
        scene.scan,
        scene.forward.frame,
        n_epochs=n_epochs,
        accelerator=scene.accelerator,
        clock=clock_of(scene.accelerator),
    )
    figures = scene.figures(found.object, found.modes)
    told = f"after {counted(n_epochs, 'epoch')} with {trained_on}, {found.training_s:.0f} s"
    return Stage(n_epochs, found.reconstruction_s, figures), told


if __name__ == "__main__":
    raise SystemExit(main())
