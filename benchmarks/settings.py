"""CPU time of the settings layer beside other settings libraries: `python -m benchmarks.settings`.

Everything runs in one process, in turns, so that a busy or throttled machine slows all alike; times are CPU times
(`time.process_time_ns`), medians over the rounds. Peers that are not installed are left out, and named.
"""

import argparse
import gc
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.knobs import ALL_ARGUMENTS, ARGUMENTS, ENVIRONMENT, PREFIX, write_files
from benchmarks.settings_peers import PEERS, Peer, check
from ptycho.config.execution import PyTorchExecutionConfig

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_NS = 20_000_000
"""CPU time that one sample takes, or one call where that is longer."""
OURS = "ptycho.config"
BASIS = "pydantic-settings (YAML)"
"""What ratios refer to."""
EMPTY = "empty interpreter"
BARE_IMPORT = "import pydantic_settings"
PACKAGE_IMPORT = "import ptycho.config"
DOOR_IMPORT = "import ptycho.config.config"
BARE_PROGRAM = "argparse and pydantic-settings"
COMMANDS = ("ptycho --help", "ptycho config show train")
STARTS = {
    EMPTY: "pass",
    BARE_IMPORT: BARE_IMPORT,
    PACKAGE_IMPORT: PACKAGE_IMPORT,
    DOOR_IMPORT: DOOR_IMPORT,
    "PyTorchExecutionConfig of the door": "from ptycho.config.config import PyTorchExecutionConfig",
    "all names of the door": "from ptycho.config.config import *",
    "first settings, pydantic-settings": (
        "from benchmarks.settings_peers import bare_settings; bare_settings()()"
    ),
    "first settings, ptycho.config": (
        "from ptycho.config.execution import PyTorchExecutionConfig; PyTorchExecutionConfig()"
    ),
    BARE_PROGRAM: (
        "import argparse; from benchmarks.settings_peers import bare_settings; p = argparse.ArgumentParser(); "
        "p.add_argument('--num-workers'); p.parse_args([]); print(bare_settings()())"
    ),
    **{
        line: f"import sys; sys.argv = {line.split()}; from ptycho_torch.cli.main import main; raise SystemExit(main())"
        for line in COMMANDS
    },
}
"""What a fresh interpreter does; the names of the door load when they are asked for."""
NOT_HANDED_ON = (PREFIX, "PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
"""How names of variables start that fresh interpreters do not see."""


class Goal(NamedTuple):
    """A bound on a ratio of medians."""

    what: str
    ratio: float
    bound: float


def ours(folder: Path) -> list[Peer]:
    """The settings layer of this project, with either file format."""
    config = PyTorchExecutionConfig
    toml, yaml = folder / "knobs.toml", folder / "knobs.yaml"
    pyyaml = f"{version('pydantic')}, PyYAML {version('PyYAML')}"
    return [
        Peer(
            f"{OURS} (YAML)",
            f"this tree, pydantic {pyyaml}",
            lambda: config.resolve(arguments=ARGUMENTS, file=yaml),
            lambda: config(**ALL_ARGUMENTS),
        ),
        Peer(f"{OURS} (TOML)", "this tree", lambda: config.resolve(arguments=ARGUMENTS, file=toml)),
    ]


def installed(folder: Path) -> Iterator[Peer]:
    """The peers that are installed; the others are named."""
    for name, build in PEERS.items():
        try:
            yield build(folder)
        except ModuleNotFoundError as error:
            print(f"left out: {name} is not installed ({error.name} is missing)")


def cpu_times_us(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median CPU time of a call in microseconds, the calls taking turns and each round starting with another."""
    repeats = {name: max(1, SAMPLE_NS // max(1, _sample_ns(call, 1))) for name, call in calls.items()}
    names, samples = list(calls), {name: [] for name in calls}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            gc.collect()
            samples[name].append(_sample_ns(calls[name], repeats[name]) / repeats[name] / 1e3)
    return {name: median(found) for name, found in samples.items()}


def _sample_ns(call: Callable[[], Any], repeats: int) -> int:
    started = time.process_time_ns()
    for _ in range(repeats):
        call()
    return time.process_time_ns() - started


def start_times_ms(rounds: int) -> dict[str, list[float]]:
    """CPU time of fresh interpreters in milliseconds, round by round, above an empty one of the same round."""
    environ = _environ()
    samples: dict[str, list[float]] = {name: [] for name in STARTS}
    for number in range(rounds + 1):
        spent = {name: _child_ms(code, environ) for name, code in STARTS.items()}
        if number:  # the first round writes the bytecode of what was never imported
            for name, value in spent.items():
                samples[name].append(value - (spent[EMPTY] if name != EMPTY else 0))
    return samples


def start_instructions() -> dict[str, int]:
    """Instructions of fresh interpreters, counted by valgrind: the same in every run, however busy the machine is."""
    environ = _environ() | {"PYTHONHASHSEED": "0"}
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-c"]
    counts: dict[str, int] = {}
    for name, code in STARTS.items():
        for _ in range(2):  # the first writes the bytecode of what was never imported
            told = subprocess.run(
                [*command, code], env=environ, cwd=ROOT, capture_output=True, text=True, check=True
            )
        counts[name] = int(re.findall(r"Collected : (\d+)", told.stderr)[0])
    return {name: count - (counts[EMPTY] if name != EMPTY else 0) for name, count in counts.items()}


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(NOT_HANDED_ON)}


def _child_ms(code: str, environ: Mapping[str, str]) -> float:
    command = [sys.executable, "-c", code]
    child = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, code)
    return (usage.ru_utime + usage.ru_stime) * 1e3


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    for row in [heads, ["-" * width for width in widths], *rows]:
        cells = (
            cell.ljust(w) if at == 0 else cell.rjust(w)
            for at, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(cells).rstrip())


def measure_calls(rounds: int) -> list[Goal]:
    """Measure, and print, what a full resolution and a construction cost."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder)
        os.environ.update(ENVIRONMENT)
        peers = [*ours(folder), *installed(folder)]
        for peer in peers:
            check(peer)
        gc.freeze()  # what is loaded by now is no work for the collector
        resolved = cpu_times_us({peer.name: peer.resolve for peer in peers}, rounds)
        made = cpu_times_us({peer.name: peer.construct for peer in peers if peer.construct}, rounds)
    heads = ("median CPU time per call", "full resolution", "ratio", "construction", "ratio", "version")
    rows: list[list[str]] = []
    for peer in peers:
        cells = [f"{resolved[peer.name]:.0f} us", f"{resolved[peer.name] / resolved[BASIS]:.3f}"]
        built = made.get(peer.name)
        cells += ["", ""] if built is None else [f"{built:.0f} us", f"{built / made[BASIS]:.3f}"]
        rows.append([peer.name, *cells, peer.versions])
    print_table(heads, rows)
    name = f"{OURS} (YAML)"
    return [
        Goal("full resolution (YAML)", resolved[name] / resolved[BASIS], 0.085),
        Goal("construction", made[name] / made[BASIS], 0.045),
    ]


def measure_starts(rounds: int, *, instructions: bool) -> list[Goal]:
    """Measure, and print, what an import costs a fresh interpreter."""
    spent = {name: median(found) for name, found in start_times_ms(rounds).items()}
    counts = start_instructions() if instructions else {}
    rows: list[list[str]] = []
    for name in STARTS:
        cells = [name, f"{spent[name]:.0f} ms", f"{spent[name] / spent[BARE_IMPORT]:.3f}"]
        if counts:
            cells += [f"{counts[name] / 1e6:.0f} M", f"{counts[name] / counts[BARE_IMPORT]:.3f}"]
        rows.append(cells)
    heads = ("above an empty interpreter (first row: itself)", "CPU time", "ratio", "instructions", "ratio")
    print_table(heads[: len(rows[0])], rows)
    goals = [
        Goal(f"{DOOR_IMPORT}, CPU time over {BARE_IMPORT}", spent[DOOR_IMPORT] / spent[BARE_IMPORT], 1.04)
    ]
    goals += [
        Goal(f"{line}, CPU time over {BARE_PROGRAM}", spent[line] / spent[BARE_PROGRAM], 1.25)
        for line in COMMANDS
    ]
    if counts:
        ratio = counts[DOOR_IMPORT] / counts[BARE_IMPORT]
        goals.append(Goal(f"{DOOR_IMPORT}, instructions over {BARE_IMPORT}", ratio, 1.04))
    return goals


def main() -> int:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="turns of every call (default 21)")
    parser.add_argument(
        "--start-rounds", type=int, default=41, help="turns of every fresh interpreter (default 41)"
    )
    parser.add_argument(
        "--instructions", action="store_true", help="count those of fresh interpreters; needs valgrind"
    )
    options = parser.parse_args()
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, load average {load}\n")
    goals = measure_calls(options.rounds)
    print()
    goals += measure_starts(options.start_rounds, instructions=options.instructions)
    print()
    for goal in goals:
        verdict = "met" if goal.ratio <= goal.bound else "MISSED"
        print(f"goal {verdict}: {goal.what} {goal.ratio:.3f}, at most {goal.bound}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
