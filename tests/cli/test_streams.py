"""What reaches a terminal, a log or a pipe, and what happens where nothing can reach it."""

import contextlib
import errno
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from tqdm import tqdm

from ptycho.config.errors import ConfigError, Failure, spelled_out
from ptycho.escaped import LineFormatter
from ptycho.run_folder import RunFolder
from ptycho_torch.cli.console import lines_of, plain_log, plain_warnings, worded
from ptycho_torch.runs.record import logged
from ptycho_torch.stopping import Terminated

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
ODD = "a\x1b[31mred\r\n\x07\u202eb\x9b\u2028c"
SPELLED = r"a\x1b[31mred\r\n\x07\u202eb\x9b\u2028c"


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a shell command, in which `ptycho` is ours."""
    program = f'{sys.executable} -m ptycho_torch "$@"'
    script = f"set -o pipefail; ptycho() {{ {program}; }}; {command}"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=300,
    )


def test_a_message_keeps_only_the_lines_it_quotes() -> None:
    assert spelled_out(f"{ODD}\n    quoted") == f"{SPELLED}\n    quoted"
    error = ConfigError([Failure("x", ODD), Failure("y", "second\n    quoted")])
    assert lines_of(error) == str(error) == f"{SPELLED}\nsecond\n    quoted"


@pytest.mark.filterwarnings("default")
def test_the_log_of_the_command_and_of_a_run_and_warnings_spell_odd_signs_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with plain_log(quiet=False), plain_warnings(), RunFolder(tmp_path) as folder, logged(folder):
        folder.begin(anew=True)
        logging.getLogger("ptycho").info("reading %s", ODD)
        warnings.warn(f"odd {ODD}", stacklevel=1)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"reading {SPELLED}"
    assert len(said) == 2
    assert said[1].isprintable()
    (line,) = [line for line in (tmp_path / "run.log").read_text().split("\n") if "reading" in line]
    assert line.endswith(f"reading {SPELLED}")


def test_warnings_of_a_run_are_shown_where_nobody_listens_as_in_a_notebook(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    with RunFolder(tmp_path) as folder, logged(folder):
        folder.begin(anew=True)
        logging.getLogger("ptycho").warning("check the signs")
        logging.getLogger("ptycho").info("in the file alone")
    assert capsys.readouterr().err == "check the signs\n"
    assert "in the file alone" in (tmp_path / "run.log").read_text()
    assert logging.lastResort not in logging.getLogger("ptycho").handlers


def test_a_traceback_in_a_log_keeps_its_lines() -> None:
    record = logging.LogRecord("ptycho", logging.ERROR, "f", 1, "failed", (), None)
    try:
        raise ValueError(ODD)
    except ValueError:
        record.exc_info = sys.exc_info()
    lines = LineFormatter().format(record).split("\n")
    assert lines[:2] == ["failed", "Traceback (most recent call last):"]
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    "words",
    [
        (ODD,),
        ("train", ODD),
        ("train", f"--{ODD}"),
        ("train", "--resume", ODD),
        ("reconstruct", ODD, ODD),
        ("config", "check", ODD),
        ("config", "show", "train", ODD),
        ("config", "diff", ODD, ODD),
        ("config", ODD),
        ("completion", ODD),
    ],
)
def test_odd_signs_on_a_command_line_do_not_reach_the_terminal(
    words: tuple[str, ...], ptycho: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, out, said = ptycho(*words)
    assert r"\x1b[31mred" in out + said
    assert all(line.isprintable() for line in (out + said).split("\n"))


def test_what_the_system_says_in_a_word_is_told_with_a_way_on(
    ptycho: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.npz").touch()
    Path("loop").symlink_to("loop")
    tiny = ("--N", "32", "--n-positions", "9")
    for place, way_on in (
        ("s.npz/a.npz", "Name another place"),
        ("s.npz/a/b.npz", "Correct the path"),
        ("loop/a.npz", "Name another place|Correct the path"),
        (f"{'x' * 300}/a.npz", "Shorten it"),
    ):
        code, _, said = ptycho("simulate", "--output", place, *tiny)
        assert code == 2
        assert re.search(rf": expected .*; got .*\. ({way_on})\.$", said), said


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES])
def test_where_nothing_can_be_written_the_way_on_is_told(number: int) -> None:
    said = worded(OSError(number, os.strerror(number), "run/config.json"))
    assert re.fullmatch(r"run/config\.json: expected .*; got .*\. (Free|Raise|Change|Name) .*\.", said), said
    assert os.strerror(number).split()[-1].casefold() in said.casefold()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("ptycho config show train >&-", 0),
        ("ptycho config schema 2>&-", 0),
        ("ptycho config schema >&- 2>&- <&-", 0),
        ("ptycho --help >&-", 0),
        ("ptycho train nowhere.npz 2>&-", 2),
        ("ptycho train nowhere.npz >&- 2>&-", 2),
        ("ptycho simulate --output scan.npz --N 32 --n-positions 9 >&- 2>&-", 0),
        ("ptycho train --help | head -1 >/dev/null; true", 0),
        ("ptycho config schema | true", 141),
        ("ptycho train nowhere.npz 2>&1 | true", 2),
        ("ptycho config schema >/dev/full", 2),
        ("ptycho --version >/dev/full", 2),
        ("PYTHONUNBUFFERED=1 ptycho --version >/dev/full", 2),
        ("ptycho >/dev/full", 2),
        ("ptycho train --help >/dev/full", 2),
        ("ptycho train --help-all >/dev/full", 2),
    ],
)
def test_closed_streams_are_no_failure_of_a_command(command: str, code: int, tmp_path: Path) -> None:
    done = shell(command, tmp_path)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert b"Exception ignored" not in done.stderr, done.stderr.decode()
    assert done.returncode == code, done.stderr.decode()


@pytest.mark.integration
def test_a_closed_stream_does_not_end_in_a_file(tmp_path: Path) -> None:
    done = shell("ptycho simulate --output scan.npz --N 32 --n-positions 9 >&- 2>&- <&-", tmp_path)
    assert done.returncode == 0
    from ptycho.raw_data import RawData

    assert len(RawData.from_file(tmp_path / "scan.npz").patterns) == 9


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (None, "INFO ptycho_torch.runs.ending: the run has finished"),
        (KeyboardInterrupt(), "WARNING ptycho_torch.runs.ending: the run was interrupted"),
        (Terminated(), "WARNING ptycho_torch.runs.ending: the run was ended by SIGTERM"),
        (RuntimeError("no disk"), "ERROR ptycho_torch.runs.ending: the run failed: RuntimeError: no disk"),
    ],
)
def test_the_log_of_a_run_tells_when_and_how_it_ended(
    tmp_path: Path, error: BaseException | None, end: str
) -> None:
    with (
        contextlib.suppress(KeyboardInterrupt, Terminated, RuntimeError),
        RunFolder(tmp_path) as folder,
        logged(folder),
    ):
        folder.begin(anew=True)
        (tmp_path / "config.json").write_text('{"configuration": {}}')
        if error is not None:
            raise error
    last = (tmp_path / "run.log").read_text().splitlines()[-1]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", last)
    assert last.endswith(end)


def test_a_run_that_is_refused_leaves_neither_folder_nor_log(tmp_path: Path) -> None:
    for begun in (False, True):
        with (
            contextlib.suppress(ConfigError),
            RunFolder(tmp_path / "run") as folder,
            logged(folder),
        ):
            logging.getLogger("ptycho").warning("on the way")
            if begun:
                folder.begin(anew=True)
            raise ConfigError([Failure("seed", "seed: expected another")])
        assert not list(tmp_path.rglob("run.log"))


def test_a_line_of_the_log_does_not_run_into_a_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with plain_log(quiet=False), tqdm(total=3, file=sys.stderr, mininterval=0) as bar:
        bar.update()
        logging.getLogger("ptycho").info("a line of its own")
    said = capsys.readouterr().err
    assert re.search(r"(^|[\r\n])a line of its own\n", said)
