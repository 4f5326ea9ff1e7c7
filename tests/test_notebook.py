"""The notebook of examples/ runs from top to bottom, and shows what it is committed with."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "examples" / "configuring_a_run.ipynb"


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason="needs the extra 'docs'")
    nbformat = pytest.importorskip("nbformat", reason="needs the extra 'docs'")
    pytest.importorskip("ipykernel", reason="needs the extra 'docs'")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    shown = {cell.id: cell.outputs for cell in notebook.cells if cell.get("outputs")}
    executed = nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute(cwd=tmp_path)
    outputs = {cell.id: cell.outputs for cell in executed.cells if cell.cell_type == "code"}
    assert outputs["record"][-1].data["text/plain"] == "True"
    assert list(shown) == ["inspect"]
    assert outputs["inspect"][0].data == shown["inspect"][0].data
