"""Where the archive of a trained model is, and what it says the model is; the weights in it are not read here."""

import json
import zipfile
from pathlib import Path
from typing import Any, Final, cast

from ptycho.config.errors import ConfigError, Failure

ARCHIVE: Final = "wts.h5.zip"
"""The file of a trained model in the output folder of its training."""
ARCHIVE_CONFIG: Final = "config.json"
"""The member of the archive that says what the model is."""
ARCHIVE_WEIGHTS: Final = "weights.safetensors"
"""The member of the archive that holds the weights."""


def find_archive(model_path: str | Path) -> Path:
    """The archive of a trained model, or the folder that holds its unpacked members.

    Args:
        model_path: the archive, the folder it is in, or the folder of its unpacked members.

    Raises:
        ConfigError: none of these is there.
    """
    path = Path(model_path)
    if path.is_file():
        return path
    if (path / ARCHIVE).is_file():
        return path / ARCHIVE
    if (path / ARCHIVE_CONFIG).is_file() and (path / ARCHIVE_WEIGHTS).is_file():
        return path
    rule = f"expected the output folder of a training, which holds {ARCHIVE}"
    message = f"inference.model_path: Model archive not found: {rule}; got '{path}'. Train first, or correct the path."
    raise ConfigError([Failure("inference.model_path", message)])


def read_archive_config(archive: Path) -> dict[str, Any] | None:
    """What a model archive says about the model; None where it says nothing.

    Args:
        archive: the archive, or the folder of its unpacked members.

    Raises:
        ConfigError: what it says is no JSON mapping that holds the mappings `model` and `training`.
    """
    try:
        if archive.is_dir():
            content = (archive / ARCHIVE_CONFIG).read_bytes()
        else:
            with zipfile.ZipFile(archive) as members:
                content = members.read(ARCHIVE_CONFIG)
    except (zipfile.BadZipFile, KeyError):
        return None
    try:
        said: object = json.loads(content)
    except ValueError:
        said = None
    if isinstance(said, dict):
        config = cast(dict[str, Any], said)
        if all(isinstance(config.get(name), dict) for name in ("model", "training")):
            return config
    message = f"{archive}: expected {ARCHIVE_CONFIG} to hold 'model' and 'training'; got something else. Train again."
    raise ConfigError([Failure(str(archive), message)])
