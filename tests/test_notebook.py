"""The notebooks of examples/ run from top to bottom, and show what they are committed with."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(ROOT.glob("examples/*.ipynb"))
AS_COMMITTED = {"configuring_a_run": ["inspect"]}
"""Cells whose output follows from the code alone, and not from the machine."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What gives a notebook as it is stored, and as it is after it ran in an empty folder."""
    for needed in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(needed, reason="needs the extra 'docs'")
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "docs" / "run_notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    (tmp_path / "ptycho").write_text(f'#!/bin/sh\nexec "{script.sys.executable}" -m ptycho_torch "$@"\n')
    (tmp_path / "ptycho").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PTYCHO_EXEC_ACCELERATOR", "cpu")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return lambda path: (script.nbformat.read(path, as_version=4), script.executed(path, tmp_path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, run: Any) -> None:
    stored, executed = run(path)
    for before, after in zip(stored.cells, executed.cells, strict=True):
        kinds = [sorted(one.get("data", [])) for one in before.get("outputs", []) if "data" in one]
        assert [sorted(one.data) for one in after.get("outputs", []) if "data" in one] == kinds, before.id
        if before.id in AS_COMMITTED.get(path.stem, []):
            assert after.outputs == before.outputs
