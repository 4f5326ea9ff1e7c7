"""What the record of a run holds, for whoever only looks at it: one that cannot be read holds nothing."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, cast

from ptycho.config.record import RECORD
from ptycho.json_files import read_json

STATE: Final = "state.pt"
"""What a reconstruction without a model goes on from."""


def recorded_settings(folder: Path) -> Mapping[str, Any]:
    """The canonical settings of the run in a folder, by name; none where it has no record, or a damaged one."""
    told = _recorded(folder).get("configuration")
    return cast(dict[str, Any], told) if isinstance(told, dict) else {}


def is_unsolved(folder: Path, present: Collection[str]) -> bool:
    """Whether a folder holds a reconstruction without a model that has not come to the end of each of its scans.

    Args:
        folder: of the run.
        present: names of the files that it holds, those of several scans with their folder.
    """
    scans = _recorded(folder).get("fingerprints")
    n_scans = len(cast(list[Any], scans)) if isinstance(scans, list) else 0
    n_finished = sum(name.endswith("metrics.json") for name in present)
    is_solver = "n_iterations" in recorded_settings(folder)
    return any(name.endswith(STATE) for name in present) or (is_solver and n_finished < n_scans)


def _recorded(folder: Path) -> Mapping[str, Any]:
    try:
        record = read_json(folder / RECORD)
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], record) if isinstance(record, dict) else {}
