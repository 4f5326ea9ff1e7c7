"""Settings in company: a run of two steps starts and finishes, or is refused before anything is opened.

Every pair of representative values stands in some combination. `make combinations` runs all of them, those of several
processes included; `make check` runs the first few, and every refusal.
"""

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ptycho_torch.cli.main import main
from ptycho_torch.runtime.devices import available_accelerators
from ptycho_torch.simulate import simulate_scan
from tests.combinations import inference, training
from tests.combinations.pairs import Row, pairwise
from tests.legacy_dictionary import legacy_dictionary_restored
from tests.torch.factory_calls import save_model, save_scan

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--n-filters-scale=1", "--n-unrolled-steps=1", "--quiet")
IN_THE_SUITE = 3
"""Combinations of one process that `make check` runs."""
MODELS = {
    "plain": ("--gridsize=1",),
    "grouped": ("--gridsize=2", "--probe-trainable", "--no-probe-big"),
    "cnn": ("--gridsize=1", "--architecture=cnn"),
}

TRAININGS = pairwise(training.FACTORS, training.REFUSED)
RECONSTRUCTIONS = pairwise(inference.FACTORS, inference.REFUSED)

pytestmark = [
    pytest.mark.usefixtures("legacy"),
    pytest.mark.skipif(available_accelerators() != ("cpu",), reason="says what is refused on a CPU alone"),
    # meant, and tested elsewhere
    pytest.mark.filterwarnings("ignore:POLICY-001", "ignore:pin_memory:UserWarning"),
    # mlflow's own use of a deprecated name of its database
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]


def words(row: Row, scan: object) -> list[str]:
    """A combination as it is typed."""
    typed: list[str] = []
    for name, value in row.items():
        flag = f"--{name.replace('_', '-')}"
        if name == "devices":
            typed += [f"--n-devices={value[0]}", f"--strategy={value[1]}"]
        elif isinstance(value, bool):
            typed.append(flag if value else f"--no-{flag[2:]}")
        elif value is not None:
            typed.append(f"{flag}={scan if value == 'SCAN' else value}")
    return typed


def cases(rows: Sequence[Row], *, several: bool) -> list[Any]:
    """The combinations of one process, or those of several; all but the first few are for `make combinations`."""
    chosen = [row for row in rows if (row["devices"][0] == "2") == several]
    often = 0 if several else IN_THE_SUITE
    marks = [pytest.mark.integration] * often + [pytest.mark.combinations] * len(chosen)
    return [pytest.param(row, id=str(number), marks=marks[number]) for number, row in enumerate(chosen)]


def refusals(module: Any) -> list[Any]:
    """Every way to break a rule and no other, in as few words as that takes."""
    rows = [
        dict(zip(rule, values, strict=True))
        for rule in (*module.REFUSED, *module.BEYOND)
        for values in product(*rule.values())
    ]
    return [pytest.param(row, id=",".join(f"{name}={value}" for name, value in row.items())) for row in rows]


def named(row: Row) -> set[str]:
    """The settings that a refusal has to name."""
    return {word for name in row for word in (("n_devices",) if name == "devices" else (name,))}


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.npz"
    simulate_scan(N=32, n_positions=24, nphotons=1e5).to_file(path)
    return path


@pytest.fixture(scope="module")
def unread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan without patterns beside a model without weights: what reads them tells that they are missing."""
    folder = tmp_path_factory.mktemp("unread")
    save_model(folder, N=64)
    return save_scan(folder / "scan.npz")


@pytest.fixture(scope="module")
def model(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A trained model of a kind; each is trained once."""
    folder = tmp_path_factory.mktemp("models")

    def trained(kind: str) -> Path:
        if not (folder / kind).exists():
            rest = ("--nepochs=1", "--batch-size=12", "--accelerator=cpu", *SMALL, *MODELS[kind])
            with legacy_dictionary_restored():
                assert main(["train", str(scan), f"--output-dir={folder / kind}", *rest]) == 0
        return folder / kind

    return trained


def assert_finished(run_dir: Path, row: Row) -> None:
    """A model is there, and a history of the epochs that were asked for."""
    assert (run_dir / "wts.h5.zip").is_file()
    with (run_dir / "history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    stopped_early = row["early_stop_patience"] == 1
    assert len(history) == row["nepochs"] or (stopped_early and history)
    assert int(history[-1]["step"]) >= 1
    assert all(float(line["train_loss"]) >= 0 for line in history)


@pytest.mark.parametrize("row", cases(TRAININGS, several=False))
def test_a_combination_trains(
    row: Row, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["train", str(scan), f"--output-dir={tmp_path / 'run'}", *SMALL, *words(row, scan)])
    assert code == 0, capsys.readouterr().err
    assert_finished(tmp_path / "run", row)


@pytest.mark.parametrize("row", cases(TRAININGS, several=True))
def test_a_combination_trains_in_several_processes(row: Row, scan: Path, tmp_path: Path) -> None:
    typed = ["train", str(scan), f"--output-dir={tmp_path / 'run'}", *SMALL, *words(row, scan)]
    done = subprocess.run(
        [sys.executable, "-m", "ptycho_torch", *typed],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    # the other processes say what stops them here too
    assert "ptycho train:" not in done.stderr
    assert "Traceback" not in done.stderr
    assert_finished(tmp_path / "run", row)


@pytest.mark.parametrize("row", cases(RECONSTRUCTIONS, several=False))
def test_a_combination_reconstructs(
    row: Row, scan: Path, model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {name: value for name, value in row.items() if name != "model"}
    folder = model(row["model"])
    code = main(
        ["reconstruct", str(folder), str(scan), f"--output-dir={tmp_path}", "--quiet", *words(asked, scan)]
    )
    assert code in (0, 3), capsys.readouterr().err  # models of one epoch show little of the object
    assert (tmp_path / "reconstruction.npz").is_file()


@pytest.mark.parametrize("row", refusals(training))
def test_what_does_not_go_together_is_refused_before_the_data_are_read(
    row: Row,
    unread: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    base = {"lr_warmup_epochs": 0, "test_data_file": None, "nepochs": 2}
    assert main(["train", str(unread), *words({**base, **row}, unread)]) == 2
    assert_names(capsys.readouterr().err, row)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("row", refusals(inference))
def test_what_does_not_go_together_is_refused_before_model_and_data_are_read(
    row: Row,
    unread: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reconstruct", str(unread.parent), str(unread), *words(row, unread)]) == 2
    assert_names(capsys.readouterr().err, row)
    assert list(tmp_path.iterdir()) == []


def assert_names(said: str, row: Row) -> None:
    """A message names both settings (of more than two at least two), before any about the data."""
    found = [sum(name in line for name in named(row)) for line in said.splitlines()]
    first = next((number for number, n_named in enumerate(found) if n_named >= 2), None)
    assert first is not None, said
    data = [number for number, line in enumerate(said.splitlines()) if "diff3d" in line or "weights" in line]
    assert first < min(data, default=len(found))
