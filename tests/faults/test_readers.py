"""Readers beside writers: whoever looks into a run while it is written never sees half a file."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from ptycho.config.errors import ConfigError
from ptycho_torch.bundle import load_bundle
from tests.faults.children import Child, command
from tests.faults.conftest import SMALL, Tally
from tests.faults.whole import TEXTS, fault_of

WORKING = ("train", "resume", "reconstruct", "simulate")


def looked_at(child: Child, folder: Path) -> tuple[int, list[str]]:
    """Read every file with a final name again and again while a process runs; the number of readings, and halves."""
    readings, halves = 0, []
    while child.process.is_alive():
        # unlike rglob, a walk goes on where a folder vanishes under it
        for path in sorted(Path(inside, name) for inside, _, names in os.walk(folder) for name in names):
            inner = path.relative_to(folder)
            if path.suffix in TEXTS or any(part.startswith(".") for part in inner.parts):
                continue
            try:
                content = path.read_bytes() if path.is_file() else None
            except FileNotFoundError:
                continue
            if content is None:
                continue
            readings += 1
            if wrong := fault_of(path.name, content):
                halves.append(f"{inner}: {wrong}")
    return readings, halves


@pytest.mark.parametrize(
    "what",
    ["overwrite", *(pytest.param(what, marks=pytest.mark.thorough) for what in WORKING)],
)
def test_a_reader_never_sees_half_a_file(
    what: str, scan: Path, undisturbed: Path, tmp_path: Path, tally: Tally
) -> None:
    place = tmp_path / "place"
    watched = place / "run"
    place.mkdir()
    if what in ("resume", "overwrite"):
        shutil.copytree(undisturbed, watched)
    words = {
        "train": ("train", scan, "--output-dir", watched, *SMALL, "--nepochs=25"),
        "resume": ("train", "--resume", watched, "--nepochs=25"),
        "overwrite": ("train", scan, "--output-dir", watched, *SMALL, "--nepochs=25", "--overwrite"),
        "reconstruct": ("reconstruct", undisturbed, scan, "--output-dir", watched, "--accelerator=cpu"),
        "simulate": ("simulate", "--output", place / "made.npz", "--N=64", "--n-positions=900"),
    }[what]
    child = command(*words, folder=tmp_path)
    readings, halves = looked_at(child, place)
    done = child.ended()
    tally("readings beside a writer", readings)
    assert done.code == 0, done.said
    assert readings > 0 or what == "simulate"
    assert not halves, f"{len(halves)} of {readings}\n" + "\n".join(dict.fromkeys(halves))


class NoModel(Exception):
    """There is none at the moment: the earlier one is kept aside, and the new one is not saved yet."""


def load(run: Path) -> bool:
    try:
        return bool(load_bundle(run).state_dict)
    except ConfigError as error:
        if "Model archive not found" in str(error):
            raise NoModel from error
        raise


def test_a_model_that_is_being_replaced_is_whole_or_not_there(
    scan: Path, undisturbed: Path, tmp_path: Path, tally: Tally
) -> None:
    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    words = ("train", scan, "--output-dir", run, *SMALL, "--nepochs=5", "--overwrite")
    child = command(*words, folder=tmp_path)
    readings = 0
    while child.process.is_alive():
        with contextlib.suppress(NoModel):
            assert load(run)
        readings += 1
    tally("readings beside a writer", readings)
    assert child.ended().code == 0
