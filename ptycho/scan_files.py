"""Files that hold one scan, in any format that is read; which one it is, the file itself tells.

A reader returns the arrays under their keys of the data contract and converts units and layout; whether the
values make sense is checked afterwards, in one place (`ptycho.raw_data`).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ptycho.config.data import DataConfig
from ptycho.data_error import DataError, problem
from ptycho.formats.reader import read_foreign, read_photons, read_size
from ptycho.formats.trees import ZIP
from ptycho.geometry import Geometry
from ptycho.npz_files import NPZ_KEYS, ScanFile, open_npz, read_header, read_member, read_npz
from ptycho.pattern_statistics import some_rows
from ptycho.regular_files import first_bytes
from ptycho.scan_background import background_in, domain_stated, metadata_of
from ptycho.stated_lengths import with_sound_lengths
from ptycho.stored_array import Stack, taken

_KEPT: Final = ("holdout", "half", "scan_index", "nphotons", "metadata")
"""Keys of the data contract that no setting of [data] changes the meaning of."""
_OF_GEOMETRY: Final = (
    *("xcoords", "ycoords", "objectGuess", "objectTruth"),
    *("probeTruth", "label_amp", "label_phase"),
)
"""Keys of the data contract that go with each other, and with patterns and positions as they are in the file."""
_OF_PATTERNS: Final = ("diff3d", "holdout", "half", "scan_index", "label_amp", "label_phase")
"""Keys of the data contract that have a row for each pattern, beside masks of each."""
_WHERE: Final = ("patterns", "positions", "positions_x", "positions_y", "mask", "axes", "scan_step")
_SIZE: Final = ("crop", "bin", "pad", "object_pixel")
_PLACES: Final = ("orientation", "positions_unit")


def read_scan_file(
    path: Path,
    settings: DataConfig | None = None,
    domain: str = "auto",
    expected: str = "auto",
    *,
    some: bool = False,
) -> ScanFile:
    """Read one scan: NPZ in the data contract, or any layout that the settings or a known format describe.

    Args:
        path: the file.
        settings: of [data]; None: their defaults.
        domain: 'amplitude' or 'intensity' where that is set.
        expected: the same where neither a setting nor the file states it; see `TrainedDomains.expected`.
        some: whether some of the patterns of a large scan are enough, see `some_rows`.

    Raises:
        FileNotFoundError: no such file.
        DataError: not a file of any format, or something it must hold is missing or damaged.
    """
    settings = settings or DataConfig()
    if not _follows_contract(path, settings):
        return read_foreign(path, settings, domain, expected, some=some)
    file = with_sound_lengths(read_npz(path), settings)
    stated = metadata_of(file.arrays)
    domain = domain_stated(domain, stated)
    lacks_background = background_in(file.arrays, expected if domain == "auto" else domain) is not None
    if settings == DataConfig(format=settings.format) and not lacks_background:
        return _some_of(file) if some else file
    lengths = _stated_lengths(settings, stated or {})
    found = read_foreign(path, settings, domain, expected, some=some, lengths=lengths)
    is_changed = any(_is_set(settings, name) for name in (*_SIZE, *_PLACES))
    kept = _KEPT if is_changed else (*_KEPT, *_OF_GEOMETRY)
    arrays = {key: array for key, array in file.arrays.items() if key in kept}
    if found.rows is not None:
        arrays = _of_rows(arrays, found.rows, len(file.arrays["diff3d"]))
    if stated is not None:
        sides, now = file.arrays["diff3d"].shape[-2:], found.arrays["diff3d"].shape[-1] * settings.bin
        pixel = Geometry.of(stated, sides[-1]).object_pixel_m
        if pixel is not None and sides != (now, now):
            stated["object_pixel_size_m"] = [one * side / now for one, side in zip(pixel, sides, strict=True)]
        stated |= {
            name: value for name, value in (metadata_of(found.arrays) or {}).items() if name != "format"
        }
        arrays["metadata"] = np.array(json.dumps(stated))
    return found._replace(
        arrays={**found.arrays, **arrays},
        names={**file.names, **found.names},
        verdicts=(*found.verdicts, *file.verdicts),
    )


def _stated_lengths(settings: DataConfig, stated: Mapping[str, Any]) -> dict[str, str]:
    """Settings for the lengths that the metadata of a file state, where they are not set."""
    known = Geometry.of(stated, 0)
    lengths: dict[str, float | tuple[float, float] | None] = {
        "wavelength": None if settings.energy or known.energy_J else known.wavelength_m,
        "distance": known.distance_m,
        "detector_pixel": known.detector_pixel_m,
        "object_pixel": None if any(_is_set(settings, name) for name in _SIZE) else known.object_pixel_m,
    }
    told = {
        name: ", ".join(f"{side!r} m" for side in (value if isinstance(value, tuple) else (value,)))
        for name, value in lengths.items()
        if value is not None and not _is_set(settings, name)
    }
    if known.energy_J and not settings.energy and not settings.wavelength:
        told["energy"] = f"{known.energy_J!r} J"  # whose wavelength depends on the particle
    return told


def _some_of(file: ScanFile) -> ScanFile:
    """A file in the data contract with some of its patterns, where they are many."""
    arrays = file.arrays
    patterns, positions = arrays.get("diff3d"), [arrays.get("ycoords"), arrays.get("xcoords")]
    if patterns is None or not all(_is_list(one, patterns) for one in positions):
        return file
    places = np.stack([np.asarray(one, dtype=np.float64) for one in positions], axis=-1)
    rows = some_rows(places, patterns.nbytes // max(1, len(patterns)))
    return file if rows is None else file._replace(arrays=_of_rows(arrays, rows, len(patterns)), rows=rows)


def _is_list(array: Stack | None, patterns: Stack) -> bool:
    """Whether an array has a real number for each pattern."""
    return array is not None and array.shape == patterns.shape[:1] and array.dtype.kind in "iuf"


def _of_rows(arrays: Mapping[str, Stack], rows: npt.NDArray[np.int64], n: int) -> dict[str, Stack]:
    """Arrays with those rows of what belongs to single ones of n patterns."""
    single = {
        key
        for key, array in arrays.items()
        if array.shape[:1] == (n,) and (key in _OF_PATTERNS or (key == "bad_pixels" and array.ndim == 3))
    }
    return {key: taken(array, rows) if key in single else array for key, array in arrays.items()}


def read_pattern_size(path: Path, settings: DataConfig | None = None) -> int | None:
    """The side of a scan's patterns, from headers alone; None where an NPZ file holds neither probe nor patterns.

    Raises:
        FileNotFoundError, DataError: as `read_scan_file`.
    """
    settings = settings or DataConfig()
    if not _follows_contract(path, settings) or any(_is_set(settings, name) for name in _SIZE):
        return read_size(path, settings)
    with open_npz(path) as (archive, members):
        found = [key for key in ("probeGuess", "diff3d", "diffraction") if key in members]
        if not found:
            return None
        shape = read_header(path, archive, members[found[0]])[0]
    if len(shape) not in (2, 3) or shape[-1] != shape[-2] or not shape[-1]:
        expected = "an array (N, N) or (modes, N, N)" if found[0] == "probeGuess" else "an array (n, N, N)"
        raise DataError(problem(found[0], expected, f"shape {shape}", path, "Correct it, or set N."))
    return shape[-1]


def read_statements(path: Path, settings: DataConfig | None = None) -> dict[str, Stack]:
    """What a scan states about its photons: `nphotons` and `metadata`, where it has them; nothing else is read.

    Raises:
        FileNotFoundError, DataError: as `read_scan_file`.
    """
    settings = settings or DataConfig()
    if not _follows_contract(path, settings):
        return read_photons(path, settings)
    with open_npz(path) as (archive, members):
        found = [key for key in ("nphotons", "metadata") if key in members]
        return {key: read_member(path, archive, members[key]) for key in found}


def _is_set(settings: DataConfig, name: str) -> bool:
    return getattr(settings, name) != getattr(DataConfig(), name)


def _follows_contract(path: Path, settings: DataConfig) -> bool:
    """Whether a file is an NPZ with keys of the data contract, and no setting names other arrays.

    Raises:
        FileNotFoundError: no such file.
        DataError: it is damaged.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise FileNotFoundError(problem("scan file", "a file", found, path, "Check the path."))
    if settings.format not in ("auto", "npz"):
        return False
    if any(getattr(settings, name) not in (None, "auto") for name in _WHERE):
        return False
    if not first_bytes(path, len(ZIP)).startswith(ZIP):
        return path.suffix.lower() == ".npz"
    with open_npz(path) as (_, members):
        return not members or not members.keys().isdisjoint(NPZ_KEYS)
