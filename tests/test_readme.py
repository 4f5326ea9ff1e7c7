"""The examples of README.md and of the page on settings do what they show."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
README, CONFIGURATION = ((ROOT / name).read_text() for name in ("README.md", "docs/configuration.md"))
SMALL = """
[model]
n_unrolled_steps = 2
[training]
nepochs = 1
n_subsample = 60
[inference]
n_subsample = 60
[solver]
n_iterations = 5
[execution]
accelerator = "cpu"
"""
"""What makes the examples short, from a file below everything that they set."""


def blocks(language: str, page: str = README) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def sessions() -> list[tuple[str, str]]:
    """The console blocks: what is typed after the prompts, and what is shown then."""
    found: list[tuple[str, str]] = []
    for block in blocks("console", CONFIGURATION):
        lines = block.splitlines(keepends=True)
        typed = "".join(line[2:] for line in lines if line.startswith(("$ ", "> ")))
        found.append((typed, "".join(line for line in lines if not line.startswith(("$ ", "> ")))))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the run file of the examples, and the commands `ptycho` and `python` in `bin`."""
    (tmp_path / "run.toml").write_text(blocks("toml", CONFIGURATION)[0])
    (tmp_path / "bin").mkdir()
    for name, arguments in (("ptycho", "-m ptycho_torch"), ("python", "")):
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        command.chmod(0o755)
    return tmp_path


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        **variables,
    }
    return subprocess.run(
        words, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.integration
def test_the_examples_run(folder: Path) -> None:
    (folder / "small.toml").write_text(SMALL)
    done = run(folder, "sh", "-e", "-c", "\n".join(blocks("sh")), PTYCHO_CONFIG="small.toml")
    assert done.returncode == 0, done.stdout
    for place in ("reconstructions/scan", "runs/scan", "runs/scan/reconstruction"):
        assert (folder / place / "report.html").is_file()

    (script,) = blocks("python")
    done = run(folder, sys.executable, "-c", script, PTYCHO_CONFIG="small.toml")
    assert done.returncode == 0, done.stdout
    r_factor, mean_amplitude = map(float, done.stdout.splitlines()[-1].split())
    assert 0 < r_factor < 1
    assert 0.5 < mean_amplitude < 1.5


@pytest.mark.parametrize(("typed", "shown"), sessions(), ids=["explain", "refuse"])
def test_a_session_shows_what_is_printed(typed: str, shown: str, folder: Path) -> None:
    np.savez(folder / "scan.npz", probeGuess=np.ones((32, 32), dtype=np.complex64))
    assert run(folder, "sh", "-c", typed).stdout == shown
