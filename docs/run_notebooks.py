"""Run the notebooks of examples/ and store what they show: `python docs/run_notebooks.py [NAME ...]`.

Each runs on the CPU, in an empty folder, which is named as the one of the notebook in what is stored.
"""

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

import nbformat
from nbclient import NotebookClient

EXAMPLES: Final = Path(__file__).resolve().parent.parent / "examples"

LONGEST_S: Final = 600
"""Seconds after which a cell counts as hanging, on a busy machine too."""

BAR: Final = re.compile(r"[^\r\n]*%\|[^\r\n]*")
"""A state of a progress bar, which a slow machine shows and a fast one does not."""


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """A notebook after it ran in a folder, as it is to be stored.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": folder}}
    NotebookClient(notebook, timeout=LONGEST_S, kernel_name="python3", resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in list(cell.get("outputs", [])):
            if "text" in output:
                output.text = BAR.sub("", output.text)
                if not output.text.strip():
                    cell.outputs.remove(output)
            if len(shown := output.get("data", {})) > 1:
                shown.pop("text/plain", None)  # what stands in for a picture or a table
    return nbformat.reads(nbformat.writes(notebook).replace(str(folder), "examples"), as_version=4)


def main() -> None:
    """Run those that are named, or all."""
    os.environ["PTYCHO_EXEC_ACCELERATOR"] = "cpu"
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for name in sys.argv[1:] or sorted(path.stem for path in EXAMPLES.glob("*.ipynb")):
        path = EXAMPLES / f"{name}.ipynb"
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder)), path)


if __name__ == "__main__":
    main()
