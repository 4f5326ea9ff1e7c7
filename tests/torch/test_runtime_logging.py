"""The loss history, the loggers and the progress bar of real trainings."""

import logging
import os
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import ProgressBar
from PIL import Image

from ptycho.config.canonical import TrainingConfig
from ptycho.config.errors import ConfigError
from ptycho_torch.runtime import LossHistory, build_logger, log_picture, run_environment
from ptycho_torch.runtime.checks import training_failures
from tests.torch.line import SCORES, Line, config, history, train


def test_every_run_writes_its_history(tmp_path: Path):
    trainer = train(tmp_path, config(check_val_every_n_epoch=2), Line(SCORES), epochs=4, batch_size=4)
    rows = history(trainer)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert [row["val_loss"] for row in rows] == [None, 3.0, None, 1.0]
    losses = [row["train_loss"] for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert all(row["epoch_time_s"] > 0 for row in rows)
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,step,train_loss,val_loss,learning_rate,epoch_time_s"
    assert len(lines) == 5


def test_history_reads_back_as_it_was_kept(tmp_path: Path):
    rows = history(train(tmp_path, config(), Line(), epochs=2))
    assert LossHistory(tmp_path / "history.csv").rows == rows


@pytest.mark.parametrize(
    "content",
    [
        *(b"", bytes(9), b"\xff\xfe", b"epoch,step\n1,2\n", b"{head}\n1,2\n", b"{head}\nx,1,1,1,1,1\n"),
        *(b"{head}\n1,1,1,1,1,1,1\n", b"{head}\n" + b"9" * 10**6 + b",1,1,1,1,1\n", b'{head}\n"1,1\n'),
    ],
)
def test_a_damaged_history_is_named(tmp_path: Path, content: bytes):
    path = tmp_path / "history.csv"
    path.write_bytes(content.replace(b"{head}", ",".join(LossHistory.COLUMNS).encode()))
    with pytest.raises(ConfigError, match=r"history\.csv: .*damaged"):
        _ = LossHistory(path).rows


def test_resumed_run_continues_its_history(tmp_path: Path):
    rows = history(train(tmp_path / "a", config(), Line(SCORES), epochs=2))
    last = tmp_path / "a" / "checkpoints" / "last.ckpt"
    again = history(train(tmp_path / "b", config(), Line(SCORES), epochs=4, checkpoint=last))
    assert again[:2] == rows
    assert [row["epoch"] for row in again] == [0, 1, 2, 3]
    assert len((tmp_path / "b" / "history.csv").read_text().splitlines()) == 5


def test_no_logger_writes_the_history_alone(tmp_path: Path):
    trainer = train(tmp_path, config(enable_checkpointing=False), Line(), epochs=1)
    assert not trainer.loggers
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "history.csv"}


@pytest.mark.parametrize(
    ("backend", "link"),
    [
        ("csv", "logs"),
        ("csv", "logs/csv"),
        ("tensorboard", "logs/tensorboard"),
        ("mlflow", "mlflow.db"),
        ("mlflow", "mlruns/0"),
        ("wandb", "wandb"),
    ],
)
def test_no_logger_follows_a_link_out_of_the_folder(tmp_path: Path, backend: str, link: str):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run / link).parent.mkdir(parents=True)
    (run / link).symlink_to(elsewhere)
    failures = training_failures(
        config(logger_backend=backend),
        TrainingConfig(output_dir=run, n_groups=1),
        has_validation=False,
        logged_metrics=("train_loss",),
    )
    told = [failure.message for failure in failures if failure.name == str(run / link)]
    assert len(told) == 1
    assert "got a link, which is not followed" in told[0]


def test_csv_logger_writes_a_table(tmp_path: Path):
    train(tmp_path, config(logger_backend="csv"), Line(SCORES), epochs=2)
    text = (tmp_path / "logs" / "csv" / "version_0" / "metrics.csv").read_text()
    assert "train_loss" in text.splitlines()[0]
    assert "3.0" in text


def test_tensorboard_opens_what_its_logger_writes(tmp_path: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tmp_path, config(logger_backend="tensorboard"), Line(SCORES), epochs=3)
    events = accumulator.EventAccumulator(str(tmp_path / "logs" / "tensorboard" / "version_0"))
    events.Reload()
    assert [event.value for event in events.Scalars("val_loss")] == [5.0, 3.0, 4.0]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "object.png"
    Image.new("L", (4, 3), 77).save(path)
    return path


def test_pictures_are_sent_to_tensorboard(tmp_path: Path, picture: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = build_logger(config(logger_backend="tensorboard"), tmp_path)
    assert logger is not None
    for step in (3, 5):
        log_picture(logger, picture, "object", step)
    logger.finalize("success")
    events = accumulator.EventAccumulator(str(tmp_path / "logs" / "tensorboard" / "version_0"))
    events.Reload()
    assert [(one.step, one.width, one.height) for one in events.Images("object")] == [(3, 4, 3), (5, 4, 3)]


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of mlflow and sqlalchemy
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_pictures_are_sent_to_mlflow(tmp_path: Path, picture: Path):
    for package in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(package)
    settings = config(logger_backend="mlflow")
    with run_environment(settings):
        logger = build_logger(settings, tmp_path)
        assert logger is not None
        log_picture(logger, picture, "object", 3)
        found = logger.experiment.list_artifacts(logger.run_id, "object/000003")
    assert [one.path for one in found] == ["object/000003/object.png"]


@pytest.mark.integration
def test_pictures_are_sent_to_wandb(tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    logger = build_logger(config(logger_backend="wandb"), tmp_path)
    assert logger is not None
    log_picture(logger, picture, "object", 3)
    wandb.finish()
    wandb.teardown()
    assert len(list(tmp_path.glob("wandb/**/media/images/object_*.png"))) == 1


def test_a_table_takes_no_pictures(tmp_path: Path, picture: Path):
    logger = build_logger(config(logger_backend="csv"), tmp_path)
    assert logger is not None
    log_picture(logger, picture, "object", 3)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of mlflow and sqlalchemy
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_mlflow_opens_what_its_logger_writes(tmp_path: Path):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("alembic")
    trainer = train(tmp_path, config(logger_backend="mlflow"), Line(SCORES), epochs=3)
    client, run = trainer.logger.experiment, trainer.logger.run_id
    assert [metric.value for metric in client.get_metric_history(run, "val_loss")] == [5.0, 3.0, 4.0]
    assert client.get_run(run).info.status == "FINISHED"
    assert (tmp_path / "mlflow.db").is_file()
    assert "MLFLOW_TRACKING_URI" not in os.environ  # it would send the next run here


def test_disabled_mlflow_is_no_logger_and_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, logger="ptycho_torch")
    trainer = train(tmp_path, config(logger_backend="mlflow", disable_mlflow=True), Line(), epochs=2)
    assert not trainer.loggers
    assert caplog.text.count("disable_mlflow is set") == 1


def test_progress_bar_is_there_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trainer = train(tmp_path / "a", config(enable_progress_bar=True), Line(), epochs=1)
    assert any(isinstance(item, ProgressBar) for item in trainer.callbacks)
    said = capsys.readouterr().err
    assert "epoch 1/1: 100%" in said
    assert "train_loss" in said
    assert " left" in said
    trainer = train(tmp_path / "b", config(), Line(), epochs=1)
    assert not any(isinstance(item, ProgressBar) for item in trainer.callbacks)


def test_lightning_gives_no_tips(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="lightning.pytorch")
    train(tmp_path, config(), Line(SCORES), epochs=1)
    assert caplog.messages == []
