"""The Lightning logger that the configuration names."""

import importlib.util
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from ptycho.config.errors import Failure, printable
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.folder_lock import linked_failure
from ptycho_torch.runtime.environment import variables

log = logging.getLogger(__name__)

_PROJECT = "ptychopinn"
_TRACKING = "MLFLOW_TRACKING_URI"
_OF_WANDB: Final = "wandb"
"""A folder in which the package makes links of its own."""
_PLACES: Final[dict[str | None, tuple[str, ...]]] = {
    "csv": ("logs",),
    "tensorboard": ("logs",),
    "wandb": (_OF_WANDB,),
    "mlflow": ("mlruns", "mlflow.db", "mlflow.db-journal", "mlflow.db-wal", "mlflow.db-shm"),
}
"""What each logger writes below the folder of a run."""


def missing_packages(config: PyTorchExecutionConfig) -> list[str]:
    """The packages that the chosen logger needs and this environment lacks."""
    needed: dict[str | None, tuple[str, ...]] = {
        "tensorboard": ("tensorboard",),
        "wandb": ("wandb",),
        "mlflow": ("mlflow",) if os.environ.get(_TRACKING) else ("mlflow", "sqlalchemy", "alembic"),
    }
    if config.logger_backend == "mlflow" and config.disable_mlflow:
        return []
    return [name for name in needed.get(config.logger_backend, ()) if importlib.util.find_spec(name) is None]


def linked_places(config: PyTorchExecutionConfig, run_dir: Path) -> list[Failure]:
    """Why the chosen logger cannot write into a folder: it would follow a link that is there."""
    places = (run_dir / name for name in _PLACES.get(config.logger_backend, ()))
    return [linked_failure(link) for place in places for link in _links(place)]


def _links(place: Path) -> Iterator[Path]:
    if place.is_symlink():
        yield place
    elif place.name != _OF_WANDB:
        for folder, folders, files in os.walk(place):
            paths = (Path(folder, name) for name in (*folders, *files))
            yield from (path for path in paths if path.is_symlink())


def unusable_service(config: PyTorchExecutionConfig) -> str | None:
    """Why what the chosen logger writes to cannot be used, as its package says; None where it can, or needs none."""
    if config.logger_backend == "wandb":
        return _refusal_of_wandb()
    server = os.environ.get(_TRACKING)
    if config.logger_backend == "mlflow" and server and not config.disable_mlflow:
        return _refusal_of_mlflow(server)
    return None


def _refusal_of_wandb() -> str | None:
    import wandb  # an extra

    try:
        wandb.login(prompt=False)
    except wandb.Error as error:
        return f"wandb says: {_first_line(error)}"
    return None


def _refusal_of_mlflow(server: str) -> str | None:
    from mlflow.exceptions import MlflowException  # an extra
    from mlflow.tracking import MlflowClient

    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    # what its user says of patience stands
    unsaid = {name: value for name, value in patience.items() if name not in os.environ}
    try:
        with variables(unsaid):
            MlflowClient(tracking_uri=server).search_experiments(max_results=1)
    except MlflowException as error:
        return f"mlflow reports for {_TRACKING}: {_first_line(error)}"
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def build_logger(config: PyTorchExecutionConfig, run_dir: Path) -> Logger | None:
    """The logger that logger_backend names; None for none.

    csv and tensorboard write below `run_dir`/logs. mlflow writes to the database `run_dir`/mlflow.db, or to
    the server that MLFLOW_TRACKING_URI names. wandb follows its own settings; a run that is not logged in is kept
    below `run_dir`. disable_mlflow takes mlflow away again, and the log says so.
    """
    match config.logger_backend:
        case "csv":
            return CSVLogger(run_dir, name="logs/csv")
        case "tensorboard":
            return TensorBoardLogger(run_dir, name="logs/tensorboard")
        case "wandb":
            return _wandb(run_dir)
        case "mlflow" if config.disable_mlflow:
            log.info("logger_backend is mlflow and disable_mlflow is set: nothing is sent to MLflow.")
            return None
        case "mlflow":
            return _mlflow(run_dir.absolute())
        case _:
            return None


def log_picture(logger: Logger, path: Path, name: str, step: int) -> None:
    """Send a picture to a logger that takes pictures; one of CSV takes none.

    Args:
        logger: from `build_logger`.
        path: of a PNG file.
        name: what it shows; pictures of one name make a series.
        step: where it stands in the series.
    """
    match logger:
        case TensorBoardLogger():
            image = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
            logger.experiment.add_image(name, image, step, dataformats="HWC")
        case WandbLogger():
            logger.log_image(name, [str(path)], step=step)
        case MLFlowLogger():
            logger.experiment.log_artifact(logger.run_id, str(path), f"{name}/{step:06d}")
        case _:
            pass


def _wandb(run_dir: Path) -> Logger:
    import wandb  # an extra

    if wandb.login(prompt=False):
        return WandbLogger(project=_PROJECT, name=run_dir.name, save_dir=run_dir)
    log.info(
        "wandb: not logged in; the run is stored in %s, and `wandb sync` sends it.",
        printable(f"{run_dir}/wandb"),
    )
    return WandbLogger(project=_PROJECT, name=run_dir.name, save_dir=run_dir, mode="offline")


def _mlflow(run_dir: Path) -> Logger:
    server = os.environ.get(_TRACKING)
    if server:
        return MLFlowLogger(experiment_name=_PROJECT, run_name=run_dir.name, tracking_uri=server)
    run_dir.mkdir(parents=True, exist_ok=True)
    return MLFlowLogger(
        experiment_name=_PROJECT,
        run_name=run_dir.name,
        tracking_uri=f"sqlite:///{run_dir / 'mlflow.db'}",
        artifact_location=(run_dir / "mlruns").as_uri(),
    )
