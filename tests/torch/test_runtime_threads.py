"""How many threads a process computes with, from the CPUs it may use and the processes beside it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch.runtime.checks import machine_failures
from ptycho_torch.runtime.threads import (
    THREADS_FOR_EACH_CPU,
    computing_threads,
    resolve_num_threads,
    usable_cpus,
)

ROOT = Path(__file__).parents[2]


def threads(**knobs: object) -> int:
    return resolve_num_threads(PyTorchExecutionConfig(accelerator="cpu", **knobs))


@pytest.fixture
def _eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.usefixtures("_eight")
@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({}, 8),
        ({"num_workers": 3}, 5),
        ({"n_devices": 2}, 4),
        ({"n_devices": 2, "num_workers": 1}, 3),
        ({"n_devices": 4, "num_workers": 6}, 1),
        ({"num_threads": 20, "n_devices": 4}, 20),
    ],
)
def test_the_processes_of_a_run_share_the_cpus(knobs: dict[str, object], expected: int) -> None:
    if usable_cpus() < 8:
        pytest.skip("a control group leaves this process less than 8 CPUs")
    assert threads(**knobs) == expected


def test_the_environment_says_less_than_the_knob(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert threads() == 3
    assert threads(num_threads=2) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert threads() == usable_cpus()


@pytest.mark.usefixtures("_eight")
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "nonsense"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
    ],
)
def test_a_control_group_limits_them(files: dict[str, str], expected: int, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert usable_cpus(tmp_path) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs the CPUs of a process")
def test_they_are_those_this_process_may_run_on() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_the_number_is_put_back() -> None:
    before = torch.get_num_threads()
    with computing_threads(PyTorchExecutionConfig(accelerator="cpu", num_threads=before + 1)):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("first", "said", "expected"),
    [
        ("", {}, "PASSIVE"),
        ("", {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        ("", {"GOMP_SPINCOUNT": "1000"}, "None"),
        ("import torch;", {}, "None"),
    ],
)
def test_idle_threads_sleep_where_nobody_says_how_they_wait(
    first: str, said: dict[str, str], expected: str
) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    script = f"{first}import os, ptycho_torch; print(os.environ.get('OMP_WAIT_POLICY'))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environ, **said, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == expected, done.stderr


def refused(**knobs: object) -> list[str]:
    return [one.message for one in machine_failures(PyTorchExecutionConfig(accelerator="cpu", **knobs))]


def test_more_threads_than_a_machine_can_start_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    most = THREADS_FOR_EACH_CPU * (os.cpu_count() or 1)
    (message,) = refused(num_threads=20_000)
    assert message.startswith(
        f"num_threads: expected at most {most} on this machine, 16 for each CPU; got 20000"
    )
    assert refused(num_threads=most) == []
    monkeypatch.setenv("OMP_NUM_THREADS", "1000000,2")
    (message,) = refused()
    assert message.startswith(f"OMP_NUM_THREADS: expected at most {most} on this machine")
    assert "got 1000000 from the environment" in message
    assert refused(num_threads=1) == []
    monkeypatch.setenv("OMP_NUM_THREADS", "9" * 5000)
    assert refused() == []
