"""The benchmarks run; what they measure is not judged here."""

import subprocess
import sys
from pathlib import Path

import pytest

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


def test_the_solver_is_measured_beside_a_peer(tmp_path: Path) -> None:
    scan = simulate_scan(N=32, n_positions=60, step_px=4.0, nphotons=1e6)
    scan.to_file(tmp_path / "synth-64-test-1e6.npz")
    printed = run_benchmark("quality", str(tmp_path), "--case", "1e6", "--peer", "rpie")
    assert all(f"\n  {name} " in printed for name in ("solver", "textbook rPIE"))
