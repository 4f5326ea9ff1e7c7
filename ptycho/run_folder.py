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
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, Self

from ptycho.atomic import refuse_special, remove_leftovers
from ptycho.checksums import CHECKSUMS
from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.config.record import RECORD
from ptycho.data_error import DataError
from ptycho.folder_lock import in_use, linked_failure, locked, refuse_others
from ptycho.model_archive import ARCHIVE, ARCHIVE_WEIGHTS, CHECKPOINTS
from ptycho.recorded import is_of_others, is_unsolved, recorded_settings, run_around

LOG: Final = "run.log"
HISTORY: Final = "history.csv"
LOSS_PICTURE: Final = "loss.png"
STATE: Final = "state.pt"
PATTERNS: Final = "patterns.npz"
FIGURES: Final = "training.json"
REPORT: Final = "report.html"
PREVIEW: Final = ("preview.png", "preview.npz")
OF_ANY: Final = (RECORD, LOG, CHECKSUMS, REPORT, *PREVIEW)
OF_TRAINING: Final = (*OF_ANY, HISTORY, LOSS_PICTURE, CHECKPOINTS, FIGURES, ARCHIVE_WEIGHTS, ARCHIVE)
OF_RECONSTRUCTION: Final = (
    *("reconstruction.npz", "reconstruction.png", "comparison.png", "reconstruction.h5"),
    *("reconstruction.cxi", "object_amplitude.tif", "object_phase.tif", "probe_amplitude.tif"),
    *("probe_phase.tif", PATTERNS, "metrics.json"),
)
"""Of any run (alone they are somebody else's), of a training, and of a reconstruction, the last one last."""
OF_SOLVER: Final = (STATE, HISTORY, LOSS_PICTURE, REPORT, PREVIEW[0], *OF_RECONSTRUCTION)
"""Of a reconstruction without a model; the first one is there while it is not finished."""
MEMBERS: Final = (*OF_TRAINING, STATE, *OF_RECONSTRUCTION)
"""What belongs to a run; loggers keep their runs apart themselves, and other files are not ours."""
_DONE: Final = (ARCHIVE, ARCHIVE_WEIGHTS, STATE, OF_RECONSTRUCTION[-1])
"""What a run was for, packed or unpacked, or could go on from."""

_EARLIER: Final = ".earlier-"
_MOVING: Final = ".earlier-moving"
_REMOVED: Final = ".earlier-removed"
_NEW: Final = ".ptycho-new"
_SET: Final = ".ptycho-set"

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
                if not self._among_others and (others := _others(self.path)):
                    raise ConfigError([others])
                self._exit = entered.pop_all()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._exit:
            if self._writes and self._begun and error is not None:
                present, refused = members_in(self.path), isinstance(error, ConfigError | DataError)
                if refused and self._anew and all(str(name) in OF_ANY for name in present):
                    for name in present:  # it has written its record alone
                        (self.path / name).unlink()
                _recover(self.path)
                if _others(self.path):  # of this run, which has not recorded itself
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
        failure = _held_run(self.path, may_resume=may_resume, may_replace=may_replace)
        if self._writes and failure:
            raise ConfigError([failure])

    def begin(self, *, anew: bool, members: tuple[str, ...] = MEMBERS) -> None:
        """Begin to write; everything that can refuse the run is done before.

        Args:
            anew: whether an earlier run in the folder is set aside. Otherwise this one goes on with it.
            members: names of what is set aside.

        Raises:
            ConfigError: a run that goes on has a link in place of one of its files, or what is no file.
        """
        if self._writes:
            self._begun, self._anew = True, anew
            if anew:
                _set_aside(self.path, members)
            else:
                _refuse_odd(self.path)
        for call in self.when_begun:
            call()

    def saved(self) -> None:
        """Remove the earlier runs, now that this one has saved what it was for."""
        for earlier in _earlier(self.path) if self._writes else ():
            _remove(self.path, earlier)


def run_failure(path: Path, *, may_resume: bool = True) -> Failure | None:
    """Why a new run may not write into a folder: another one does, or it holds one. Nothing is changed."""
    return in_use(path) or _others(path) or _held_run(path, may_resume=may_resume)


def holds_training(path: Path) -> bool:
    """Whether a folder holds a training, finished or not."""
    present = {name for name in OF_TRAINING if os.path.lexists(path / name)}.difference(OF_ANY)
    solved = any(os.path.lexists(path / name) for name in (STATE, OF_RECONSTRUCTION[-1]))
    return bool(present.difference((HISTORY, LOSS_PICTURE) if solved else ()))


def has_results(path: Path) -> bool:
    """Whether a folder holds what a run was for, or could go on from: model, reconstruction, checkpoints, state."""
    is_done = any(name.name in _DONE for name in members_in(path))
    return is_done or any((path / CHECKPOINTS).glob("*.ckpt"))


def earlier_run(path: Path) -> Path | None:
    """The latest run that was set aside in a folder; None where there is none."""
    return max(_earlier(path), key=_number, default=None)


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
    new = run_dir / _NEW
    inner = new / folder.relative_to(run_dir)
    inner.mkdir(parents=True)
    try:
        yield inner
        folder.mkdir(exist_ok=True)
        for made in inner.iterdir():
            refuse_special(folder / made.name)
        os.rename(new, run_dir / _SET)
    except OSError as error:
        if Path(str(error.filename)).parent == inner:  # the file is named by where it was to be
            raise OSError(error.errno, error.strerror, str(folder / Path(error.filename).name)) from error
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    _appear(run_dir)


def _appear(path: Path) -> None:
    """Put the files of a complete set in their places, the figures last."""
    complete = path / _SET
    if complete.is_dir():
        for empty in [found for found in complete.rglob("*") if found.is_dir() and not any(found.iterdir())]:
            if not (gone := path / empty.relative_to(complete)).is_dir():
                gone.unlink(missing_ok=True)
            empty.rmdir()
        _move(complete, path, sorted(_files(complete), key=lambda name: name.name == OF_RECONSTRUCTION[-1]))
        shutil.rmtree(complete)


# What is there ------------------------------------------------------------------------------------------------------


def members_in(path: Path, members: tuple[str, ...] = MEMBERS) -> list[Path]:
    """Members of a run that are in a folder, by their relative paths; also those in the folders of several scans."""
    found = [Path(name) for name in members if os.path.lexists(path / name)]
    if Path(RECORD) in found and not holds_training(path):
        names = (STATE, OF_RECONSTRUCTION[0])
        for folder in sorted({results.parent for name in names for results in path.glob(f"*/{name}")}):
            if folder.name[0] != "." and not folder.is_symlink() and not (folder / RECORD).exists():
                found += [Path(folder.name) / name for name in OF_SOLVER if os.path.lexists(folder / name)]
    return found


def _others(path: Path) -> Failure | None:
    """Why nothing is written among files of others that are called as those of a run, or into those of a run."""
    if around := run_around(path):
        got = f"got one for files of the run {around}, which may be removed with it. Name another folder."
        return Failure("output_dir", f"{path}: expected a folder for a run; {got}")
    present = [str(name) for name in members_in(path)]
    folders = [name for name in present if name != CHECKPOINTS and _is_folder(path / name)]
    is_run = ARCHIVE in present or (RECORD in present and not is_of_others(path))
    others = folders or ([] if is_run or _interrupted(path) else present)
    if not others:
        return None
    rule = "expected a folder in which a run can write files of these names"
    why = "which no run wrote" if folders else f"without the record of a run ({RECORD})"
    got = f"got {' and '.join(others)}, {why}. Move them away, or name another folder."
    return Failure("output_dir", f"{path}: {rule}; {got}")


def _held_run(path: Path, *, may_resume: bool, may_replace: bool = True) -> Failure | None:
    present = {str(name) for name in members_in(path)}.difference(OF_ANY[1:])
    if not present:
        return None
    n_finished = sum(name.endswith(OF_RECONSTRUCTION[-1]) for name in present)
    unsolved = any(name.endswith(STATE) for name in present) or is_unsolved(path, n_finished)
    if present & {ARCHIVE, ARCHIVE_WEIGHTS}:
        what = "a trained model"
    elif holds_training(path):
        what = "a training that was not finished"
    elif unsolved:
        what = "a reconstruction that was not finished"
    elif any(name.endswith(OF_RECONSTRUCTION) for name in present):
        what = "a reconstruction"
    else:
        what = "the record of a run that was not finished"
    ways, trains = list[str](), "train_data_file" in recorded_settings(path)
    if unsolved:
        ways.append(f"resume it (ptycho reconstruct --resume {path}; resume=True in Python)")
    elif may_resume and trains and (CHECKPOINTS in present or present == {RECORD}):
        ways.append(f"resume it (ptycho train --resume {path}; resume() in Python)")
    ways += ["replace it (--overwrite; overwrite=True in Python)"] if may_replace else []
    ways += ["name another folder"]
    way_out = ", ".join(ways[:-1]) + ", or " * (len(ways) > 1) + ways[-1]
    message = f"{path}: expected a folder without a run; got one with {what}."
    return Failure("output_dir", f"{message} {way_out[0].upper()}{way_out[1:]}.")


def _refuse_odd(path: Path) -> None:
    """Refuse to go on where a link, a pipe or a folder is in place of a file of the run."""
    present = [path / name for name in MEMBERS if os.path.lexists(path / name)]
    odd = [linked_failure(member) for member in present if member.is_symlink()]
    for member in present:
        kind, fits = ("folder", member.is_dir()) if member.name == CHECKPOINTS else ("file", member.is_file())
        if not fits and not member.is_symlink():
            got = "a file" if kind == "folder" else "a folder, a pipe or a device"
            message = f"{member}: expected a {kind} of the run; got {got}. Move it away."
            odd.append(Failure(str(member), message))
    if odd:
        raise ConfigError(odd)


# The earlier run ----------------------------------------------------------------------------------------------------


def _earlier(path: Path) -> list[Path]:
    return [folder for folder in path.glob(f"{_EARLIER}*") if _number(folder) and _is_folder(folder)]


def _number(earlier: Path) -> int:
    text = earlier.name.removeprefix(_EARLIER)
    return int(text) if text.isdecimal() and text.isascii() else 0


def _interrupted(path: Path) -> bool:
    """Whether a run was set aside, is being set aside, or put back."""
    return bool(_earlier(path)) or (path / _MOVING).exists() or (path / _REMOVED).exists()


def _set_aside(path: Path, members: tuple[str, ...]) -> None:
    """Move the run out of the way; whatever ends this in between, it can be put back."""
    present = members_in(path, members)
    if present:
        (path / _MOVING).mkdir()
        _move(path, path / _MOVING, present)
        latest = max(map(_number, path.glob(f"{_EARLIER}*")))
        os.rename(path / _MOVING, path / f"{_EARLIER}{latest + 1}")


def _recover(path: Path) -> None:
    """Finish or undo what a writer left that did not come to its end."""
    for name in (_NEW, _SET, _MOVING, _REMOVED):
        refuse_others(path / name, Path.is_dir)
    for folder in (path, path / CHECKPOINTS):
        if not folder.is_symlink():
            remove_leftovers(folder)
    shutil.rmtree(path / _NEW, ignore_errors=True)
    _appear(path)
    _remove_real(path / _REMOVED)
    moving = path / _MOVING
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
        (path / _REMOVED).mkdir()
        _move(path, path / _REMOVED, remains)
        _remove_real(path / _REMOVED)
    os.rename(earlier, moving)
    _put_back(path)
    log.warning(
        "%s: the earlier run is restored, since the one that replaced it saved nothing",
        printable(str(path)),
    )


def _put_back(path: Path) -> None:
    moving = path / _MOVING
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
    _remove_real(path / _REMOVED)
    os.rename(earlier, path / _REMOVED)
    _remove_real(path / _REMOVED)


def _remove_real(folder: Path) -> None:
    if _is_folder(folder):
        shutil.rmtree(folder)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
