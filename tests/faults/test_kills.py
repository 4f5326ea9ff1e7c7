"""A training that is killed, wherever it was, leaves whole files, and goes on to the same weights."""

import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.children import Ended, Trouble, command, steps_of
from tests.faults.conftest import TRAINING, Tally
from tests.faults.whole import broken, differences, leftovers

PARTS = 8
KILLED = -9
parts = pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.thorough) for part in range(1, PARTS))]
)


def went_on(scan: Path, run: Path, undisturbed: Path, folder: Path, other_disk: Path) -> Iterator[str]:
    """What is wrong with a run after a kill, and with what `--resume auto` makes of it."""
    yield from broken(run)
    words = ("train", scan, "--output-dir", run, "--resume", "auto", *TRAINING)
    done = command(*words, folder=folder, TMPDIR=str(other_disk)).ended()
    if done.code != 0 or done.has_traceback:
        yield f"resume: exit {done.code}: {done.said}"
    else:
        yield from differences(run, undisturbed)
        yield from broken(run)
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
    sizes = random.Random(part).sample(range(largest), 4)
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
    for _ in range(4):
        shutil.rmtree(run, ignore_errors=True)
        child = command(*words, folder=tmp_path, TMPDIR=str(other_disk))
        after_s = chance.uniform(0.05, 1.5)
        time.sleep(after_s)
        child.process.kill()
        child.ended()
        wrong = went_on(scan, run, undisturbed, tmp_path, other_disk)
        found += [f"killed after {after_s:.3f} s: {what}" for what in wrong]
    tally("kills at a random moment", 4)
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


@pytest.mark.parametrize("overwritten", ["finished", "stopped"])
def test_a_kill_while_a_run_is_replaced_keeps_one_of_the_two(
    overwritten: str, scan: Path, undisturbed: Path, tmp_path: Path, other_disk: Path, tally: Tally
) -> None:
    run = tmp_path / "run"
    words = ("train", scan, "--output-dir", run, "--overwrite", *TRAINING, "--learning-rate=0.002")
    shutil.copytree(undisturbed, run)
    steps = list(steps_of(*words, folder=tmp_path, watched=tmp_path))
    found = []
    for number in range(0, len(steps), 6):
        for place in (path for path in tmp_path.iterdir() if not path.name.startswith(".said")):
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        shutil.copytree(undisturbed, run)
        if overwritten == "stopped":
            (run / "wts.h5.zip").unlink()
        trouble = Trouble(tmp_path, die_before=number)
        command(*words, folder=tmp_path, trouble=trouble, TMPDIR=str(other_disk)).ended()
        if overwritten == "finished" and not list(tmp_path.rglob("wts.h5.zip")):
            found.append(f"killed before step {number} ({steps[number]}): no model is left")
        if not list(tmp_path.rglob("*.ckpt")):
            found.append(f"killed before step {number} ({steps[number]}): no checkpoint is left")
        found += [f"killed before step {number}: {what}" for what in broken(tmp_path)]
        tally("kills while a run is replaced")
    assert not found, "\n".join(found)


RECONSTRUCTION = ("reconstruction.npz", "reconstruction.png", "comparison.png", "metrics.json", "config.json")


def test_a_kill_in_a_reconstruction_leaves_whole_files(
    scan: Path, undisturbed: Path, tmp_path: Path, other_disk: Path, tally: Tally
) -> None:
    place = tmp_path / "place"
    words = ("reconstruct", undisturbed, scan, "--output-dir", place, "--accelerator=cpu")
    steps = list(steps_of(*words, folder=tmp_path, watched=place))
    made = {name for name in os.listdir(place) if not name.startswith(".")}
    assert made >= set(RECONSTRUCTION)
    found = []
    for number in range(0, len(steps), 3):
        shutil.rmtree(place, ignore_errors=True)
        trouble = Trouble(place, die_before=number)
        command(*words, folder=tmp_path, trouble=trouble, TMPDIR=str(other_disk)).ended()
        found += [f"killed before step {number} ({steps[number]}): {what}" for what in broken(place)]
        done = command(*words, folder=tmp_path).ended()
        if done.code != 0 and "--overwrite" in done.said:
            done = command(*words, "--overwrite", folder=tmp_path).ended()
        if done.code != 0 or leftovers(place):
            found.append(f"again after step {number}: exit {done.code}, {leftovers(place)}: {done.said}")
        tally("kills of a reconstruction")
    assert not found, "\n".join(found)
