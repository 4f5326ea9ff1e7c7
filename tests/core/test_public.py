"""`import ptycho`: the names that it offers, and what they load."""

import subprocess
import sys
from pathlib import Path

import pytest

import ptycho
from ptycho.config.config import PyTorchExecutionConfig, TrainingConfig
from ptycho.public import load
from ptycho.simulation import simulate_scan
from tests.core.runs import write_run


def loaded(code: str) -> set[str]:
    """What a fresh interpreter has loaded of these after some code."""
    watched = "{'torch', 'lightning', 'numpy', 'pydantic', 'ptycho_torch'}"
    code = f"import sys, ptycho; {code}; print(*{watched} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_every_name_is_the_one_of_its_home():
    assert ptycho.TrainingConfig is TrainingConfig
    assert ptycho.PyTorchExecutionConfig is PyTorchExecutionConfig
    assert (ptycho.load, ptycho.simulate) == (load, simulate_scan)
    assert all(hasattr(ptycho, name) for name in ptycho.__all__)
    assert set(ptycho.__all__) <= set(dir(ptycho))


def test_a_name_that_is_not_there_is_refused_as_python_does():
    with pytest.raises(AttributeError, match=r"^module 'ptycho' has no attribute 'trian'$"):
        ptycho.trian  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pass", set()),
        ("ptycho.TrainingConfig", {"pydantic"}),
        ("dir(ptycho)", set()),
        ("ptycho.load; ptycho.train; ptycho.reconstruct; ptycho.simulate", {"numpy", "pydantic"}),
    ],
)
def test_a_name_loads_what_it_needs_and_no_torch(code: str, expected: set[str]):
    assert loaded(code) == expected


def test_a_scan_is_loaded_as_it_was_simulated(tmp_path: Path):
    made = ptycho.simulate(N=32, n_positions=12)
    made.to_file(tmp_path / "scan.npz")
    scan = ptycho.load(tmp_path / "scan.npz")
    assert (scan.patterns[:] == made.patterns[:]).all()
    assert scan.path == tmp_path / "scan.npz"


@pytest.mark.parametrize("call", [ptycho.load, lambda path: ptycho.reconstruct(path, "runs/model")])
def test_a_folder_is_no_scan(call, tmp_path: Path):
    with pytest.raises(ptycho.DataError, match="got a folder"):
        call(tmp_path)


def test_a_run_is_no_scan_and_a_model_does_not_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs/scan"), '{"configuration": {"train_data_file": "scan.npz"}}')
    with pytest.raises(ptycho.DataError, match=r"^runs/scan: expected a scan; got a run"):
        ptycho.load("runs/scan")
    with pytest.raises(ptycho.DataError, match=r"^runs/scan: expected a scan; got a run"):
        ptycho.reconstruct("runs/scan")
    with pytest.raises(ptycho.ConfigError, match=r"^scan: .*'runs/scan', and then 'scan\.npz'\. Swap"):
        ptycho.reconstruct("runs/scan", "scan.npz")
