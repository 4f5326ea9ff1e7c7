"""What the record of a run holds, for whoever only looks at it: one that cannot be read holds nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ptycho.config.record import RECORD
from ptycho.json_files import read_json


def recorded_settings(folder: Path) -> Mapping[str, Any]:
    """The canonical settings of the run in a folder, by name; none where it has no record, or a damaged one."""
    told = _recorded(folder).get("configuration")
    return cast(dict[str, Any], told) if isinstance(told, dict) else {}


def recorded_scans(folder: Path) -> int:
    """How many scans the run in a folder has read; 0 where that is not recorded."""
    told = _recorded(folder).get("fingerprints")
    return len(cast(list[Any], told)) if isinstance(told, list) else 0


def _recorded(folder: Path) -> Mapping[str, Any]:
    try:
        record = read_json(folder / RECORD)
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], record) if isinstance(record, dict) else {}
