"""The examples of README.md do what it says, and the links of the documentation lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def sessions() -> list[tuple[str, str]]:
    """The console blocks: what is typed after the prompts, and what is shown then."""
    found: list[tuple[str, str]] = []
    for block in blocks("console"):
        lines = block.splitlines(keepends=True)
        typed = "".join(line[2:] for line in lines if line.startswith(("$ ", "> ")))
        found.append((typed, "".join(line for line in lines if not line.startswith(("$ ", "> ")))))
    return found


def anchors(page: Path) -> set[str]:
    """The names by which the headings of a page are linked to."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the run file of the examples, and the commands `ptycho` and `python` in `bin`."""
    (tmp_path / "run.toml").write_text(blocks("toml")[0])
    (tmp_path / "bin").mkdir()
    for name, arguments in (("ptycho", "-m ptycho_torch"), ("python", "")):
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        command.chmod(0o755)
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        words, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.integration
def test_the_shell_example_runs(folder: Path) -> None:
    done = run(folder, "sh", "-e", "-c", "\n".join(blocks("sh")))
    assert done.returncode == 0, done.stdout
    assert {"reconstruction.npz", "comparison.png", "metrics.json"} <= set(done.stdout.split())
    assert (folder / "reconstructions" / "scan" / "reconstruction.png").is_file()


@pytest.mark.integration
def test_the_python_example_runs(folder: Path) -> None:
    (script,) = blocks("python")
    done = run(folder, sys.executable, "-c", script)
    assert done.returncode == 0, done.stdout
    r_factor, mean_amplitude = map(float, done.stdout.splitlines()[-1].split())
    assert 0 < r_factor < 1
    assert 0.5 < mean_amplitude < 1.5


@pytest.mark.parametrize(("typed", "shown"), sessions(), ids=["explain", "refuse"])
def test_a_session_shows_what_is_printed(typed: str, shown: str, folder: Path) -> None:
    np.savez(folder / "scan.npz", probeGuess=np.ones((32, 32), dtype=np.complex64))
    assert run(folder, "sh", "-c", typed).stdout == shown


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^    .*$", "", page.read_text(), flags=re.MULTILINE)
    links = re.findall(r"(?<!!)\[[^]]*\]\(([^):\s]+)\)", prose)
    for path, _, anchor in (link.partition("#") for link in links):
        target = page.parent / path if path else page
        assert target.exists(), f"{path}: no such file"
        assert not anchor or anchor in anchors(target), f"{path}: no heading {anchor}"
