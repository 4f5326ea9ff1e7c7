"""What a report is made of: the files of a run, read back."""

import csv
import io
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from numpy.typing import NDArray

from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.config.file_text import LARGEST
from ptycho.config.record import Recorded, damages, is_record, settings_in
from ptycho.data_error import DataError, problem
from ptycho.json_files import read_json
from ptycho.judgement import JUDGED, Kind, goes_further, number_of
from ptycho.npz_files import read_results
from ptycho.recorded import no_run, run_dir_of
from ptycho.regular_files import read_regular
from ptycho.run_files import (
    CHECKPOINTS,
    FIGURES,
    HISTORY,
    LOG,
    OF_RECONSTRUCTION,
    PATTERNS,
    PREVIEW,
    RECORD,
    STATE,
    holds_training,
    is_folder,
    scan_folders,
)
from ptycho_torch.runs.outcome import problem_of, problem_of_picture, problem_of_prediction
from ptycho_torch.runs.record import ENDING

LARGEST_PICTURE: Final = 64 * 2**20
"""Bytes of a picture that is read; a run writes none that is larger."""
DATA: Final = ("data_file", "test_data_file", "train_data_file")
"""Settings that name the scan."""
_ARRAYS: Final = {
    "object": (2, "c"),
    "probe": (3, "c"),
    "corner_px": (1, "iu"),
    "coverage": (2, "f"),
    "object_pixel_size_m": (1, "f"),
    "probe_powers": (1, "f"),
    "index": (1, "iu"),
    "measured": (3, "f"),
    "predicted": (3, "f"),
    "valid": (3, "b"),
    "looked_at": (1, "iu"),
    "r_factor": (1, "f"),
    "excess_deviance": (0, "f"),
    "positions_px": (2, "f"),
}
"""Arrays of reconstruction.npz and patterns.npz that are shown, with their number of axes and kinds of number."""
_ALIKE: Final = (
    ("probe", "probe_powers"),
    ("measured", "index"),
    ("measured", "predicted"),
    ("measured", "valid"),
    ("looked_at", "r_factor"),
)
"""Pairs of arrays, the second of which has the shape of the first, as far as it has axes."""
_WARNINGS: Final = (" WARNING ", " ERROR ")
_MOST_WARNINGS: Final = 20

Read = TypeVar("Read")


@dataclass(frozen=True)
class Contents:
    """What is known of one run.

    Attributes:
        folder: of the results.
        run_dir: of the record: the same, or the one above where the run is of several scans.
        record: `config.json`.
        settings: those in the record.
        figures: `metrics.json`, or `training.json` of a training.
        history: the rows of `history.csv`: numbers, words, or None where nothing was measured.
        arrays: those of `reconstruction.npz`, or `preview.npz` of a training.
        patterns: those of `patterns.npz`, or of `preview.npz` of a training, see `evidence.evidence`.
        comparison: the picture of the object beside the known one, where there is one: content of a PNG file.
        warnings: lines of `run.log`; of a finished run without those of how earlier parts of it ended.
        is_training: whether it is a training.
        model: the training whose model the run used, where that is there.
    """

    folder: Path
    run_dir: Path
    record: Mapping[str, Any]
    settings: Recorded
    figures: Mapping[str, Any] = field(default_factory=dict[str, Any])
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    patterns: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    comparison: bytes | None = None
    warnings: tuple[str, ...] = ()
    is_training: bool = False
    model: "Contents | None" = None

    @property
    def kind(self) -> Kind:
        """What kind of run it is."""
        if self.is_training:
            return "training"
        return "network" if "model_path" in self.record["configuration"] else "solver"

    @property
    def problem(self) -> str | None:
        """The problem of the run, if there is one."""
        if isinstance(told := self.figures.get("problem"), str):
            return told
        if self.is_training:
            return problem_of(self.history) or problem_of_prediction(self.judged)
        return problem_of_picture(self.judged) if self.judged else None

    @property
    def judged(self) -> dict[str, float]:
        """R factor and deviance, each also of the mean pattern; nothing where they were not measured."""
        names = [f"{of}{name}" for of in ("", "mean_pattern_") for name in JUDGED]
        values = {name: number_of(self.figures, name) for name in names if name in self.figures}
        return values if len(values) == len(names) else {}

    @property
    def data(self) -> str | None:
        """The scan, as the record names it."""
        named = (self.record["configuration"].get(name) for name in DATA)
        return next((name for name in named if isinstance(name, str)), None)

    @property
    def title(self) -> str:
        """What the run is called: after its scan."""
        if self.folder != self.run_dir or self.data is None:
            return self.folder.name
        return Path(self.data).stem


def read_contents(folder: Path, *, new: Path | None = None, run_dir: Path | None = None) -> Contents:
    """Read what there is of a run.

    Args:
        folder: of its results.
        new: where they are, on their way there; None: in the folder.
        run_dir: where its record is; None: in the folder, or the one above.

    Raises:
        ConfigError: there is no run, or its record is damaged.
        DataError: an NPZ file is damaged.
    """
    place = new or folder
    run_dir = run_dir or run_dir_of(folder)
    record = _record(run_dir)
    is_training = "train_data_file" in record["configuration"]
    figures = _json(place / (FIGURES if is_training else OF_RECONSTRUCTION[-1]))
    found = Contents(
        folder=folder,
        run_dir=run_dir,
        record=record,
        settings=settings_in(record),
        figures=figures if isinstance(figures, dict) else {},
        history=_history(place / HISTORY),
        arrays=_arrays(place / (PREVIEW[1] if is_training else OF_RECONSTRUCTION[0])),
        patterns=_arrays(place / (PREVIEW[1] if is_training else PATTERNS)),
        comparison=_if_there(
            lambda path: read_regular(path, LARGEST_PICTURE), place / OF_RECONSTRUCTION[2], None
        ),
        is_training=is_training,
        model=_model_of(record),
    )
    told = _warnings(run_dir / LOG, without=(ENDING,) if is_finished(found) else ())
    return replace(found, warnings=tuple(told))


def folders_of(run_dir: Path) -> list[Path]:
    """The folders with results of a run: its own, or one for each of several scans.

    Args:
        run_dir: folder of the run, or of one of its scans, which is given alone.

    Raises:
        ConfigError: there is no run.
    """
    whole = Path(os.path.abspath(run_dir))
    if run_dir_of(whole) != whole and is_folder(whole) and whole in scan_folders(whole.parent):
        _record(whole.parent)
        return [whole]
    _record(run_dir)
    if holds_training(run_dir) or (run_dir / OF_RECONSTRUCTION[0]).is_file():
        return [run_dir]
    inner = sorted(path.parent for path in run_dir.glob(f"*/{OF_RECONSTRUCTION[0]}"))
    return [path for path in inner if not (path / RECORD).exists() and not path.is_symlink()] or [run_dir]


def is_finished(contents: Contents) -> bool:
    """Whether a run came to its end: its figures are written then, or tell that it was interrupted."""
    figures, n_resumed = contents.figures, len(contents.record.get("resumed") or ())
    if contents.is_training and goes_further(figures, len(contents.history), n_resumed):
        return False
    return bool(figures) and not figures.get("interrupted")


def goes_on(contents: Contents) -> bool:
    """Whether there is something that an unfinished run goes on from."""
    checkpoints = (contents.run_dir / CHECKPOINTS).glob("*.ckpt")
    return any(checkpoints) if contents.is_training else (contents.folder / STATE).is_file()


def _record(run_dir: Path) -> dict[str, Any]:
    path = run_dir / RECORD
    try:
        content = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError([Failure(str(run_dir), no_run(run_dir))]) from None
    except (OSError, ValueError) as error:
        message = f"{path}: expected the record of a run; got a damaged file ({error!s:.200})."
        raise ConfigError([Failure(str(path), message)]) from None
    record = cast(dict[str, Any], content) if isinstance(content, dict) else {}
    if not is_record(record):
        message = f"{path}: expected the record of a run; got another file. Name the folder of a run."
        raise ConfigError([Failure(str(path), message)])
    if failures := damages(record, str(path)):
        raise ConfigError(failures)
    return record


def _json(path: Path) -> object:
    return _if_there(read_json, path, {})


def _history(path: Path) -> list[dict[str, Any]]:
    """The rows of a history."""
    text = _if_there(lambda path: read_regular(path, LARGEST).decode("ascii", "replace"), path, "")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return [{name: _value(cell) for name, cell in row.items() if isinstance(name, str)} for row in rows]


def _value(cell: object) -> Any:
    if not isinstance(cell, str) or not cell:
        return None
    try:
        return float(cell)
    except ValueError:
        return cell


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an NPZ file that are shown; none where it is missing.

    Raises:
        DataError: it is damaged, or not as a run writes it.
    """
    if not path.is_file():
        return {}
    found = read_results(path, _ARRAYS)
    odd = [
        name
        for name, array in found.items()
        if (array.ndim, array.dtype.kind) not in _allowed(*_ARRAYS[name])
    ]
    odd += [
        other
        for name, other in _ALIKE
        if {name, other} <= found.keys() and found[other].shape != found[name].shape[: found[other].ndim]
    ]
    if odd:
        array = found[odd[0]]
        got = f"{array.dtype} of the shape {array.shape}"
        raise DataError(problem(odd[0], "an array as a run writes it", got, path, "Reconstruct again."))
    return found


def _allowed(n_axes: int, kinds: str) -> Iterator[tuple[int, str]]:
    return ((n_axes, kind) for kind in kinds)


def _warnings(path: Path, without: Collection[str]) -> Iterator[str]:
    """What was warned of in a log, but by some of its loggers."""
    text = _if_there(lambda path: read_regular(path, LARGEST).decode("utf-8", "replace"), path, "")
    found = [
        line.partition(word)[2].partition(": ")
        for line in text.splitlines()
        for word in _WARNINGS
        if word in line[:64]
    ]
    told = dict.fromkeys(printable(words) for logger, _, words in found if logger not in without)
    yield from list(told)[:_MOST_WARNINGS]


def _if_there(read: Callable[[Path], Read], path: Path, otherwise: Read) -> Read:
    """What is read from a file; of one that is missing or damaged nothing."""
    try:
        return read(path)
    except (OSError, ValueError):
        return otherwise


def _model_of(record: Mapping[str, Any]) -> Contents | None:
    """The training whose model a run used; None if it no longer exists."""
    named = record["configuration"].get("model_path")
    if not isinstance(named, str) or "\0" in named:
        return None
    path = Path(named)
    home = path if path.is_dir() else path.parent
    try:
        found = read_contents(home)
    except (ConfigError, OSError, ValueError):
        return None
    return found if found.is_training else None
