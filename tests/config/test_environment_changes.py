"""Reading the environment while another thread changes it."""

import os
import sys
import threading

import pytest

from ptycho.config.execution import PyTorchExecutionConfig

NAMES = [f"PTYCHO_EXEC_{name}" for name in ("SEED", "NUM_WORKERS", "NUM_NODES")]


def test_an_environment_that_changes_meanwhile_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "3")
    done, interval = threading.Event(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that the threads take turns in the middle of a reading

    def change() -> None:
        while not done.is_set():
            for name in NAMES:
                os.environ.pop(name, None)
                os.environ[name] = "3"

    thread = threading.Thread(target=change)
    thread.start()
    try:
        seeds = {PyTorchExecutionConfig().seed for _ in range(10000)}
    finally:
        sys.setswitchinterval(interval)
        done.set()
        thread.join()
    assert seeds <= {3, 42}
