"""The settings in the record of a run, for whoever only looks at it: a record that cannot be read has none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ptycho.config.record import RECORD
from ptycho.json_files import read_json


def recorded_settings(folder: Path) -> Mapping[str, Any]:
    """The canonical settings of the run in a folder, by name; none where it has no record, or a damaged one."""
    try:
        record = read_json(folder / RECORD)
    except (OSError, ValueError):
        return {}
    told = cast(dict[str, Any], record).get("configuration") if isinstance(record, dict) else None
    return cast(dict[str, Any], told) if isinstance(told, dict) else {}
