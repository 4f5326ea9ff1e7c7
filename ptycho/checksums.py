"""SHA-256 of what belongs to a run, in the file `SHA256SUMS` of its folder, as `sha256sum --check` reads it."""

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Final, Literal

from ptycho.atomic import atomic_write
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.record import LARGEST
from ptycho.regular_files import open_regular, read_regular, size_of

CHECKSUMS: Final = "SHA256SUMS"

State = Literal["ok", "changed", "missing", "unreadable"]

_BLOCK_BYTES: Final = 2**20
_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *]([^\0]+)")
_NONE: Final = ""
"""Among the SHA-256 of a name: the file may be missing, since it is about to come or to go."""
_MAY_BE_MISSING: Final = "# may be missing: "
"""Begins the line that tells it; sha256sum takes it for a comment."""
_ESCAPES: Final = {"\\": r"\\", "\n": r"\n", "\r": r"\r"}
_MEANT: Final = {escape: character for character, escape in _ESCAPES.items()}

log = logging.getLogger(__name__)


class Checksums:
    """The list of a folder, for the one process that writes there.

    A file is listed before it takes its place, and until it is removed, so that a kill at any moment leaves each file
    with its SHA-256 in the list: a name may be listed twice, with the content it had and the one it was about to have,
    and a comment tells that the file may be missing where it was about to come or to go.

    Args:
        folder: of the run; files in it are listed by their place in it, others by their absolute path.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(os.path.realpath(folder))
        self._written: dict[str, tuple[str, ...]] = {}

    @contextlib.contextmanager
    def write(self, path: str | Path) -> Generator[BinaryIO]:
        """Open a file for writing as `atomic_write` does, and list it."""
        name = self._name(path)
        with atomic_write(path) as file:
            yield file
            digest = _digest(file)
            listed = self._listed()
            self._save(listed | {name: (*listed.get(name, (_NONE,)), digest)})
        self._written[name] = (digest,)

    @contextlib.contextmanager
    def remove(self, path: str | Path) -> Generator[None]:
        """Remove a file meanwhile; it is off the list from the next file that is written, or `settle`."""
        name, listed = self._name(path), self._listed()
        if name in listed:
            self._save(listed | {name: (*listed[name], _NONE)})
        yield
        self._written[name] = ()

    def list_scans(self, paths: Iterable[str | Path]) -> list[str]:
        """List the scans of a run in place of those that were listed before.

        Returns:
            The names of those whose content is none that was listed before; none where no scan was.
        """
        scans = {self._name(path): (_digest_at(Path(path)),) for path in paths}
        listed = self._listed()
        before = {name for name in listed if os.path.isabs(name) or name in scans}
        known = {digest for name in before for digest in listed[name]}
        self._save({name: digests for name, digests in listed.items() if name not in before} | scans)
        return [name for name, (digest,) in scans.items() if known and digest not in known]

    def list_moved(self, files: Mapping[Path, Path]) -> None:
        """List files that are about to be moved.

        Args:
            files: where each will be -> where it is.
        """
        moved = {self._name(place): (_digest_at(file),) for place, file in files.items()}
        self._save(self._listed() | moved)
        self._written |= moved

    def relocate(self, before: Path, now: Path) -> None:
        """List files outside the folder, which were moved from one place to another, by where they are now."""
        old, new = (Path(os.path.realpath(place)) for place in (before, now))
        self._save(
            {
                str(new / Path(name).relative_to(old)) if Path(name).is_relative_to(old) else name: digests
                for name, digests in self._listed().items()
            }
        )

    def settle(self) -> None:
        """Leave of each name the SHA-256 of the content it has, or none where the file is gone."""
        listed = self._listed()
        found = {name: _found(self.folder / name) for name, digests in listed.items() if len(digests) > 1}
        settled = {
            name: () if digest == _NONE else (digest,)
            for name, digest in found.items()
            if digest in listed[name]
        }
        self._save(listed | settled)

    def _name(self, path: str | Path) -> str:
        whole = Path(os.path.realpath(Path(path).parent), Path(path).name)
        return (whole.relative_to(self.folder) if whole.is_relative_to(self.folder) else whole).as_posix()

    def _listed(self) -> dict[str, tuple[str, ...]]:
        listed: Mapping[str, tuple[str, ...]] = {}
        if os.path.lexists(self.folder / CHECKSUMS):
            try:
                listed = read_checksums(self.folder)
            except ConfigError as damaged:
                log.warning("%s It is written anew, without the files that were listed so far.", damaged)
        return {name: digests for name, digests in {**listed, **self._written}.items() if digests}

    def _save(self, listed: Mapping[str, tuple[str, ...]]) -> None:
        lines = [_line(name, one) for name in sorted(listed) for one in dict.fromkeys(listed[name])]
        with atomic_write(self.folder / CHECKSUMS) as file:
            file.write("".join(lines).encode(errors="surrogateescape"))


def read_checksums(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """The SHA-256 listed for each name: several where it was about to be replaced, '' where it may be missing.

    Raises:
        ConfigError: there is no list, or it is damaged.
    """
    path = folder / CHECKSUMS
    try:
        text = read_regular(path, LARGEST).decode(errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        got = "one without it" if folder.is_dir() else "no folder"
        message = f"{folder}: expected the folder of a run, which holds {CHECKSUMS}; got {got}."
        cure = "Name the output folder of a training or of a reconstruction."
        raise ConfigError([Failure(str(folder), f"{message} {cure}")]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        message = f"{path}: expected a readable list of SHA-256; got an error ({reason}). Move it away."
        raise ConfigError([Failure(str(path), message)]) from None
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        match = _LINE.fullmatch(line)
        if line.startswith(_MAY_BE_MISSING) and "\0" not in line:
            escaped, digest, name = "\\", _NONE, line.removeprefix(_MAY_BE_MISSING)
        elif match is not None:
            escaped, digest, name = match.groups()
        else:
            message = f"{path}:{number}: expected a SHA-256 and a name; got {line[:80]!r}."
            raise ConfigError([Failure(str(path), f"{message} The file was damaged.")])
        name = re.sub(r"\\.", lambda pair: _MEANT.get(pair[0], pair[0]), name) if escaped else name
        found[name] = (*found.get(name, ()), digest)
    return found


def verify(folder: str | Path) -> dict[str, State]:
    """Compare the files of a run with their SHA-256; a training may be replacing them meanwhile.

    Returns:
        Name in the folder, or absolute path -> `ok`, `changed`, `missing` or `unreadable`. A file that was about to
        come or to go when its writer ended, and is not there, is left out.

    Raises:
        ConfigError: the folder has no list, or a damaged one.
    """
    folder = Path(folder)
    states: dict[str, State | None] = {}
    for _ in range(2):
        listed = read_checksums(folder)
        found = {name: states.get(name) for name in listed}
        states = {
            name: "ok" if found[name] == "ok" else _state(folder / name, listed[name]) for name in listed
        }
    return {name: state for name, state in states.items() if state is not None}


def _state(path: Path, digests: tuple[str, ...]) -> State | None:
    try:
        if path.exists() and not path.is_file():
            return "changed"  # into what may have no end
        digest = _found(path)
    except OSError:
        return "unreadable"
    if digest == _NONE:
        return None if _NONE in digests else "missing"
    return "ok" if digest in digests else "changed"


def _digest(file: BinaryIO) -> str:
    file.flush()
    file.seek(0)
    found, left = hashlib.sha256(), size_of(file)
    while block := file.read(min(_BLOCK_BYTES, left)):
        found.update(block)
        left -= len(block)
    return found.hexdigest()


def _found(path: Path) -> str:
    """The SHA-256 of a file; '' where it is missing."""
    try:
        return _digest_at(path)
    except FileNotFoundError:
        return _NONE


def _digest_at(path: Path) -> str:
    with open_regular(path) as file:
        return _digest(file)


def _line(name: str, digest: str) -> str:
    escaped = "".join(_ESCAPES.get(character, character) for character in name)
    if digest == _NONE:
        return f"{_MAY_BE_MISSING}{escaped}\n"
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"
