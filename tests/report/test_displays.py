"""What notebooks show of scans, runs and reconstructions, and the table of runs."""

import re
import webbrowser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import ptycho
from ptycho.display import picture_html, table_html
from ptycho.run_table import COLUMNS, runs
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.config_solver import create_solver_payload
from ptycho_torch.runs.resuming import EndedTraining
from tests.legacy_dictionary import legacy_dictionary_restored
from tests.report.conftest import HOSTILE

pytestmark = pytest.mark.integration


def test_runs_are_listed_with_their_figures(home: Path) -> None:
    rows = {Path(row["run"]).name: row for row in runs(home)}
    assert set(rows) == {"solved", "trained", "pictured"}
    assert {row["kind"] for row in rows.values()} == {"solver", "training", "network"}
    assert all(set(row) == set(COLUMNS) for row in rows.values())
    assert all(row["scan"] == str(home / f"{HOSTILE}.npz") and row["finished"] for row in rows.values())
    assert rows["solved"]["rounds"] == 24
    assert rows["trained"]["rounds"] == 2
    assert 0 < rows["solved"]["r_factor"] < rows["solved"]["mean_pattern_r_factor"]
    assert rows["trained"]["r_factor"] > 0


def test_a_run_that_was_not_finished_is_listed_as_such(home: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text((home / "solved" / "config.json").read_text())
    (row,) = ptycho.runs(tmp_path)
    assert (row["finished"], row["r_factor"]) == (False, None)


def test_what_is_no_run_is_not_listed(tmp_path: Path) -> None:
    for name, text in (("a", "{}"), ("b", "["), ("c", '{"configuration": 1}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    (tmp_path / "link").symlink_to(tmp_path)
    assert runs(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="no such folder"):
        runs(tmp_path / "missing")


def test_runs_show_as_a_table_whose_cells_are_text(home: Path) -> None:
    shown = runs(home)._repr_html_()
    assert shown.startswith("<table")
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_runs_print_as_a_table(home: Path, tmp_path: Path) -> None:
    head, *lines = str(runs(home)).splitlines()
    assert head.split()[:3] == ["run", "kind", "scan"]
    assert len(lines) == len(runs(home))
    assert lines[0].startswith(str(home / "pictured"))
    assert str(runs(tmp_path)) == "0 runs"


def test_a_table_escapes_everything() -> None:
    shown = table_html("<b>", [("<i>", "<script>", 0.123456, None)], ("<u>", "", "", ""))
    assert "0.1235" in shown
    for tag in ("<b>", "<i>", "<script>", "<u>"):
        assert tag not in shown


def test_results_show_figures_and_picture_in_notebooks_and_no_network_on_the_terminal(
    home: Path, tmp_path: Path
) -> None:
    scan = ptycho.load(home / f"{HOSTILE}.npz")
    settings = {
        "accelerator": "cpu",
        "nepochs": 1,
        "n_unrolled_steps": 1,
        "n_filters_scale": 1,
        "batch_size": 16,
    }
    with legacy_dictionary_restored():
        trained = ptycho.train(scan, tmp_path / "trained", **settings)
        solved = ptycho.reconstruct(scan, None, tmp_path / "solved", n_iterations=3, accelerator="cpu")
        again = ptycho.train(scan, tmp_path / "trained", resume=True, **settings)
        pictured = again.reconstruct(scan, accelerator="cpu")
    assert pictured.run_dir.parent == tmp_path / "trained"
    assert np.iscomplexobj(pictured.object)
    for shown in (scan, trained, solved, again, pictured):
        text = shown._repr_html_()  # type: ignore[attr-defined]
        assert text.startswith("<table")
        assert "<script>" not in text
        assert ("<img" in text) == (shown is not scan)
        assert "n_" not in text.replace("min_", "")
        assert len(repr(shown)) < 300
    for shown in (trained, again):
        assert str(shown).startswith(f"{type(shown).__name__}({shown.run_dir}, 1 epoch, train_loss ")
        assert str(shown).partition(": ")[2].startswith("the model has learned")
    for shown in (solved, pictured):
        assert f"{shown.run_dir}, " in repr(shown)
        assert f"R factor {shown.metrics['r_factor']:.4f} (held out patterns)" in repr(shown)
    assert re.search("peak memory<.*?>[\\d.]+ [MG]B<", solved._repr_html_())
    assert "[]" not in solved._repr_html_()


def test_losses_are_drawn_over_whole_epochs_from_1_with_plain_numbers(home: Path, tmp_path: Path) -> None:
    rows = [{"epoch": k, "train_loss": 0.19 - 0.003 * k, "val_loss": 0.1825 - 0.0001 * k} for k in range(3)]
    run = EndedTraining(home / "trained", home / "trained" / "wts.h5.zip", rows, None)
    axes = Figure().add_subplot()
    assert run.plot_loss(axes) is axes
    axes.figure.savefig(tmp_path / "loss.png")
    below = [text.get_text() for text in axes.get_xticklabels() if 1 <= text.get_position()[0] <= 3]
    beside = [text.get_text() for text in axes.get_yticklabels()]
    assert below == ["1", "2", "3"]
    assert all(float(text) for text in beside)
    assert axes.yaxis.get_offset_text().get_text() == ""


def test_a_report_is_shown_in_the_browser_and_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    run = EndedTraining(home / "trained", home / "trained" / "wts.h5.zip", [], None)
    run.show()
    assert opened == [(home / "trained" / "report.html").as_uri()]
    assert capsys.readouterr().out == f"{home / 'trained' / 'report.html'}\n"
    with pytest.raises(FileNotFoundError):
        EndedTraining(home, home / "wts.h5.zip", [], None).show()


def test_a_payload_shows_every_setting_with_its_origin(home: Path, tmp_path: Path) -> None:
    scan = home / f"{HOSTILE}.npz"
    with legacy_dictionary_restored():
        trained = create_training_payload(scan, tmp_path / "run", {"n_groups": 8, "nepochs": 3})
        pictured = create_inference_payload(home / "trained", scan, tmp_path / "run", {"n_groups": 8})
    solved = create_solver_payload(scan, tmp_path / "run", {"n_iterations": 3})
    for payload, name in ((trained, "nepochs"), (pictured, "start"), (solved, "n_iterations")):
        shown = payload._repr_html_()
        assert shown.startswith("<table")
        assert all(setting in shown for setting in (name, "num_workers", "override"))
        assert "<script>" not in shown


CELLS = (
    "import ptycho; scan = ptycho.simulate(N=32, n_positions=40)",
    "run = ptycho.train(scan, 'run', nepochs=1, n_unrolled_steps=1, n_filters_scale=1, accelerator='cpu'); run",
    "run.show()",
    "run.plot_loss()",
)


def test_a_notebook_shows_runs_pages_and_curves_and_nothing_in_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient = pytest.importorskip("nbclient", reason="needs the extra 'docs'")
    nbformat = pytest.importorskip("nbformat", reason="needs the extra 'docs'")
    monkeypatch.setenv("PYTHONPATH", str(Path(ptycho.__file__).parents[1]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=tmp_path)
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    printed = [output for output in outputs if output.output_type == "stream"]
    assert {output.name for output in printed} == {"stdout"}  # a notebook shows the other stream in red
    assert "epoch 1/1: 100%" in "".join(output.text for output in printed)
    table, page, axes, curve = (output.data for output in outputs if output not in printed)
    assert len(table["text/plain"]) < 500
    assert "<table" in table["text/html"]
    assert page["text/plain"] == "run/report.html"
    assert page["text/html"].startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert "Axes" in axes["text/plain"]
    assert "image/png" in curve


def test_a_picture_that_is_missing_is_left_out(tmp_path: Path) -> None:
    assert picture_html(tmp_path / "missing.png", "nothing") == ""
