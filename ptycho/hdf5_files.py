"""Reading HDF5 files that others wrote: what is wrong is a DataError with the file, the path in it and what is there.

What lies in the file itself is read, and in HDF5 files of its folder that it links to, or that its virtual datasets
consist of; nothing else, since a file can name any other. Nothing is allocated for a shape that is declared without
values.
"""

import contextlib
import math
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, NoReturn, Self, cast

import h5py  # pyright: ignore[reportMissingTypeStubs]
import numpy as np

from ptycho.data_error import DataError, problem
from ptycho.hdf5_links import COPY, DEEPEST, IN_FOLDER, MOST_FILES, beside, link_text
from ptycho.memory import available_bytes, size_text, too_large
from ptycho.stored_array import Array

_DAMAGED: Final = (OSError, KeyError, RuntimeError, TypeError, ValueError)
"""What h5py raises where a file is damaged, or lacks a filter."""
_MOST_OBJECTS: Final = 100_000
"""Groups and datasets of a file that are looked at."""
_MOST_LINKS: Final = 16
"""Links that are followed one after the other."""
_KINDS: Final = {
    "iuf": "real numbers",
    "c": "complex numbers",
    "iu": "integers",
    "biu": "integers or True and False",
    "biufc": "numbers",
    "V": "a table",
}
_LISTED: Final = 8
_LEAST_WRITTEN: Final = 100
"""Of so many parts of a dataset at least one is written."""

_h5py: Any = cast(Any, h5py)


class Hdf5File:
    """An HDF5 file open for reading.

    Args:
        path: the file.
        depth: how many files name this one, each in the one before.

    Raises:
        DataError: it is no HDF5 file, or not whole.
    """

    def __init__(self, path: Path, depth: int = 0) -> None:
        self.path = path
        self._depth = depth
        self._followed: set[tuple[str, str]] = set()
        try:
            if not path.stat().st_size:  # also of one that the system makes up, without an end
                raise ValueError("an empty file")
            self._file: Any = _h5py.File(path, "r")
        except _DAMAGED as error:
            advice = "Write it again, or copy it again from where it was written."
            raise DataError(problem("scan file", "a whole HDF5 file", f"'{error}'", path, advice)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._file.close()

    def find(self, *places: str) -> str | None:
        """The first of these paths that the file has a link at, whether it leads anywhere or not."""
        return next((place for place in places if self._has(place)), None)

    def dataset(self, *places: str, ndim: tuple[int, ...], kinds: str) -> Any:
        """The first of these datasets that the file has, opened but not read.

        Args:
            *places: paths in the file.
            ndim: how many axes it may have.
            kinds: what numpy's kind of its dtype may be, as in `_KINDS`.

        Raises:
            DataError: there is none, or it is something else.
        """
        place = self.find(*places)
        wanted = f"a dataset of {_KINDS[kinds]} with {_listed_axes(ndim)}"
        if place is None:
            self._refuse(places[0], f"a dataset {' or '.join(places)}", f"nothing{self._listing()}")
        with self._reading(place):
            found = self._file[self._resolved(place, place)]
            if not isinstance(found, _h5py.Dataset):
                members = ", ".join([*found][:_LISTED]) or "nothing in it"
                self._refuse(
                    place, wanted, f"a group ({members})", "Name an array in it, or write one there."
                )
            if found.shape is None:
                self._refuse(place, wanted, "an empty dataset")
            if found.dtype.names and kinds != "V":
                raise is_table(place, found.dtype.names, self.path)
            if found.dtype.kind not in kinds or len(found.shape) not in ndim:
                got = f"dtype {_dtype_text(found.dtype)}, shape {found.shape}"
                self._refuse(place, wanted, got, "Name another array, or correct it in the file.")
            if found.external:
                self._refuse(place, IN_FOLDER, "a dataset in files that are not HDF5", COPY)
            if found.is_virtual:
                self._check_sources(place, found)
        return found

    def array(self, *places: str, ndim: tuple[int, ...], kinds: str) -> Array:
        """The first of these datasets that the file has, read; arguments as of `dataset`.

        Raises:
            DataError: as `dataset`; or it cannot be read, or is larger than the memory there is.
        """
        found = self.dataset(*places, ndim=ndim, kinds=kinds)
        self._check_values(found, found.nbytes)
        with self._reading(found.name):
            return np.asarray(found[()])

    def rows(self, dataset: Any, rows: Array) -> Array:
        """Rows of a dataset along its first axis, in the order asked for.

        Raises:
            DataError: they cannot be read, or are more than there is memory for.
        """
        row_bytes = dataset.nbytes // max(1, len(dataset))
        self._check_values(dataset, row_bytes * len(rows))
        read = np.empty((len(rows), *dataset.shape[1:]), dtype=dataset.dtype)
        with self._reading(dataset.name):
            for place, row in enumerate(rows):
                read[place] = dataset[int(row)]
        return read

    def datasets(self) -> list[tuple[str, Any]]:
        """Every dataset that lies in the file, or that a group links to in another, with its path.

        Of one with several paths the first; links within the file are left out, and those that are not followed.

        Raises:
            DataError: the tree is damaged, or has more than `_MOST_OBJECTS` objects.
        """
        found: list[tuple[str, Any]] = []
        n_seen = 0

        def visit(name: str, thing: Any) -> str | None:
            nonlocal n_seen
            n_seen += 1
            if isinstance(thing, _h5py.Dataset) and thing.shape is not None:
                found.append((f"/{name}", thing))
            elif isinstance(thing, _h5py.Group):
                found.extend(self._linked(f"/{name}", thing))
            return name if n_seen > _MOST_OBJECTS else None

        with self._reading("/"):
            found += self._linked("", self._file)
            if self._file.visititems(visit) is not None:
                expected = f"at most {_MOST_OBJECTS} groups and datasets"
                self._refuse("/", expected, "more", "Copy the data of one scan into a separate file.")
        return found

    def _linked(self, folder: str, group: Any) -> list[tuple[str, Any]]:
        """The datasets in other files that a group links to."""
        found: list[tuple[str, Any]] = []
        for name in [*group][:MOST_FILES]:
            if isinstance(group.get(name, getlink=True), _h5py.ExternalLink):
                with contextlib.suppress(DataError, *_DAMAGED):
                    found.append(
                        (
                            f"{folder}/{name}",
                            self.dataset(f"{folder}/{name}", ndim=tuple(range(9)), kinds="biufc"),
                        )
                    )
        return found

    def members(self, place: str) -> list[str]:
        """The names in a group; none where there is no such group."""
        if place != "/" and self.find(place) is None:
            return []
        with self._reading(place):
            group = self._file["/" if place == "/" else self._resolved(place, place)]
            return [*group] if isinstance(group, _h5py.Group) else []

    def plain_attribute(self, place: str, name: str) -> Any:
        """An attribute of one value, as it is: a number, or text; None where there is none.

        Raises:
            DataError: it holds several values.
        """
        if place != "/" and self.find(place) is None:
            return None
        with self._reading(f"{place} attribute {name}"):
            attributes = self._file["/" if place == "/" else self._resolved(place, place)].attrs
            value = attributes.get(name)
        return self._plain(value, f"{place} attribute {name}")

    def plain_value(self, place: str) -> Any:
        """A dataset of one value, as it is: a number, or text; None where there is none.

        Raises:
            DataError: it holds several values.
        """
        if self.find(place) is None:
            return None
        with self._reading(place):
            found = self._file[self._resolved(place, place)]
            if not isinstance(found, _h5py.Dataset) or found.shape is None or found.size != 1:
                got = f"shape {found.shape}" if isinstance(found, _h5py.Dataset) else "a group"
                self._refuse(place, "one value", got, "Correct it in the file.")
            return self._plain(found[()], place)

    def _plain(self, value: Any, place: str) -> Any:
        if value is None:
            return None
        if isinstance(value, _h5py.Empty):
            self._refuse(place, "one value", "an empty one", "Correct it in the file.")
        array = np.asarray(value)
        if array.size != 1:
            self._refuse(place, "one value", f"shape {array.shape}", "Correct it in the file.")
        found: Any = array.reshape(-1).tolist()[0]
        return found.decode("utf-8", "replace") if isinstance(found, bytes) else found

    def number(self, place: str) -> float:
        """A finite scalar dataset > 0 (a length, an energy).

        Raises:
            DataError: it is something else.
        """
        value = self.array(place, ndim=(0, 1, 2, 3), kinds="iuf")
        if value.size != 1 or not np.isfinite(value).all() or not (value > 0).all():
            got = str(value.reshape(-1)[0]) if value.size == 1 else f"shape {value.shape}"
            self._refuse(place, "one finite number > 0, in SI units", got, "Correct it in the file.")
        return float(value.reshape(-1)[0])

    def attribute(self, place: str, name: str, expected: str, *, positive: bool = False) -> float | None:
        """A number among the attributes of a dataset or group; None where it has no such attribute.

        Raises:
            DataError: it is no finite number, or not > 0 where it must be.
        """
        with self._reading(f"{place} attribute {name}"):
            attributes = self._file[place].attrs
            if name not in attributes:
                return None
            value = attributes[name]
        array = np.asarray(0 if isinstance(value, _h5py.Empty) else value)
        number = array.reshape(-1)[0] if array.size == 1 and array.dtype.kind in "biuf" else np.nan
        if isinstance(value, _h5py.Empty) or not np.isfinite(number) or (positive and number <= 0):
            self._refuse(f"{place} attribute {name}", expected, f"{value!r:.60}", "Correct it in the file.")
        return float(number)

    def _check_sources(self, place: str, dataset: Any) -> None:
        """Refuse a virtual dataset that consists of anything but datasets of files in the folder."""
        sources = {(one.file_name, one.dset_name) for one in dataset.virtual_sources()}
        if len(sources) > MOST_FILES:
            self._refuse(place, f"at most {MOST_FILES} parts", f"{len(sources)}", COPY)
        for named, name in sorted(sources):
            with self._named(place, self.path.name if named == "." else named) as other:
                part = other.dataset(name, ndim=tuple(range(9)), kinds="biufc")
                if not part.is_virtual:
                    other.check_written(part)

    def _named(self, place: str, named: str) -> "Hdf5File":
        """A file that this one names.

        Raises:
            DataError: it is not in the folder, or no HDF5 file, or named by too many.
        """
        path = beside(self.path, named)
        if path is None:
            self._refuse(place, IN_FOLDER, link_text(named, self.path), COPY)
        if self._depth >= DEEPEST:
            self._refuse(place, IN_FOLDER, "a circle of files that refer to each other", COPY)
        return Hdf5File(path, self._depth + 1)

    def check_written(self, dataset: Any) -> None:
        """Refuse a shape that was declared without values.

        Raises:
            DataError: it was.
        """
        if dataset.is_virtual:  # its parts are looked at by `dataset`
            return
        with self._reading(dataset.name):
            is_empty = dataset.size and not dataset.id.get_storage_size()
            sides = zip(dataset.shape, dataset.chunks or dataset.shape, strict=True)
            n_chunks = math.prod(-(-length // max(side, 1)) for length, side in sides)
            n_written = dataset.id.get_num_chunks() if n_chunks > _LEAST_WRITTEN else n_chunks
        if is_empty:
            got = f"shape {dataset.shape}, without any values written"
            self._refuse(dataset.name, "values", got, "Write the file again.")
        if n_written * _LEAST_WRITTEN < n_chunks:
            got = f"shape {dataset.shape}, with {n_written} of {n_chunks} parts written"
            self._refuse(dataset.name, "values", got, "Write the file again, with what was measured.")

    def _check_values(self, dataset: Any, n_bytes: int) -> None:
        """Refuse a shape that was declared without values, and more bytes than there is memory for."""
        self.check_written(dataset)
        if too_large(n_bytes):
            expected = f"values that fit into the available memory, {size_text(available_bytes())}"
            got = f"{size_text(n_bytes)} (shape {dataset.shape}, {dataset.dtype})"
            self._refuse(dataset.name, expected, got, "Split the scan, or use a machine with more memory.")

    def _refuse(self, place: str, expected: str, got: str, advice: str = "Add it to the file.") -> NoReturn:
        raise DataError(problem(place, expected, got, self.path, advice))

    @contextlib.contextmanager
    def _reading(self, place: str) -> Generator[None]:
        try:
            yield
        except DataError:
            raise
        except _DAMAGED as error:
            advice = "Copy the file again from where it was written, or install the HDF5 filter it needs."
            raise DataError(problem(place, "a readable dataset", f"'{error}'", self.path, advice)) from error

    def _listing(self) -> str:
        with self._reading("/"):
            names = [*self._file]
        more = " ..." if len(names) > _LISTED else ""
        return f" (the file has: {', '.join(names[:_LISTED])}{more})" if names else " (the file is empty)"

    def _has(self, place: str) -> bool:
        """Whether there is a link at a path, or a group on the way to it that is elsewhere."""
        with self._reading(place):
            folder, _, _ = place.rpartition("/")
            if folder and not self._has(folder):
                return False
            if folder and not isinstance(self._file[self._resolved(folder, place)], _h5py.Group):
                return False
            inside = f"{self._resolved(folder, place)}/{place.rpartition('/')[2]}" if folder else place
            return self._file.get(inside, getlink=True) is not None

    def _resolved(self, place: str, asked: str, n_links: int = 0) -> str:
        """A path without links in it, but to other files.

        Raises:
            DataError: it leads to a file elsewhere, to nothing, or in circles.
        """
        here, parts = "", place.strip("/").split("/")
        for number, part in enumerate(parts):
            link = self._file.get(f"{here}/{part}", getlink=True)
            if isinstance(link, _h5py.ExternalLink):
                rest = parts[number + 1 :]
                self._follow(asked, link.filename, "/".join([link.path, *rest]), n_links)
                return "/".join([here, part, *rest])  # HDF5 follows it
            if link is None or n_links > _MOST_LINKS:
                got = (
                    f"a link to {place!r}, which does not exist"
                    if link is None
                    else "a link that leads in circles"
                )
                self._refuse(asked, "a dataset", got, "Correct it in the file.")
            if isinstance(link, _h5py.SoftLink):
                target = link.path if link.path.startswith("/") else f"{here}/{link.path}"
                here = self._resolved(target, asked, n_links + 1)
            else:
                here = f"{here}/{part}"
        return here

    def _follow(self, asked: str, named: str, place: str, n_links: int) -> None:
        """Check a link to a path in another file, once.

        Raises:
            DataError: it is not to be followed.
        """
        if (named, place) not in self._followed:
            with self._named(asked, named) as other:
                other._resolved(place, place, n_links + 1)
            self._followed.add((named, place))


def is_table(place: str, fields: tuple[str, ...], path: Path) -> DataError:
    """The error of a table where an array of numbers is meant."""
    got, advice = f"a table with the fields {', '.join(fields)}", f"Name a field, as in {place}[{fields[0]}]."
    return DataError(problem(place, "an array of numbers", got, path, advice))


def _listed_axes(ndim: tuple[int, ...]) -> str:
    return f"{' or '.join(map(str, ndim))} axes" if len(ndim) < 8 else "axes"


def _dtype_text(dtype: Any) -> str:
    return "object (text, or of varying length)" if dtype.kind == "O" else str(dtype)
