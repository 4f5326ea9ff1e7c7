"""A tiny scan, the training of it that nothing befell, and the counts of what was tried."""

import collections
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ptycho_torch.simulate import simulate_scan
from tests.faults.children import command
from tests.legacy_dictionary import legacy_dictionary_restored

HERE = Path(__file__).parent
MEMORY = Path("/dev/shm")
"""A disk that is another one than that of the runs."""

SMALL = (
    *("--n-unrolled-steps=1", "--n-filters-scale=1", "--n-physics-steps=1", "--gridsize=1"),
    *("--accelerator=cpu", "--batch-size=12", "--n-groups=24", "--val-split=0.2"),
)
"""A training whose epochs take a tenth of a second."""
TRAINING = (*SMALL, "--nepochs=3")
LONGER = "--nepochs=4"

Tally = Callable[..., None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.faults)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many cases of each kind were tried."""
    tried: collections.Counter[str] = collections.Counter()
    for kind in ("passed", "failed"):
        for report in terminalreporter.stats.get(kind, []):
            for what, number in (value for name, value in report.user_properties if name == "faults"):
                tried[what] += number
    for what, number in sorted(tried.items()):
        terminalreporter.write_line(f"{number:6,} {what}")


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Count cases: `tally("kills", 3)`."""

    def count(what: str, number: int = 1) -> None:
        request.node.user_properties.append(("faults", (what, number)))

    return count


@pytest.fixture(autouse=True)
def _legacy_dictionary_is_restored() -> Iterator[None]:
    with legacy_dictionary_restored():
        yield


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan of 40 patterns of 32 x 32 pixels."""
    path = tmp_path_factory.mktemp("scan") / "scan.npz"
    simulate_scan(N=32, n_positions=40, nphotons=1e5, seed=3).to_file(path)
    return path


@pytest.fixture(scope="session")
def undisturbed(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of TRAINING that nothing befell."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = command("train", scan, "--output-dir", folder / "run", *TRAINING, folder=folder).ended()
    assert done.code == 0, done.said
    return folder / "run"


@pytest.fixture(scope="session")
def longer(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, trained on for an epoch."""
    folder = tmp_path_factory.mktemp("longer")
    run = Path(shutil.copytree(undisturbed, folder / "run"))
    done = command("train", "--resume", run, LONGER, folder=folder).ended()
    assert done.code == 0, done.said
    return run


@pytest.fixture
def other_disk() -> Iterator[Path]:
    """A folder for temporary files on another disk."""
    if not os.access(MEMORY, os.W_OK):
        pytest.skip(f"needs a second disk: {MEMORY}")
    folder = Path(tempfile.mkdtemp(dir=MEMORY, prefix="ptycho-faults-"))
    yield folder
    shutil.rmtree(folder)
