"""Files that hold one scan together, and what is looked up in them: arrays and numbers, by the settings or a table."""

import contextlib
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, TypeVar, cast

import numpy as np

from ptycho.config.data import DataConfig
from ptycho.config.quantities import is_magnitude
from ptycho.data_error import DataError, problem
from ptycho.formats.layouts import Layout, layout_of, recognized, refuse_no_scan
from ptycho.formats.trees import Entry, Stored, Tree, open_tree, split_file, split_index
from ptycho.formats.units import UNIT_ATTRIBUTES, plain_unit
from ptycho.memory import available_bytes, size_text, too_large
from ptycho.stored_array import Array

LISTED: Final = 24
"""Arrays of a file that a message lists."""

NO_VALUE: Final = ("_None", "None", "")
"""Texts that programs write in place of a number."""

EQUAL: Final = 1e-3
"""Relative difference up to which numbers of single patterns are one."""

T = TypeVar("T")


class Found(NamedTuple):
    """An array that was read."""

    name: str
    values: Array
    path: Path
    """Of the file that it is in."""
    unit: str = ""
    """As the file states it; empty: it does not."""


class Stated(NamedTuple):
    """One number or two that a file states."""

    values: tuple[float, float]
    """The first and the last."""
    unit: str
    """As the file states it; empty: it does not."""
    name: str
    path: Path
    """Of the file that it is in."""


class Sources:
    """The files of one scan, open for reading, with the settings and the table of their format.

    Attributes:
        path: the file that was named.
        format: a word of the setting `format`, never `auto`.
        layout: the table.
        own: the settings of [data] as they are set.
        settings: these, with lengths that the metadata of a file state.
        problems: what is wrong so far, one line each.
    """

    def __init__(self, trees: list[Tree], settings: DataConfig, lengths: Mapping[str, str]) -> None:
        self._trees = trees
        self.path = trees[0].path
        self.own, self.settings = settings, settings.replace(**lengths)
        found = recognized(trees[0])
        self.format = found if settings.format == "auto" else settings.format
        self.layout: Layout = layout_of(self.format, trees[0])
        self.problems: list[str] = []
        self._listed_for: str | None = None
        self._read: dict[tuple[Path, str], Found] = {}

    @property
    def settings_orientation(self) -> str:
        """The orientation that positions are read in; one that is to be found begins as it is."""
        found = self.settings.orientation
        return "identity" if found == "auto" else found

    def attempt(self, action: Callable[[], T]) -> T | None:
        """What an action returns; None where it finds a problem, which is kept."""
        try:
            return action()
        except DataError as error:
            self.problems += [one for one in error.problems if one not in self.problems]
            return None

    def place(self, setting: str, places: Iterable[str]) -> tuple[Tree, str] | None:
        """The tree and the name of what a setting names, or else of the first of the places that is there.

        None where none is there, and for a mask that is switched off.

        Raises:
            DataError: the setting names something that is not there, or something is in that place that is no array.
        """
        named = cast(str | None, getattr(self.settings, setting, None))
        if setting == "mask" and named is None:
            return None
        if named is not None and named not in ("auto", "file", "estimate", "optics"):
            tree, name = self._elsewhere(named)
            if not tree.has(name):
                advice = self._listing(setting, tree.entries()) or "Correct the name"
                advice = f"{advice[0].upper()}{advice[1:]}."
                self.refuse(setting, "the name of an array in the file", f"{named!r}", advice, tree.path)
            return tree, name
        wanted = [*places]
        of_others = ((place, split_file(self.path.parent, place)) for place in wanted)
        stated = [self._elsewhere(place) for place, other in of_others if other and other[0].is_file()]
        for tree, place in (*stated, *((tree, place) for tree in self._trees for place in wanted)):
            if tree.has(place) and self._is_meant(setting, tree, place):
                return tree, place
        return None

    def _is_meant(self, setting: str, tree: Tree, place: str) -> bool:
        """Whether an array in a place that nobody has named is what the setting means."""
        if setting == "positions":
            return tree.stored(place).shape not in ((2,), (3,))  # one point is where a detector stands
        if setting == "mask" and self.layout.mask_may_be_none:
            return int(np.prod(tree.stored(place).shape)) > 1
        return True

    def stored(
        self, setting: str, places: Iterable[str], kinds: str, meaning: str
    ) -> tuple[Tree, Stored] | None:
        """An array, not read yet; None where nothing is named and none of the places is there.

        Raises:
            DataError: it is not of such a kind, or has no elements.
        """
        found = self.place(setting, places)
        if found is None:
            return None
        tree, name = found
        stored = tree.stored(name)
        if stored.dtype.kind not in kinds or 0 in stored.shape:
            got = f"dtype {stored.dtype}, shape {stored.shape}"
            raise DataError(problem(name, meaning, got, tree.path, f"Name another array: --{setting}."))
        return tree, stored

    def array(self, setting: str, places: Iterable[str], kinds: str, meaning: str) -> Found | None:
        """An array, read once; arguments as of `stored`.

        Raises:
            DataError: as of `stored`; or it is larger than the memory there is.
        """
        found = self.stored(setting, places, kinds, meaning)
        if found is None:
            return None
        tree, stored = found
        known = self._read.get((tree.path, stored.name))
        if known is not None:
            return known
        n_bytes = int(np.prod(stored.shape, dtype=object)) * stored.dtype.itemsize
        if too_large(n_bytes):
            expected = f"values that fit into the available memory, {size_text(available_bytes())}"
            got = f"{size_text(n_bytes)} (shape {stored.shape}, {stored.dtype})"
            raise DataError(problem(stored.name, expected, got, tree.path, "Split the scan."))
        with reading(stored.name, tree.path):
            values = stored.read(*([slice(None)] if stored.shape else []))
        read = Found(stored.name, values, tree.path, self.unit(tree, stored.name))
        self._read[tree.path, stored.name] = read
        return read

    def unit(self, tree: Tree, name: str) -> str:
        """The unit of an array, as an attribute of it states it; empty where none does."""
        for attribute in UNIT_ATTRIBUTES:
            with contextlib.suppress(DataError):
                stated = tree.value(f"{split_index(name)[0]}@{attribute}")
                if stated is not None:
                    return plain_unit(stated)
        return ""

    def numbers(self, places: Iterable[str], *, positive: bool = True) -> tuple[float, float] | None:
        """One or two finite numbers, as of `stated`, without their unit; None where the file states none."""
        found = self.stated(places, positive=positive)
        return None if found is None else found.values

    def stated(
        self, places: Iterable[str], units: Collection[str] = (), *, positive: bool = True
    ) -> Stated | None:
        """One or two finite numbers that the file states; None where it states none.

        Of more than two, as where each pattern has its own, all must be equal.

        Args:
            places: where they may be.
            units: those of such a number; without them it has none.
            positive: whether they must be > 0.

        Raises:
            DataError: they are something else. In a file of no format that has a name, such numbers, and those
                without a unit, are none: their names may mean something else.
        """
        if self.format != "hdf5":
            return self._stated(places, positive=positive)
        with contextlib.suppress(DataError):
            found = self.place("", places)
            if found is None or not units or self.unit(*found) in units:
                return self._stated(places, positive=positive)
        return None

    def _stated(self, places: Iterable[str], *, positive: bool) -> Stated | None:
        found = self.place("", places)
        if found is None:
            return None
        tree, name = found
        with contextlib.suppress(DataError):
            if tree.value(name) in NO_VALUE:
                return None
        values = np.asarray(tree.value(name)) if "@" in name else tree.stored(name).read()
        numbers, what, unit = values.reshape(-1), name.replace("@", " attribute "), self.unit(tree, name)
        is_zero = numbers.size == 1 and numbers.dtype.kind in "iuf" and numbers[0] == 0
        if positive and is_zero and ("@" in name or tree.value(f"{name}@type") == "None"):
            return None  # programs write 0 for what they do not know; those of ptypy say so
        sound = numbers.size > 0 and numbers.dtype.kind in "iuf" and all(map(is_magnitude, numbers.tolist()))
        if not sound or (positive and not (numbers > 0).all()):
            expected = f"one finite number{' > 0' if positive else ''}, in SI units"
            got = f"{numbers[0]}"[:60] if numbers.size == 1 else f"shape {values.shape}"
            raise DataError(problem(what, expected, got, tree.path, "Correct it in the file, or set it."))
        lowest, highest = float(numbers.min()), float(numbers.max())
        if numbers.size > 2 and highest - lowest > EQUAL * max(abs(lowest), abs(highest)):
            expected, got = "equal numbers", f"{lowest:g} to {highest:g} {unit}".rstrip()
            raise DataError(problem(what, expected, got, tree.path, "Correct them in the file, or set one."))
        ends = (numbers[0], numbers[-1]) if numbers.size <= 2 else (np.median(numbers),) * 2
        return Stated((float(ends[0]), float(ends[1])), unit, what, tree.path)

    def value(self, places: Iterable[str]) -> Any:
        """The first of these values that there is, as it is; None where there is none."""
        found = self.place("", places)
        return None if found is None else found[0].value(found[1])

    def missing(
        self,
        setting: str,
        expected: str,
        fits: Callable[[Entry], bool],
        of_one: Callable[[Entry], bool] | None = None,
    ) -> NoReturn:
        """Refuse a file in which an array is not where its format has it.

        Args:
            setting: what names it.
            expected: what it is.
            fits: whether an array of the file may be it.
            of_one: whether it may be one coordinate of it, where no array may be all.

        Raises:
            DataError: always.
        """
        entries = [entry for tree in self._trees for entry in tree.entries()]
        likely = next((entry for entry in map(_squeezed, entries) if fits(entry)), None)
        flag = f"--{setting.replace('_', '-')}"
        advice = f"Name it ({flag}), if it is in another file of the folder as in {flag} FILE:PATH."
        if likely is not None:
            advice = f"Name it, as in {flag} {_with_others(likely, entries)}."
        lists = [] if likely is not None or of_one is None else [*filter(of_one, entries)]
        if pair := _x_and_y(lists):
            advice = f"Name them, as in {flag}-x {pair[0]} {flag}-y {pair[1]}."
        elif len(lists) == 2:
            advice = f"Name them, as in {flag}-x {lists[0].name} {flag}-y {lists[1].name}, or exchanged."
        absent = [group[0] for group in self.layout.beside if self.path.name not in group]
        if absent and len(self._trees) == 1:
            advice += f" If it is in {' or '.join(absent)}, copy that into the folder of this file."
        held = self._listing(setting, entries)
        got = f"none ({held})" if held else "none"
        raise DataError(problem(setting, expected, got, self.path, advice))

    def _listing(self, setting: str, entries: list[Entry]) -> str:
        """What is held, as `listed` has it, for the problem of one setting; empty for those of others."""
        self._listed_for = self._listed_for or setting
        return listed(entries) if self._listed_for == setting else ""

    def refuse(self, what: str, expected: str, got: str, advice: str, path: Path | None = None) -> NoReturn:
        """Refuse something of the file, in the house format.

        Raises:
            DataError: always.
        """
        raise DataError(problem(what, expected, got, path or self.path, advice))

    def called(self, tree: Tree, name: str) -> str:
        """A name as messages have it: with its file, where that is not the one that was named."""
        return name if tree.path == self.path else f"{name} ({tree.path.name})"

    def _elsewhere(self, named: str) -> tuple[Tree, str]:
        """The tree and the name in it; `positions.h5:/x` is in another file of the folder.

        A name that one of the files has is what it is, with or without a colon in it.
        """
        if found := next((tree for tree in self._trees if tree.has(named)), None):
            return found, named
        elsewhere = split_file(self.path.parent, named)
        if elsewhere is None:
            return self._trees[0], named
        path, name = elsewhere
        for tree in self._trees:
            if tree.path == path:
                return tree, name
        tree = open_tree(path)
        self._trees.append(tree)
        return tree, name

    def close(self) -> None:
        """Close every file."""
        for tree in self._trees:
            tree.__exit__()


@contextlib.contextmanager
def opened(path: Path, settings: DataConfig, lengths: Mapping[str, str] | None = None) -> Generator[Sources]:
    """The files of a scan.

    Args:
        path: the one that is named.
        settings: of [data].
        lengths: settings that its metadata state, beside those.

    Raises:
        FileNotFoundError: no such file.
        DataError: it is no file of such a format.
    """
    first = open_tree(path)
    trees = [first]
    sources: Sources | None = None
    try:
        if settings.format == "auto":
            refuse_no_scan(first)
        sources = Sources(trees, settings, lengths or {})
        for group in sources.layout.beside:
            others = [path.with_name(name) for name in group if path.name not in group]
            if other := next(filter(Path.is_file, others), None):
                trees.append(open_tree(other))
        yield sources
    finally:
        for tree in trees:
            tree.__exit__()


@contextlib.contextmanager
def reading(name: str, path: Path) -> Generator[None]:
    """Word what HDF5 raises of values that cannot be read.

    Raises:
        DataError: they cannot.
    """
    try:
        yield
    except DataError:
        raise
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        advice = "Copy the file again from where it was written, or install the HDF5 filter it needs."
        raise DataError(problem(name, "a readable dataset", f"'{error}'", path, advice)) from error


def _squeezed(entry: Entry) -> Entry:
    """An array without first axes of length 1, by the name that leaves them out."""
    while len(entry.shape) > 2 and entry.shape[0] == 1:
        entry = Entry(f"{entry.name}[0]", entry.shape[1:], entry.dtype)
    return entry


def _with_others(entry: Entry, entries: Iterable[Entry]) -> str:
    """The name of an array, or of all that differ from it by a number at the end, as parts of a stack do."""
    stem = entry.name.rstrip("0123456789")
    parts = [
        one
        for one in entries
        if one.name.rstrip("0123456789") == stem != one.name and one.shape[1:] == entry.shape[1:]
    ]
    return f"{stem}*" if len(parts) > 1 and len(entry.shape) > 2 else entry.name


def _x_and_y(entries: Iterable[Entry]) -> tuple[str, str] | None:
    """The names of the first two arrays of one shape that differ by an x and a y alone."""
    names = {(entry.name, entry.shape) for entry in entries}
    for name, shape in sorted(names):
        for place in reversed([at for at, letter in enumerate(name) if letter in "xX"]):
            other = f"{name[:place]}{'y' if name[place] == 'x' else 'Y'}{name[place + 1 :]}"
            if (other, shape) in names:
                return name, other
    return None


def listed(entries: list[Entry]) -> str:
    """What a file holds, on one line: the largest arrays, in the order of the file."""
    kept = sorted(entries, key=lambda entry: -int(np.prod(entry.shape, dtype=object)))[:LISTED]
    names = [str(entry) for entry in entries if entry in kept]
    more = f", and {len(entries) - LISTED} more" if len(entries) > LISTED else ""
    return f"the file holds {', '.join(names)}{more}" if names else "the file is empty"
