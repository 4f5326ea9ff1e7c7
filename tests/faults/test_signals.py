"""Signals to one process and to groups: every process ends, and what was trained is kept."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faults.children import BUSY_S, LONGEST_S, command
from tests.faults.conftest import SMALL, TRAINING, Tally
from tests.faults.test_kills import parts, went_on
from tests.faults.test_writers import wait_for
from tests.faults.whole import broken, differences, leftovers

ROOT = Path(__file__).parents[2]
ENDS = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Signal -> exit code of a command that was asked to end."""
LONG = (*SMALL, "--nepochs=500")


def each_once(places: Sequence[object]) -> list[Any]:
    """Every place with every signal; in `make check` each place and each signal once."""
    left = dict(zip(places, ENDS, strict=True))
    return [
        pytest.param(place, number, marks=[] if left[place] == number else [pytest.mark.thorough])
        for place in places
        for number in ENDS
    ]


def alive(mark: str) -> list[int]:
    """Processes whose command line holds a word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if mark.encode() in words and state != "Z":
                found.append(int(entry.name))
    return found


def started(*words: object) -> subprocess.Popen[str]:
    """`ptycho train` as a program in a process group of its own."""
    line = [sys.executable, "-m", "ptycho_torch", "train", *map(str, words)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        line,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def finished(process: subprocess.Popen[str], mark: str, longest_s: float = LONGEST_S) -> tuple[int, str]:
    """Exit code and output; every process of the run is gone, or it hangs."""
    try:
        said = process.communicate(timeout=longest_s)[0]
        until = time.monotonic() + LONGEST_S
        while alive(mark) and time.monotonic() < until:
            time.sleep(0.1)
        assert not alive(mark), f"processes are left: {alive(mark)}; {said}"
    finally:
        for pid in alive(mark):
            os.kill(pid, signal.SIGKILL)
    return process.returncode, said


@pytest.mark.parametrize(("after", "number"), each_once([1, 4]))
def test_a_training_that_is_asked_to_end_goes_on_to_the_same_weights(
    number: signal.Signals, after: int, scan: Path, tmp_path: Path, tally: Tally
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    flags = (*SMALL, "--nepochs=40")
    child = command("train", scan, "--output-dir", run, *flags, folder=tmp_path)
    wait_for(lambda: has_trained(run, after))
    child.send(number)
    done = child.ended(LONGEST_S)
    tally("signals to a process")
    assert (done.code, done.has_traceback) == (ENDS[number], False), done.said
    assert "--resume" in done.said
    assert "weights_only" not in done.said  # what Lightning says to whoever calls it
    assert [*broken(run), *leftovers(run)] == []
    again = command("train", "--resume", run, folder=tmp_path).ended()
    assert again.code == 0, again.said
    assert command("train", scan, "--output-dir", whole, *flags, folder=tmp_path).ended().code == 0
    assert [*differences(run, whole)] == []


@parts
def test_a_kill_after_a_request_to_end_loses_nothing(
    part: int, scan: Path, undisturbed: Path, tmp_path: Path, other_disk: Path, tally: Tally
) -> None:
    """A scheduler kills what has not ended in time, also while the checkpoint of the step is written."""
    run, chance, found = tmp_path / "run", random.Random(part), []
    words = ("train", scan, "--output-dir", run, *TRAINING)
    for _ in range(2):
        shutil.rmtree(run, ignore_errors=True)
        child = command(*words, folder=tmp_path, TMPDIR=str(other_disk))
        wait_for((run / "history.csv").exists)
        child.send(signal.SIGTERM)
        after_s = chance.uniform(0, 0.3)
        time.sleep(after_s)
        child.process.kill()
        child.ended()
        wrong = went_on(scan, run, undisturbed, tmp_path, other_disk)
        found += [f"killed {after_s:.3f} s after the signal: {what}" for what in wrong]
    tally("kills after a signal", 2)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_before_the_first_epoch_ends_a_training_in_words(
    number: signal.Signals, scan: Path, tmp_path: Path, tally: Tally
) -> None:
    child = command("train", scan, "--output-dir", tmp_path / "run", *LONG, folder=tmp_path)
    wait_for(lambda: (tmp_path / "run").exists())
    child.send(number)
    done = child.ended(LONGEST_S)
    tally("signals to a process")
    assert (done.code, done.has_traceback) == (ENDS[number], False), done.said


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("repeated", [1, 5])
def test_a_signal_ends_a_reconstruction_in_words(
    number: signal.Signals, repeated: int, scan: Path, undisturbed: Path, tmp_path: Path, tally: Tally
) -> None:
    place = tmp_path / "place"
    words = ("reconstruct", undisturbed, scan, "--output-dir", place, "--accelerator=cpu")
    child = command(*words, folder=tmp_path)
    wait_for(lambda: (place / "run.log").exists())
    for _ in range(repeated):
        child.send(number)
    done = child.ended(LONGEST_S)
    tally("signals to a process")
    assert not done.has_traceback, done.said
    assert done.code in (0, ENDS[number]), done.said
    assert broken(place) == []


def has_trained(run: Path, epochs: int) -> bool:
    """Whether so many epochs are in the history, and a checkpoint is there."""
    return (run / "history.csv").exists() and rows(run) >= epochs and any(run.glob("checkpoints/*.ckpt"))


def rows(run: Path) -> int:
    """Epochs in the history."""
    return max(0, len((run / "history.csv").read_text().splitlines()) - 1)


DDP = ("--strategy=ddp", "--n-devices=2", *LONG)


@pytest.mark.parametrize(("to", "number"), each_once(["the group", "the first process"]))
def test_a_signal_ends_every_rank_and_what_was_trained_is_kept(
    number: signal.Signals, to: str, scan: Path, tmp_path: Path, tally: Tally
) -> None:
    run = tmp_path / "run"
    process = started(scan, "--output-dir", run, *DDP)
    wait_for(lambda: has_trained(run, 2), 90)
    (os.killpg if to == "the group" else os.kill)(process.pid, number)
    code, said = finished(process, str(run))
    tally("signals to several processes")
    assert (code, "Traceback" in said) == (ENDS[number], False), said
    assert [*broken(run), *leftovers(run)] == []
    assert list((run / "checkpoints").glob("*.ckpt"))
    code, said = finished(started("--resume", run, "--nepochs", rows(run) + 2), str(run), BUSY_S)
    assert code == 0, said
    assert [*broken(run), *leftovers(run)] == []


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_others_in_words(rank: int, scan: Path, tmp_path: Path, tally: Tally) -> None:
    run = tmp_path / "run"
    process = started(scan, "--output-dir", run, *DDP)
    wait_for(lambda: has_trained(run, 2), 90)
    victims = sorted(alive(str(run)))
    others = [pid for pid in victims if pid != process.pid]
    os.kill(process.pid if rank == 0 else others[0], signal.SIGKILL)
    code, said = finished(process, str(run))
    tally("killed ranks")
    assert broken(run) == []
    if rank == 1:
        assert (code in (1, 2), "Traceback" in said) == (True, False), said
        assert "--resume" in said


def test_a_killed_worker_ends_a_training_in_words(scan: Path, tmp_path: Path, tally: Tally) -> None:
    run = tmp_path / "run"
    process = started(scan, "--output-dir", run, *LONG, "--num-workers=2", "--persistent-workers=true")
    wait_for(lambda: has_trained(run, 1), 90)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    os.kill(int(children[0]), signal.SIGKILL)
    code, said = finished(process, str(run))
    tally("killed workers")
    assert (code in (1, 2), "Traceback" in said) == (True, False), said
    assert "num_workers" in said or "--num-workers" in said
    assert broken(run) == []


@pytest.mark.parametrize("change", ["cut off", "overwritten", "removed"])
def test_a_scan_that_changes_under_a_training_is_noticed_or_does_no_harm(
    change: str, scan: Path, tmp_path: Path, tally: Tally
) -> None:
    run, mine, kept = tmp_path / "run", tmp_path / "scan.npz", tmp_path / "whole"
    shutil.copy(scan, mine)
    flags = (*SMALL, "--nepochs=40")
    child = command("train", mine, "--output-dir", run, *flags, folder=tmp_path)
    wait_for(lambda: has_trained(run, 1))
    if change == "cut off":
        os.truncate(mine, 5000)
    elif change == "overwritten":
        with mine.open("r+b") as file:
            file.write(bytes(mine.stat().st_size))
    else:
        mine.unlink()
    done = child.ended()
    tally("scans that change under a training")
    assert done.code in (0, 2), done.said
    assert not done.has_traceback, done.said
    if done.code == 2:
        assert str(mine) in done.said
    else:
        whole = command("train", scan, "--output-dir", kept, *flags, folder=tmp_path).ended()
        assert whole.code == 0, whole.said
        assert [*differences(run, kept)] == []


@pytest.mark.parametrize("stream", ["stdout", "stderr", "both"])
@pytest.mark.parametrize("words", [("--version",), ("train", "nowhere.npz"), ("config", "show", "train")])
def test_a_closed_stream_gives_no_traceback(
    stream: str, words: tuple[str, ...], tmp_path: Path, tally: Tally
) -> None:
    closing = {"stdout": ">&-", "stderr": "2>&-", "both": ">&- 2>&-"}[stream]
    line = f'exec "$0" -m ptycho_torch "$@" {closing}'
    done = subprocess.run(
        ["bash", "-c", line, sys.executable, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=BUSY_S,
    )
    tally("closed streams")
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode in (0, 2), done


def test_a_training_whose_reader_goes_away_goes_on_or_ends_in_order(
    scan: Path, tmp_path: Path, tally: Tally
) -> None:
    run = tmp_path / "run"
    line = '"$0" -m ptycho_torch train "$@" 2>&1 | head -1; exit "${PIPESTATUS[0]}"'
    done = subprocess.run(
        ["bash", "-c", line, sys.executable, str(scan), "--output-dir", str(run), *TRAINING],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=BUSY_S,
    )
    tally("closed streams")
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode in (0, 141), done
    assert broken(run) == []
