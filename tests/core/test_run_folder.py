"""One writer in the folder of a run, and an earlier run that nothing loses."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptycho.config.errors import ConfigError
from ptycho.data_error import DataError
from ptycho.folder_lock import WRITER
from ptycho.model_archive import ARCHIVE
from ptycho.run_folder import (
    RunFolder,
    earlier_run,
    has_results,
    holds_training,
    one_set,
    run_failure,
)
from ptycho.run_names import default_folder, distinct_names, folder_name, reconstruction_folder
from tests.refusals import refusing

ROOT = Path(__file__).parents[2]
TRAINING = ("config.json", "run.log", "history.csv", "checkpoints/last.ckpt", "wts.h5.zip")


def write_run(folder: Path, words: str, names: tuple[str, ...] = TRAINING) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(words)


def contents(folder: Path) -> dict[str, str]:
    """What is in the files of a run in place."""
    found = {name: folder / name for name in TRAINING if (folder / name).is_file()}
    return {name: path.read_text() for name, path in found.items()}


def whole(words: str) -> dict[str, str]:
    return dict.fromkeys(TRAINING, words)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", "old")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    return tmp_path / "run"


def replaced(run: Path, names: tuple[str, ...], *, fails: bool = False) -> None:
    with RunFolder(run) as folder:
        folder.begin(anew=True)
        assert contents(run) == {}
        write_run(run, "new", names)
        if fails:
            raise KeyboardInterrupt
        folder.saved()


# What holds a run, and what replaces it -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "history.csv", "checkpoints", ARCHIVE, "metrics.json"])
def test_a_folder_that_holds_a_run_is_refused_with_the_ways_on(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir() if name == "checkpoints" else (tmp_path / name).touch()
    with (
        refusing("output_dir") as caught,
        RunFolder(tmp_path) as folder,
    ):
        folder.refuse_run()
    assert "--overwrite" in str(caught.value)
    assert ("--resume" in str(caught.value)) == (name == "checkpoints")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_that_may_not_be_replaced_is_refused_without_that_way_on(run: Path) -> None:
    with pytest.raises(ConfigError) as caught, RunFolder(run) as folder:
        folder.refuse_run(may_resume=False, may_replace=False)
    assert str(caught.value).endswith("got one with a trained model. Name another folder.")


def test_other_files_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert run_failure(tmp_path) is None


@pytest.mark.parametrize("names", [("run.log",), ("SHA256SUMS",), ("run.log", "SHA256SUMS")])
def test_a_log_or_checksums_of_no_run_are_kept(tmp_path: Path, names: tuple[str, ...]) -> None:
    write_run(tmp_path, "mine", names)
    failure = run_failure(tmp_path)
    assert failure is not None
    assert f"got {' and '.join(names)} of no run. Move them away" in failure.message
    with refusing("output_dir"), RunFolder(tmp_path):
        pass
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(names, "mine")


def test_a_run_that_ends_before_its_record_leaves_no_log(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        replaced(tmp_path / "run", ("run.log",), fails=True)
    assert list(tmp_path.iterdir()) == []


def test_an_unpacked_model_is_a_model(tmp_path: Path) -> None:
    names = ("config.json", "weights.safetensors")
    write_run(tmp_path, "old", names)
    failure = run_failure(tmp_path)
    assert failure is not None
    assert "got one with a trained model" in failure.message
    assert holds_training(tmp_path)
    assert has_results(tmp_path)
    with RunFolder(tmp_path) as folder:
        folder.begin(anew=True)
        earlier = earlier_run(tmp_path)
        assert earlier is not None
        assert {path.name for path in earlier.iterdir()} == set(names)


@pytest.mark.parametrize(
    "name", [".ptycho-new", ".ptycho-set", ".earlier-moving", ".earlier-removed", ".ptycho-lock"]
)
def test_what_is_in_the_way_under_a_name_of_writers_is_kept(tmp_path: Path, name: str) -> None:
    if name == ".ptycho-lock":
        write_run(tmp_path / name, "mine", ("notes.txt",))
    else:
        (tmp_path / name).write_text("mine")
    with (
        refusing(str(tmp_path / name)),
        RunFolder(tmp_path),
    ):
        pass
    texts = {path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert texts == {"mine"}


@pytest.mark.parametrize("name", [".new", ".lock"])
def test_folders_of_others_with_a_common_name_are_kept(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / name, "mine", ("notes.txt",))
    with RunFolder(tmp_path) as folder:
        folder.begin(anew=True)
        folder.saved()
    assert (tmp_path / name / "notes.txt").read_text() == "mine"


def test_a_file_in_place_of_the_folder_is_refused_with_a_way_on(tmp_path: Path) -> None:
    (tmp_path / "s.npz").touch()
    for path in (tmp_path / "s.npz", tmp_path / "s.npz" / "run"):
        with (
            refusing("output_dir"),
            RunFolder(path),
        ):
            pass


@pytest.mark.parametrize("name", ["run.log", "history.csv", "SHA256SUMS", "checkpoints"])
def test_a_run_does_not_go_on_with_pipes_and_folders_in_place_of_files(tmp_path: Path, name: str) -> None:
    write_run(tmp_path, "old", ("config.json",))
    (tmp_path / name).write_text("") if name == "checkpoints" else os.mkfifo(tmp_path / name)
    with refusing(str(tmp_path / name)), RunFolder(tmp_path) as folder:
        folder.begin(anew=False)


def test_a_run_is_kept_aside_until_the_new_one_has_saved(run: Path) -> None:
    with RunFolder(run) as folder:
        folder.begin(anew=True)
        earlier = earlier_run(run)
        assert earlier is not None
        assert contents(earlier) == whole("old")
        write_run(run, "new")
        folder.saved()
    assert contents(run) == whole("new")
    assert {path.name for path in run.iterdir()} == {"notes.txt", *(Path(name).parts[0] for name in TRAINING)}


def test_a_run_that_saves_nothing_gives_the_earlier_one_its_place_back(run: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        replaced(run, TRAINING[:3], fails=True)
    assert contents(run) == whole("old")
    assert earlier_run(run) is None


def test_a_run_that_can_go_on_keeps_its_place_and_the_earlier_one_is_named(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyboardInterrupt):
        replaced(run, TRAINING[:4], fails=True)
    earlier = earlier_run(run)
    assert earlier is not None
    assert contents(earlier) == whole("old")
    assert str(earlier) in caplog.text
    assert "checkpoints/last.ckpt" in contents(run)
    with RunFolder(run) as folder:  # goes on, and saves
        folder.begin(anew=False)
        write_run(run, "new")
        folder.saved()
    assert contents(run) == whole("new")
    assert earlier_run(run) is None


def test_runs_replaced_one_after_the_other_are_all_kept_until_one_has_saved(run: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            replaced(run, TRAINING[:4], fails=True)
    assert contents(run / ".earlier-1") == whole("old")
    assert earlier_run(run) == run / ".earlier-2"
    replaced(run, TRAINING)
    assert earlier_run(run) is None


def test_a_folder_that_was_made_for_nothing_is_removed_with_those_above(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunFolder(tmp_path / "a" / "b"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_results_of_several_scans_are_replaced_as_one_and_no_folder_of_others(tmp_path: Path) -> None:
    write_run(tmp_path, "old", ("config.json", "a/reconstruction.npz", "a/metrics.json", "a/notes.txt"))
    write_run(tmp_path, "other", ("b/metrics.json", "c/config.json", "c/reconstruction.npz"))
    with RunFolder(tmp_path) as folder:
        folder.begin(anew=True)
        write_run(tmp_path, "new", ("config.json",))
        with one_set(tmp_path, tmp_path / "d") as new:
            write_run(new, "new", ("reconstruction.npz", "metrics.json"))
        folder.saved()
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    kept = ["a/notes.txt", "b/metrics.json", "c/config.json", "c/reconstruction.npz"]
    assert files == [*kept, "config.json", "d/metrics.json", "d/reconstruction.npz"]


def test_results_appear_together_or_not_at_all(tmp_path: Path) -> None:
    def fail() -> None:
        with one_set(tmp_path, tmp_path) as new:
            write_run(new, "half", ("reconstruction.npz",))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_refused_leaves_no_record(run: Path, tmp_path: Path) -> None:
    def refused(place: Path, names: tuple[str, ...], *, anew: bool = True) -> None:
        with RunFolder(place) as folder:
            folder.begin(anew=anew)
            write_run(place, "new", names)
            raise DataError("wrong")

    with pytest.raises(DataError):
        refused(tmp_path / "a" / "b", ("config.json", "run.log", "SHA256SUMS"))
    assert not (tmp_path / "a").exists()
    with pytest.raises(DataError):
        refused(run, ("config.json", "run.log"))
    assert contents(run) == whole("old")
    with pytest.raises(DataError):
        refused(tmp_path / "c", ("config.json", "history.csv"))
    with pytest.raises(DataError):
        refused(tmp_path / "d", ("config.json",), anew=False)
    kept = [[path.name for path in sorted((tmp_path / name).iterdir())] for name in ("c", "d")]
    assert kept == [["config.json", "history.csv"], ["config.json"]]


@pytest.mark.parametrize(
    "name", ["config.json", "metrics.json", "state.pt", "wts.h5.zip", "a/reconstruction.npz"]
)
def test_a_folder_that_is_called_as_a_file_of_a_run_is_kept(tmp_path: Path, name: str) -> None:
    write_run(tmp_path, "mine", (f"{name}/notes.txt", "config.json" if "/" in name else "x"))
    with refusing("output_dir"), RunFolder(tmp_path):
        pass
    assert run_failure(tmp_path) is not None
    assert (tmp_path / name / "notes.txt").read_text() == "mine"


# Kills --------------------------------------------------------------------------------------------------------------

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
        assert found in (old, {"reconstruction.npz": "new", "metrics.json": "new"}), f"step {last}"
        assert {path.name for path in (place / str(last)).iterdir()} == ({inner} if inner else {*found})
        ends.append(len(found))
    assert set(ends) == {2, 3}


def test_a_set_is_not_put_in_place_of_folders(tmp_path: Path) -> None:
    write_run(tmp_path, "old", ("reconstruction.npz", "metrics.json/mine"))
    with pytest.raises(FileExistsError, match="got a folder"), one_set(tmp_path, tmp_path) as new:
        write_run(new, "new", ("reconstruction.npz", "metrics.json"))
    assert (tmp_path / "reconstruction.npz").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"reconstruction.npz", "metrics.json"}


def test_what_a_killed_writer_left_is_removed_by_the_next(run: Path) -> None:
    left = [run / ".ptycho-0.partial", run / "checkpoints" / ".ptycho-1.partial"]
    for path in left:
        path.touch()
    with RunFolder(run):
        assert not any(path.exists() for path in left)
    assert contents(run) == whole("old")


# One writer ---------------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from ptycho.run_folder import RunFolder
with RunFolder(sys.argv[1]) as folder:
    folder.begin(anew=False)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes into `run`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_writer_is_refused_at_once_and_told_of_the_first(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    started_s = time.monotonic()
    with pytest.raises(ConfigError, match=f"in use by process {writer.pid} on .* since 20.*-c"):
        RunFolder(tmp_path / "run").__enter__()
    assert time.monotonic() - started_s < 5
    failure = run_failure(tmp_path / "run")
    assert failure is not None
    assert f"process {writer.pid}" in failure.message


def test_a_kill_frees_the_folder(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    with RunFolder(tmp_path / "run"):
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_a_process_that_was_forked_does_not_keep_the_folder(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, sys, time
        from ptycho.run_folder import RunFolder
        with RunFolder(sys.argv[1]):
            if os.fork() == 0:  # as a worker that loads data
                time.sleep(30)
                os._exit(0)
            print("held", flush=True)
            os.kill(os.getpid(), 9)
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as first:
        first.wait()
        try:
            with RunFolder(tmp_path):
                pass
        finally:
            os.killpg(first.pid, signal.SIGKILL)


def test_two_threads_are_two_writers(tmp_path: Path) -> None:
    said: list[str] = []

    def second() -> None:
        try:
            with RunFolder(tmp_path):
                said.append("entered")
        except ConfigError as error:
            said.append(str(error))

    with RunFolder(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert f"in use by process {os.getpid()}" in said[0]


def test_who_the_first_one_is_never_steers_the_terminal(tmp_path: Path) -> None:
    with RunFolder(tmp_path):
        told = {"pid": 1, "host": "\x1b[2J", "since": "now", "command": "\r\n"}
        (tmp_path / WRITER).write_text(json.dumps(told))
        failure = run_failure(tmp_path)
    assert failure is not None
    assert failure.message.isprintable()


def test_further_processes_of_a_run_ask_and_write_nothing(run: Path) -> None:
    with RunFolder(run), RunFolder(run, writes=False) as other:
        other.refuse_run()
        other.begin(anew=True)
        other.saved()
    assert contents(run) == whole("old")


# Links --------------------------------------------------------------------------------------------------------------


def linked(link: Path, to: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(to)


def test_what_links_lead_to_is_neither_removed_nor_written(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    write_run(elsewhere, "mine", ("checkpoints/last.ckpt", "wts.h5.zip", "run.log", "aside/wts.h5.zip"))
    for name in ("checkpoints", "wts.h5.zip", "run.log"):
        linked(run / name, elsewhere / name)
    linked(run / ".earlier-1", elsewhere / "aside")
    with pytest.raises(ConfigError, match=r"checkpoints: expected .* got a link"), RunFolder(run) as folder:
        folder.begin(anew=False)
    for name in (".earlier-moving", ".earlier-removed"):
        linked(run / name, elsewhere / "aside")
        with refusing(str(run / name)), RunFolder(run):
            pass
        (run / name).unlink()
    with RunFolder(run) as folder:
        folder.begin(anew=True)
        write_run(run, "new")
        folder.saved()
    assert contents(run) == whole("new")
    texts = {path.read_text() for path in elsewhere.rglob("*") if path.is_file()}
    assert (texts, len(list(elsewhere.rglob("*")))) == ({"mine"}, 6)


def test_results_are_not_written_through_a_link(tmp_path: Path) -> None:
    linked(tmp_path / "run" / "a", tmp_path)
    with refusing(str(tmp_path / "run" / "a")), one_set(tmp_path / "run", tmp_path / "run" / "a"):
        pass


# Names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("scan", "scan"),
        ("my scan 7", "my scan 7"),
        ("..", "scan"),
        (".", "scan"),
        ("", "scan"),
        (".hidden", "hidden"),
        ("a/b\\c", "a-b-c"),
        ("a\x1b[2J\nb", "a-[2J-b"),
        ("\udcff", "-"),
        ("checkpoints", "checkpoints-scan"),
        ("config.json", "config.json-scan"),
    ],
)
def test_a_name_is_one_visible_part_of_a_path(stem: str, name: str) -> None:
    assert folder_name(stem) == name


def test_long_names_are_cut_and_stay_apart(tmp_path: Path) -> None:
    names = {folder_name("x" * 300 + end) for end in "ab"}
    assert len(names) == 2
    for name in names:
        (tmp_path / name).mkdir()


def test_equal_names_are_told_apart() -> None:
    assert distinct_names(["a", "A", "a\n", "a-", "b"]) == ["a", "A-2", "a-", "a--2", "b"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(data: str) -> str:
    return str(default_folder(Path("runs"), data))


def trained_on(data: str) -> Callable[[str], None]:
    def train(folder: str) -> None:
        write_run(Path(folder), json.dumps({"configuration": {"train_data_file": data}}), ("config.json",))

    return train


@pytest.mark.usefixtures("here")
def test_scans_of_one_name_have_folders_of_their_own_before_any_of_them_runs() -> None:
    assert named("scan.npz") == "runs/scan"
    assert named("scan_001/data.npz") == "runs/scan_001-data"
    assert named("scan_002/data.npz") == "runs/scan_002-data"
    assert named("...npz") == "runs/scan"


def test_a_folder_with_a_run_on_another_scan_is_left_alone(here: Path) -> None:
    trained_on("scan.npz")("runs/scan")
    assert named("scan.npz") == named(str(here / "scan.npz")) == "runs/scan"
    assert named("scan.h5") == f"runs/{here.name}-scan"
    trained_on("a/b/data.npz")("runs/b-data")
    assert named("c/b/data.npz") == "runs/c-b-data"
    trained_on("c/b/data.npz")("runs/c-b-data")
    Path("runs/b-data/config.json").unlink()
    assert named("c/b/data.npz") == "runs/c-b-data"  # where its own run is


@pytest.mark.usefixtures("here")
def test_a_folder_in_that_of_a_model_does_not_repeat_its_name(tmp_path: Path) -> None:
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "wts.h5.zip").touch()
    for model in (tmp_path / "runs" / "x", tmp_path / "runs" / "x" / "wts.h5.zip"):
        assert reconstruction_folder(model, "x.npz") == tmp_path / "runs" / "x" / "reconstruction"
        assert reconstruction_folder(model, "y.npz") == tmp_path / "runs" / "x" / "y"


@pytest.mark.usefixtures("here")
def test_a_link_is_no_default_folder() -> None:
    linked(Path("runs/b-data"), Path("..").resolve())
    assert named("a/b/data.npz") == "runs/a-b-data"
