"""POLICY-001: what importing ptycho_torch needs, and what it leaves alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_python(code: str, *first_on_path: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (*first_on_path, ROOT)))
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def install_torch(folder: Path, version: str) -> None:
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text("from torch.version import __version__\n")
    (folder / "torch" / "version.py").write_text(f"debug = False\n__version__ = {version!r}\ncuda = None\n")


def test_without_torch_the_import_says_what_to_install():
    done = run_python("import sys; sys.modules['torch'] = None; import ptycho_torch")
    assert done.returncode == 1
    assert "RuntimeError: ptycho_torch: expected PyTorch >= 2.2; got no torch" in done.stderr
    assert 'pip install "torch>=2.2"' in done.stderr
    assert "POLICY-001" in done.stderr


@pytest.mark.parametrize("version", ["2.1.2", "1.13.1+cpu", "0.4"])
def test_an_older_torch_is_refused_with_its_version(version: str, tmp_path: Path):
    install_torch(tmp_path, version)
    done = run_python("import ptycho_torch", tmp_path)
    assert done.returncode == 1
    assert f"got torch {version}" in done.stderr


def test_what_is_called_torch_and_tells_no_version_is_refused(tmp_path: Path):
    (tmp_path / "torch.py").touch()
    assert "got torch of an unknown version" in run_python("import ptycho_torch", tmp_path).stderr


@pytest.mark.parametrize("version", ["2.2.0", "2.10.1+cu128", "3.0.0a1"])
def test_a_torch_new_enough_is_accepted(version: str, tmp_path: Path):
    install_torch(tmp_path, version)
    assert run_python("import ptycho_torch", tmp_path).returncode == 0


@pytest.mark.parametrize("module", ["ptycho_torch", "ptycho_torch.config_params"])
def test_the_import_loads_neither_torch_nor_lightning(module: str):
    done = run_python(f"import sys, {module}; print(sys.modules.keys() & {{'torch', 'lightning'}})")
    assert (done.returncode, done.stdout.strip()) == (0, "set()")
