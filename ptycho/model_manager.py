"""Saving the model that this process trained last (historical name)."""

import shutil
from pathlib import Path

from ptycho.atomic import atomic_write
from ptycho.model_archive import ARCHIVE
from ptycho.run_folder import MEMBERS, OF_TRAINING, RunFolder, one_set

_trained: Path | None = None
_temporary = False


def remember(archive: Path, *, temporary: bool = False) -> None:
    """Note the archive of a model that was just trained.

    Args:
        archive: in the folder of its run.
        temporary: whether that folder is to go once the run is saved.
    """
    global _trained, _temporary
    if _temporary and _trained is not None and _trained.parent != archive.parent:
        shutil.rmtree(_trained.parent, ignore_errors=True)  # nobody has saved that run
    _trained, _temporary = archive, temporary


def save(out_prefix: str | Path) -> Path:
    """Write the model that was trained last in this process to a folder, as `wts.h5.zip`.

    The files of a run in a temporary folder move there with it: `config.json`, `run.log`, `history.csv` and all others.
    A training that is there already is replaced, and kept aside until the new one is whole.

    Returns:
        The file.

    Raises:
        ValueError: nothing was trained in this process.
        ConfigError: a run writes into the folder.
    """
    if _trained is None:
        raise ValueError(
            "model: expected one that this process has trained; got none. Call run_cdi_example first."
        )
    target = Path(out_prefix) / ARCHIVE
    if target.resolve() == _trained.resolve():
        return target
    with RunFolder(out_prefix) as folder:
        folder.begin(anew=True, members=OF_TRAINING)
        with one_set(folder.path, folder.path) as new:
            if _temporary:
                shutil.copytree(_trained.parent, new, dirs_exist_ok=True, copy_function=_copy)
                others = shutil.ignore_patterns(*MEMBERS)
                shutil.copytree(new, folder.path, ignore=others, dirs_exist_ok=True, copy_function=_copy)
            else:
                _copy(_trained, new / ARCHIVE)
        folder.saved()
    if _temporary:
        remember(target)
    return target


def _copy(source: str | Path, target: str | Path) -> None:
    with Path(source).open("rb") as content, atomic_write(target) as file:
        shutil.copyfileobj(content, file)
