"""The benchmarks run; what they measure is not judged here."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import quality
from benchmarks.quality_large import report_large
from ptycho_torch.simulate import simulate_scan

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parent.parent


def run_benchmark(name: str, *options: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_settings_libraries_give_one_answer_and_are_timed() -> None:
    printed = run_benchmark("settings", "--rounds", "1", "--start-rounds", "1")
    assert all(name in printed for name in ("ptycho.config (YAML)", "pydantic-settings (YAML)"))
    assert printed.count("goal ") == 5


def test_training_and_bare_loop_train_the_same_and_are_timed() -> None:
    smallest = ("--positions=16", "--epochs=1", "--threads=1", "--repeats", "1", "2", "--memory-mb=1")
    printed = run_benchmark("throughput", *smallest)
    assert printed.count("goal ") == 2
    assert all(f" {n} patterns " in printed for n in (16, 32))


def test_a_checkout_agrees_with_itself_and_is_timed() -> None:
    printed = run_benchmark("versions", str(ROOT), "--rounds=1", "--positions=16")
    assert printed.count("results differ by 0.0e+00") == 2
    assert all(f"\n{name} " in printed for name in ("step", "U-Nets", "all but U-Nets"))


def test_formats_of_numbers_are_timed() -> None:
    printed = run_benchmark("precision", "--accelerator=cpu", "--patterns=16", "--epochs=1")
    assert all(f"\n{precision:12}" in printed for precision in ("32-true", "bf16-mixed"))


def test_the_solver_is_measured_beside_a_peer_and_the_network(tmp_path: Path) -> None:
    for kind, n_positions in (("test", 60), ("train", 24)):
        scan = simulate_scan(N=32, n_positions=n_positions, step_px=4.0, nphotons=1e6)
        scan.to_file(tmp_path / f"synth-64-{kind}-1e6.npz")
    beside = ("--peer", "rpie", "network", "--network-epochs", "1")
    printed = run_benchmark("quality", str(tmp_path), "--case", "1e6", *beside)
    assert all(f"\n  {name} " in printed for name in ("solver", "network", "textbook rPIE"))
    assert "after 1 epoch with synth-64-train-1e6.npz" in printed


def test_many_patterns_are_timed_beside_few(capfd: pytest.CaptureFixture[str]) -> None:
    report_large("cpu", n_patterns=600)
    assert capfd.readouterr().out.count("goal ") == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_its_benchmark_is_skipped_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert quality.main([".", "--accelerator", "cuda"]) == 0
    assert "finds no CUDA device" in capsys.readouterr().out
