"""Files made to attack: nothing in them runs, nothing hangs, and each is taken or refused in words."""

import re
from pathlib import Path

import pytest

from tests.faults.conftest import Tally
from tests.faults.doors import DOORS, RAW, answers
from tests.faults.hostile_models import MODELS, RUNS
from tests.faults.hostile_scans import SCANS, Made
from tests.faults.hostile_settings import SETTINGS
from tests.faults.hostile_trees import TREES

HOSTILE = {"scan": (*SCANS, *TREES), "model": MODELS, "run": RUNS, "settings": SETTINGS}
LEAST = 300
EVERY = 12
"""One in so many belongs to the part that is tried at every change."""


def shown(name: str) -> str:
    """A name that any terminal and any protocol takes."""
    return re.sub(r"[^\w .,:()/'-]", "_", name, flags=re.ASCII)


CASES = [
    pytest.param(
        *(kind, make),
        id=f"{kind} {number}: {shown(name)}",
        marks=[] if number % EVERY == 0 else [pytest.mark.thorough],
    )
    for kind, cases in HOSTILE.items()
    for number, (name, make) in enumerate(cases)
]


def test_there_are_enough_hostile_files() -> None:
    names = [case.id for case in CASES]
    assert len(set(names)) == len(names) >= LEAST


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "make"), CASES)
def test_a_hostile_file_runs_nothing_and_gets_an_orderly_answer(
    kind: str, make: Made, scan: Path, undisturbed: Path, tmp_path: Path, tally: Tally
) -> None:
    (tmp_path / "in").mkdir()
    canary = tmp_path / "canary"
    file = make(tmp_path / "in", canary)
    found = []
    for name, answer, new in answers(DOORS[kind], file, undisturbed, scan, tmp_path):
        if answer.problem:
            found.append(f"{name}: {answer.problem}")
        logs = (path.read_text(errors="replace") for path in new.rglob("*.log"))
        found += [f"{name}: raw characters in the log" for text in logs if RAW.search(text)]
    found += [f"code ran: {path}" for path in (canary, *tmp_path.rglob("canary")) if path.exists()]
    found += [f"a file above its folder: {path}" for path in tmp_path.parent.rglob("evil*")]
    tally("hostile files")
    tally("hostile files, each through a door", len(DOORS[kind]))
    assert not found, "\n".join(found)
