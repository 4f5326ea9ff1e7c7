"""The notebooks of examples/ run from top to bottom, and show what they are committed with."""

import importlib.util
import os
import re
import resource
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(ROOT.glob("examples/*.ipynb"))
AS_COMMITTED = {"configuring_a_run": ["inspect"]}
"""Cells whose output follows from the code alone, and not from the machine."""
VARIES = re.compile(
    r"<[^>]*>"  # how it looks: tags, with pictures in them
    r"|\b(?=[a-f]*\d)[0-9a-f]{8}\b"  # fingerprints
    r"|[-+]?\d[\d.]*(?:e[-+]?\d+)?(?: (?:ms|s|min|h)\b)?"  # numbers and times
)
"""What a text may have otherwise on another machine."""
MOST_CPU_S = 120
"""CPU time of a notebook, its commands included; on an idle machine of two cores each takes less than a minute."""


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


def words(cell: Any) -> str:
    """What a cell shows in words, with numbers and the like left out."""
    shown = (one.get("text") or one.get("data", {}) for one in cell.get("outputs", []))
    texts = (
        one if isinstance(one, str) else one.get("text/html") or one.get("text/plain", "") for one in shown
    )
    return " ".join(VARIES.sub(" ", "".join(texts)).split())


def children_cpu_s() -> float:
    """CPU time of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, run: Any) -> None:
    before_s = children_cpu_s()
    stored, executed = run(path)
    assert children_cpu_s() - before_s < MOST_CPU_S
    for before, after in zip(stored.cells, executed.cells, strict=True):
        kinds = [sorted(one.get("data", [])) for one in before.get("outputs", []) if "data" in one]
        assert [sorted(one.data) for one in after.get("outputs", []) if "data" in one] == kinds, before.id
        assert words(after) == words(before), f"{before.id}: run python docs/run_notebooks.py {path.stem}"
        if before.id in AS_COMMITTED.get(path.stem, []):
            assert after.outputs == before.outputs
