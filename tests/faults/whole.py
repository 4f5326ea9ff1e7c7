"""Whether the files of a run are whole, and whether two runs are the same."""

import csv
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch

from ptycho.config.record import RECORD
from ptycho_torch.bundle import load_bundle
from tests.faults.children import command

_PNG = b"\x89PNG\r\n\x1a\n"
TEXTS = {".log", ".lock", ".txt"}
"""Suffixes of files that are written line by line, and of locks."""


def broken(folder: Path) -> list[str]:
    """What is not whole among the files with a final name below a folder: hidden ones are temporary."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_hidden(path, folder)]
    return [f"{path.relative_to(folder)}: {what}" for path in paths if (what := fault(path))]


def content(folder: Path) -> dict[str, bytes]:
    """The files with a final name below a folder: hidden ones are temporary, or of an earlier run."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path, folder)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def fault(path: Path) -> str | None:
    """What is wrong with a file, by its suffix; None where it is whole."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return fault_of(path.name, content)


def fault_of(name: str, content: bytes) -> str | None:
    """What is wrong with the content of a file, by its name; None where it is whole."""
    kind = Path(name).suffix or name
    check = _CHECKS.get(kind)
    if check is None:
        return None if kind in TEXTS else f"a file of an unknown kind ({kind!r})"
    try:
        check(content)
    except (ValueError, zipfile.BadZipFile, struct.error, zlib.error, EOFError) as error:
        return f"{len(content)} bytes, {type(error).__name__}: {error}"
    return None


def _json(content: bytes) -> None:
    json.loads(content)


def _csv(content: bytes) -> None:
    rows = list(csv.reader(content.decode("ascii").splitlines()))
    if not content.endswith(b"\n") or len({len(row) for row in rows}) != 1:
        raise ValueError("rows of different lengths, or an open last line")


def _html(content: bytes) -> None:
    text = content.decode().strip().lower()
    if not text.startswith("<!doctype html>") or not text.endswith("</html>"):
        raise ValueError("no whole page")


def _zip(content: bytes) -> None:
    import io

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} does not have its checksum")


def _png(content: bytes) -> None:
    if not content.startswith(_PNG):
        raise ValueError("no PNG")
    place, kind = len(_PNG), b""
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        kind = content[place + 4 : place + 8]
        (checksum,) = struct.unpack_from(">I", content, place + 8 + length)
        if zlib.crc32(content[place + 4 : place + 8 + length]) != checksum:
            raise ValueError(f"chunk {kind!r} does not have its checksum")
        place += 12 + length
    if kind != b"IEND":
        raise ValueError("no end")


_CHECKS = {
    ".json": _json,
    ".csv": _csv,
    ".html": _html,
    ".ckpt": _zip,
    ".zip": _zip,
    ".npz": _zip,
    ".png": _png,
}


def changed(run: Path, folder: Path) -> list[str]:
    """What `ptycho doctor` tells of a run, without the files that are as they were written."""
    if not (run / RECORD).exists():
        return []  # it has not begun
    done = command("doctor", run, "--json", folder=folder).ended()
    try:
        states: dict[str, str] = json.loads(done.said)["files"]
    except (ValueError, KeyError):
        return [f"doctor: exit {done.code}: {done.said}"]
    return [f"doctor: {name}: {state}" for name, state in states.items() if state != "ok"]


def leftovers(folder: Path) -> list[str]:
    """Temporary files that a writer has left below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return [str(path.relative_to(folder)) for path in found if "partial" in path.name or ".tmp" in path.name]


def differences(run: Path, other: Path) -> Iterator[str]:
    """In what a finished training differs from another one: weights and history, times left out."""
    weights, others = load_bundle(run).state_dict, load_bundle(other).state_dict
    if weights.keys() != others.keys():
        yield "names of the weights"
    for name in weights.keys() & others.keys():
        if not torch.equal(weights[name], others[name]):
            yield f"weights: {name}"
    if history(run) != history(other):
        yield f"history: {history(run)} instead of {history(other)}"


def history(run: Path) -> list[dict[str, str]]:
    """The rows of history.csv without the time an epoch took."""
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    return [{name: value for name, value in row.items() if name != "epoch_time_s"} for row in rows]


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
