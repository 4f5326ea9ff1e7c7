"""Which files belong to a run, and why a new one may not write where they are.

A run that is to be replaced is set aside in its own folder; see `ptycho.run_folder` for the names that this takes.
"""

import os
from pathlib import Path
from typing import Final

from ptycho.checksums import CHECKSUMS, read_checksums
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.record import RECORD
from ptycho.folder_lock import linked_failure
from ptycho.model_archive import ARCHIVE, ARCHIVE_WEIGHTS, CHECKPOINTS
from ptycho.recorded import is_of_others, is_unsolved, recorded_settings

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

EARLIER: Final = ".earlier-"
MOVING: Final = ".earlier-moving"
REMOVED: Final = ".earlier-removed"
NEW: Final = ".ptycho-new"
SET: Final = ".ptycho-set"


def holds_training(path: Path) -> bool:
    """Whether a folder holds a training, finished or not."""
    present = {name for name in OF_TRAINING if os.path.lexists(path / name)}.difference(OF_ANY)
    solved = any(os.path.lexists(path / name) for name in (STATE, OF_RECONSTRUCTION[-1]))
    return bool(present.difference((HISTORY, LOSS_PICTURE) if solved else ()))


def is_model(path: str | Path) -> bool:
    """Whether a path leads to a training, finished or not, or to its bundle."""
    return str(path).endswith(".zip") or holds_training(Path(path))


def has_results(path: Path) -> bool:
    """Whether a folder holds what a run was for, or could go on from: model, reconstruction, checkpoints, state."""
    is_done = any(name.name in _DONE for name in members_in(path))
    return is_done or any((path / CHECKPOINTS).glob("*.ckpt"))


def earlier_run(path: Path) -> Path | None:
    """The latest run that was set aside in a folder; None where there is none."""
    return max(earlier_runs(path), key=number_of_earlier, default=None)


def members_in(path: Path, members: tuple[str, ...] = MEMBERS) -> list[Path]:
    """Members of a run that are in a folder, by their relative paths; also those in the folders of several scans."""
    found = [Path(name) for name in members if os.path.lexists(path / name)]
    for folder in scan_folders(path):
        if folder.name[0] != "." and is_folder(folder) and not (folder / RECORD).exists():
            found += [Path(folder.name) / name for name in OF_SOLVER if os.path.lexists(folder / name)]
    return found


def scan_folders(path: Path) -> list[Path]:
    """The folders of several scans in that of a run, by what the record lists; where it lists nothing, by results."""
    if not os.path.lexists(path / RECORD) or holds_training(path):
        return []
    try:
        listed = [*read_checksums(path)]
    except ConfigError:  # damaged
        listed = list[str]()
    if not listed:
        names = (STATE, OF_RECONSTRUCTION[0])
        return sorted({results.parent for name in names for results in path.glob(f"*/{name}")})
    return sorted({(path / name).parent for name in listed if len(Path(name).parts) == 2})


def run_around(folder: Path) -> Path | None:
    """The folder of the run whose own folders, such as that of the checkpoints, one is or lies in; None: of no run."""
    whole = folder.absolute(), folder.resolve()
    for own in (place for path in whole for place in (path, *path.parents)):
        is_own = own.name == CHECKPOINTS or own.name.startswith((EARLIER, NEW, SET))
        if is_own and recorded_settings(own.parent):
            return own.parent
    return None


def failure_of_others(path: Path) -> Failure | None:
    """Why nothing is written among files of others that are called as those of a run, or into those of a run."""
    if around := run_around(path):
        got = f"got one for files of the run {around}, which may be removed with it. Name another folder."
        return Failure("output_dir", f"{path}: expected a folder for a run; {got}")
    present = [str(name) for name in members_in(path)]
    folders = [name for name in present if name != CHECKPOINTS and is_folder(path / name)]
    is_run = ARCHIVE in present or (RECORD in present and not is_of_others(path))
    others = folders or ([] if is_run or is_interrupted(path) else present)
    if not others:
        return None
    rule = "expected a folder in which a run can write files of these names"
    why = "which no run wrote" if folders else f"without the record of a run ({RECORD})"
    message = f"{path}: {rule}; got {' and '.join(others)}, {why}. Move them away, or name another folder."
    return Failure("output_dir", message)


def failure_of_scan(folder: Path, *, is_ours: bool) -> Failure | None:
    """Why a run of several scans may not write into the folder of one: it holds a run, or files of others.

    Args:
        folder: of the scan.
        is_ours: whether the run has written into it, see `scan_folders`.
    """
    if folder.is_symlink():
        return linked_failure(folder)
    if os.path.lexists(folder / RECORD):
        got = "got one that holds a run of its own. Name another output folder."
        return Failure(str(folder), f"{folder}: expected a folder for one scan of several; {got}")
    others = [name for name in OF_SOLVER if os.path.lexists(folder / name)]
    if is_ours or not others:
        return None
    it = "it" if len(others) == 1 else "them"
    got = f"got {', '.join(others)}, which the run did not write. Move {it} away, or name another output folder."
    return Failure(str(folder), f"{folder}: expected a folder for one scan of several; {got}")


def failure_of_run(path: Path, *, may_resume: bool, may_replace: bool = True) -> Failure | None:
    """Why a new run may not write into a folder that holds one, with the ways on."""
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
    goes_on = may_resume and (CHECKPOINTS in present or present == {RECORD})
    ways: list[str] = []
    if unsolved:
        ways.append(f"resume it (ptycho reconstruct --resume {path}; resume=True in Python)")
    elif goes_on and "train_data_file" in recorded_settings(path):
        is_done, again = bool(present & {ARCHIVE, ARCHIVE_WEIGHTS}), f"ptycho train --resume {path}"
        longer = f"train longer ({again} --nepochs N; resume=True, nepochs=N in Python)"
        ways.append(longer if is_done else f"resume it ({again}; resume=True in Python)")
    ways += ["replace it (--overwrite; overwrite=True in Python)"] if may_replace else []
    ways += ["name another folder"]
    way_out = ", ".join(ways[:-1]) + ", or " * (len(ways) > 1) + ways[-1]
    message = f"{path}: expected a folder without a run; got one with {what}."
    return Failure("output_dir", f"{message} {way_out[0].upper()}{way_out[1:]}.")


def refuse_strangers(path: Path) -> None:
    """Refuse to set a training aside that has files of others among its checkpoints, which would go with it."""
    checkpoints = path / CHECKPOINTS
    found = sorted(checkpoints.iterdir()) if is_folder(checkpoints) else []
    strangers = [entry for entry in found if not entry.name.startswith(".") and entry.suffix != ".ckpt"]
    if strangers:
        told = "expected checkpoints alone in a folder that is replaced; got something else. Move it away."
        raise ConfigError([Failure(str(one), f"{one}: {told}") for one in strangers])


def refuse_odd(path: Path) -> None:
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


def earlier_runs(path: Path) -> list[Path]:
    """The runs that were set aside in a folder."""
    return [folder for folder in path.glob(f"{EARLIER}*") if number_of_earlier(folder) and is_folder(folder)]


def number_of_earlier(earlier: Path) -> int:
    """The number of a run that was set aside, from 1; 0 of another folder."""
    text = earlier.name.removeprefix(EARLIER)
    return int(text) if text.isdecimal() and text.isascii() else 0


def is_interrupted(path: Path) -> bool:
    """Whether a run was set aside, is being set aside, or put back."""
    return bool(earlier_runs(path)) or (path / MOVING).exists() or (path / REMOVED).exists()


def is_folder(path: Path) -> bool:
    """Whether there is a folder, and no link to one."""
    return path.is_dir() and not path.is_symlink()
