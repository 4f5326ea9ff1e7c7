"""One writer in the folder of a run."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptycho.config.errors import ConfigError
from ptycho.folder_lock import WRITER
from ptycho.run_folder import RunFolder, run_failure
from tests.core.runs import contents, earlier, whole

ROOT = Path(__file__).parents[2]

HOLD = """
import sys, time
from ptycho.run_folder import RunFolder
with RunFolder(sys.argv[1]) as folder:
    folder.begin(anew=False)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes into `run`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_writer_is_refused_at_once_and_told_of_the_first(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    started_s = time.monotonic()
    with pytest.raises(ConfigError, match=f"in use by process {writer.pid} on .* since 20.*-c"):
        RunFolder(tmp_path / "run").__enter__()
    assert time.monotonic() - started_s < 5
    failure = run_failure(tmp_path / "run")
    assert failure is not None
    assert f"process {writer.pid}" in failure.message


def test_a_kill_frees_the_folder(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    with RunFolder(tmp_path / "run"):
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_a_process_that_was_forked_does_not_keep_the_folder(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, sys, time
        from ptycho.run_folder import RunFolder
        with RunFolder(sys.argv[1]):
            if os.fork() == 0:  # as a worker that loads data
                time.sleep(30)
                os._exit(0)
            print("held", flush=True)
            os.kill(os.getpid(), 9)
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as first:
        first.wait()
        try:
            with RunFolder(tmp_path):
                pass
        finally:
            os.killpg(first.pid, signal.SIGKILL)


def test_two_threads_are_two_writers(tmp_path: Path) -> None:
    said: list[str] = []

    def second() -> None:
        try:
            with RunFolder(tmp_path):
                said.append("entered")
        except ConfigError as error:
            said.append(str(error))

    with RunFolder(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert f"in use by process {os.getpid()}" in said[0]


def test_who_the_first_one_is_never_steers_the_terminal(tmp_path: Path) -> None:
    with RunFolder(tmp_path):
        told = {"pid": 1, "host": "\x1b[2J", "since": "now", "command": "\r\n"}
        (tmp_path / WRITER).write_text(json.dumps(told))
        failure = run_failure(tmp_path)
    assert failure is not None
    assert failure.message.isprintable()


def test_further_processes_of_a_run_ask_and_write_nothing(tmp_path: Path) -> None:
    run = earlier(tmp_path)
    with RunFolder(run), RunFolder(run, writes=False) as other:
        other.refuse_run()
        other.begin(anew=True)
        other.saved()
    assert contents(run) == whole("old")
