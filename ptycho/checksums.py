"""SHA-256 of what belongs to a run, in its record, under `sha256`.

A name in the folder, or an absolute path, has the SHA-256 of its content. While a file is replaced it has a list: what
it was and what it is about to be, with null where there was no file, or will be none. Earlier versions kept all this in
a file of its own, `SHA256SUMS`.
"""

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple, cast

from ptycho.atomic import atomic_write
from ptycho.config.errors import ConfigError, Failure, show
from ptycho.config.record import LARGEST, RECORD
from ptycho.json_files import read_json, write_json
from ptycho.recorded import no_run
from ptycho.regular_files import open_regular, read_regular, size_of

CHECKSUMS: Final = "SHA256SUMS"
"""The list that earlier versions wrote, as `sha256sum --check` reads it."""
IN_RECORD: Final = "sha256"

State = Literal["ok", "changed", "missing", "unreadable"]

Listed = Mapping[str, tuple[str, ...]]
"""The SHA-256 of each name: several where it was about to be replaced, '' where it may be missing."""

_BLOCK_BYTES: Final = 2**20
_DIGEST = re.compile("[0-9a-f]{64}")
_LINE = re.compile(rf"(\\?)({_DIGEST.pattern}) [ *]([^\0]+)")
_NONE: Final = ""
_MAY_BE_MISSING: Final = "# may be missing: "
_MEANT: Final = {r"\\": "\\", r"\n": "\n", r"\r": "\r"}

log = logging.getLogger(__name__)


class Checksums:
    """The SHA-256 in the record of a folder, for the one process that writes there.

    A file is listed before it takes its place, and until it is removed, so that a kill at any moment leaves each file
    with its SHA-256 in the record. Where that is missing or damaged, a warning tells that nothing is listed.

    Args:
        folder: of the run; files in it are listed by their place in it, others by their absolute path.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(os.path.realpath(folder))
        self._written: dict[str, tuple[str, ...]] = {}

    def write_record(self, content: Mapping[str, Any], scans: Iterable[str | Path]) -> list[str]:
        """Write the record of the run; a run that goes on keeps the SHA-256 of its files.

        Args:
            content: of the record.
            scans: what the run reads, listed in place of what it read before.

        Returns:
            The names of those scans whose content is none that was listed before; none where no scan was.
        """
        read = {self._name(path): (_digest_at(Path(path)),) for path in scans}
        changed: list[str] = []

        def replaced(listed: Listed) -> Listed:
            before = {name for name in listed if os.path.isabs(name) or name in read}
            known = {digest for name in before for digest in listed[name]}
            changed.extend(name for name, (digest,) in read.items() if known and digest not in known)
            return dict.fromkeys(before, ()) | read

        self._change(replaced, content)
        return changed

    @contextlib.contextmanager
    def write(self, path: str | Path) -> Generator[BinaryIO]:
        """Open a file for writing as `atomic_write` does, and list it."""
        name = self._name(path)
        with atomic_write(path) as file:
            yield file
            digest = _digest(file)
            self._change(lambda listed: {name: (*listed.get(name, (_NONE,)), digest)})
        self._written[name] = (digest,)

    @contextlib.contextmanager
    def remove(self, path: str | Path) -> Generator[None]:
        """Remove a file meanwhile; it is off the list from the next file that is written, or `settle`."""
        name = self._name(path)
        self._change(lambda listed: {name: (*listed[name], _NONE)} if name in listed else {})
        yield
        self._written[name] = ()

    def list_moved(self, files: Mapping[Path, Path]) -> None:
        """List files that are about to be moved.

        Args:
            files: where each will be -> where it is.
        """
        moved = {self._name(place): (_digest_at(file),) for place, file in files.items()}
        self._change(lambda listed: moved)
        self._written |= moved

    def relocate(self, before: Path, now: Path) -> None:
        """List files outside the folder, which were moved from one place to another, by where they are now."""
        old, new = (Path(os.path.realpath(place)) for place in (before, now))

        def moved(listed: Listed) -> Listed:
            names = [name for name in listed if Path(name).is_relative_to(old)]
            return dict.fromkeys(names, ()) | {
                str(new / Path(name).relative_to(old)): listed[name] for name in names
            }

        self._change(moved)

    def settle(self) -> None:
        """Leave of each name the SHA-256 of the content it has, or none where the file is gone."""

        def settled(listed: Listed) -> Listed:
            found = {name: _found(self.folder / name) for name, digests in listed.items() if len(digests) > 1}
            return {
                name: () if digest == _NONE else (digest,)
                for name, digest in found.items()
                if digest in listed[name]
            }

        self._change(settled)

    def _name(self, path: str | Path) -> str:
        whole = Path(os.path.realpath(Path(path).parent), Path(path).name)
        return (whole.relative_to(self.folder) if whole.is_relative_to(self.folder) else whole).as_posix()

    def _change(self, change: Callable[[Listed], Listed], content: Mapping[str, Any] | None = None) -> None:
        """List names anew; `content`: of a record that is written anew.

        Args:
            change: from what is listed to names with another SHA-256, or none where they are listed no more.
            content: of the record, where that is written anew.
        """
        try:
            held = _read(self.folder)
        except ConfigError as damaged:
            if content is None:
                log.warning("%s The SHA-256 of what the run writes cannot be kept in it.", damaged)
                return
            held = _Record({IN_RECORD: {}}, {})
        listed = {**held.listed, **self._written}
        listed |= change(listed)
        told = {name: _told(listed[name]) for name in sorted(listed) if listed[name]}
        write_json(self.folder / RECORD, {**(content or held.content), IN_RECORD: told})
        if IN_RECORD not in held.content:
            (self.folder / CHECKSUMS).unlink(missing_ok=True)


def read_checksums(folder: Path) -> Listed:
    """What is listed in the record of a folder, or in the older list beside it.

    Raises:
        ConfigError: there is no record, or it is damaged.
    """
    older = folder / CHECKSUMS
    if os.path.lexists(older) and not os.path.lexists(folder / RECORD):
        return _older_list(older)
    return _read(folder).listed


def verify(folder: str | Path) -> dict[str, State]:
    """Compare the files of a run with their SHA-256; a training may be replacing them meanwhile.

    Returns:
        Name in the folder, or absolute path -> `ok`, `changed`, `missing` or `unreadable`. A file that was about to
        come or to go when its writer ended, and is not there, is left out.

    Raises:
        ConfigError: the folder has no record, or a damaged one.
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


def refuse_changed(folder: Path, names: Iterable[str], cure: str) -> None:
    """Refuse files of a run that are not as it wrote them; nothing is compared where nothing is listed.

    Args:
        folder: of the run.
        names: of files in it.
        cure: what to do about them.

    Raises:
        ConfigError: one is changed or missing, or the run did not write it.
    """
    listed = read_checksums(folder)
    failures: list[Failure] = []
    for name in names if listed else ():
        path = folder / name
        state = _state(path, listed[name]) if name in listed else "changed"
        if state != "ok":
            got = "none" if state in (None, "missing") else f"a file that is {state}"
            told = f"{path}: expected the file that the run wrote; got {got}. {cure}"
            failures.append(Failure(str(path), told))
    if failures:
        raise ConfigError(failures)


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


class _Record(NamedTuple):
    """The record of the run in a folder."""

    content: Mapping[str, Any]
    listed: Listed


def _read(folder: Path) -> _Record:
    path, older = folder / RECORD, folder / CHECKSUMS
    try:
        content = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError([Failure(str(folder), no_run(folder))]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError([_damaged(path, f"expected JSON; got an error ({reason})")]) from None
    if not isinstance(content, dict):
        raise ConfigError([_damaged(path, f"expected a mapping; got {show(content)}")])
    record = cast(dict[str, Any], content)
    if IN_RECORD not in record:
        return _Record(record, _older_list(older) if os.path.lexists(older) else {})
    told: Any = record[IN_RECORD]
    listed = _listed_in(cast(dict[str, object], told)) if isinstance(told, dict) else None
    if listed is None:
        got = "a mapping without" if isinstance(told, dict) else show(told)
        raise ConfigError([_damaged(path, f"{IN_RECORD}: expected a SHA-256 for each file; got {got}")])
    return _Record(record, listed)


def _listed_in(told: Mapping[str, object]) -> Listed | None:
    """What a record lists; None where something of it is no name or no SHA-256."""
    listed = {name: _digests(value) for name, value in told.items()}
    return listed if all(name and "\0" not in name and found for name, found in listed.items()) else None


def _damaged(path: Path, what: str) -> Failure:
    return Failure(str(path), f"{path}: {what}. The record of the run is damaged.")


def _digests(value: object) -> tuple[str, ...]:
    """The SHA-256 that a record has for a name; none where it is no such value."""
    told = cast(list[object], value) if isinstance(value, list) else [value]
    found = [one for one in told if isinstance(one, str) and _DIGEST.fullmatch(one)]
    return (*found, *[_NONE for one in told if one is None]) if 0 < len(found) >= len(told) - 1 else ()


def _told(digests: tuple[str, ...]) -> str | list[str | None]:
    """The inverse of `_digests`."""
    told = [digest or None for digest in dict.fromkeys(digests)]
    return digests[0] if len(told) == 1 else told


def _older_list(path: Path) -> Listed:
    try:
        text = read_regular(path, LARGEST).decode(errors="surrogateescape")
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
