"""Names of folders, after the scans that are trained on or reconstructed in them."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from ptycho.config.errors import printable
from ptycho.data_error import DataError
from ptycho.recorded import recorded_settings
from ptycho.run_files import MEMBERS
from ptycho.run_folder import run_failure

RECONSTRUCTION: Final = "reconstruction"
"""Folder of a reconstruction in that of its model, where the latter is called after the scan already."""
_NAMELESS: Final = "scan"
"""What the folder of a run on a scan of no file is called."""
_LONGEST: Final = 100
"""Bytes; file systems allow 255."""
_OF_PATHS: Final = '\\/:*?"<>|'
_OF_DATA: Final = ("train_data_file", "test_data_file", "data_file")


def folder_name(stem: str) -> str:
    """A name for a folder: one part of a path, that prints, does not hide, and is no file of a run.

    Args:
        stem: what it is called after; may be of any kind or length.
    """
    plain = "".join(sign if sign.isprintable() and sign not in _OF_PATHS else "-" for sign in stem)
    plain = plain.strip(" .") or "scan"
    if len(plain.encode()) > _LONGEST:
        plain = f"{plain.encode()[: _LONGEST - 9].decode(errors='ignore')}-{_digest(stem)}"
    return f"{plain}-scan" if plain in MEMBERS else plain


def distinct_names(stems: Iterable[str]) -> list[str]:
    """Names of folders beside each other, as `folder_name`; a number tells equal ones apart."""
    names: list[str] = []
    for stem in stems:
        name, number = folder_name(stem), 1
        while (name if number == 1 else f"{name}-{number}").casefold() in {used.casefold() for used in names}:
            number += 1
        names.append(name if number == 1 else f"{name}-{number}")
    return names


def name_of_file(path: str | Path) -> str:
    """A name for what is made of a file, and of no other one.

    It is that of the file, with eight digits of its path where it is not in the working directory.

    Args:
        path: of the file, or of a folder.
    """
    real = _real(path)
    name = real.name if real.parent == Path.cwd() else f"{real.name}-{_digest(str(real))}"
    return folder_name(name)


def reconstruction_folder(model: str | Path, data: str | Path, *, is_own: bool = False) -> Path:
    """The folder for a reconstruction with a model where none is named: in that of the model, called after the scan.

    Args:
        model: the folder of a training, or its bundle.
        data: the scan, or the folder of a data set.
        is_own: as of `default_folder`.
    """
    home = Path(model).parent if Path(model).is_file() else Path(model)
    return default_folder(home, data, {home.name: RECONSTRUCTION}, is_own=is_own)


def default_folder(
    place: Path, data: str | Path, others: Mapping[str, str] | None = None, *, is_own: bool = False
) -> Path:
    """The folder for a run on a scan where none is named: of this scan, or free.

    It is called after the scan, with the folder of the scan before it where that is not the working directory; and with
    the folders above, where that one holds a run on another scan.

    Args:
        place: the folder that it is in, which may be missing.
        data: the scan, or the folder of a data set.
        others: name that would be taken -> the one in its place.
        is_own: whether no other file holds the scan than that of this name which the run writes into its folder.
    """
    path = _real(data)
    names = (_NAMELESS, path.stem) if is_own else _names(path)
    candidates = [place / (others or {}).get(name, name) for name in names]
    usable = [folder for folder in candidates[:-1] if not folder.is_symlink()]
    own = (folder for folder in usable if (_real(folder / path.name) if is_own else path) in data_of(folder))
    free = (folder for folder in usable if run_failure(folder) is None and not data_of(folder))
    return next(own, None) or next(free, candidates[-1])


def _names(path: Path) -> Iterator[str]:
    """Names for a scan, the shortest first; the last one is that of no other."""
    above, stem = path.parts[-2:0:-1], path.stem
    first = 0 if path.parent == Path.cwd() else 1
    for number in range(first, len(above) + 1):
        yield folder_name("-".join([*reversed(above[:number]), stem]))
    yield folder_name(f"{stem}-{_digest(str(path))}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]


def data_of(folder: Path) -> list[Path]:
    """The scans that the run in a folder names, seen from here."""
    named = map(recorded_settings(folder).get, _OF_DATA)
    return [_real(name) for name in named if isinstance(name, str) and "\0" not in name]


def refuse_run(path: str | Path) -> None:
    """Refuse the folder of a run where a scan is expected, unless the scans of the run are in it as well.

    Raises:
        DataError: it is one.
    """
    named = data_of(Path(path))
    if not named or _real(path) in named:
        return
    scan = next((f", {os.path.relpath(one)}" for one in named if one.exists()), "")
    message = f"{path}: expected a scan; got a run. Name the scan that the run is on{scan}."
    raise DataError(printable(message))


def _real(path: str | Path) -> Path:
    return Path(os.path.realpath(path))
