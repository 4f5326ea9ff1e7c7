"""Two checkouts of this repository in turns: `python -m benchmarks.versions OTHER`.

Each works in a process of its own, on one thread, and is asked in turns for a few steps of the training that `ptycho
train` does by default and for a reconstruction. Both must give the same losses and objects, to rounding.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho.config.recipes import STANDARD
from ptycho.raw_data import RawData
from ptycho_torch.config_factory import TrainingPayload, create_training_payload
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.forward_model import PtychoPINN
from ptycho_torch.optimization import build_optimizer
from ptycho_torch.reassembly import reconstruct
from ptycho_torch.runs.training import build_module
from ptycho_torch.runtime import build_fabric, run_environment
from ptycho_torch.simulate import simulate_scan

N_PIXELS = 64
STEPS = 4
"""Steps of the training in a turn."""
ROOT = Path(__file__).resolve().parent.parent
Clock = Callable[[], float]


def payload_of(data: Path, run_dir: Path, epochs: int, **knobs: object) -> TrainingPayload:
    """What `ptycho train` does by default, but in order and without validation; on the CPU but for other knobs."""
    asked = {"nepochs": epochs, "sequential_sampling": True, "val_split": 0.0, "accelerator": "cpu"}
    return create_training_payload(data, run_dir, asked | knobs, recipe=STANDARD)


def write_scan(path: Path, n_positions: int, n_pixels: int = N_PIXELS) -> Path:
    """Write a simulated scan."""
    simulate_scan(N=n_pixels, n_positions=n_positions, nphotons=1e6, holdout_fraction=0.0).to_file(path)
    return path


def repeated(scan: RawData, n_repeats: int) -> RawData:
    """A scan and copies of it side by side, in rows of about as many as there are rows."""
    return RawData.from_arrays(
        np.tile(scan.patterns, (n_repeats, 1, 1)),
        side_by_side(scan.positions_px, n_repeats),
        scan.probe,
        domain=scan.domain,
    )


def side_by_side(positions_px: NDArray[np.float64], n_repeats: int) -> NDArray[np.float64]:
    """Positions of a scan and of copies of it."""
    per_row = int(np.ceil(np.sqrt(n_repeats)))
    places = np.stack(np.divmod(np.arange(n_repeats), per_row), axis=1)
    step_px = np.ptp(positions_px, axis=0) + 8.0
    return (positions_px + (places * step_px)[:, None]).reshape(-1, 2)


class Timed:
    """Time spent in some modules of a model while this is in force, seconds."""

    def __init__(self, modules: torch.nn.ModuleList, clock: Clock) -> None:
        self.seconds = 0.0
        self._clock = clock
        self._started = 0.0
        self._modules = modules

    @contextlib.contextmanager
    def __call__(self) -> Iterator["Timed"]:
        """Count."""
        hooks = [module.register_forward_pre_hook(self._start) for module in self._modules]
        hooks += [module.register_forward_hook(self._stop) for module in self._modules]
        yield self
        for hook in hooks:
            hook.remove()

    def _start(self, *_: object) -> None:
        self._started = self._clock()

    def _stop(self, *_: object) -> None:
        self.seconds += self._clock() - self._started


def timed_reconstruction(
    payload: TrainingPayload, model: PtychoPINN, scan: RawData, clock: Clock
) -> tuple[float, float, NDArray[np.complex64]]:
    """Microseconds a pattern and pass of the U-Nets and of everything else, and the object."""
    execution = payload.execution_config
    with run_environment(execution), Timed(model.network.unets, clock)() as unets:
        started = clock()
        found = reconstruct(
            model,
            payload.pt_model_config,
            scan,
            np.arange(len(scan)),
            inference=payload.pt_inference_config,
            execution=execution,
            fabric=build_fabric(execution),
        )
        seconds = clock() - started
    per = 1e6 / (len(scan) * model.network.n_passes)
    return unets.seconds * per, (seconds - unets.seconds) * per, found.object


class Worker:
    """One checkout at work."""

    def __init__(self, scan: Path, run_dir: Path, n_repeats: int) -> None:
        self.payload = payload_of(scan, run_dir, 2)
        execution = self.payload.execution_config
        with run_environment(execution):
            data = ScanDataModule(self.payload.tf_training_config, execution)
            data.load()
            self.module = build_module(self.payload, data).train()
        self.batches = list(data.train_dataloader())
        parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        self.optimizer = build_optimizer(parameters, self.payload.pt_training_config, execution.learning_rate)
        self.scan = repeated(RawData.from_file(scan), n_repeats)
        self.turn = 0

    def reconstruction(self) -> dict[str, Any]:
        """Reconstruct."""
        unets, rest, found = timed_reconstruction(
            self.payload, self.module.model, self.scan, time.process_time
        )
        self.module.train()
        return {"U-Nets": unets, "all but U-Nets": rest, "result": float(np.abs(found).sum())}

    def training(self) -> dict[str, Any]:
        """A few steps, as a run makes them."""
        losses: list[float] = []
        with run_environment(self.payload.execution_config):
            started = time.process_time()
            for k in range(STEPS):
                batch = self.batches[(self.turn * STEPS + k) % len(self.batches)]
                self.optimizer.zero_grad()
                loss = self.module.loss(batch)
                loss.backward()
                self.optimizer.step()
                losses.append(loss.item())
            seconds = time.process_time() - started
        self.turn += 1
        n_patterns = STEPS * self.batches[0]["amplitude"][..., 0, 0].numel()
        return {"step": 1e6 * seconds / n_patterns, "result": losses[0]}


def work(scan: Path, run_dir: Path, n_repeats: int) -> None:
    """Do what standard input names, line by line, and tell the figures."""
    torch.set_num_threads(1)
    worker = Worker(scan, run_dir, n_repeats)
    for line in sys.stdin:
        print(json.dumps(getattr(worker, line.strip())()), flush=True)


def ask(process: subprocess.Popen[str], what: str) -> dict[str, float]:
    """Have a worker do something.

    Raises:
        RuntimeError: it ended instead.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"{what}: expected figures from {process.args}; it ended.")
    return json.loads(answer)


def compare(workers: list[subprocess.Popen[str]], what: str, rounds: int) -> None:
    """Let both do something in turns, and print medians and the median of the ratios."""
    first = [ask(worker, what)["result"] for worker in workers]  # warms up
    pairs: list[list[dict[str, float]]] = []
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        answers = {which: ask(workers[which], what) for which in order}
        pairs.append([answers[0], answers[1]])
    print(f"\n{what}: results differ by {abs(first[1] / first[0] - 1):.1e} of their size")
    for name in pairs[0][0].keys() - {"result"}:
        figures = [[answer[name] for answer in pair] for pair in pairs]
        columns = [median(column) for column in zip(*figures, strict=True)]
        ratio = median(this / other for other, this in figures)
        print(f"{name:16} {columns[0]:12.1f} {columns[1]:12.1f} {ratio:8.3f}")


def main() -> int:
    """Compare two checkouts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, help="folder of another checkout, such as a git worktree")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default 7)")
    parser.add_argument("--positions", type=int, default=512, help="patterns of the scan (default 512)")
    parser.add_argument("--repeats", type=int, default=1, help="copies of it to reconstruct (default 1)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        scan = write_scan(Path(name) / "scan.npz", options.positions)
        workers: list[subprocess.Popen[str]] = []
        for k, checkout in enumerate((options.other.resolve(), ROOT)):
            command = [sys.executable, __file__, str(scan), f"{name}/run-{k}", str(options.repeats)]
            told = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
            pipe = subprocess.PIPE
            process = subprocess.Popen(command, cwd=name, env=told, stdin=pipe, stdout=pipe, text=True)
            workers.append(stack.enter_context(process))
        print(
            f"CPU time, us a pattern (training: and step; reconstruction: and pass); {options.rounds} rounds"
        )
        print(f"{'':16} {'other':>12} {'this':>12} {'ratio':>8}")
        for what in ("reconstruction", "training"):
            compare(workers, what, options.rounds)
        for process in workers:
            process.communicate()
    return 0


if __name__ == "__main__":
    if __package__:
        raise SystemExit(main())
    work(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
