"""Signals, defects and lost resources in one process, and runs in several threads."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime import naming_losses, run_environment
from ptycho_torch.stopping import GRACE_S, RunError, Terminated, stoppable

LIMIT_S = 30
"""Within which every process ends."""
ENVIRON = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
LINUX = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux")


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


class Interrupted:
    """Its destructor is where a signal arrives."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def _deleted() -> None:
    Interrupted()
    time.sleep(LIMIT_S)


@pytest.mark.usefixtures("_as_before")
def test_a_signal_that_arrives_in_a_destructor_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with pytest.raises(Terminated), stoppable():
        _deleted()
    assert time.monotonic() - began < GRACE_S
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("error", [RuntimeError("DataLoader worker (pid 7) is killed"), EOFError()])
def test_what_fails_because_a_run_ends_does_not_hide_it(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(Terminated), stoppable(), naming_losses(PyTorchExecutionConfig(), tmp_path):
        _failed(error)


def _failed(error: Exception) -> None:
    with contextlib.suppress(Terminated):
        signal.raise_signal(signal.SIGTERM)
    raise error


NEVER_ENDS = """
import os, signal, time
from ptycho_torch.stopping import Terminated, stoppable
os.register_at_fork(before=lambda: signal.raise_signal(signal.SIGTERM))
os.write(2, b"x" * 65536)  # nobody reads, and the last words do not fit
with stoppable():
    try:
        if os.fork() == 0:
            os._exit(0)
        time.sleep(60)
    except Terminated:
        print("raised", flush=True)
    time.sleep(60)
"""


@pytest.mark.integration
@LINUX
def test_a_signal_beside_a_fork_ends_even_what_does_not_end() -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", NEVER_ENDS]
    with subprocess.Popen(command, env=ENVIRON, stdout=pipe, stderr=pipe, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "raised\n"
        assert run.wait(LIMIT_S) == 143


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
    assert str(raised.value).endswith(f"Continue with ptycho train --resume {tmp_path}.")


def test_a_reconstruction_without_memory_names_its_own_setting_and_way_on(tmp_path: Path) -> None:
    (tmp_path / "state.pt").touch()
    with (
        pytest.raises(RunError) as raised,
        naming_losses(PyTorchExecutionConfig(), tmp_path, trains=False),
    ):
        raise MemoryError
    assert str(raised.value).startswith("inference_batch_size: expected a reconstruction that fits")
    assert str(raised.value).endswith(f"Continue with ptycho reconstruct --resume {tmp_path}.")


def test_a_defect_stays_what_it_is(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="shapes") as raised,
        naming_losses(PyTorchExecutionConfig(), tmp_path),
    ):
        raise RuntimeError("shapes do not match")
    assert type(raised.value) is RuntimeError
