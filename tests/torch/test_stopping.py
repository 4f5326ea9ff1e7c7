"""Signals to runs in real processes, processes that are killed, and runs in several threads."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime import naming_losses, run_environment
from ptycho_torch.stopping import RunError, Terminated, stoppable

ROOT = Path(__file__).parents[2]
LIMIT_S = 30
FLAGS = (
    *("--nepochs=5000", "--n-unrolled-steps=1", "--n-filters-scale=1", "--n-physics-steps=1", "--gridsize=1"),
    *("--n-groups=24", "--batch-size=6", "--accelerator=cpu"),
)
TWO = ("--n-devices=2", "--strategy=ddp")


@pytest.fixture
def _as_before() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    assert {number: signal.getsignal(number) for number in kept} == kept


@pytest.mark.usefixtures("_as_before")
def test_the_first_signal_raises_and_the_second_changes_nothing() -> None:
    with pytest.raises(Terminated), stoppable():
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stoppable(signal.SIGINT):
        _interrupted_twice()


def _interrupted_twice() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("_as_before")
def test_a_handler_that_was_there_hears_of_the_signal() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with pytest.raises(Terminated), stoppable():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]


def test_runs_in_two_threads_take_turns() -> None:
    config, seen, inside = PyTorchExecutionConfig(accelerator="cpu"), [], threading.Event()

    def second() -> None:
        inside.wait()
        with run_environment(config):
            seen.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with run_environment(config):
        inside.set()
        time.sleep(0.3)
        seen.append("first")
    thread.join(LIMIT_S)
    assert seen == ["first", "second"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed. ", "is killed by signal: Killed (usually"),
        (
            "DataLoader worker (pid(s) 7, 8) exited unexpectedly",
            "exited unexpectedly (usually because memory",
        ),
        ("DataLoader worker (pid 7) is killed by signal: Bus error. ", "shared memory (/dev/shm)"),
        ("unable to write to file </torch_1>: No space left on device (28)", "shared memory (/dev/shm)"),
        ("received 0 items of ancdata", "ulimit -n"),
        ("[Errno 24] Too many open files", "ulimit -n"),
        ("CUDA out of memory. Tried to allocate 2 GiB", "Lower batch_size"),
    ],
)
def test_what_the_machine_takes_away_is_named_with_the_way_on(said: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(RunError) as raised, naming_losses(PyTorchExecutionConfig(num_workers=2), tmp_path):
        raise RuntimeError(said)
    assert words in str(raised.value)
    assert str(raised.value).endswith(f"Go on with ptycho train --resume {tmp_path}.")


def test_a_defect_stays_what_it_is(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="shapes") as raised,
        naming_losses(PyTorchExecutionConfig(), tmp_path),
    ):
        raise RuntimeError("shapes do not match")
    assert type(raised.value) is RuntimeError


def started(file: Path, run_dir: Path, *flags: str) -> subprocess.Popen[str]:
    """A training of its own process group."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ptycho_torch", "train", str(file), f"--output-dir={run_dir}", *FLAGS]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, *flags], env=environ, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def wait_for(path: Path, run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 100  # a busy machine starts slowly
    while not path.exists() and time.monotonic() < deadline:
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    assert path.exists()


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive_in_group(group: int) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [row[-1] for row in rows if row[0] == str(group) and not row[1].startswith("Z")]


def said_at_the_end(run: subprocess.Popen[str], code: int) -> str:
    """What it said, where it ended with this code in time, and left no process."""
    try:
        said = run.communicate(timeout=LIMIT_S)[1]
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
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux")
@pytest.mark.parametrize("flags", [(), ("--num-workers=2",), TWO])
@pytest.mark.parametrize("to_group", [False, True])
@pytest.mark.parametrize(
    ("numbers", "code"), [((signal.SIGTERM,), 143), ((signal.SIGINT, signal.SIGINT), 130)]
)
def test_a_signal_ends_every_process_of_a_training_which_goes_on_later(
    numbers: tuple[int, ...], code: int, to_group: bool, flags: Any, tiny_file: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    run = started(tiny_file, run_dir, *flags)
    wait_for(run_dir / "checkpoints" / "last.ckpt", run)
    for number in numbers:
        (os.killpg if to_group else os.kill)(run.pid, number)
    said = said_at_the_end(run, code)
    assert said.count("Go on with ptycho train --resume") == 1
    last = (run_dir / "run.log").read_text().splitlines()[-1]
    assert ("ended by SIGTERM" if code == 143 else "interrupted") in last
    torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.integration
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux")
@pytest.mark.parametrize("flags", [(), TWO])
def test_a_signal_before_the_first_epoch_ends_it_as_well(
    flags: tuple[str, ...], tiny_file: Path, tmp_path: Path
) -> None:
    run = started(tiny_file, tmp_path / "run", *flags)
    wait_for(tmp_path / "run" / "config.json", run)
    os.kill(run.pid, signal.SIGTERM)
    said_at_the_end(run, 143)


@pytest.mark.integration
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux")
@pytest.mark.parametrize(
    ("flags", "knob"),
    [(("--num-workers=1", "--persistent-workers"), "num_workers"), (TWO, "n_devices")],
)
def test_a_process_that_is_killed_is_an_error_with_the_way_on(
    flags: tuple[str, ...], knob: str, tiny_file: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    run = started(tiny_file, run_dir, *flags, "--val-split=0")
    wait_for(run_dir / "checkpoints" / "last.ckpt", run)
    os.kill(children(run.pid)[-1], signal.SIGKILL)
    last = said_at_the_end(run, 1).strip().split("\n")[-1]
    assert last.startswith(f"ptycho train: {knob}: ")
    assert "memory" in last
    assert last.endswith(f"Go on with ptycho train --resume {run_dir}.")
    assert "the run failed: RunError" in (run_dir / "run.log").read_text().splitlines()[-1]
