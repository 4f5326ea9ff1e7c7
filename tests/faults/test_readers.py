"""Readers beside writers: whoever looks into a run while it is written never sees half a file."""

import contextlib
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ptycho.config.errors import ConfigError
from ptycho.model_archive import read_archive_config
from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_inference_payload
from ptycho_torch.runs.checkpoints import best, latest
from ptycho_torch.runs.trained import load_trained
from tests.faults.children import Child, command
from tests.faults.conftest import SMALL, Tally
from tests.faults.hostile_models import MODEL, members, trained
from tests.faults.vanishing import taken_before
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


def _packed(folder: Path) -> list[Path]:
    shutil.copytree(trained(), folder)
    return [folder / MODEL]


def _unpacked(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    for name, content in members().items():
        (folder / name).write_bytes(content)
    return [folder / name for name in members()]


READING: dict[str, Callable[[Path, Path], Any]] = {
    "load_bundle": lambda folder, _: load_bundle(folder),
    "read_archive_config": lambda folder, _: read_archive_config(
        folder / MODEL if (folder / MODEL).is_file() else folder
    ),
    "create_inference_payload": lambda folder, scan: create_inference_payload(
        folder, scan, folder / "new", {"n_groups": 8}
    ),
}


def _without(
    made: Callable[[Path], Path], read: Callable[[Path], Any], tally: Tally, folder: Path
) -> list[str]:
    """Read with a file taken away before every look at it, one after the other; what each reading raised."""
    said: list[str] = []
    for look in itertools.count(1):
        file = made(folder / str(look))
        with taken_before(file, look) as looks:
            try:
                read(folder / str(look))
            except ConfigError as error:
                said.append(str(error) if looks.is_gone else f"refused while it is there: {error}")
        if not looks.is_gone:
            assert look > 1
            tally("files taken away", look - 1)
            return said
    raise AssertionError


@pytest.mark.parametrize("door", READING)
@pytest.mark.parametrize("kind", [_packed, _unpacked])
def test_a_model_that_is_taken_away_while_it_is_read_is_not_found(
    kind: Callable[[Path], list[Path]], door: str, scan: Path, tmp_path: Path, tally: Tally
) -> None:
    for part in range(len(kind(tmp_path / "counted"))):
        said = _without(
            lambda folder, part=part: kind(folder)[part],
            lambda folder: READING[door](folder, scan),
            tally,
            tmp_path / str(part),
        )
        assert all("Model archive not found" in one for one in said), said


@pytest.mark.parametrize(
    "read", [load_trained, lambda run: latest(run / "checkpoints"), lambda run: best(run / "checkpoints")]
)
@pytest.mark.parametrize("name", ["last", "epoch"])
def test_a_checkpoint_that_a_training_removes_is_passed_over(
    name: str, read: Callable[[Path], Any], tmp_path: Path, tally: Tally
) -> None:
    def made(run: Path) -> Path:
        shutil.copytree(trained(), run)
        (run / MODEL).unlink()
        return sorted((run / "checkpoints").glob(f"{name}*.ckpt"))[0]

    assert not _without(made, read, tally, tmp_path)
