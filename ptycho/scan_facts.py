"""What the configuration needs to know about scans before they are read: pattern size and photon number."""

import json
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np

from ptycho.raw_data import RawData
from ptycho.scan_checks import DataError, problem


class ScanFacts(NamedTuple):
    """What one scan says about itself."""

    path: Path
    n_pixels: int
    """Side of its diffraction patterns, in pixels."""
    nphotons: float | None
    """Mean photons in a pattern, as stated; None where nothing is."""


def scan_files(path: str | Path) -> list[Path]:
    """The files of a data set: the file itself, or the NPZ files of a folder, in the order of their names.

    Raises:
        FileNotFoundError: nothing there, or a folder without NPZ files.
    """
    path = Path(path)
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise FileNotFoundError(
            problem("scan", "a file, or a folder of *.npz files", "none", path, "Check the path.")
        )
    return files


def scan_facts(path: Path) -> ScanFacts:
    """The facts of one scan; of an NPZ file only headers and scalars are read.

    Raises:
        FileNotFoundError: no such file.
        DataError: the file does not tell.
    """
    if path.suffix.lower() != ".npz":
        scan = RawData.from_file(path)
        return ScanFacts(path, scan.patterns.shape[-1], scan.nphotons)
    return ScanFacts(path, infer_probe_size(path), infer_nphotons(path))


def infer_probe_size(npz_path: str | Path) -> int:
    """The side of the probe in an NPZ file, in pixels, read from the array's header alone.

    Raises:
        FileNotFoundError: no such file.
        DataError: there is no readable `probeGuess` of shape (N, N) or (modes, N, N); no size is ever guessed.
    """
    path = Path(npz_path)
    try:
        with zipfile.ZipFile(path) as archive, archive.open("probeGuess.npy") as member:
            shape = _array_shape(member)
    except KeyError:
        _refuse(path, "none")
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        _refuse(path, f"nothing readable ({error})")
    if len(shape) not in (2, 3) or shape[-1] != shape[-2] or not shape[-1]:
        _refuse(path, f"shape {shape}")
    return shape[-1]


def _array_shape(member: Any) -> tuple[int, ...]:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(member)[0]


def _refuse(path: Path, found: str) -> NoReturn:
    way_out = "Save the probe as probeGuess, or set N."
    raise DataError(problem("probeGuess", "an array (N, N) or (modes, N, N)", found, path, way_out))


def infer_nphotons(npz_path: str | Path) -> float | None:
    """The photon number an NPZ file states, as the array `nphotons` or in its JSON `metadata`; None without.

    Raises:
        DataError: what is stated is no finite number > 0.
    """
    path = Path(npz_path)
    with np.load(path, allow_pickle=False) as file:
        try:
            said: Any = (
                file["nphotons"].item() if "nphotons" in file.files else _metadata(file).get("nphotons")
            )
        except ValueError as error:
            way_out = "Write one number, and metadata as JSON text."
            raise DataError(
                problem("nphotons", "one number", f"another thing ({error})", path, way_out)
            ) from None
    if said is None:
        return None
    number = float(said) if isinstance(said, int | float) and not isinstance(said, bool) else math.nan
    if not (math.isfinite(number) and number > 0):
        raise DataError(
            problem("nphotons", "a finite number > 0", repr(said), path, "Correct it, or leave it out.")
        )
    return number


def _metadata(file: Any) -> dict[str, Any]:
    content: object = json.loads(file["metadata"].item()) if "metadata" in file.files else {}
    if not isinstance(content, dict):
        raise ValueError("metadata is no JSON object")
    return cast(dict[str, Any], content)


def disagreement(facts: Sequence[ScanFacts], name: str) -> str | None:
    """Word how the scans of one data set differ in a fact; None when they agree."""
    first, *others = facts
    value = getattr(first, name)
    other = next((fact for fact in others if getattr(fact, name) != value), None)
    if other is None:
        return None
    return f"{value} in {first.path} and {getattr(other, name)} in {other.path}"
