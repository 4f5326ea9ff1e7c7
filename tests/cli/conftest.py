"""A tiny scan, a training of seconds, and a command line that leaves the process as it was."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptycho_torch.cli.main import main
from tests.legacy_dictionary import legacy_dictionary_restored

TINY = ("--N", "32", "--n-positions", "60")
SHORT = ("--nepochs=1", "--n-unrolled-steps=1", "--n-filters-scale=1", "--accelerator=cpu", "--batch-size=16")


@pytest.fixture(autouse=True)
def _legacy_dictionary_is_restored() -> Iterator[None]:
    with legacy_dictionary_restored():
        yield


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "tiny.npz"
    assert main(["simulate", "--output", str(path), *TINY]) == 0
    return path


@pytest.fixture(scope="session")
def trained(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "tiny"
    with legacy_dictionary_restored():
        assert main(["train", str(scan), "--output-dir", str(run_dir), *SHORT]) == 0
    return run_dir


@pytest.fixture
def ptycho(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line; gives the exit code, what it printed, and what it said on the error stream."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
