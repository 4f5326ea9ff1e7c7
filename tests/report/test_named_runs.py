"""Which runs `ptycho report` and `ptycho compare` take, and which ones they name where they take none."""

import shutil
from pathlib import Path

import pytest

from ptycho.checksums import verify
from ptycho_torch.cli.main import main


@pytest.fixture
def several(scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on two scans, in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("scans").mkdir()
    for name in ("a", "b"):
        shutil.copy(scan, f"scans/{name}.npz")
    assert main(
        ["reconstruct", "scans", "--output-dir=runs/out", "--accelerator=cpu", "--n-iterations=2"]
    ) in (0, 3)
    return Path("runs/out")


def test_the_folder_of_one_scan_of_several_is_a_run(
    several: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page, other = several / "a/report.html", several / "b/report.html"
    assert main(["report", str(several)]) == 0
    written = page.read_text()
    page.unlink()
    before = other.stat().st_mtime_ns
    assert main(["report", str(several / "a")]) == 0
    assert page.read_text() == written
    assert other.stat().st_mtime_ns == before
    assert set(verify(several).values()) == {"ok"}
    assert main(["compare", str(several / "a"), str(several / "b")]) == 0
    monkeypatch.chdir(several / "a")
    capsys.readouterr()
    assert main(["report", "."]) == 0
    assert capsys.readouterr().out == "report.html\n"


def test_the_runs_that_may_be_meant_are_named(several: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("c", "d", "e"):
        shutil.copytree(several, f"more/{name}")
    (several / "own").mkdir()
    for named, cure in {
        "runs": "got one without it. Name runs/out.",
        "more": "got one without it. Name more/c or more/d or more/e.",
        "runs/out/report.html": "got no folder. Name runs/out.",
        "runs/out/run.log": "got a file. Name runs/out.",
        "runs/out/a/report.html": "got a file. Name runs/out/a.",
        "runs/out/own": "got one without it. Name runs/out.",
        "scans": "Name the output folder of a training or of a reconstruction.",
    }.items():
        for command in (["report"], ["compare", str(several)], ["doctor"]):
            capsys.readouterr()
            assert main([*command, named]) == 2
            assert cure in capsys.readouterr().err, (command, named)


def test_a_file_in_place_of_a_run_to_resume_is_called_one(
    scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("train", "reconstruct"):
        assert main([command, "--resume", str(scan)]) == 2
        assert "; got a file, which is no folder" in capsys.readouterr().err
