"""Saving the model that this process trained last (historical name)."""

import shutil
from pathlib import Path

from ptycho.model_archive import ARCHIVE

_trained: Path | None = None


def remember(archive: Path) -> None:
    """Note the archive of a model that was just trained."""
    global _trained
    _trained = archive


def save(out_prefix: str | Path) -> Path:
    """Write the model that was trained last in this process to a folder, as `wts.h5.zip`.

    Returns:
        The file.

    Raises:
        ValueError: nothing was trained in this process.
    """
    if _trained is None:
        raise ValueError(
            "model: expected one that this process has trained; got none. Call run_cdi_example first."
        )
    folder = Path(out_prefix)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / ARCHIVE
    if target.resolve() != _trained.resolve():
        shutil.copyfile(_trained, target)
    return target
