"""What is in a file, by name: the datasets of an HDF5 file, or the arrays of an NPZ file, packed with bzip2 or not.

A name is a path in the HDF5 tree or a key. Behind it may stand an index along the first axes, as in `/entry/data[0]`,
or a field of a table, as in `/entry/motors[x]`; one `*` in it stands for any name, and what it finds is joined.
`name@attribute` is an attribute of HDF5.
"""

import bz2
import io
import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, Self, cast

import numpy as np

from ptycho.data_error import DataError, problem
from ptycho.hdf5_files import Hdf5File, is_table
from ptycho.memory import available_bytes, size_text, too_large
from ptycho.npz_files import open_npz, read_header, read_member
from ptycho.regular_files import first_bytes
from ptycho.stored_array import Array

ZIP: Final = b"PK\x03\x04"
BZIP2: Final = b"BZh"
HDF5: Final = (b"\x89HDF\r\n\x1a\n", b"MATLAB 7")
"""Files of MATLAB 7.3 are HDF5 files behind a text."""
_PART: Final = 2**24
"""Bytes that are unpacked at once."""
_INDEXED: Final = re.compile(r"(.*?)((?:\[\d+(?:,\s*\d+)*\])*)")
_FIELD: Final = re.compile(r"(.+)\[([^\[\]]+)\]")


class Entry(NamedTuple):
    """One array of a file."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape)) or "one value"
        return f"{self.name} ({shape}, {self.dtype if self.dtype.kind != 'O' else 'text'})"


class Stored(NamedTuple):
    """An array in a file, or several that are joined along their first axis, and an index into it."""

    parts: tuple[Any, ...]
    """Datasets of h5py, or arrays."""
    place: tuple[int, ...]
    """Index along the first axes of each part."""
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape behind the index."""
        first = self.parts[0].shape[len(self.place) :]
        if len(self.parts) == 1:
            return first
        return (sum(part.shape[len(self.place)] for part in self.parts), *first[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """What holds the values of all parts."""
        return np.result_type(*(part.dtype for part in self.parts))

    def read(self, *slices: slice) -> Array:
        """Some of the array, by slices along its first axes; of one that is joined along its first alone."""
        first, *others = (*slices, slice(None))
        start, stop, step = first.indices(self.shape[0]) if self.shape else (0, 1, 1)
        if len(self.parts) == 1:
            return np.asarray(self.parts[0][(*self.place, *slices)])
        found: list[Array] = []
        for part in self.parts:
            length = part.shape[len(self.place)]
            if start < length and stop > 0:
                inside = slice(max(start, 0), min(stop, length), step)
                found.append(np.asarray(part[(*self.place, inside, *others[:-1])]))
            start, stop = start - length, stop - length
        return np.concatenate(found)


class Tree(Protocol):
    """A file that is open for reading."""

    path: Path
    is_hdf5: bool

    def __enter__(self) -> Self: ...
    def __exit__(self, *reason: object) -> None: ...
    def entries(self) -> list[Entry]:
        """Every array."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is something by this name."""
        ...

    def stored(self, name: str) -> Stored:
        """An array, not read yet.

        Raises:
            DataError: there is none, or the index does not fit.
        """
        ...

    def value(self, name: str) -> Any:
        """One value, of a dataset or an attribute, as a number or text; None where there is none.

        Raises:
            DataError: there are several values.
        """
        ...


def open_tree(path: Path) -> Tree:
    """Open a file by what it begins with.

    Raises:
        FileNotFoundError: no such file.
        DataError: it is neither HDF5 nor NPZ.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise FileNotFoundError(problem("scan file", "a file", found, path, "Check the path."))
    start = first_bytes(path, len(HDF5[0]))
    if start in HDF5:
        return Hdf5Tree(path)
    if start.startswith((ZIP, BZIP2)):
        return NpzTree(path, packed=start.startswith(BZIP2))
    expected, advice = "an HDF5 or NPZ file", "Write the scan as HDF5 (h5py) or with numpy.savez."
    got = f"one that begins with {repr(start)[1:]}" if start else "an empty file"
    raise DataError(problem("scan file", expected, got, path, advice))


def split_index(name: str) -> tuple[str, tuple[int, ...]]:
    """A name and the index behind it."""
    found = cast(re.Match[str], _INDEXED.fullmatch(name))
    return found[1], tuple(int(number) for number in re.findall(r"\d+", found[2]))


def split_file(folder: Path, named: str) -> tuple[Path, str] | None:
    """The other file of a folder and the name in it, of `stage.h5:/x`; None: there is no colon but those of a slice.

    Of several colons the first one behind the name of a file that exists.
    """
    ends = [at for at, letter in enumerate(named) if letter == ":"]
    plain = [at for at in ends if "[" not in named[:at]]
    at = next((at for at in ends if (folder / named[:at]).is_file()), plain[-1] if plain else None)
    return None if at is None else (folder / named[:at], named[at + 1 :])


class Hdf5Tree(Hdf5File):
    """An HDF5 file."""

    is_hdf5 = True

    def entries(self) -> list[Entry]:
        """Every dataset that lies in the file, by path; links to one that is listed are left out."""
        return _with_fields(Entry(name, tuple(found.shape), found.dtype) for name, found in self.datasets())

    def has(self, name: str) -> bool:
        """Whether there is something by this name."""
        place, _, attribute = split_index(name)[0].partition("@")
        if "*" in place:
            return bool(self._matching(place))
        if attribute:
            return self.value(name) is not None
        return self.find(place) is not None or self._table(place) is not None

    def stored(self, name: str) -> Stored:
        """A dataset, or those that a `*` finds; a field of a table is read. See `Tree`."""
        place, index = split_index(name)
        places = self._matching(place) if "*" in place else [place]
        parts = [self._part(one) for one in places or [place]]
        return _indexed(parts, index, name, self.path)

    def value(self, name: str) -> Any:
        """One value; see `Tree`."""
        place, _, attribute = name.partition("@")
        if not attribute:
            return self.plain_value(place)
        table = self._table(place)
        return self.plain_attribute((table[0] if table else place) or "/", attribute)

    def _part(self, place: str) -> Any:
        """A dataset, or a field of a table, which is read."""
        table, all_axes = self._table(place), tuple(range(9))
        part = self.dataset(table[0] if table else place, ndim=all_axes, kinds="V" if table else "biufc")
        self.check_written(part)
        if table is None:
            return part
        self._check_values(part, part.size * part.dtype[table[1]].itemsize)
        with self._reading(place):
            return np.asarray(part[table[1]])

    def _table(self, place: str) -> tuple[str, str] | None:
        """The path of a table and the field of it that is named; None: it is none."""
        found = _FIELD.fullmatch(place)
        if found is None or self.find(place) is not None or self.find(found[1]) is None:
            return None
        with self._reading(place):
            dtype = getattr(self._file[self._resolved(found[1], place)], "dtype", None)
        return (found[1], found[2]) if found[2] in (getattr(dtype, "names", None) or ()) else None

    def _matching(self, place: str) -> list[str]:
        """The paths that a pattern with one `*` finds, numbers in their order."""
        before, _, rest = place.partition("*")
        folder, slash, first = before.rpartition("/")
        names = [name for name in self.members(folder or "/") if name.startswith(first)]
        found = [f"{folder}{slash}{name}{rest}" for name in names]
        return sorted(filter(self.find, found), key=lambda one: (len(one), one))


class NpzTree:
    """An NPZ file, packed with bzip2 or not.

    Args:
        path: the file.
        packed: whether it is packed; it is then unpacked in memory.

    Raises:
        DataError: it is damaged, or larger than the memory there is.
    """

    is_hdf5 = False

    def __init__(self, path: Path, *, packed: bool) -> None:
        self.path = path
        self._opened = open_npz(path, _unpacked(path) if packed else None)
        self._archive: zipfile.ZipFile
        self._members: Mapping[str, zipfile.ZipInfo]
        self._archive, self._members = self._opened.__enter__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._opened.__exit__(None, None, None)

    def entries(self) -> list[Entry]:
        """Every array, from its header."""
        return _with_fields(
            Entry(key, *read_header(self.path, self._archive, info)) for key, info in self._members.items()
        )

    def has(self, name: str) -> bool:
        """Whether there is an array of this key, or a field of a table."""
        key, field = self._key(split_index(name)[0])
        if key not in self._members or not field:
            return key in self._members
        dtype = read_header(self.path, self._archive, self._members[key])[1]
        return field in (dtype.names or ())

    def stored(self, name: str) -> Stored:
        """An array, which is read; see `Tree`."""
        place, index = split_index(name)
        key, field = self._key(place) if self.has(name) else (place, "")
        if key not in self._members:
            keys = ", ".join([*self._members][:20]) or "nothing"
            raise DataError(problem(key, "an array of this name", f"{keys}", self.path, "Correct the name."))
        array = read_member(self.path, self._archive, self._members[key])
        if field:
            array = array[field]
        elif array.dtype.names:
            raise is_table(key, array.dtype.names, self.path)
        return _indexed([array], index, name, self.path)

    def _key(self, place: str) -> tuple[str, str]:
        """A key, and the field behind it; empty: there is none."""
        found = None if place in self._members else _FIELD.fullmatch(place)
        return (found[1], found[2]) if found else (place, "")

    def value(self, name: str) -> Any:
        """One value; see `Tree`."""
        if not self.has(name):
            return None
        array = read_member(self.path, self._archive, self._members[name])
        if array.size != 1:
            got = f"shape {array.shape}"
            raise DataError(problem(name, "one value", got, self.path, "Correct it in the file."))
        return array.reshape(-1)[0].item()


def _with_fields(entries: Iterable[Entry]) -> list[Entry]:
    """Arrays, and of tables each field."""
    found: list[Entry] = []
    for entry in entries:
        own = [(f"{entry.name}[{name}]", entry.dtype[name]) for name in entry.dtype.names or ()]
        found += [Entry(name, (*entry.shape, *field.shape), field.base) for name, field in own]
        found += [] if own else [entry]
    return found


def _indexed(parts: list[Any], index: tuple[int, ...], name: str, path: Path) -> Stored:
    """Parts with an index that fits all of them."""
    for part in parts:
        inside = len(index) <= len(part.shape) and all(
            at < length for at, length in zip(index, part.shape, strict=False)
        )
        if not inside:
            got = f"an array of shape {part.shape}"
            raise DataError(
                problem(name, "an index inside the array", got, path, "Correct what is in brackets.")
            )
    shapes = {part.shape[len(index) + 1 :] for part in parts}
    if len(shapes) > 1:
        got = f"parts of shapes {sorted(map(str, shapes))}"
        raise DataError(problem(name, "parts that can be joined", got, path, "Name one of them."))
    return Stored(tuple(parts), index, name)


def _unpacked(path: Path) -> io.BytesIO:
    """The content of a file that is packed with bzip2.

    Raises:
        DataError: it is damaged, or larger than the memory there is.
    """
    content = io.BytesIO()
    try:
        for part in _parts(path):
            content.write(part)
            if too_large(content.tell() + _PART):
                expected = f"content that fits into the available memory, {size_text(available_bytes())}"
                advice = "Unpack the file (bunzip2)."
                raise DataError(problem("scan file", expected, "more", path, advice))
    except (OSError, EOFError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        advice = "Copy it again from where it was written."
        raise DataError(problem("scan file", "a whole bzip2 file", f"'{error}'", path, advice)) from error
    content.seek(0)
    return content


def _parts(path: Path) -> Iterator[bytes]:
    with bz2.open(path) as file:
        while part := file.read(_PART):
            yield part
