"""Two writers in one folder: one of them works, the other is refused, whatever door they come through."""

import shutil
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from ptycho.config.errors import ConfigError
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.runs.training import train
from tests.faults.children import Child, Ended, command
from tests.faults.conftest import SMALL, TRAINING, Tally
from tests.faults.whole import broken, differences, leftovers

SETTINGS = {"n_groups": 24, "gridsize": 1, "batch_size": 12, "nepochs": 3, "n_filters_scale": 1}
SETTINGS |= {"n_unrolled_steps": 1, "n_physics_steps": 1, "accelerator": "cpu", "val_split": 0.2}
SETTINGS |= {"enable_progress_bar": False}
LONG = (*SMALL, "--nepochs=25")


def trained_from_python(scan: str, run: str) -> int:
    """Train through the Python function; 2 where it is refused."""
    try:
        train(create_training_payload(scan, run, SETTINGS))
    except ConfigError as error:
        print(error)
        return 2
    return 0


def by_command(scan: Path, run: Path, folder: Path) -> Child:
    return command("train", scan, "--output-dir", run, *TRAINING, folder=folder)


def by_function(scan: Path, run: Path, folder: Path) -> Child:
    return Child(trained_from_python, str(scan), str(run), folder=folder)


def by_auto(scan: Path, run: Path, folder: Path) -> Child:
    return command("train", scan, "--output-dir", run, "--resume", "auto", *TRAINING, folder=folder)


def by_overwriting(scan: Path, run: Path, folder: Path) -> Child:
    return command("train", scan, "--output-dir", run, "--overwrite", *TRAINING, folder=folder)


@pytest.fixture(scope="session")
def from_python(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of the function, which has other defaults than the command, that nothing befell."""
    folder = tmp_path_factory.mktemp("from-python")
    done = by_function(scan, folder / "run", folder).ended()
    assert done.code == 0, done.said
    return folder / "run"


Start = Callable[[Path, Path, Path], Child]
DOORS: dict[str, Start] = {
    "command": by_command,
    "function": by_function,
    "auto": by_auto,
    "overwrite": by_overwriting,
}
PAIRS = [(one, other) for one in DOORS for other in DOORS if one <= other]
IN_CHECK = {("auto", "auto"), ("command", "function"), "resume", "command", "killed", "train"}
"""What `make check` tries too."""


def tried(values: Iterable[Any]) -> list[Any]:
    """Parameters of a test, those that `make check` leaves out marked."""
    several = (value if isinstance(value, tuple) else (value,) for value in values)
    return [
        pytest.param(
            *one, marks=() if (one if len(one) > 1 else one[0]) in IN_CHECK else pytest.mark.thorough
        )
        for one in several
    ]


def names_the_other(done: Ended, run: Path, pid: int | None) -> bool:
    """Whether a refusal says which folder is in use, and by which process."""
    return done.code == 2 and not done.has_traceback and str(run) in done.said and str(pid) in done.said


@pytest.mark.parametrize(("one", "other"), tried(PAIRS))
def test_of_two_that_begin_at_once_one_trains(
    one: str, other: str, scan: Path, undisturbed: Path, from_python: Path, tmp_path: Path, tally: Tally
) -> None:
    run, found = tmp_path / "run", []
    children = [DOORS[name](scan, run, tmp_path) for name in (one, other)]
    done = [child.ended() for child in children]
    # the second may come when the first has finished: then it is refused too, unless it is to replace it
    trained = [
        ended for ended in done if ended.code == 0 and "the training has finished already" not in ended.said
    ]
    if len(trained) != 1 and "overwrite" not in (one, other):
        found.append(f"exit codes {[ended.code for ended in done]}: {[ended.said for ended in done]}")
    found += [ended.said for ended in done if ended.code not in (0, 2) or ended.has_traceback]
    alone = {from_python if name == "function" else undisturbed for name in (one, other)}
    if all(any(differences(run, whole)) for whole in alone):
        found.append("what is left is the run of neither")
    found += [*broken(run), *leftovers(run)]
    tally("pairs of writers")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("door", tried([*DOORS, "resume", "reconstruct into"]))
def test_a_second_writer_is_refused_and_told_of_the_first(
    door: str, scan: Path, undisturbed: Path, tmp_path: Path, tally: Tally
) -> None:
    run, found = tmp_path / "run", []
    first = command("train", scan, "--output-dir", run, *LONG, folder=tmp_path)
    wait_for(lambda: any((run / "checkpoints").glob("*.ckpt")))
    if door == "resume":
        second = command("train", "--resume", run, "--nepochs=99", folder=tmp_path)
    elif door == "reconstruct into":
        words = ("reconstruct", undisturbed, scan, "--output-dir", run, "--accelerator=cpu")
        second = command(*words, folder=tmp_path)
    else:
        second = DOORS[door](scan, run, tmp_path)
    done = second.ended()
    if not names_the_other(done, run, first.process.pid):
        found.append(f"the second: exit {done.code}, process {first.process.pid} not named: {done.said}")
    ended = first.ended()
    found += [] if ended.code == 0 else [f"the first: exit {ended.code}: {ended.said}"]
    found += [*broken(run), *leftovers(run)]
    tally("pairs of writers")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("end", tried(["killed", "interrupted", "finished", "refused"]))
def test_a_writer_that_has_ended_locks_nobody_out(end: str, scan: Path, tmp_path: Path, tally: Tally) -> None:
    run = tmp_path / "run"
    flags = {"finished": TRAINING, "refused": (*TRAINING, "--learning-rate=1e30")}.get(end, LONG)
    first = command("train", scan, "--output-dir", run, *flags, folder=tmp_path)
    if end in ("killed", "interrupted"):
        wait_for(lambda: any((run / "checkpoints").glob("*.ckpt")))
        first.process.kill() if end == "killed" else first.process.terminate()
    first.ended()
    again = command("train", scan, "--output-dir", run, "--overwrite", *TRAINING, folder=tmp_path).ended()
    tally("locks of writers that ended")
    assert (again.code, broken(run)) == (0, []), again.said


def test_two_reconstructions_into_one_folder_are_one_set(
    scan: Path, undisturbed: Path, tmp_path: Path, tally: Tally
) -> None:
    place = tmp_path / "place"
    words = ("reconstruct", undisturbed, scan, "--output-dir", place, "--accelerator=cpu")
    done = [child.ended() for child in [command(*words, folder=tmp_path) for _ in range(2)]]
    tally("pairs of writers")
    assert all(ended.code in (0, 2) and not ended.has_traceback for ended in done), done
    assert any(ended.code == 0 for ended in done)
    assert [*broken(place), *leftovers(place)] == []


@pytest.mark.parametrize("refused", tried(["train", "train from Python", "reconstruct"]))
def test_a_folder_that_holds_a_run_is_refused_with_the_ways_on(
    refused: str, scan: Path, undisturbed: Path, tmp_path: Path, tally: Tally
) -> None:
    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    if refused == "train":
        (run / "wts.h5.zip").unlink()  # stopped before its end
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    if refused == "reconstruct":
        words = ("reconstruct", undisturbed, scan, "--output-dir", run, "--accelerator=cpu")
        done = command(*words, folder=tmp_path).ended()
    else:
        done = (by_command if refused == "train" else by_function)(scan, run, tmp_path).ended()
    tally("folders that hold a run")
    assert done.code == 2, done.said
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    if refused != "reconstruct":
        ways_on = ("resume", "overwrite")
        assert all(way in done.said for way in ways_on), done.said


def test_two_scans_of_one_name_have_folders_of_their_own(scan: Path, tmp_path: Path, tally: Tally) -> None:
    made = []
    for name in ("scan_001", "scan_002"):
        (tmp_path / name).mkdir()
        shutil.copy(scan, tmp_path / name / "data.npz")
        done = command("train", f"{name}/data.npz", *TRAINING, folder=tmp_path).ended()
        made.append((done.code, done.said.splitlines()[-1] if done.said else ""))
    tally("default folders")
    assert [code for code, _ in made] == [0, 0], made
    assert len(list(tmp_path.rglob("wts.h5.zip"))) == 2


def test_two_threads_of_a_process_train_one_after_the_other_or_are_refused(
    scan: Path, from_python: Path, tmp_path: Path, tally: Tally
) -> None:
    done = Child(_two_threads, str(scan), str(tmp_path), folder=tmp_path).ended()
    tally("threads")
    assert done.code == 0, done.said
    finished = [run for run in ("one", "other") if (tmp_path / run / "wts.h5.zip").exists()]
    assert finished, done.said
    assert [line for run in finished for line in differences(tmp_path / run, from_python)] == []


def _two_threads(scan: str, folder: str) -> int:
    """Two trainings in two threads; 0 where each has trained or was refused in words."""
    wrong: list[BaseException] = []

    def one(name: str) -> None:
        try:
            trained_from_python(scan, f"{folder}/{name}")
        except BaseException as error:
            wrong.append(error)
            raise

    threads = [threading.Thread(target=one, args=(name,)) for name in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(wrong)


def wait_for(is_there: Callable[[], Any], longest_s: float = 30.0) -> None:
    """Wait until something is there."""
    until = time.monotonic() + longest_s
    while not is_there():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.01)


def test_of_two_simulations_of_one_name_one_is_kept(tmp_path: Path, tally: Tally) -> None:
    place = tmp_path / "race.npz"
    flags = ("--N", 32, "--n-positions", 60)
    both = [command("simulate", "--output", place, *flags, "--seed", n, folder=tmp_path) for n in range(2)]
    ends = [child.ended() for child in both]
    assert sorted(end.code for end in ends) == [0, 2], [end.said for end in ends]
    assert "expected a new file; got an existing one" in next(end.said for end in ends if end.code)
    tally("pairs of writers")
