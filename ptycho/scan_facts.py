"""What the configuration needs to know about scans before they are read: pattern size and photon number."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ptycho.config.data import DataConfig
from ptycho.config.errors import printable
from ptycho.data_error import DataError, problem
from ptycho.scan_checks import Checker
from ptycho.scan_files import read_pattern_size, read_statements


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
        got = "a folder without them" if path.is_dir() else "neither" if path.exists() else "no such path"
        raise FileNotFoundError(
            f"{printable(str(path))}: expected a file, or a folder of *.npz files; got {got}. Check the path."
        )
    return files


def scan_facts(path: Path, settings: DataConfig | None = None) -> ScanFacts:
    """The facts of one scan, in any format; only headers, scalars and metadata are read.

    Args:
        path: the file.
        settings: of [data]; None: their defaults.

    Raises:
        FileNotFoundError: no such file.
        DataError: the file does not tell.
    """
    return ScanFacts(path, infer_probe_size(path, settings), infer_nphotons(path, settings))


def infer_probe_size(npz_path: str | Path, settings: DataConfig | None = None) -> int:
    """The side of the probe and the patterns of a scan, in pixels, read from headers alone.

    Raises:
        FileNotFoundError: no such file.
        DataError: there is neither a probe nor patterns of a square shape; no size is ever guessed.
    """
    size = read_pattern_size(Path(npz_path), settings)
    if size is None:
        way_out = "Save the probe as probeGuess, or set N."
        raise DataError(problem("probeGuess", "an array (N, N) or (modes, N, N)", "none", npz_path, way_out))
    return size


def infer_nphotons(npz_path: str | Path, settings: DataConfig | None = None) -> float | None:
    """The photon number a scan file states, as `nphotons` or in its metadata; None without.

    Raises:
        FileNotFoundError: no such file.
        DataError: what is stated is no finite number > 0.
    """
    path = Path(npz_path)
    check = Checker(read_statements(path, settings), str(path), {})
    number = check.photon_number(check.metadata())
    check.raise_problems()
    return number


def disagreement(facts: Sequence[ScanFacts], name: str) -> str | None:
    """Word how the scans of one data set differ in a fact; None when they agree."""
    first, *others = facts
    value = getattr(first, name)
    other = next((fact for fact in others if getattr(fact, name) != value), None)
    if other is None:
        return None
    return f"{value} in {first.path} and {getattr(other, name)} in {other.path}"
