"""Checks of the arrays of one scan: every problem is collected, then raised as one error.

Large arrays are looked at block by block, so no check makes a full-size temporary.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from ptycho.data_error import DataError, problem
from ptycho.memory import size_text
from ptycho.stored_array import Array, Stack, StoredArray

BLOCK_BYTES = 16 * 2**20
"""Size of the blocks in which large arrays are read."""

INTENSITY_SUSPICION = 4.0
"""Mean counts (taken as squared amplitudes) over stated photons, above which amplitudes must be counts."""

LARGEST_METADATA = 4 * 2**20
"""No metadata are larger; in bytes, four to a character in an array of text."""

DEEPEST_METADATA = 32
"""No metadata are nested deeper."""

NEIGHBOR_SAMPLE = 64
"""Positions of a scan whose nearest neighbours are looked for."""

SMALLEST_EXTENT_PX = 1e-3
"""A scan of smaller extent than this (and not 0) is not in pixels."""


class Summary(NamedTuple):
    """Statistics of a stack of images over its finite blocks (rows: index along the first axis)."""

    n_not_finite: int
    first_not_finite_row: int
    minimum: float
    minimum_row: int
    maximum: float
    total: float
    total_square: float


def blocks(array: Stack) -> Iterator[tuple[int, Array]]:
    """Yield (first row, block) along the first axis, about `BLOCK_BYTES` each.

    Raises:
        DataError: at the end, where the array is in a file whose bytes are damaged.
    """
    n_rows = max(1, BLOCK_BYTES // max(1, array.nbytes // max(1, len(array))))
    if isinstance(array, StoredArray):
        yield from array.verified_blocks(n_rows)
        return
    for start in range(0, len(array), n_rows):
        yield start, np.asarray(array[start : start + n_rows])


def summarize(array: Stack) -> Summary:
    """Reduce a real array of rank >= 1 to its `Summary`, block by block, in float64."""
    n_not_finite, first_not_finite, minimum_row = 0, -1, -1
    minimum, maximum, total, total_square = np.inf, -np.inf, 0.0, 0.0
    for start, block in blocks(array):
        if block.size == 0:
            continue
        rows = block.reshape(len(block), -1)
        if block.dtype.kind == "f":
            finite = np.isfinite(rows)
            if not finite.all():
                first = start + int(np.argmin(finite.all(axis=1)))
                first_not_finite = first if first_not_finite < 0 else first_not_finite
                n_not_finite += int(finite.size - np.count_nonzero(finite))
                continue
        if float(rows.min()) < minimum:
            minimum, minimum_row = float(rows.min()), start + int(np.argmin(rows.min(axis=1)))
        maximum = max(maximum, float(rows.max()))
        total += float(rows.sum(dtype=np.float64))
        total_square += float(np.einsum("ij,ij->", rows, rows, dtype=np.float64, casting="unsafe"))
    return Summary(n_not_finite, first_not_finite, minimum, minimum_row, maximum, total, total_square)


def neighbor_distance(positions: Array) -> float:
    """Median distance from a position to its nearest neighbour, over a sample of the (n, 2) positions, n > 1."""
    sample = np.unique(np.linspace(0, len(positions) - 1, NEIGHBOR_SAMPLE).astype(np.int64))
    distances = (np.hypot(*(positions - positions[row]).T) for row in sample)
    return float(np.median([np.partition(distance, 1)[1] for distance in distances]))


class Checker:
    """Collects the problems of one scan and turns accepted arrays into their stored form.

    Args:
        arrays: the arrays found, by their key in the data contract.
        origin: where they come from, as printed in messages (a path, or 'memory').
        names: where a key has another name in that file, the name.
    """

    def __init__(self, arrays: Mapping[str, Stack], origin: str, names: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self._arrays = arrays
        self._origin = origin
        self._names = names

    def report(self, key: str, expected: str, got: str, advice: str) -> None:
        """Add one problem in the house format."""
        self.problems.append(problem(self._names.get(key, key), expected, got, self._origin, advice))

    def raise_problems(self) -> None:
        """Raise everything that was reported.

        Raises:
            DataError: when anything was.
        """
        if self.problems:
            raise DataError(*self.problems)

    def get(self, key: str, kinds: str, meaning: str, shape: tuple[int | None, ...]) -> Any:
        """The array of a key, if it is there with a dtype kind in `kinds` and this shape (None: any)."""
        if key not in self._arrays:
            return None
        array = self._arrays[key]
        expected = f"{meaning}, shape {_shape_text(shape)}"
        if array.dtype.kind not in kinds:
            self.report(key, expected, f"dtype {array.dtype}", "Convert it.")
            return None
        fits = array.ndim == len(shape) and all(
            want in (None, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits:
            advice = "Check the order and the length of its axes."
            self.report(key, expected, f"shape {_shape_text(array.shape)}", advice)
            return None
        return array

    def require(self, key: str, expected: str) -> bool:
        """Report a key that is missing; True when it is there."""
        if key not in self._arrays:
            found = ", ".join(sorted(self._arrays)) or "no array"
            self.report(key, expected, f"nothing (found: {found})", "Add it to the file.")
        return key in self._arrays

    def finite(self, key: str, array: Array | None) -> Array | None:
        """The array (small) as float64 or complex64, if all its values are finite in that precision."""
        if array is None:
            return None
        with np.errstate(over="ignore"):
            array = array.astype(np.complex64 if array.dtype.kind == "c" else np.float64)
        n_bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        if n_bad:
            self.report(key, "finite values", f"{n_bad} NaN or infinite values", "Repair or remove them.")
            return None
        return array

    def stack(self, key: str, array: Array, *, negative_ok: bool = False) -> Summary:
        """Check a stack of images block by block: finite, and not negative unless allowed."""
        summary = summarize(array)
        if summary.n_not_finite:
            got = f"{summary.n_not_finite} NaN or infinite values, the first in pattern "
            advice = "Set them to 0 and mark them in bad_pixels, or leave the patterns out."
            self.report(key, "finite values", got + str(summary.first_not_finite_row), advice)
        if summary.minimum < 0 and not negative_ok:
            got = f"{summary.minimum:g} in pattern {summary.minimum_row}"
            advice = "Set them to 0; mark in bad_pixels what was not measured."
            self.report(key, "values >= 0", got, advice)
        return summary

    def patterns(self) -> tuple[Array | None, Summary | None]:
        """The diffraction patterns (n, N, N), N even, in their stored dtype, and their statistics."""
        expected = "diffraction patterns, real, shape (n, N, N) with N even"
        if not self.require("diff3d", expected):
            return None, None
        array = self.get("diff3d", "iuf", "real numbers", (None, None, None))
        if array is None:
            return None, None
        n, height, width = array.shape
        if n == 0 or height != width or height % 2 or height == 0:
            advice = "Crop or pad the patterns to an even square with the zero frequency at [N//2, N//2]."
            self.report("diff3d", expected, f"shape {_shape_text(array.shape)}", advice)
            return None, None
        summary = self.stack("diff3d", array)
        if not summary.n_not_finite and summary.total_square == 0:
            got = f"no value above {summary.maximum:g}"
            self.report("diff3d", "some photons", got, "Check how the file was written.")
        return array, summary

    def positions(self, n: int | None, size: int | None) -> Array | None:
        """Scan positions float64 (n, 2), rows (y, x), in object pixels, for patterns of side `size`."""
        columns: list[Array] = []
        for key in ("ycoords", "xcoords"):
            if self.require(key, "scan positions in object pixels, shape (n,)"):
                array = self.finite(key, self.get(key, "iuf", "real numbers in object pixels", (n,)))
                if array is not None:
                    columns.append(array)
        if len(columns) < 2 or len(columns[0]) != len(columns[1]):
            return None
        positions = np.stack(columns, axis=1)
        extent = float(np.ptp(positions, axis=0).max(initial=0)) if len(positions) else 0.0
        if 0 < extent < SMALLEST_EXTENT_PX:
            advice = "If these are metres, divide them by the object pixel size."
            self.report("xcoords, ycoords", "object pixels", f"an extent of {extent:g}", advice)
        elif size is not None and len(positions) > 2 and (distance := neighbor_distance(positions)) > size:
            expected = f"object pixels, neighbours nearer than N = {size}"
            got = f"a median nearest-neighbour distance of {distance:.2g}"
            self.report("xcoords, ycoords", expected, got, "Divide by the object pixel size.")
        return positions

    def probe(self, key: str, size: int | None) -> Array | None:
        """A probe complex64 (modes, N, N) from (N, N) or (modes, N, N)."""
        if key not in self._arrays:
            return None
        single = self._arrays[key].ndim == 2
        shape = (size, size) if single else (None, size, size)
        array = self.finite(key, self.get(key, "c", "complex numbers, as large as the patterns", shape))
        if array is not None and not array.any():
            self.report(key, "a probe with some light in it", "only zeros", "Write an estimate of the probe.")
            return None
        return None if array is None else array.reshape((-1, *array.shape[-2:]))

    def object_(self, key: str) -> Array | None:
        """An object complex64 (H, W)."""
        array = self.finite(key, self.get(key, "c", "complex numbers", (None, None)))
        if array is not None and not array.any():
            advice = "Write ones where nothing is known, or leave it out."
            self.report(key, "a transmission", "only zeros", advice)
            return None
        return array

    def flags(self, key: str, shape: tuple[int | None, ...]) -> Array | None:
        """A mask bool: stored as bool, or as the integers 0 and 1."""
        array = self.get(key, "biu", "True or False (or 0 and 1)", shape)
        if array is not None and array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
            found = f"values from {array.min()} to {array.max()}"
            self.report(key, "True or False (or 0 and 1)", found, "Write a boolean mask.")
            return None
        return None if array is None else array.astype(bool)

    def bad_pixels(self, n: int | None, size: int | None) -> Array | None:
        """Bad pixels bool, (N, N) for all patterns or (n, N, N)."""
        if "bad_pixels" not in self._arrays:
            return None
        common = self._arrays["bad_pixels"].ndim == 2
        mask = self.flags("bad_pixels", (size, size) if common else (n, size, size))
        if mask is not None and mask.all():
            advice = "True marks a pixel that was NOT measured: invert the mask."
            self.report("bad_pixels", "some measured pixels", "True everywhere", advice)
        return mask

    def labels(self, n: int | None, size: int | None) -> tuple[Array, Array] | None:
        """Ground-truth patches (amplitude, phase), each real (n, N, N), both or neither."""
        keys = [key for key in ("label_amp", "label_phase") if key in self._arrays]
        if len(keys) == 1:
            missing = "label_phase" if keys == ["label_amp"] else "label_amp"
            self.report(missing, "both label_amp and label_phase, or neither", "nothing", "Add it.")
        found: list[Array] = []
        for key in keys:
            array = self.get(key, "iuf", "real numbers", (n, size, size))
            if array is not None:
                self.stack(key, array, negative_ok=key == "label_phase")
                found.append(array)
        return (found[0], found[1]) if len(found) == 2 else None

    def metadata(self) -> dict[str, Any]:
        """The JSON object in `metadata`; empty where there is none."""
        if "metadata" not in self._arrays:
            return {}
        array = self._arrays["metadata"]
        advice = "Write np.array(json.dumps({...}))."
        if array.ndim != 0 or array.dtype.kind not in "US":
            got = f"dtype {array.dtype}, shape {array.shape}"
            self.report("metadata", "JSON text, shape ()", got, advice)
            return {}
        if array.nbytes > LARGEST_METADATA:
            expected, got = f"JSON text of at most {size_text(LARGEST_METADATA)}", size_text(array.nbytes)
            self.report("metadata", expected, got, "Keep what the scan needs, and write the rest elsewhere.")
            return {}
        text = array.item()
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            deep = "too deeply nested" if isinstance(error, RecursionError) else error
            self.report("metadata", "JSON text", f"{text[:60]!r} ({deep})", advice)
            return {}
        if not isinstance(value, dict):
            self.report("metadata", "a JSON object", f"{text[:60]!r}", advice)
            return {}
        stated = cast(dict[str, Any], value)
        if _is_deeper(stated, DEEPEST_METADATA):
            expected = f"JSON nested at most {DEEPEST_METADATA} deep"
            self.report("metadata", expected, "values nested deeper", "Flatten it.")
            return {}
        return stated

    def photon_number(self, metadata: Mapping[str, Any]) -> float | None:
        """The photon number that is stated, as `nphotons` or in the metadata: finite and > 0, or None."""
        if "nphotons" not in self._arrays:
            return self._photon_number(metadata.get("nphotons"), "metadata 'nphotons'")
        array = self.get("nphotons", "iuf", "one number", ())
        return None if array is None else self._photon_number(array.item(), "nphotons")

    def _photon_number(self, value: object, key: str) -> float | None:
        if value is None:
            return None
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan
        if not (np.isfinite(number) and number > 0):
            self.report(key, "a finite number of photons > 0", repr(value), "Correct it, or leave it out.")
            return None
        return number

    def not_intensity(self, mean_square: float, nphotons: float) -> None:
        """Report amplitudes whose squares are far too large for the stated photon number."""
        if mean_square > INTENSITY_SUSPICION * nphotons:
            self.report(
                "diff3d",
                f"amplitudes, whose squares sum to about nphotons = {nphotons:g} in a pattern, or less",
                f"a mean sum of squares of {mean_square:g}",
                "If these are counts, say so: measurement_domain 'intensity'. Else correct nphotons.",
            )


def _is_deeper(value: object, levels: int) -> bool:
    """Whether lists and mappings in a value lie in each other more than so many levels deep."""
    layer: list[Any] = [value]  # of lists and mappings
    for _ in range(levels + 1):
        lists: list[list[Any]] = [[*one.values()] if isinstance(one, dict) else one for one in layer]
        layer = [inner for one in lists for inner in one if isinstance(inner, dict | list)]
    return bool(layer)


def _shape_text(shape: tuple[int | None, ...]) -> str:
    inner = ", ".join("any" if length is None else str(length) for length in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"
