"""A training that is killed, wherever it was, leaves whole files, and goes on to the same weights."""

import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptycho.checksums import Checksums
from ptycho.run_folder import RunFolder
from tests.faults.children import Ended, Trouble, command, steps_of
from tests.faults.conftest import TRAINING, Tally
from tests.faults.whole import broken, changed, content, differences, leftovers

PARTS = 16
KILLED = -9
parts = pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.thorough) for part in range(1, PARTS))]
)


def went_on(scan: Path, run: Path, undisturbed: Path, folder: Path, other_disk: Path) -> Iterator[str]:
    """What is wrong with a run after a kill, and with what `--resume auto` makes of it."""
    yield from broken(run)
    yield from changed(run, folder)
    words = ("train", scan, "--output-dir", run, "--resume", "auto", *TRAINING)
    done = command(*words, folder=folder, TMPDIR=str(other_disk)).ended()
    if done.code != 0 or done.has_traceback:
        yield f"resume: exit {done.code}: {done.said}"
    else:
        yield from differences(run, undisturbed)
        yield from broken(run)
        yield from changed(run, folder)
        yield from leftovers(run)


def killed(scan: Path, run: Path, folder: Path, other_disk: Path, trouble: Trouble) -> Ended:
    words = ("train", scan, "--output-dir", run, *TRAINING)
    return command(*words, folder=folder, trouble=trouble, TMPDIR=str(other_disk)).ended()


@parts
def test_a_kill_before_any_step_on_the_files_loses_nothing(
    part: int, scan: Path, undisturbed: Path, tmp_path: Path, other_disk: Path, tally: Tally
) -> None:
    run, environ = tmp_path / "run", {"TMPDIR": str(other_disk)}
    words = ("train", scan, "--output-dir", run, *TRAINING)
    steps = list(steps_of(*words, folder=tmp_path, watched=run, **environ))
    assert len(steps) > 20
    found = []
    chosen = range(part, len(steps), PARTS)
    for number in chosen:
        shutil.rmtree(run, ignore_errors=True)
        done = killed(scan, run, tmp_path, other_disk, Trouble(run, die_before=number))
        assert done.code in (KILLED, 0), done.said
        wrong = went_on(scan, run, undisturbed, tmp_path, other_disk)
        found += [f"killed before step {number} ({steps[number]}): {what}" for what in wrong]
    tally("kills before a step on the files", len(chosen))
    assert not found, "\n".join(found)


@parts
def test_a_kill_in_the_middle_of_a_write_loses_nothing(
    part: int, scan: Path, undisturbed: Path, tmp_path: Path, other_disk: Path, tally: Tally
) -> None:
    run = tmp_path / "run"
    largest = max(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file())
    sizes = random.Random(part).sample(range(largest), 2)
    found = []
    for size in sizes:
        shutil.rmtree(run, ignore_errors=True)
        done = killed(scan, run, tmp_path, other_disk, Trouble(largest_file=size, at_limit="killed"))
        assert done.code not in (0, 1), done.said
        wrong = went_on(scan, run, undisturbed, tmp_path, other_disk)
        found += [f"killed where a file had {size} bytes: {what}" for what in wrong]
    tally("kills in the middle of a write", len(sizes))
    assert not found, "\n".join(found)


@parts
def test_a_kill_at_a_random_moment_loses_nothing(
    part: int, scan: Path, undisturbed: Path, tmp_path: Path, other_disk: Path, tally: Tally
) -> None:
    run, chance, found = tmp_path / "run", random.Random(part), []
    words = ("train", scan, "--output-dir", run, *TRAINING)
    for _ in range(2):
        shutil.rmtree(run, ignore_errors=True)
        child = command(*words, folder=tmp_path, TMPDIR=str(other_disk))
        after_s = chance.uniform(0.05, 1.5)
        time.sleep(after_s)
        child.process.kill()
        child.ended()
        wrong = went_on(scan, run, undisturbed, tmp_path, other_disk)
        found += [f"killed after {after_s:.3f} s: {what}" for what in wrong]
    tally("kills at a random moment", 2)
    assert not found, "\n".join(found)


@parts
def test_a_training_that_goes_on_may_be_killed_again(
    part: int, scan: Path, undisturbed: Path, tmp_path: Path, other_disk: Path, tally: Tally
) -> None:
    run, chance = tmp_path / "run", random.Random(100 + part)
    words = ("train", scan, "--output-dir", run, "--resume", "auto", *TRAINING)
    found = []
    for _ in range(3):
        trouble = Trouble(run, die_before=chance.randrange(8, 30))
        done = command(*words, folder=tmp_path, trouble=trouble, TMPDIR=str(other_disk)).ended()
        assert done.code in (KILLED, 0), done.said
        found += broken(run)
    found += went_on(scan, run, undisturbed, tmp_path, other_disk)
    tally("kills of a training that went on", 3)
    assert not found, "\n".join(found)


RECONSTRUCTION = ("reconstruction.npz", "reconstruction.png", "comparison.png", "metrics.json", "config.json")


@parts
@pytest.mark.parametrize(
    "what",
    [
        "a finished training",
        pytest.param("a stopped training", marks=pytest.mark.thorough),
        pytest.param("a reconstruction", marks=pytest.mark.thorough),
    ],
)
def test_a_kill_while_a_run_is_replaced_keeps_one_of_the_two(
    what: str, part: int, scan: Path, undisturbed: Path, tmp_path: Path, other_disk: Path, tally: Tally
) -> None:
    old, new, run = tmp_path / "old", tmp_path / "new", tmp_path / "run"
    begun = ("train", scan, *TRAINING, "--learning-rate=0.002", "--overwrite")
    if what == "a reconstruction":
        begun = ("reconstruct", undisturbed, scan, "--accelerator=cpu", "--overwrite")
        assert command(*begun, "--output-dir", old, folder=tmp_path).ended().code == 0
    else:
        shutil.copytree(undisturbed, old)
    if what == "a stopped training":
        checksums = Checksums(old)
        with checksums.remove(old / "wts.h5.zip"):
            (old / "wts.h5.zip").unlink()
        checksums.settle()
    before, words = content(old), (*begun, "--output-dir", run)
    shutil.copytree(old, run)
    steps = list(steps_of(*words, folder=tmp_path, watched=run))
    run.rename(new)
    found = []
    chosen = range(part, len(steps), PARTS)
    for number in chosen:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(old, run)
        trouble = Trouble(run, die_before=number)
        done = command(*words, folder=tmp_path, trouble=trouble, TMPDIR=str(other_disk)).ended()
        wrong = [] if done.code in (KILLED, 0) else [f"exit {done.code}: {done.said}"]
        wrong += broken(run)
        with RunFolder(run):  # the next one that writes there
            pass
        places = (run, *run.glob(".earlier-*"))
        if (
            not any(content(place) == before for place in places)
            and content(run).keys() != content(new).keys()
        ):
            wrong.append(f"neither the old run nor the new one is whole: {sorted(content(run))}")
        wrong += changed(run, tmp_path)
        wrong += replaced(words, run, new, tmp_path)
        found += [f"killed before step {number} ({steps[number]}): {one}" for one in wrong]
    tally("kills while a run is replaced", len(chosen))
    assert not found, "\n".join(found)


def replaced(words: tuple[object, ...], run: Path, new: Path, folder: Path) -> Iterator[str]:
    """What is wrong with a run after the command that replaces it has come to its end."""
    done = command(*words, folder=folder).ended()
    if done.code != 0 or done.has_traceback:
        yield f"again: exit {done.code}: {done.said}"
    if content(run).keys() != content(new).keys():
        yield f"again: {sorted(content(run))} instead of {sorted(content(new))}"
    if (new / "wts.h5.zip").exists():
        yield from differences(run, new)
    yield from broken(run)
    yield from changed(run, folder)
    yield from map(str, run.glob(".*"))


@parts
def test_a_kill_in_a_reconstruction_leaves_whole_files(
    part: int, scan: Path, undisturbed: Path, tmp_path: Path, other_disk: Path, tally: Tally
) -> None:
    place = tmp_path / "place"
    words = ("reconstruct", undisturbed, scan, "--output-dir", place, "--accelerator=cpu")
    steps = list(steps_of(*words, folder=tmp_path, watched=place))
    made = {name for name in os.listdir(place) if not name.startswith(".")}
    assert made >= set(RECONSTRUCTION)
    found = []
    chosen = range(part, len(steps), PARTS)
    for number in chosen:
        shutil.rmtree(place, ignore_errors=True)
        trouble = Trouble(place, die_before=number)
        command(*words, folder=tmp_path, trouble=trouble, TMPDIR=str(other_disk)).ended()
        found += [f"killed before step {number} ({steps[number]}): {what}" for what in broken(place)]
        done = command(*words, folder=tmp_path).ended()
        if done.code != 0 and "--overwrite" in done.said:
            done = command(*words, "--overwrite", folder=tmp_path).ended()
        if done.code != 0 or leftovers(place):
            found.append(f"again after step {number}: exit {done.code}, {leftovers(place)}: {done.said}")
    tally("kills of a reconstruction", len(chosen))
    assert not found, "\n".join(found)
