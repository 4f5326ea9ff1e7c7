"""Saving the model that this process trained last (historical name)."""

import contextlib
import logging
import shutil
from pathlib import Path

from ptycho.atomic import atomic_write
from ptycho.checksums import Checksums
from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.folder_lock import linked_failure
from ptycho.model_archive import ARCHIVE
from ptycho.run_files import MEMBERS, RECORD
from ptycho.run_folder import RunFolder, one_set

_trained: Path | None = None
_temporary = False

log = logging.getLogger(__name__)


def remember(archive: Path, *, temporary: bool = False) -> None:
    """Note the archive of a model that was just trained.

    Args:
        archive: in the folder of its run.
        temporary: whether that folder is to go once the run is saved.
    """
    global _trained, _temporary
    if _temporary and _trained is not None and _trained.is_file() and _trained != archive:
        log.warning(
            "%s: the previous run was not saved; its files stay there", printable(str(_trained.parent))
        )
    _trained, _temporary = archive, temporary


def save(out_prefix: str | Path, *, overwrite: bool = False) -> Path:
    """Write the model that was trained last in this process to a folder, as `wts.h5.zip`.

    The files of a run in a temporary folder move there with it: `config.json`, `run.log`, `history.csv`, the folder of
    its reconstruction and all others.

    Args:
        out_prefix: the folder, which is made where it is missing.
        overwrite: whether a run that is there is replaced, and other files of the same names; the run is kept aside
            until the new one is whole.

    Returns:
        The file.

    Raises:
        ValueError: nothing was trained in this process.
        ConfigError: the folder holds a run or such a file, is in that of the model, or has a link where a file is to
            be; or another run writes into it. The model stays where it is.
    """
    if _trained is None:
        raise ValueError(
            "model: expected one that this process has trained; got none. Call run_cdi_example first."
        )
    target = Path(out_prefix) / ARCHIVE
    if target.resolve() == _trained.resolve():
        return target
    if _temporary:
        source = _trained.parent
        try:
            _copy_runs(source, target.parent, overwrite)
        except ConfigError:
            log.warning("%s: the run is still there and can be saved elsewhere", printable(str(source)))
            raise
        remember(target)
        shutil.rmtree(source)
    else:
        with RunFolder(target.parent) as folder:
            _begin(folder, overwrite)
            with one_set(folder.path, folder.path) as new:
                _copy(_trained, new / ARCHIVE)
            folder.saved()
    return target


def _copy_runs(source: Path, place: Path, overwrite: bool) -> None:
    """Copy a run and those in the folders below it; what they replace goes when all of them are whole."""
    below = [record.parent for record in sorted(source.glob(f"*/{RECORD}"))]
    _refuse_inside(source, place)
    with contextlib.ExitStack() as entered:
        folders = {
            run: entered.enter_context(RunFolder(place / run.relative_to(source))) for run in (source, *below)
        }
        others = {
            run: [
                entry for entry in sorted(run.iterdir()) if entry.name not in MEMBERS and entry not in below
            ]
            for run in folders
        }
        failures = [
            found
            for run, folder in folders.items()
            for entry in others[run]
            for found in _in_the_way(entry, folder.path / entry.name, overwrite)
        ]
        if failures:
            raise ConfigError(failures)
        for folder in folders.values():
            _begin(folder, overwrite)
        for run, folder in reversed(folders.items()):
            for entry in others[run]:
                _copy_any(entry, folder.path / entry.name)
            with one_set(folder.path, folder.path) as new:
                for name in MEMBERS:
                    _copy_any(run / name, new / name)
            Checksums(folder.path).relocate(source, place)
        for folder in folders.values():
            folder.saved()


def _begin(folder: RunFolder, overwrite: bool) -> None:
    if not overwrite:
        folder.refuse_run(may_resume=False)
    folder.begin(anew=True)


def _refuse_inside(source: Path, place: Path) -> None:
    if place.resolve().is_relative_to(source.resolve()):
        message = (
            f"{place}: expected a folder outside {source}, which goes; got one in it. Name another folder."
        )
        raise ConfigError([Failure("out_prefix", message)])


def _in_the_way(source: Path, target: Path, overwrite: bool) -> list[Failure]:
    """Links, and files of others, where a file or folder that is no member of the run is to be."""
    if target.is_symlink():
        return [linked_failure(target)]
    if source.is_dir() and (target.is_dir() or not target.exists()):
        return [
            found
            for entry in sorted(source.iterdir())
            for found in _in_the_way(entry, target / entry.name, overwrite)
        ]
    if target.exists() and (source.is_dir() or target.is_dir() or not overwrite):
        rule = "expected a new file; got an existing one"
        return [
            Failure(str(target), f"{target}: {rule}. Name another folder, or replace it (overwrite=True).")
        ]
    return []


def _copy_any(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, copy_function=_copy)
    elif source.is_file():
        _copy(source, target)


def _copy(source: str | Path, target: str | Path) -> None:
    with Path(source).open("rb") as content, atomic_write(target) as file:
        shutil.copyfileobj(content, file)
