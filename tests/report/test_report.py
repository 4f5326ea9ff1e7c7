"""What the report of a run holds, and how it is written."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptycho.checksums import verify
from ptycho.config.errors import ConfigError
from ptycho.data_error import DataError
from ptycho_torch.cli.main import main
from ptycho_torch.runs.figures import parts_of
from ptycho_torch.runs.report.contents import read_contents
from ptycho_torch.runs.report.page import comparison_page, differences, report_page
from ptycho_torch.runs.report.pictures import LARGEST_BYTES, shown_part
from ptycho_torch.runs.report.verdict import figures_of, verdict_of
from tests.legacy_dictionary import legacy_dictionary_restored

pytestmark = pytest.mark.integration

KINDS = ("solved", "pictured", "trained")


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Give a copy of a run."""

    def copy(kind: str) -> Path:
        return Path(shutil.copytree(home / kind, tmp_path / kind))

    return copy


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_is_one_of_the_files_of_a_run(home: Path, kind: str) -> None:
    states = verify(home / kind)
    assert states["report.html"] == "ok"
    assert set(states.values()) == {"ok"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_that_is_made_anew_is_the_one_that_the_run_wrote(
    home: Path, copied: Callable[[str], Path], kind: str
) -> None:
    assert report_page(read_contents(home / kind)) == (home / kind / "report.html").read_text()
    run = copied(kind)
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    made = (run / "report.html").read_text().replace(str(run), str(home / kind))
    assert "<h2>" in made
    assert verify(run)["report.html"] == "ok"


def test_a_known_object_is_shown_beside_the_one_that_was_found(copied: Callable[[str], Path]) -> None:
    run = copied("solved")
    assert "Comparison with the known object" in report_page(read_contents(run))
    (run / "comparison.png").write_bytes(b"\x89PNG\r\n")
    assert "Comparison with the known object" not in report_page(read_contents(run))
    (run / "comparison.png").unlink()
    assert "Comparison with the known object" not in report_page(read_contents(run))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_a_page_comes_from_elsewhere(home: Path, kind: str) -> None:
    page = (home / kind / "report.html").read_text()
    assert len(page.encode()) < 5e6
    for word in ("http://", "https://", "//cdn", "@import", "url("):
        links = [one for one in page.split(word)[1:] if not one.startswith(("www.w3.org/", "#"))]
        assert not links, (word, links[0][:80])
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "49.npz" not in page


def test_what_steers_a_terminal_is_spelled_out(copied: Callable[[str], Path]) -> None:
    run = copied("solved")
    record = json.loads((run / "config.json").read_text())
    record["command_line"] = ["ptycho", "reconstruct", "e\x1b[2Jvil.npz"]
    (run / "config.json").write_text(json.dumps(record))
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "e\\x1b[2Jvil.npz" in page
    assert "\x1b" not in page


def test_patterns_are_the_worst_and_typical_ones(home: Path) -> None:
    with np.load(home / "solved" / "patterns.npz") as found:
        index, r_factor = found["index"], found["r_factor"]
        known = dict(zip(found["looked_at"].tolist(), r_factor.tolist(), strict=True))
        shown = [known[one] for one in index.tolist()]
        measured, predicted = found["measured"], found["predicted"]
        left = np.abs(measured - predicted).sum(axis=(1, 2)) / measured.sum(axis=(1, 2))
    assert shown[:3] == sorted(r_factor, reverse=True)[:3]
    assert all(abs(one - np.median(r_factor)) <= np.ptp(r_factor) / 4 for one in shown[3:])
    np.testing.assert_allclose(left, shown, rtol=0.05)


def test_the_command_repeats_the_run(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (home / "solved" / "report.html").read_text()
    line = page.partition("To repeat it</h3>")[2].partition('tabindex="0">')[2].partition("</pre>")[0]
    program, *words = shlex.split(
        line.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#34;", '"')
        .replace("&#39;", "'")
        .replace("&amp;", "&")
    )
    assert program == "ptycho"
    with legacy_dictionary_restored():
        assert main([*words[:-1], str(tmp_path / "again")]) == 0
    told = capsys.readouterr().err
    assert "does not use" not in told
    assert "no effect" not in told
    with (
        np.load(home / "solved" / "reconstruction.npz") as first,
        np.load(tmp_path / "again" / "reconstruction.npz") as second,
    ):
        np.testing.assert_array_equal(first["object"], second["object"])


def test_the_patterns_that_judge_a_training_are_those_of_its_log(copied: Callable[[str], Path]) -> None:
    run = copied("trained")
    told = re.search(r" on (\d+) (training|validation) patterns,", (run / "run.log").read_text())
    assert told is not None
    judged = figures_of(read_contents(run))[0]
    assert f"not explained, on {told[1]} patterns ({told[2]});" in judged.meaning
    figures = json.loads((run / "training.json").read_text())
    del figures["patterns"], figures["n_patterns"]  # of an earlier version
    (run / "training.json").write_text(json.dumps(figures))
    assert "not explained, on some patterns;" in figures_of(read_contents(run))[0].meaning


def test_settings_that_differ_from_the_recipe_are_named(home: Path) -> None:
    changed = differences(read_contents(home / "trained"))
    assert set(changed) == {
        "training.nepochs",
        "training.batch_size",
        "model.n_unrolled_steps",
        "model.n_filters_scale",
        "execution.accelerator",
    }


def change_figures(run: Path, **figures: object) -> None:
    path = run / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **figures}))


def test_a_good_picture_is_called_good(home: Path) -> None:
    run = read_contents(home / "solved")
    assert verdict_of(run).level == "good"
    assert "R factor" in [one.name for one in figures_of(run)]


def test_a_picture_that_explains_nothing_is_called_bad_with_causes(copied: Callable[[str], Path]) -> None:
    run = copied("solved")
    change_figures(run, r_factor=0.9, poisson_deviance_per_pixel=1e6)
    verdict = verdict_of(read_contents(run))
    assert verdict.level == "bad"
    assert "the mean of the others" in verdict.reason
    assert verdict.causes
    assert verdict.reason.replace("'", "&#39;") in report_page(read_contents(run))


def test_a_picture_that_explains_a_part_is_called_doubtful(copied: Callable[[str], Path]) -> None:
    run = copied("solved")
    mean = json.loads((run / "metrics.json").read_text())["mean_pattern_r_factor"]
    change_figures(run, r_factor=0.8 * mean, unexplained=0.7)
    assert verdict_of(read_contents(run)).level == "doubtful"
    assert "Likely causes" in report_page(read_contents(run))


def test_figures_that_are_no_numbers_are_not_judged(copied: Callable[[str], Path]) -> None:
    run = copied("solved")
    change_figures(run, mean_pattern_r_factor=None, mean_pattern_r_factor_reason="not a number (NaN)")
    assert verdict_of(read_contents(run)).level == "open"
    assert report_page(read_contents(run))


def test_a_run_that_was_interrupted_is_not_called_good(copied: Callable[[str], Path]) -> None:
    run = copied("solved")
    change_figures(run, interrupted=True)
    assert verdict_of(read_contents(run)).headline == "Not finished"


@pytest.mark.parametrize(
    "missing", ["metrics.json", "history.csv", "patterns.npz", "reconstruction.npz", "run.log"]
)
def test_a_report_is_made_of_what_is_there(copied: Callable[[str], Path], missing: str) -> None:
    run = copied("solved")
    (run / missing).unlink()
    assert "How to repeat it" in report_page(read_contents(run))


def test_a_folder_without_a_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match="expected the folder of a run"):
            read_contents(place)
        assert main(["report", str(place)]) == 2
    assert not list(tmp_path.iterdir())


def test_arrays_of_another_kind_are_refused(copied: Callable[[str], Path]) -> None:
    run = copied("solved")
    np.savez(run / "reconstruction.npz", object=np.ones(3))
    with pytest.raises(DataError, match="object: expected an array as a run writes it"):
        read_contents(run)
    assert main(["report", str(run)]) == 2


def test_a_large_object_still_makes_a_small_page() -> None:
    numbers = np.random.default_rng(0)
    image = numbers.normal(size=(2000, 1800, 2)).astype(np.float32).view(np.complex64)[..., 0]
    shown = [shown_part(part, None) for part in parts_of(image, None)]
    assert all(3 * len(one.source) / 4 <= LARGEST_BYTES + 100 for one in shown)
    assert all(one.block > 1 and (one.height, one.width) == (2000, 1800) for one in shown)


def test_runs_are_compared_on_one_page(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "compare.html"
    runs = [str(home / kind) for kind in ("solved", "pictured")]
    assert main(["compare", *runs, "--output", str(page)]) == 0
    assert page.read_text() == comparison_page(
        [read_contents(home / kind) for kind in ("solved", "pictured")]
    )
    assert main(["compare", *runs, "--output", str(page)]) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert main(["compare", *runs, "--output", str(page), "--overwrite"]) == 0
    assert main(["compare", runs[0], "--output", str(tmp_path / "one.html")]) == 2


def test_compared_runs_are_called_after_what_differs_in_their_paths(home: Path, tmp_path: Path) -> None:
    for name in ("a/scan", "b/scan", "a/scan/reconstruction"):
        shutil.copytree(home / "solved", tmp_path / name)
    folders = [tmp_path / name for name in ("a/scan", "b/scan", "a/scan/reconstruction")]
    page = comparison_page([read_contents(folder) for folder in folders])
    for label in ("1. a/scan<", "2. b/scan<", "3. a/scan/reconstruction<"):
        assert page.count(label) >= 2, label


def test_only_settings_that_all_runs_have_are_compared(home: Path) -> None:
    page = comparison_page([read_contents(home / kind) for kind in ("solved", "pictured")])
    assert "execution.inference_batch_size" in page
    assert "solver.n_iterations" not in page
    assert "the settings of inference, model, solver" in page


def test_a_report_elsewhere_leaves_the_run_as_it_is(copied: Callable[[str], Path], tmp_path: Path) -> None:
    run = copied("solved")
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    assert main(["report", str(run), "--output", str(tmp_path / "page.html")]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
