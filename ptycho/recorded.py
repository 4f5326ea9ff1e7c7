"""What the record of a run holds, for whoever only looks at it: one that cannot be read holds nothing."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

from ptycho.config.record import RECORD
from ptycho.json_files import read_json

_NAMED: Final = 3
"""Runs that a message names."""


def recorded_settings(folder: Path) -> Mapping[str, Any]:
    """The canonical settings of the run in a folder, by name; none where it has no record, or a damaged one."""
    told = _recorded(folder).get("configuration")
    return cast(dict[str, Any], told) if isinstance(told, dict) else {}


def run_dir_of(folder: Path) -> Path:
    """The folder with the record of the run that results are of: the same, or the one above, of several scans."""
    return folder if (folder / RECORD).is_file() else folder.parent


def no_run(named: Path) -> str:
    """Why a place without a record is no run, with the runs that may be meant.

    Args:
        named: a folder, a file, or nothing.
    """
    got = "one without it" if named.is_dir() else "a file" if named.exists() else "no folder"
    above = run_dir_of(named) if named.is_dir() else named.parent
    found = [above] if (run_dir_of(above) / RECORD).is_file() else []
    if not found:
        with suppress(OSError):  # some folders may not be read
            inner = sorted(path.parent for level in ("*", "*/*") for path in named.glob(f"{level}/{RECORD}"))
            found = [folder for folder in inner if recorded_settings(folder)]
    cure = " or ".join(map(str, found[:_NAMED])) or "the output folder of a training or of a reconstruction"
    return f"{named}: expected the folder of a run, which holds {RECORD}; got {got}. Name {cure}."


def is_of_others(folder: Path) -> bool:
    """Whether `config.json` in a folder is that of another program: JSON that describes no run and no model."""
    try:
        record = read_json(folder / RECORD)
    except (OSError, ValueError):
        return False  # missing, or that of a run which is damaged
    return not (isinstance(record, dict) and {"configuration", "model"} & {*cast(dict[str, Any], record)})


def is_unsolved(folder: Path, n_finished: int) -> bool:
    """Whether the run in a folder is a reconstruction without a model, and of more scans than it has finished.

    Args:
        folder: of the run.
        n_finished: scans whose results are there.
    """
    scans = _recorded(folder).get("fingerprints")
    n_scans = len(cast(list[Any], scans)) if isinstance(scans, list) else 0
    return n_finished < n_scans and "n_iterations" in recorded_settings(folder)


def times_resumed(folder: Path) -> int:
    """How many times the run in a folder was resumed."""
    resumed = _recorded(folder).get("resumed")
    return len(cast(list[Any], resumed)) if isinstance(resumed, list) else 0


def _recorded(folder: Path) -> Mapping[str, Any]:
    try:
        record = read_json(folder / RECORD)
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], record) if isinstance(record, dict) else {}
