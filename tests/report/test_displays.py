"""What notebooks show of scans, runs and reconstructions, and the table of runs."""

from pathlib import Path

import pytest

import ptycho
from ptycho.display import picture_html, table_html
from ptycho.run_table import COLUMNS, runs
from tests.legacy_dictionary import legacy_dictionary_restored
from tests.report.conftest import HOSTILE

pytestmark = pytest.mark.integration


def test_runs_are_listed_with_their_figures(home: Path) -> None:
    rows = {Path(row["run"]).name: row for row in runs(home)}
    assert set(rows) == {"solved", "trained", "pictured"}
    assert {row["kind"] for row in rows.values()} == {"solver", "training", "network"}
    assert all(set(row) == set(COLUMNS) for row in rows.values())
    assert all(row["scan"] == str(home / f"{HOSTILE}.npz") and row["finished"] for row in rows.values())
    assert rows["solved"]["rounds"] == 12
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
    for shown in (scan, trained, solved, again):
        text = shown._repr_html_()  # type: ignore[attr-defined]
        assert text.startswith("<table")
        assert "<script>" not in text
        assert ("<img" in text) == (shown is not scan)
        assert len(repr(shown)) < 3000


def test_a_picture_that_is_missing_is_left_out(tmp_path: Path) -> None:
    assert picture_html(tmp_path / "missing.png", "nothing") == ""
