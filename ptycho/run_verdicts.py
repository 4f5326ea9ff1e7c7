"""What a run recorded against itself: a training that came to nothing, a picture that is not that of the object."""

from pathlib import Path
from typing import Any, cast

from ptycho.config.errors import printable
from ptycho.json_files import read_json
from ptycho.model_archive import ARCHIVE, PROBLEM, read_archive_config
from ptycho.run_files import OF_RECONSTRUCTION, members_in


def recorded_problems(run_dir: Path) -> list[str]:
    """Why a run came to nothing, one line for its model and for each of its pictures; none where it is sound.

    Args:
        run_dir: the folder of a run, with those of several scans below it.

    Raises:
        BundleError: the model cannot be read.
    """
    found: list[str] = []
    for path in (run_dir / name for name in members_in(run_dir)):
        content: Any = None
        if path.name == ARCHIVE:
            content = read_archive_config(path)
        elif path.name == OF_RECONSTRUCTION[-1]:
            content = _figures(path)
        told = cast(dict[str, Any], content).get(PROBLEM) if isinstance(content, dict) else None
        found += [printable(f"{path}: {told}")] if isinstance(told, str) else []
    return found


def _figures(path: Path) -> object:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        return {PROBLEM: f"expected the figures of a reconstruction; got an error ({error})"}
