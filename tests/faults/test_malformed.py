"""Scans that are written wrong, through every door: refused, or taken with words about it, or read as meant."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho.raw_data import RawData
from tests.faults.conftest import Tally
from tests.faults.doors import READING_SCANS, RUNNING_SCANS, Answer, answers, ask
from tests.faults.malformed_arrays import Malformed, arrays, counts, optional, sizes, structures
from tests.faults.malformed_physics import physics
from tests.faults.malformed_trees import trees

MALFORMED: dict[str, Malformed] = dict((*structures(), *sizes(), *optional(), *physics(), *trees()))
LEAST = 135
EVERY = 30
"""One in so many belongs to the part that is tried at every change."""
WHOLE = ("RawData.from_file", "load_scans", *RUNNING_SCANS)
"""Doors that read the whole scan; the others look at what the settings depend on."""
OF_PTYCHODUS = "PtychoDataLoader"
"""The door that takes NPZ files alone, and is told their domain."""

cases = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if number % EVERY == 0 else [pytest.mark.thorough])
        for number, name in enumerate(MALFORMED)
    ],
)


def test_there_are_enough_malformed_scans() -> None:
    assert len(MALFORMED) >= LEAST


def is_asked(label: str, wrong: Malformed, file: Path) -> bool:
    """Whether a door answers for what is wrong."""
    takes = file.suffix == ".npz" and not (wrong.answer == "told" and "domain" in wrong.words)
    return label in WHOLE and (label != OF_PTYCHODUS or takes)


def wrong_with(answer: Answer, scan: Malformed) -> Iterator[str]:
    """What is wrong with how a door answered."""
    if answer.problem:
        yield answer.problem
    elif scan.answer == "orderly":
        return
    elif scan.answer == "refused" and answer.code != 2:
        yield "taken"
    elif scan.answer == "taken" and answer.code == 2:
        yield f"refused: {answer.said[:300]}"
    elif scan.answer == "taken" and scan.meant and isinstance(answer.value, RawData):
        if not scan.meant(answer.value):
            yield "not read as meant"
    elif scan.answer != "taken" and not re.search(
        scan.words.replace("_", "[_ ]"), answer.said, re.IGNORECASE
    ):
        yield f"exit {answer.code}, not named ({scan.words}): {answer.said[:300]!r}"


@pytest.mark.filterwarnings("ignore")
@cases
def test_a_malformed_scan_gets_the_same_answer_at_every_door(
    name: str, scan: Path, undisturbed: Path, tmp_path: Path, tally: Tally
) -> None:
    wrong = MALFORMED[name]
    (tmp_path / "in").mkdir()
    file = wrong.write(tmp_path / "in")
    found = []
    for label, answer, _ in answers({**READING_SCANS, **RUNNING_SCANS}, file, undisturbed, scan, tmp_path):
        if is_asked(label, wrong, file):
            found += [f"{label}: {what}" for what in wrong_with(answer, wrong)]
        elif answer.problem:
            found.append(f"{label}: {answer.problem}")
    tally("malformed scans")
    tally("malformed scans, each through a door", len(READING_SCANS) + len(RUNNING_SCANS))
    assert not found, "\n".join(found)


@pytest.mark.filterwarnings("ignore")
@cases
def test_arrays_of_a_malformed_scan_get_the_same_answer_from_memory(
    name: str, tmp_path: Path, tally: Tally
) -> None:
    wrong = MALFORMED[name]
    given, optional = as_arguments(wrong.write(tmp_path))
    answer = ask(lambda: RawData.from_arrays(*given, **optional))
    tally("malformed scans from memory")
    assert list(wrong_with(answer, wrong)) == []


def as_arguments(file: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of `RawData.from_arrays` for an NPZ file; skips what cannot be given that way."""
    if file.suffix != ".npz":
        pytest.skip("an HDF5 file is a file")
    with np.load(file) as held:
        given: dict[str, Any] = dict(held)
    try:
        if given["ycoords"].dtype != given["xcoords"].dtype:
            raise TypeError("positions of two dtypes make no array")
        positions = np.stack([given["ycoords"], given["xcoords"]], axis=-1)
        required = given["diff3d"], positions, given["probeGuess"]
        optional = {"metadata": dict(json.loads(given["metadata"].item()))} if "metadata" in given else {}
    except (KeyError, ValueError, TypeError) as error:
        pytest.skip(f"no arguments: {error}")
    labels = tuple(given.get(key) for key in ("label_amp", "label_phase"))
    names = {"object_guess": "objectGuess", "object_truth": "objectTruth", "probe_truth": "probeTruth"}
    names |= {name: name for name in ("bad_pixels", "holdout", "half", "scan_index", "nphotons")}
    optional |= {argument: given[key] for argument, key in names.items() if key in given}
    return required, optional | ({"labels": labels} if any(x is not None for x in labels) else {})


def test_masked_patterns_are_not_measured() -> None:
    given = arrays()
    masked = np.ma.masked_array(counts(given).astype(np.uint16), np.zeros((60, 32, 32), bool))
    masked[:, 5:7, :] = np.ma.masked
    positions = np.stack([given["ycoords"], given["xcoords"]], axis=1)
    scan = RawData.from_arrays(masked, positions, given["probeGuess"])
    assert scan.bad_pixels is not None
    assert np.asarray(scan.bad_pixels)[..., 5:7, :].all()
