"""Runs on a scan whose name is hostile, in a folder whose name is as well."""

from pathlib import Path

import pytest

from ptycho_torch.cli.main import main
from ptycho_torch.simulate import simulate_scan
from tests.legacy_dictionary import legacy_dictionary_restored

HOSTILE = "<script>alert(1)<img src=x onerror=alert(2)>&\"'{{ 7 * 7 }}"
TINY = ("--N", "32", "--n-positions", "60")
SHORT = ("--nepochs=2", "--n-unrolled-steps=1", "--n-filters-scale=1", "--accelerator=cpu", "--batch-size=16")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan, runs on it by the solver and by a network, and the training of that."""
    home = tmp_path_factory.mktemp("home") / HOSTILE
    scan = home / f"{HOSTILE}.npz"
    with legacy_dictionary_restored():
        assert main(["simulate", "--output", str(scan), *TINY]) == 0
        solve = ["--accelerator=cpu", "--n-iterations=24", "--probe-modes=2"]
        assert main(["reconstruct", str(scan), "--output-dir", str(home / "solved"), *solve]) == 0
        assert main(["train", str(scan), "--output-dir", str(home / "trained"), *SHORT]) == 0
        picture = [str(home / "trained"), str(scan), "--output-dir", str(home / "pictured")]
        assert main(["reconstruct", *picture, "--accelerator=cpu"]) in (0, 3)
    return home


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny scan."""
    path = tmp_path_factory.mktemp("scan") / "tiny.npz"
    simulate_scan(N=32, n_positions=60).to_file(path)
    return path
