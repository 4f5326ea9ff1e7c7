"""A tiny scan."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ptycho_torch.simulate import simulate_scan
from tests.legacy_dictionary import legacy_dictionary_restored


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "tiny.npz"
    simulate_scan(N=32, n_positions=40, nphotons=1e5, seed=3).to_file(path)
    return path


@pytest.fixture(autouse=True)
def _legacy_dictionary() -> Iterator[None]:
    """A factory fills the legacy dictionary; the next test expects it as it was."""
    with legacy_dictionary_restored():
        yield
