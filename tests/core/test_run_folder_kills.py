"""Writers that are killed while they replace a run or a set of files."""

import subprocess
import sys
from pathlib import Path

import pytest

from ptycho.run_files import earlier_run, has_results
from ptycho.run_folder import RunFolder, one_set
from tests.core.runs import contents, earlier, whole, write_run

ROOT = Path(__file__).parents[2]

KILLED = """
import os, signal, sys
from pathlib import Path
from ptycho.run_folder import RunFolder, one_set

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}

def replace(path, last):
    steps = 0
    def count(event, arguments):
        nonlocal steps
        if event in STEPS and "{mark}" in str(arguments[0]):
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
    with RunFolder(path) as folder:
        sys.addaudithook(count)
        folder.begin(anew=True)
        for name in ("config.json", "history.csv"):
            (path / name).write_text("new")
        (path / "checkpoints").mkdir()
        (path / "checkpoints" / "last.ckpt").write_text("new")
        for name in ("run.log", "wts.h5.zip"):
            (path / name).write_text("new")
        folder.saved()

for last in range(1, {count} + 1):
    child = os.fork()
    if child == 0:
        replace(Path("{mark}") / str(last), last)
        os._exit(0)
    killed = os.waitpid(child, 0)[1] == signal.SIGKILL
    print(last, killed, flush=True)
"""
MOST_STEPS = 60


def test_a_kill_before_any_step_on_the_files_loses_no_run(tmp_path: Path) -> None:
    place = tmp_path / "killed-runs"
    for last in range(1, MOST_STEPS + 1):
        write_run(place / str(last), "old")
    script = KILLED.replace("{mark}", str(place)).replace("{count}", str(MOST_STEPS))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    killed = [int(line.split()[0]) for line in done.stdout.splitlines() if line.endswith("True")]
    assert 20 < len(killed) < MOST_STEPS  # each step, and the end was reached
    ends = set()
    for last in range(1, MOST_STEPS + 1):
        run = place / str(last)
        assert len(set(contents(run).values())) <= 1, f"step {last}: two runs in one place"
        with RunFolder(run):  # what the next command finds
            pass
        earlier = earlier_run(run)
        if contents(run) == whole("old"):
            assert earlier is None
            ends.add("put back")
        elif earlier is not None:
            assert contents(earlier) == whole("old")
            assert has_results(run)
            ends.add("kept aside")
        else:
            assert contents(run) == whole("new")
            ends.add("replaced")
        hidden = {path.name for path in run.iterdir() if path.name.startswith(".")}
        assert hidden == ({earlier.name} if earlier else set()), f"step {last}"
    assert ends == {"put back", "kept aside", "replaced"}


REPLACED_SET = """
import os, signal, sys
from pathlib import Path
from ptycho.run_folder import RunFolder, one_set

def replace(path, last):
    steps = 0
    def count(event, arguments):
        nonlocal steps
        if event in {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"} and "{mark}" in str(arguments[0]):
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
    with RunFolder(path):
        sys.addaudithook(count)
        with one_set(path, path / "{inner}") as new:
            for name in ("reconstruction.npz", "metrics.json"):
                (new / name).write_text("new")
            (new / "comparison.png").mkdir()

for last in range(1, 31):
    child = os.fork()
    if child == 0:
        replace(Path("{mark}") / str(last), last)
        os._exit(0)
    print(last, os.waitpid(child, 0)[1] == signal.SIGKILL, flush=True)
"""


@pytest.mark.parametrize("inner", ["", "a"])
def test_a_kill_while_a_set_is_replaced_leaves_the_old_one_or_the_new_one(inner: str, tmp_path: Path) -> None:
    place = tmp_path / "killed-runs"
    old = dict.fromkeys(("reconstruction.npz", "comparison.png", "metrics.json"), "old")
    for last in range(1, 31):
        write_run(place / str(last) / inner, "old", tuple(old))
        write_run(place / str(last), "record", ("config.json",))
    script = REPLACED_SET.replace("{mark}", str(place)).replace("{inner}", inner)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    killed = [int(line.split()[0]) for line in done.stdout.splitlines() if line.endswith("True")]
    assert 8 < len(killed) < 30
    ends = []
    for last in killed:
        with RunFolder(place / str(last)):
            found = {path.name: path.read_text() for path in (place / str(last) / inner).glob("[a-z]*.*")}
        found.pop("config.json", None)
        assert found in (old, {"reconstruction.npz": "new", "metrics.json": "new"}), f"step {last}"
        assert {path.name for path in (place / str(last)).iterdir()} == {
            "config.json",
            *([inner] if inner else found),
        }
        ends.append(len(found))
    assert set(ends) == {2, 3}


def test_a_set_is_not_put_in_place_of_folders(tmp_path: Path) -> None:
    write_run(tmp_path, "old", ("reconstruction.npz", "metrics.json/mine"))
    with pytest.raises(FileExistsError, match="got a folder"), one_set(tmp_path, tmp_path) as new:
        write_run(new, "new", ("reconstruction.npz", "metrics.json"))
    assert (tmp_path / "reconstruction.npz").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"reconstruction.npz", "metrics.json"}


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    run = earlier(tmp_path)
    left = [run / ".ptycho-0.partial", run / "checkpoints" / ".ptycho-1.partial"]
    for path in left:
        path.touch()
    with RunFolder(run):
        assert not any(path.exists() for path in left)
    assert contents(run) == whole("old")
