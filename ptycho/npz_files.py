"""NPZ files of scans: every byte that is used is checked against the archive's checksums.

Stacks that are not compressed stay in the file (`ptycho.stored_array`); their checksum is compared in the pass that
looks at all values. Everything else is read and compared here. What a header declares is compared with the archive and
with the memory there is before anything is allocated. Nothing is ever executed: object arrays are refused.
"""

import contextlib
import json
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Generator, Mapping
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from ptycho.atomic import atomic_write
from ptycho.data_error import DataError, problem
from ptycho.memory import available_bytes, size_text, too_large
from ptycho.stored_array import Array, OpenFile, Place, Stack, StoredArray
from ptycho.verdict import Verdict

NPZ_KEYS: Final = (
    *("diff3d", "diffraction", "xcoords", "ycoords", "probeGuess", "bad_pixels", "holdout", "half"),
    *("scan_index", "objectGuess", "objectTruth", "probeTruth", "label_amp", "label_phase"),
    *("nphotons", "metadata"),
)
SURELY_FITS: Final = 2**26
"""Bytes of results that are read, however small the file that they are in is."""
MOST_PACKED: Final = 30
"""Bytes of results beyond that, over those of the file."""
STACKS: Final = ("diff3d", "diffraction", "label_amp", "label_phase")
"""What stays in the file where it is not compressed."""
PTYCHODUS_EXPORT: Final = frozenset(
    {
        *("diff3d", "bad_pixels", "xcoords", "ycoords", "xcoords_start", "ycoords_start"),
        *("probeGuess", "objectGuess", "scan_index"),
    }
)
"""The keys that ptychodus writes for training, always all of them: its patterns are counts."""


_DAMAGED: Final = (
    *(
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        OSError,
        OverflowError,
        RuntimeError,
        ValueError,
    ),
)
"""What zipfile raises where sizes, offsets or names in its tables are damaged; encrypted members, unknown methods."""


class ScanFile(NamedTuple):
    """Arrays of a file by their key in the data contract."""

    arrays: Mapping[str, Stack]
    names: dict[str, str]
    """What the file calls them, if else."""
    rows: npt.NDArray[np.int64] | None = None
    """Patterns that were read, increasing; None: all. Positions are always all there."""
    verdicts: tuple[Verdict, ...] = ()
    """What was noticed before pixels were masked."""
    dtype: np.dtype[Any] | None = None
    """Of the patterns in the file, where it is another one than here."""


def read_npz(path: Path) -> ScanFile:
    """The known members of an NPZ file.

    Raises:
        DataError: not a whole NPZ file, or damaged.
    """
    names: dict[str, str] = {}
    with open_npz(path) as (archive, members):
        # the checksums do not cover the names: two of each are compared when a member is opened
        for info in members.values():
            with _open_member(path, archive, info):
                pass
        found = [key for key in NPZ_KEYS if key in members]
        file = OpenFile(path)
        arrays = {key: _read_stack(file, archive, members[key], key) for key in found}
        file.check()
    if members.keys() == PTYCHODUS_EXPORT:
        stated = {"format": "ptychodus export", "measurement_domain": "intensity"}
        arrays["metadata"] = np.array(json.dumps(stated))
    if "diff3d" not in arrays and "diffraction" in arrays:
        arrays["diff3d"] = arrays["diffraction"]
        names["diff3d"] = "diffraction"
    arrays.pop("diffraction", None)
    return ScanFile(arrays, names)


@contextlib.contextmanager
def open_npz(
    path: Path, content: IO[bytes] | None = None
) -> Generator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    """The archive, and its members by key.

    Args:
        path: the file.
        content: what is in it, where that is not the archive itself.

    Raises:
        DataError: not a whole NPZ file, or damaged.
    """
    advice = "Write it again, or copy it again from where it was written."
    try:
        with zipfile.ZipFile(content or path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if len(members) < len(archive.infolist()):
                raise DataError(problem("scan file", "every array once", "one twice", path, advice))
            # a damaged length makes a comment of the entries that follow
            if any(info.comment for info in members.values()):
                raise DataError(problem("scan file", "a whole NPZ", "comments on its members", path, advice))
            yield archive, members
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(problem("scan file", "a whole NPZ", f"'{error}'", path, advice)) from error


def read_header(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a member, from its header alone.

    Raises:
        DataError: it is no array.
    """
    with _open_member(path, archive, info) as stream:
        shape, _, dtype = _npy_header(stream)
        return shape, dtype


def read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """A member, whole, with its checksum compared.

    Raises:
        DataError: it is no plain array, damaged, or larger than the memory there is.
    """
    with _open_member(path, archive, info) as stream:
        shape, _, dtype = _npy_header(stream)
        _check_size(path, info, shape, dtype, stream.tell())
    with _open_member(path, archive, info) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        stream.read(1)  # the checksum is compared at the end
        return array


def read_results(path: Path, names: Collection[str]) -> dict[str, Array]:
    """Arrays of an NPZ file that a run has written, which are hardly packed; one that is not there is left out.

    Raises:
        DataError: it is damaged, or what is in it unpacks to far more than the file has bytes.
    """
    with open_npz(path) as (archive, members):
        wanted = {name: members[name] for name in members.keys() & set(names)}
        unpacked = sum(info.file_size for info in wanted.values())
        if unpacked > SURELY_FITS + MOST_PACKED * path.stat().st_size:
            expected, got = "arrays as a run writes them", f"an archive that unpacks to {size_text(unpacked)}"
            advice = "Name another run, or reconstruct again."
            raise DataError(problem(", ".join(sorted(wanted)), expected, got, path, advice))
        return {name: read_member(path, archive, info) for name, info in wanted.items()}


def write_npz(path: Path, arrays: Mapping[str, Stack], *, overwrite: bool = True) -> None:
    """Write arrays uncompressed; the file appears whole or not at all, also over one that is in use.

    Raises:
        DataError: the name does not end in `.npz`.
    """
    if path.suffix != ".npz":
        expected = "a name that ends in .npz"
        raise DataError(problem("scan file", expected, repr(path.name), path, "Add the suffix."))
    whole = {key: np.asarray(array) for key, array in arrays.items()}
    with atomic_write(path, replace=overwrite) as stream:
        np.savez(stream, allow_pickle=False, **cast(Any, whole))


@contextlib.contextmanager
def _open_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Generator[IO[bytes]]:
    try:
        with archive.open(info) as stream:
            yield stream
    except DataError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        expected, got = "the bytes that were written", f"damaged ones ('{error}')"
        advice = "Copy the file again from where it was written."
        raise DataError(problem(_key(info), expected, got, path, advice)) from error
    # numpy reads a damaged header of an array as a damaged Python literal
    except (ValueError, SyntaxError, tokenize.TokenError) as error:
        advice = "Write numbers, and metadata as text (json.dumps)."
        raise DataError(problem(_key(info), "a plain array", f"'{error}'", path, advice)) from error


def _read_stack(file: OpenFile, archive: zipfile.ZipFile, info: zipfile.ZipInfo, key: str) -> Stack:
    """A member of a file: left there where it is a stack that is stored row by row, else read."""
    if key not in STACKS or info.compress_type != zipfile.ZIP_STORED:
        return read_member(file.path, archive, info)
    with _open_member(file.path, archive, info) as stream:
        shape, fortran_order, dtype = _npy_header(stream)
        length = stream.tell()
    if fortran_order or len(shape) != 3 or 0 in shape or dtype.kind not in "iuf":
        return read_member(file.path, archive, info)
    _check_size(file.path, info, shape, dtype, length, in_memory=False)
    start = _member_start(file, info)
    header = bytearray(length)
    file.read_into(memoryview(header), start)
    place = Place(_key(info), dtype, shape, start + length, zlib.crc32(header), info.CRC)
    return StoredArray(file, place)


def _check_size(
    path: Path,
    info: zipfile.ZipInfo,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    header_bytes: int,
    *,
    in_memory: bool = True,
) -> None:
    """Refuse an array whose header declares another size than the archive, or more than there is memory for."""
    if dtype.hasobject:
        return  # refused on reading, in numpy's words
    declared = dtype.itemsize
    for length in shape:
        declared *= length
    if declared != info.file_size - header_bytes:
        got = f"one of {info.file_size - header_bytes} bytes for shape {shape}, {dtype}"
        advice = "Copy the file again from where it was written."
        raise DataError(problem(_key(info), f"an array of {declared} bytes", got, path, advice))
    if in_memory and too_large(declared):
        expected = f"an array that fits into the available memory, {size_text(available_bytes())}"
        got = f"{size_text(declared)} (shape {shape}, {dtype})"
        advice = "Write the file uncompressed (numpy.savez), or split the scan."
        raise DataError(problem(_key(info), expected, got, path, advice))


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def _member_start(file: OpenFile, info: zipfile.ZipInfo) -> int:
    """Byte in the file where a member begins, after its local header (whose extra field is its own)."""
    header = bytearray(4)
    file.read_into(memoryview(header), info.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", header)
    return info.header_offset + 30 + name_length + extra_length


def _key(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")
