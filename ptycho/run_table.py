"""`ptycho.runs`: the runs below a folder, as a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from ptycho.config.file_text import LARGEST
from ptycho.config.render import Line, table
from ptycho.display import table_html
from ptycho.json_files import read_json
from ptycho.judgement import Kind, has_ended, recorded_figures, recorded_judgement
from ptycho.regular_files import read_regular
from ptycho.run_files import HISTORY, OF_RECONSTRUCTION, RECORD, STATE
from ptycho.wording import counted, short

COLUMNS: Final = (
    *("run", "kind", "scan", "finished", "verdict", "problem", "r_factor", "mean_pattern_r_factor"),
    *("poisson_deviance_per_pixel", "amplitude_psnr_db", "phase_psnr_db", "seconds", "rounds"),
)
"""Of the table; `rounds` are epochs of a training and iterations of the solver."""
DEEPEST: Final = 4
"""Folders below the one that is asked for in which runs are looked for."""
_DATA: Final[dict[str, Kind]] = {
    "train_data_file": "training",
    "test_data_file": "network",
    "data_file": "solver",
}
"""Setting that names the scan -> kind of the run."""


class Runs(list[dict[str, Any]]):
    """One mapping for each run, all with the keys `COLUMNS`; `pandas.DataFrame(runs)` makes a data frame of it."""

    def __repr__(self) -> str:
        """A table as plain text."""
        shown = self._shown()
        lines = [Line(tuple(short(row[name]) for name in shown)) for row in self]
        return table(shown, lines) if lines else counted(0, "run")

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        shown = self._shown()
        return table_html(counted(len(self), "run"), ([row[name] for name in shown] for row in self), shown)

    def _shown(self) -> list[str]:
        """The columns that say anything."""
        return [name for name in COLUMNS if any(row[name] is not None for row in self)]


def runs(folder: str | Path = "runs") -> Runs:
    """The runs below a folder: trainings and reconstructions, finished or not.

    Args:
        folder: where to look; it may be a run itself. Folders that begin with a dot are left out, and links.

    Returns:
        One mapping for each run, or for each scan of a run on several, with ``run`` (its folder), ``kind`` ('training',
        'network' or 'solver'), ``scan``, ``finished``, ``verdict`` (in words), ``problem`` (why it came to
        nothing), figures as in `metrics.json`, ``seconds``, and ``rounds``: epochs or iterations. What is not known is
        None.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    top = Path(folder)
    if not top.is_dir():
        raise FileNotFoundError(f"{top}: no such folder. Name the folder of the runs.")
    return Runs(row for home in _homes(top, DEEPEST) for row in _rows(home))


def _homes(folder: Path, levels: int) -> list[Path]:
    """Folders with the record of a run."""
    found = [folder] if (folder / RECORD).is_file() else []
    if levels:
        inner = sorted(path for path in folder.iterdir() if path.name[:1] != "." and not path.is_symlink())
        found += [home for path in inner if path.is_dir() for home in _homes(path, levels - 1)]
    return found


def _rows(home: Path) -> list[dict[str, Any]]:
    """The rows of a run; none where its record is not one."""
    configuration = _mapping(_mapping(_json(home / RECORD)).get("configuration"))
    name = next((name for name in _DATA if name in configuration), None)
    if name is None:
        return []
    kind, data = _DATA[name], configuration[name]
    if kind == "training" or (home / OF_RECONSTRUCTION[-1]).exists() or (home / STATE).exists():
        places = [home]
    else:
        inner = sorted(path.parent for path in home.glob(f"*/{OF_RECONSTRUCTION[-1]}"))
        places = [place for place in inner if not (place / RECORD).exists()] or [home]
    return [_row(place, kind, str(data) if place == home else place.name) for place in places]


def _row(place: Path, kind: Kind, scan: str) -> dict[str, Any]:
    figures = recorded_figures(place, kind)
    history = _lines(place / HISTORY)
    row = {name: figures.get(name) for name in COLUMNS}
    return row | {
        "run": str(place),
        "kind": kind,
        "scan": scan,
        "finished": has_ended(place, kind),
        "verdict": recorded_judgement(place, kind).headline,
        "rounds": len(history) - 1 if len(history) > 1 else None,
    }


def _json(path: Path) -> object:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else {}


def _lines(path: Path) -> list[str]:
    try:
        return read_regular(path, LARGEST).decode("ascii", "replace").splitlines()
    except (OSError, ValueError):
        return []
