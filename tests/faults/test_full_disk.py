"""A disk that is full: one error that names the file, whole files, and the run goes on where there is room again."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.children import Ended, Trouble, command
from tests.faults.conftest import LONGER, TRAINING, Tally
from tests.faults.disks import SmallDisk, may_mount, small_disk
from tests.faults.whole import broken, changed, content, differences, leftovers

KIB = 1024
LEFT_KIB = (0, 4, 16, 28, 40, 80, 160, 240, 300, 480, 540, 600, 760, 800)
"""Room on the disk at the beginning; a run needs about 800 KiB."""
NO_ROOM = ("No space left on device", "disk is full", "File too large")

lefts = pytest.mark.parametrize(
    "left", [n if n in (4, 300) else pytest.param(n, marks=pytest.mark.thorough) for n in LEFT_KIB]
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if not may_mount(tmp_path):
        pytest.skip(
            "needs the right to mount a disk in memory; writes that fail at a byte are tested without"
        )
    with small_disk(tmp_path / "disk", "4m") as made:
        yield made


def untidy(done: Ended, run: Path) -> Iterator[str]:
    """What is wrong with how a run ended that had no room, and with what it left."""
    if done.code != 2 or done.has_traceback:
        yield f"exit {done.code}: {done.said}"
    if not any(words in done.said for words in NO_ROOM):
        yield f"the cause is not named: {done.said}"
    if str(run) not in done.said:
        yield f"no file of the run is named: {done.said}"
    if ".partial" in done.said or ".ptycho-new" in done.said or "/tmp/tmp" in done.said:
        yield f"a temporary file is named: {done.said}"
    folder = run if run.is_dir() else run.parent
    yield from broken(folder)
    yield from leftovers(folder)


def gone_on(scan: Path, run: Path, undisturbed: Path, folder: Path) -> Iterator[str]:
    """What is wrong with what becomes of the run where there is room again."""
    yield from changed(run, folder)
    again = command("train", scan, "--output-dir", run, "--resume", "auto", *TRAINING, folder=folder).ended()
    if again.code != 0:
        yield f"again: exit {again.code}: {again.said}"
    else:
        yield from differences(run, undisturbed)
        yield from broken(run)
        yield from changed(run, folder)


@lefts
def test_a_training_on_a_disk_that_fills_up_goes_on_later(
    left: int, disk: SmallDisk, scan: Path, undisturbed: Path, tmp_path: Path, other_disk: Path, tally: Tally
) -> None:
    run = disk.folder / "run"
    words = ("train", scan, "--output-dir", run, *TRAINING)
    disk.fill(left * KIB)
    done = command(*words, folder=tmp_path, TMPDIR=str(other_disk)).ended()
    found = [] if done.code == 0 else [*untidy(done, run)]
    disk.empty()
    found += [] if done.code == 0 else gone_on(scan, run, undisturbed, tmp_path)
    tally("full disks")
    assert not found, "\n".join(found)


@lefts
def test_a_training_that_goes_on_without_room_loses_nothing(
    left: int, disk: SmallDisk, undisturbed: Path, longer: Path, tmp_path: Path, tally: Tally
) -> None:
    run = Path(shutil.copytree(undisturbed, disk.folder / "run"))
    model = (run / "wts.h5.zip").read_bytes()
    disk.fill(left * KIB)
    done = command("train", "--resume", run, LONGER, folder=tmp_path).ended()
    found = [] if done.code == 0 else [*untidy(done, run)]
    if done.code != 0 and (not (run / "wts.h5.zip").exists() or (run / "wts.h5.zip").read_bytes() != model):
        found.append("the model of the earlier part is lost")
    disk.empty()
    if done.code != 0:
        done = command("train", "--resume", run, LONGER, folder=tmp_path).ended()
    found += [] if done.code == 0 else [f"again: exit {done.code}: {done.said}"]
    found += differences(run, longer)
    tally("full disks while a training goes on")
    assert not found, "\n".join(found)


@lefts
def test_a_run_that_cannot_be_replaced_for_want_of_room_is_kept(
    left: int, disk: SmallDisk, scan: Path, undisturbed: Path, tmp_path: Path, tally: Tally
) -> None:
    run = Path(shutil.copytree(undisturbed, disk.folder / "run"))
    disk.fill(left * KIB)
    words = ("train", scan, "--output-dir", run, "--overwrite", *TRAINING, "--learning-rate=0.002")
    done = command(*words, folder=tmp_path).ended()
    found = [] if done.code == 0 else [*untidy(done, run)]
    before, places = content(undisturbed), (run, *run.glob(".earlier-*"))
    if done.code != 0 and not any(content(place) == before for place in places):
        found.append("the run that was to be replaced is not whole")
    tally("full disks while a run is replaced")
    assert not found, "\n".join(found)


@lefts
def test_a_reconstruction_on_a_full_disk_leaves_whole_files_of_one_set(
    left: int, disk: SmallDisk, scan: Path, undisturbed: Path, tmp_path: Path, tally: Tally
) -> None:
    place = disk.folder / "place"
    words = ("reconstruct", undisturbed, scan, "--output-dir", place, "--accelerator=cpu")
    disk.fill(left * KIB)
    done = command(*words, folder=tmp_path).ended()
    found = [] if done.code == 0 else [*untidy(done, place)]
    disk.empty()
    again = command(*words, "--overwrite", folder=tmp_path).ended()
    if again.code != 0:
        found.append(f"again: exit {again.code}: {again.said}")
    found += broken(place)
    tally("full disks in a reconstruction")
    assert not found, "\n".join(found)


@lefts
def test_a_file_that_cannot_grow_beyond_a_byte_is_no_half_file(
    left: int, scan: Path, undisturbed: Path, tmp_path: Path, other_disk: Path, tally: Tally
) -> None:
    """Needs no right to mount."""
    run = tmp_path / "run"
    trouble = Trouble(largest_file=left * KIB + 700)
    words = ("train", scan, "--output-dir", run, *TRAINING)
    done = command(*words, folder=tmp_path, trouble=trouble, TMPDIR=str(other_disk)).ended()
    found = [] if done.code == 0 else [*untidy(done, run), *gone_on(scan, run, undisturbed, tmp_path)]
    tally("writes that fail at a byte")
    assert not found, "\n".join(found)


@lefts
def test_a_simulation_without_room_keeps_the_scan_that_was_there(
    left: int, tmp_path: Path, tally: Tally
) -> None:
    target = tmp_path / "made.npz"
    words = ("simulate", "--output", target, "--N=32", "--n-positions=40", "--overwrite")
    assert command(*words, folder=tmp_path).ended().code == 0
    before = target.read_bytes()
    trouble = Trouble(largest_file=left * KIB + 700)
    done = command(*words, "--seed=9", folder=tmp_path, trouble=trouble).ended()
    found = [] if done.code == 0 else [*untidy(done, target)]
    if done.code != 0 and target.read_bytes() != before:
        found.append("the file is another one")
    tally("writes that fail at a byte")
    assert not found, "\n".join(found)
