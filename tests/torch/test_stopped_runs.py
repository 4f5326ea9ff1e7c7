"""Signals to runs in real processes, and processes that are killed or lack something."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ptycho_torch.runs.resuming import resume
from ptycho_torch.runtime import read_checkpoint
from ptycho_torch.simulate import simulate_scan
from tests.faults.whole import differences
from tests.legacy_dictionary import legacy_dictionary_restored
from tests.torch.runs import SMALL, assert_same, trained

ROOT = Path(__file__).parents[2]
LIMIT_S = 30
"""Within which every process ends."""
START_S = 200
"""A busy machine starts slowly."""
FLAGS = (
    *("--nepochs=5000", "--n-unrolled-steps=1", "--n-filters-scale=1", "--n-physics-steps=1", "--gridsize=1"),
    *("--n-groups=24", "--batch-size=6", "--accelerator=cpu"),
)
TWO = ("--n-devices=2", "--strategy=ddp")
SPAWNED = ("--n-devices=2", "--strategy=ddp_spawn")
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT)}
LINUX = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux")


def started(file: Path, run_dir: Path, *flags: str) -> subprocess.Popen[str]:
    """A training of its own process group."""
    return grouped(
        *(sys.executable, "-m", "ptycho_torch", "train", str(file), f"--output-dir={run_dir}", *FLAGS, *flags)
    )


def grouped(*command: str) -> subprocess.Popen[str]:
    """A process of its own process group."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=ENVIRON, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def wait_for(path: Path, run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_S
    while not path.exists() and time.monotonic() < deadline:
        assert run.poll() is None, run.communicate()
        time.sleep(0.01)
    assert path.exists()


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive_in_group(group: int) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [row[-1] for row in rows if row[0] == str(group) and not row[1].startswith("Z")]


def said_at_the_end(run: subprocess.Popen[str], code: int, limit_s: float = LIMIT_S) -> str:
    """What it said, where it ended with this code in time, and left no process."""
    try:
        said = run.communicate(timeout=limit_s)[1]
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        raise
    assert run.returncode == code, said
    assert "Traceback" not in said
    deadline = time.monotonic() + LIMIT_S
    while (left := alive_in_group(run.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
    return said


@pytest.mark.integration
@LINUX
@pytest.mark.parametrize(
    ("numbers", "code", "to", "flags"),
    [
        ((signal.SIGTERM,), 143, "group", ("--num-workers=2",)),
        ((signal.SIGTERM,), 143, "first", TWO),
        ((signal.SIGTERM,), 143, "group", TWO),
        ((signal.SIGINT, signal.SIGINT), 130, "group", TWO),
        ((signal.SIGTERM,), 143, "group", SPAWNED),
    ],
    ids=[
        "group with loading processes",
        "first of two processes",
        "group of two processes",
        "^C twice, two processes",
        "group of spawned processes",
    ],
)
def test_a_signal_ends_every_process_of_a_training(
    numbers: tuple[int, ...],
    code: int,
    to: str,
    flags: tuple[str, ...],
    tiny_file: Path,
    tmp_path: Path,
) -> None:
    run_dir = tmp_path / "run"
    run = started(tiny_file, run_dir, *flags)
    wait_for(run_dir / "checkpoints" / "last.ckpt", run)
    for number in numbers:
        (os.killpg if to == "group" else os.kill)(run.pid, number)
    said = said_at_the_end(run, code)
    assert said.count("Continue with ptycho train --resume") == 1, said
    assert "killed" not in said
    last = (run_dir / "run.log").read_text().splitlines()[-1]
    assert ("ended by SIGTERM" if code == 143 else "interrupted") in last
    assert not (run_dir / ".ptycho-lock").exists()
    read_checkpoint(run_dir / "checkpoints" / "last.ckpt")


@pytest.mark.integration
@LINUX
def test_a_signal_before_the_first_epoch_ends_it_as_well(tiny_file: Path, tmp_path: Path) -> None:
    run = started(tiny_file, tmp_path / "run", *TWO)
    wait_for(tmp_path / "run" / "config.json", run)
    os.kill(run.pid, signal.SIGTERM)
    said_at_the_end(run, 143)


AS_ONE_STARTS = """
import multiprocessing.popen_spawn_posix as spawned, os, signal, subprocess, sys
from ptycho_torch.cli.main import main

sent = []

def asked_to_end(begin):
    def begun(self, *arguments, **settings):
        begin(self, *arguments, **settings)
        if sent or not ("as_one_starts" in str(arguments) or "SpawnProcess" in str(arguments)):
            return
        sent.append(self)
        if "--strategy=ddp_spawn" in sys.argv:
            os.killpg(0, signal.SIGINT)
        else:
            os.kill(os.getpid(), signal.SIGTERM)
    return begun

if __name__ == "__main__":
    if os.environ.get("LOCAL_RANK", "0") == "0":
        for kind in (subprocess.Popen, spawned.Popen):
            kind.__init__ = asked_to_end(kind.__init__)
    sys.exit(main())
"""
"""The first process, or all, are asked to end before it knows the second one, which it has just started."""


@pytest.mark.integration
@LINUX
@pytest.mark.parametrize("work", ["training", "spawned", "reconstruction"])
def test_a_signal_while_the_second_process_starts_leaves_none(
    work: str, tiny_file: Path, tmp_path: Path
) -> None:
    command = ["reconstruct", "--accelerator=cpu"] if work == "reconstruction" else ["train", *FLAGS]
    script = tmp_path / "as_one_starts.py"
    script.write_text(AS_ONE_STARTS)
    run = grouped(
        sys.executable,
        str(script),
        *command,
        str(tiny_file),
        f"--output-dir={tmp_path / 'run'}",
        *(SPAWNED if work == "spawned" else TWO),
    )
    code, words = (130, "interrupted") if work == "spawned" else (143, "ended by SIGTERM")
    assert words in said_at_the_end(run, code, START_S)


@pytest.mark.integration
@LINUX
def test_a_signal_ends_a_reconstruction(tiny_file: Path, tmp_path: Path) -> None:
    with legacy_dictionary_restored():
        model = trained(tiny_file, tmp_path / "model", nepochs=1).bundle
    simulate_scan(N=32, n_positions=6000, nphotons=1e5, seed=4).to_file(tmp_path / "long.npz")
    flags = (f"--output-dir={tmp_path / 'run'}", "--accelerator=cpu", "--inference-batch-size=1")
    command = [sys.executable, "-m", "ptycho_torch", "reconstruct", str(model), str(tmp_path / "long.npz")]
    run = grouped(*command, *flags)
    wait_for(tmp_path / "run" / "config.json", run)
    os.kill(run.pid, signal.SIGTERM)
    assert said_at_the_end(run, 143).endswith("ended by SIGTERM; nothing was kept.\n")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.json", "run.log"}


WAITS = """
import os, sys, time
from lightning.pytorch.callbacks import Callback
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.runs.resuming import train_or_resume
from ptycho_torch.stopping import RunError

scan, run_dir, rank = sys.argv[1:]

class Waits(Callback):
    waited = False

    def {hook}(self, trainer, *rest):
        if (trainer.current_epoch, trainer.global_rank, self.waited) == (2, int(rank), False):
            self.waited = True
            print(os.getpid(), flush=True)
            time.sleep({seconds})

try:
    train_or_resume(create_training_payload(scan, run_dir, {settings}), callbacks=[Waits()])
except RunError as error:
    sys.exit(str(error))
"""
LOADED = {"num_workers": 1, "prefetch_factor": 1, "batch_size": 2, "accum_steps": 4}
"""A step that takes more batches than a loading process has ready."""
NEVER = -1
"""A rank that no process has."""


def waiting(
    rank: int, file: Path, run_dir: Path, hook: str, seconds: float, **settings: Any
) -> subprocess.Popen[str]:
    """A training in which a process waits in its third epoch, and tells its number before."""
    script = run_dir.with_suffix(".py")  # which the other processes of a run start as well
    script.write_text(WAITS.format(hook=hook, seconds=seconds, settings=SMALL | settings))
    return grouped(sys.executable, str(script), str(file), str(run_dir), str(rank))


def told(run: subprocess.Popen[str]) -> int:
    """The number of the process that waits."""
    assert run.stdout is not None
    line = run.stdout.readline()
    assert line, run.communicate()
    return int(line)


@pytest.mark.integration
@LINUX
@pytest.mark.usefixtures("legacy")
@pytest.mark.parametrize(
    ("hook", "seconds", "settings", "kept"),
    [
        ("on_train_batch_start", 1, LOADED, ["stopped.ckpt"]),
        ("on_validation_batch_end", 1, {"batch_size": 4, "n_groups": 30}, ["stopped.ckpt"]),
        ("on_train_batch_start", 60, {}, []),
    ],
    ids=["in a step that needs loading processes", "in a validation", "in a step that does not end"],
)
def test_a_training_that_is_asked_to_end_goes_on_bit_for_bit(
    hook: str, seconds: float, settings: dict[str, Any], kept: list[str], tiny_file: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    run = waiting(0, tiny_file, run_dir, hook, seconds, **settings)
    told(run)
    os.killpg(run.pid, signal.SIGTERM)
    said_at_the_end(run, 143)
    assert [path.name for path in (run_dir / "checkpoints").glob("stopped*")] == kept
    assert_same(trained(tiny_file, tmp_path / "whole", **settings), resume(run_dir))


@pytest.mark.integration
@LINUX
@pytest.mark.usefixtures("legacy")
def test_a_training_that_loses_a_loading_process_goes_on_bit_for_bit(tiny_file: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run = waiting(0, tiny_file, run_dir, "on_train_batch_end", 60, num_workers=1)
    os.kill(children(told(run))[-1], signal.SIGKILL)
    said = said_at_the_end(run, 1)
    cause = "num_workers: expected loading processes that stay (1); one is killed by signal: Killed"
    assert said.splitlines()[-1].startswith(cause)
    assert said.endswith(f"Continue with ptycho train --resume {run_dir}.\n")
    assert_same(trained(tiny_file, tmp_path / "whole", num_workers=1), resume(run_dir))


@pytest.mark.integration
@LINUX
def test_two_processes_end_after_one_step_though_one_is_asked_to_and_go_on_bit_for_bit(
    tiny_file: Path, tmp_path: Path
) -> None:
    settings = {"n_devices": 2, "strategy": "ddp", "batch_size": 3}
    run_dir, whole = tmp_path / "run", tmp_path / "whole"
    run = waiting(1, tiny_file, run_dir, "on_train_batch_start", 1, **settings)
    os.kill(told(run), signal.SIGTERM)  # the first process hears of it by the second one alone
    said_at_the_end(run, 143)
    read_checkpoint(run_dir / "checkpoints" / "stopped.ckpt")
    for folder in (run_dir, whole):
        goes_on = waiting(NEVER, tiny_file, folder, "on_train_start", 0, **settings)
        said_at_the_end(goes_on, 0, START_S)
    assert [*differences(run_dir, whole)] == []
    assert not (run_dir / "checkpoints" / "stopped.ckpt").exists()


@pytest.mark.integration
@LINUX
def test_a_process_that_is_killed_is_an_error_with_the_way_on(tiny_file: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run = started(tiny_file, run_dir, *TWO, "--val-split=0")
    wait_for(run_dir / "checkpoints" / "last.ckpt", run)
    os.kill(children(run.pid)[-1], signal.SIGKILL)
    last = said_at_the_end(run, 1).strip().split("\n")[-1]
    assert last.startswith("ptycho train: n_devices: ")
    assert "memory" in last
    assert last.endswith(f"Continue with ptycho train --resume {run_dir}.")
    assert "the run failed: RunError" in (run_dir / "run.log").read_text().splitlines()[-1]


FULL = 'mount -t tmpfs -o size={} tmpfs /dev/shm && exec "$@"'
NO_LOCKS, NO_BATCH = (("unshare", "-m", "sh", "-c", FULL.format(size), "sh") for size in ("16k", "64k"))
FEW_FILES = ("sh", "-c", 'ulimit -n 40; exec "$@"', "sh")


@pytest.mark.integration
@LINUX
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (NO_LOCKS, "shared memory (/dev/shm)"),
        (NO_BATCH, "shared memory (/dev/shm)"),
        (FEW_FILES, "Raise it (ulimit -n)"),
    ],
)
def test_what_loading_processes_lack_is_named(
    limits: tuple[str, ...], words: str, tiny_file: Path, tmp_path: Path
) -> None:
    if shutil.which(limits[0]) is None or subprocess.run([*limits, "true"], capture_output=True).returncode:
        pytest.skip(f"{limits[0]}: not permitted here")
    command = [sys.executable, "-m", "ptycho_torch", "train", str(tiny_file)]
    flags = [flag for flag in FLAGS if not flag.startswith("--batch-size")]
    flags += [f"--output-dir={tmp_path / 'run'}", "--batch-size=20", "--val-split=0", "--num-workers=4"]
    said = said_at_the_end(grouped(*limits, *command, *flags), 1, START_S)
    assert words in said.splitlines()[-1]
