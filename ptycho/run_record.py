"""The record in the folder of a run, read before the run goes on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from ptycho.config.errors import ConfigError, printable
from ptycho.config.record import RECORD, damages, is_record, table_of
from ptycho.json_files import read_json

_RUNS: Final = {
    "training": "a training",
    "inference": "a reconstruction with a model",
    "solver": "a reconstruction without a model",
}
"""Table of a run's own settings -> what the run is."""
_WAYS_ON: Final = {
    "training": "Resume a training with ptycho train --resume.",
    "inference": "Repeat it with ptycho reconstruct.",
    "solver": "Resume it with ptycho reconstruct --resume.",
}


def read_record(run_dir: Path, table: str) -> Mapping[str, Any]:
    """Read what a run recorded that is to go on.

    Args:
        run_dir: its folder.
        table: the table of its own settings: `training` or `solver`.

    Raises:
        ConfigError: there is no record, it is damaged, or it is of another kind of run.
    """
    path, name = run_dir / RECORD, printable(str(run_dir))
    if not run_dir.exists():
        raise ConfigError.of(name, "no such folder. Name the output folder of a run.")
    try:
        record = read_json(path)
    except (OSError, ValueError):
        record = None
    what = f"expected the folder of {_RUNS[table]}; got"
    if not isinstance(record, dict) or not is_record(content := cast(dict[str, Any], record)):
        got = "one without its record" if run_dir.is_dir() else "a file, which is no folder with a record"
        raise ConfigError.of(name, f"{what} {got}, {RECORD}. Name the output folder of a run.")
    if failures := damages(content, str(path)):
        raise ConfigError(failures)
    if (found := table_of(content)) != table:
        raise ConfigError.of(name, f"{what} that of {_RUNS[found]}. {_WAYS_ON[found]}")
    return content
