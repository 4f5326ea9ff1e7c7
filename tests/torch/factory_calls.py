"""Scans and models as far as the factories read them, and calls of the factories."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_torch.config_factory import (
    create_inference_payload,
    create_training_payload,
)


def save_scan(path: Path, n: int = 64, **arrays: Any) -> Path:
    """All that a factory reads of a scan."""
    np.savez(path, probeGuess=np.ones((n, n), dtype=np.complex64), **arrays)
    return path


def save_model(folder: Path, training: dict[str, Any] | None = None, **model: Any) -> Path:
    """All that a factory reads of a model."""
    folder.mkdir(exist_ok=True)
    said = {"model": model, "training": {"batch_size": 4, **(training or {})}, "version": "9.9"}
    with zipfile.ZipFile(folder / "wts.h5.zip", "w") as archive:
        archive.writestr("config.json", json.dumps(said))
    return folder


def train(scan: Path, **options: Any) -> Any:
    """The payload of a training, of 8 groups unless said."""
    options["overrides"] = {"n_groups": 8} | options.get("overrides", {})
    return create_training_payload(scan, scan.parent / "out", **options)


def infer(model: Path, scan: Path, **options: Any) -> Any:
    """The payload of a reconstruction, of 8 groups unless said."""
    options["overrides"] = {"n_groups": 8} | options.get("overrides", {})
    return create_inference_payload(model, scan, scan.parent / "out", **options)
