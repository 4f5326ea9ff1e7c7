"""The folder of a run: one writer at a time, and an earlier run that is kept until the new one has saved.

A writer holds a lock of the operating system, which a kill releases. A run that is to be replaced is set aside in the
folder itself, and these names tell how far a writer came that was killed:

    .earlier-moving     members of a run are being set aside, or put back; those in the folder are of the same run
    .earlier-1, -2 ...  a whole run that was set aside; what is in the folder is of a later one
    .earlier-removed    what is no longer needed
    .ptycho-new         results that are not complete yet
    .ptycho-set         complete results that are about to take their places

Every writer first finishes or undoes what the one before it left. Links are renamed or removed, never followed.
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Final, Self

from ptycho.atomic import refuse_special, remove_leftovers
from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.data_error import DataError
from ptycho.folder_lock import LOCK, in_use, linked_failure, locked, refuse_others
from ptycho.model_archive import CHECKPOINTS
from ptycho.run_files import (
    EARLIER,
    MEMBERS,
    MOVING,
    NEW,
    OF_ANY,
    OF_RECONSTRUCTION,
    REMOVED,
    SET,
    earlier_run,
    earlier_runs,
    failure_of_others,
    failure_of_run,
    failure_of_scan,
    has_results,
    is_folder,
    members_in,
    number_of_earlier,
    refuse_odd,
    refuse_strangers,
    scan_folders,
)

_REFUSALS: Final = (ConfigError, DataError, FileNotFoundError)
"""Errors of a run that is refused for its scan or a setting."""

log = logging.getLogger(__name__)


class RunFolder:
    """A folder that this process alone writes into, as a context.

    It is made where it is missing, and removed again where the run ends with an error before it has begun to write.

    Args:
        path: the folder.
        writes: False in the further processes of a run, for which nothing is done here.
        among_others: whether files that are called as those of a run may be there without its record.

    Attributes:
        path: the folder.
        when_begun: called by `begin`, once the folder is this run's.

    Raises:
        ConfigError: another run writes into it; or a link is in place of what a run writes.
    """

    def __init__(self, path: str | Path, *, writes: bool = True, among_others: bool = False) -> None:
        self.path = Path(path)
        self.when_begun: list[Callable[[], None]] = []
        self._writes, self._among_others = writes, among_others
        self._exit = contextlib.ExitStack()
        self._begun = self._anew = False

    def __enter__(self) -> Self:
        if self._writes:
            with contextlib.ExitStack() as entered:
                entered.enter_context(locked(self.path))
                _recover(self.path)
                if not self._among_others and (others := failure_of_others(self.path)):
                    raise ConfigError([others])
                self._exit = entered.pop_all()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._exit:
            if self._writes and self._begun and error is not None:
                present, refused = members_in(self.path), isinstance(error, _REFUSALS)
                if refused and self._anew and all(str(name) in OF_ANY for name in present):
                    for name in present:  # it has written its record alone
                        (self.path / name).unlink()
                _recover(self.path)
                if failure_of_others(self.path):  # of this run, which has not recorded itself
                    for name in OF_ANY[1:]:
                        (self.path / name).unlink(missing_ok=True)

    def refuse_run(self, *, may_resume: bool = True, may_replace: bool = True) -> None:
        """Refuse a folder that holds a run.

        Args:
            may_resume: whether the caller's kind of run can go on.
            may_replace: whether the caller can be asked to replace it.

        Raises:
            ConfigError: it does, finished or not.
        """
        failure = failure_of_run(self.path, may_resume=may_resume, may_replace=may_replace)
        if self._writes and failure:
            raise ConfigError([failure])

    def folders_for(self, names: Sequence[str]) -> list[Path]:
        """Where the results of scans go: this folder for a single one, and one in it for each of several.

        Args:
            names: what they are called.

        Raises:
            ConfigError: one of several holds another run or files of others, or is in use.
        """
        if len(names) == 1:
            return [self.path]
        folders = [self.path / name for name in names]
        if self._writes:
            self._refuse_others_in(folders)
        for folder in folders if self._writes else ():
            if (folder / LOCK).exists():
                with locked(folder):  # which takes away what a killed writer left
                    pass
        return folders

    @contextlib.contextmanager
    def for_scan(self, folder: Path) -> Generator[None]:
        """Be the one writer of the folder of one scan of several meanwhile.

        Args:
            folder: in this one, or itself for a single scan.

        Raises:
            ConfigError: it holds another run or files of others by now, or is in use.
        """
        with contextlib.ExitStack() as held:
            if self._writes and folder != self.path:
                held.enter_context(locked(folder))
                self._refuse_others_in([folder])
            yield

    def _refuse_others_in(self, folders: Sequence[Path]) -> None:
        ours = scan_folders(self.path)
        found = (failure_of_scan(folder, is_ours=folder in ours) for folder in folders)
        if failures := [failure for failure in found if failure]:
            raise ConfigError(failures)

    def begin(self, *, anew: bool, members: tuple[str, ...] = MEMBERS) -> None:
        """Begin to write; what else can refuse the run is done before.

        Args:
            anew: whether an earlier run in the folder is set aside. Otherwise this one goes on with it.
            members: names of what is set aside.

        Raises:
            ConfigError: a run that goes on has a link in place of one of its files, or what is no file; one that is set
                aside has files of others among its checkpoints.
        """
        if self._writes:
            self._begun, self._anew = True, anew
            if anew:
                refuse_strangers(self.path)
                _set_aside(self.path, members)
            else:
                refuse_odd(self.path)
        for call in self.when_begun:
            call()

    def saved(self) -> None:
        """Remove the earlier runs, now that this one has saved what it was for."""
        for earlier in earlier_runs(self.path) if self._writes else ():
            _remove(self.path, earlier)


def run_failure(path: Path, *, may_resume: bool = True) -> Failure | None:
    """Why a new run may not write into a folder: another one does, or it holds one. Nothing is changed."""
    return in_use(path) or failure_of_others(path) or failure_of_run(path, may_resume=may_resume)


@contextlib.contextmanager
def one_set(run_dir: Path, folder: Path) -> Generator[Path]:
    """Write files of a run that appear in its folder together, once they are complete.

    A writer that is killed before has changed nothing; what one leaves that is killed while they appear, the next
    writer puts in place.

    Args:
        run_dir: the folder of the run.
        folder: the same or one in it, which is made where it is missing.

    Yields:
        The folder to write them into. An empty folder in place of a file removes the file of this name.

    Raises:
        ConfigError: a link is in place of the folder below.
        FileExistsError: a folder or a pipe is in place of a file; nothing is changed.
    """
    if folder != run_dir and folder.is_symlink():
        raise ConfigError([linked_failure(folder)])
    new = run_dir / NEW
    inner = new / folder.relative_to(run_dir)
    inner.mkdir(parents=True)
    try:
        yield inner
        folder.mkdir(exist_ok=True)
        for made in inner.iterdir():
            refuse_special(folder / made.name)
        os.rename(new, run_dir / SET)
    except OSError as error:
        if Path(str(error.filename)).parent == inner:  # the file is named by where it was to be
            raise OSError(error.errno, error.strerror, str(folder / Path(error.filename).name)) from error
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    _appear(run_dir)


def _appear(path: Path) -> None:
    """Put the files of a complete set in their places, the figures last."""
    complete = path / SET
    if complete.is_dir():
        for empty in [found for found in complete.rglob("*") if found.is_dir() and not any(found.iterdir())]:
            if not (gone := path / empty.relative_to(complete)).is_dir():
                gone.unlink(missing_ok=True)
            empty.rmdir()
        _move(complete, path, sorted(_files(complete), key=lambda name: name.name == OF_RECONSTRUCTION[-1]))
        shutil.rmtree(complete)


# The earlier run ----------------------------------------------------------------------------------------------------


def _set_aside(path: Path, members: tuple[str, ...]) -> None:
    """Move the run out of the way; whatever ends this in between, it can be put back."""
    present = members_in(path, members)
    if present:
        (path / MOVING).mkdir()
        _move(path, path / MOVING, present)
        latest = max(map(number_of_earlier, path.glob(f"{EARLIER}*")))
        os.rename(path / MOVING, path / f"{EARLIER}{latest + 1}")


def _recover(path: Path) -> None:
    """Finish or undo what a writer left that did not come to its end."""
    for name in (NEW, SET, MOVING, REMOVED):
        refuse_others(path / name, Path.is_dir)
    for folder in (path, path / CHECKPOINTS):
        if not folder.is_symlink():
            remove_leftovers(folder)
    shutil.rmtree(path / NEW, ignore_errors=True)
    _appear(path)
    _remove_real(path / REMOVED)
    moving = path / MOVING
    if moving.is_dir():
        _put_back(path)
    earlier = earlier_run(path)
    if earlier is None:
        return
    if has_results(path):
        log.warning(
            "%s: the earlier run is kept in %s until this one has saved",
            printable(str(path)),
            printable(str(earlier)),
        )
        return
    if remains := members_in(path):  # of a run that came to nothing
        (path / REMOVED).mkdir()
        _move(path, path / REMOVED, remains)
        _remove_real(path / REMOVED)
    os.rename(earlier, moving)
    _put_back(path)
    log.warning(
        "%s: the earlier run is restored, since the one that replaced it saved nothing",
        printable(str(path)),
    )


def _put_back(path: Path) -> None:
    moving = path / MOVING
    _move(moving, path, _files(moving))
    shutil.rmtree(moving)


def _files(folder: Path) -> list[Path]:
    """What was moved into a folder, by relative paths: members, and those in folders of several scans."""
    found: list[Path] = []
    for entry in sorted(folder.iterdir()):
        name = Path(entry.name)
        inner = entry.is_dir() and not entry.is_symlink() and entry.name not in MEMBERS
        found += [name / inside.name for inside in sorted(entry.iterdir())] if inner else [name]
    return found


def _move(source: Path, target: Path, names: list[Path]) -> None:
    """Move files and folders one by one, and remove the folders that this leaves empty."""
    for name in names:
        if name.parent != Path() and (target / name.parent).is_symlink():
            raise ConfigError([linked_failure(target / name.parent)])
        (target / name).parent.mkdir(exist_ok=True)
        os.replace(source / name, target / name)
        if name.parent != Path():
            with contextlib.suppress(OSError):  # something else is in it
                (source / name).parent.rmdir()


def _remove(path: Path, earlier: Path) -> None:
    """Remove a run that was set aside; it no longer counts as a run once it is renamed."""
    _remove_real(path / REMOVED)
    os.rename(earlier, path / REMOVED)
    _remove_real(path / REMOVED)


def _remove_real(folder: Path) -> None:
    if is_folder(folder):
        shutil.rmtree(folder)
