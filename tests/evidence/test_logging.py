"""Loggers and the progress bar: what a training leaves, opened by the reader it is meant for."""

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.evidence.observed import rows, run

pytestmark = pytest.mark.integration

EPOCHS = {"val_split": 0.25, "nepochs": 3}


def expected(run_dir: Path) -> Any:
    return pytest.approx([float(row["val_loss"]) for row in rows(run_dir)], rel=1e-6)


@pytest.mark.proves("logger_backend", seen="csv writes a table of every loss")
def test_csv(tiny_file: Path, tmp_path: Path) -> None:
    run(tiny_file, tmp_path, **EPOCHS, logger_backend="csv")
    with (tmp_path / "logs" / "csv" / "version_0" / "metrics.csv").open() as file:
        found = [float(row["val_loss"]) for row in csv.DictReader(file) if row["val_loss"]]
    assert found == expected(tmp_path)


@pytest.mark.proves("logger_backend", seen="tensorboard opens what its logger writes")
def test_tensorboard(tiny_file: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(tiny_file, tmp_path, **EPOCHS, logger_backend="tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "logs" / "tensorboard" / "version_0"))
    events.Reload()
    assert [event.value for event in events.Scalars("val_loss")] == expected(tmp_path)


@pytest.mark.proves("logger_backend", seen="mlflow's client reads the run from the database in its folder")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of mlflow and sqlalchemy
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_mlflow(tiny_file: Path, tmp_path: Path) -> None:
    client = pytest.importorskip("mlflow.tracking")
    pytest.importorskip("alembic")
    run(tiny_file, tmp_path, **EPOCHS, logger_backend="mlflow")
    store = client.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (only,) = store.search_runs([store.get_experiment_by_name("ptychopinn").experiment_id])
    history = store.get_metric_history(only.info.run_id, "val_loss")
    assert [metric.value for metric in history] == expected(tmp_path)


@pytest.mark.proves("disable_mlflow", seen="nothing is written for mlflow")
def test_mlflow_can_be_disabled(tiny_file: Path, tmp_path: Path) -> None:
    run(tiny_file, tmp_path, nepochs=1, logger_backend="mlflow", disable_mlflow=True)
    assert not list(tmp_path.glob("ml*"))


@pytest.mark.proves("enable_progress_bar", seen="a bar counts epochs and batches, or there is none")
def test_progress_bar(tiny_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(tiny_file, tmp_path / "a", nepochs=1)
    assert "epoch 1/1:   0%" not in capfd.readouterr().err
    run(tiny_file, tmp_path / "b", nepochs=1, enable_progress_bar=True)
    assert "epoch 1/1: 100%" in capfd.readouterr().err
