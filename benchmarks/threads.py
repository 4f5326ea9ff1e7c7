"""What one thread and several cost on an idle and on a busy machine: `python -m benchmarks.threads`.

One thread and as many as there are cores, with spinning and with passive waiting, work in processes of their own; all
are asked in turns for a few steps of the training that `ptycho train` does by default, with no other program at work
and then beside programs that never rest.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch

from benchmarks.versions import ROOT, STEPS, Worker, ask, write_scan

WAITING = {"spinning": {"GOMP_SPINCOUNT": "300000"}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}
"""How idle threads wait; 300,000 turns of a loop are what GNU OpenMP takes where nothing is set."""


class Stepping(Worker):
    """A training at work."""

    def milliseconds(self) -> dict[str, float]:
        """Milliseconds of one step, by the clock on the wall."""
        started = time.perf_counter()
        self.training()
        return {"step": 1e3 * (time.perf_counter() - started) / STEPS}


def work(scan: Path, run_dir: Path, n_threads: int) -> None:
    """Take a few steps for each line of standard input, and tell their time."""
    torch.set_num_threads(n_threads)
    worker = Stepping(scan, run_dir, 1)
    torch.set_num_threads(n_threads)  # a run sets its own
    for _ in sys.stdin:
        print(json.dumps(worker.milliseconds()), flush=True)


@contextlib.contextmanager
def busy(n_programs: int) -> Iterator[None]:
    """Keep this many cores busy meanwhile."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_programs)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def main() -> int:
    """Measure all combinations in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default 7)")
    parser.add_argument("--pixels", type=int, default=64, help="side of the patterns (default 64)")
    options = parser.parse_args()
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        scan = write_scan(Path(name) / "scan.npz", 200, options.pixels)
        workers: dict[tuple[int, str], subprocess.Popen[str]] = {}
        for n_threads in (1, cores):
            for waiting, variables in WAITING.items():
                run_dir = f"{name}/run-{n_threads}-{waiting}"
                told = os.environ | variables | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(n_threads)}
                process = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "benchmarks.threads",
                        "--work",
                        str(scan),
                        run_dir,
                        str(n_threads),
                    ],
                    env=told,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                workers[n_threads, waiting] = stack.enter_context(process)
        for worker in workers.values():
            ask(worker, "warm up")
        load = os.getloadavg()[0]
        print(
            f"torch {torch.__version__}, {cores} cores, N={options.pixels}, load average {load:.2f}; ms a step"
        )
        print(f"{'threads':8}{'waiting':10}" + "".join(f"{f'beside {n}':>12}" for n in range(cores + 1)))
        columns: list[dict[tuple[int, str], float]] = []
        for n_programs in range(cores + 1):
            with busy(n_programs):
                turns = [
                    {key: ask(one, "")["step"] for key, one in workers.items()} for _ in range(options.rounds)
                ]
            columns.append({key: median(turn[key] for turn in turns) for key in workers})
        for n_threads, waiting in workers:
            figures = "".join(f"{column[n_threads, waiting]:12.1f}" for column in columns)
            print(f"{n_threads:<8}{waiting:10}{figures}")
        for worker in workers.values():
            worker.communicate()
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        raise SystemExit(main())
