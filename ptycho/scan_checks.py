"""Checks of the arrays of one scan: every problem is collected, then raised as one error.

Large arrays are looked at block by block, so no check makes a full-size temporary.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np

from ptycho.data_error import DataError, called, problem
from ptycho.detector_gaps import advice_on, advice_on_not_finite
from ptycho.geometry import LARGEST_ENERGY_J
from ptycho.memory import available_bytes, size_text, too_large
from ptycho.pattern_statistics import Mask, Summary, summarize
from ptycho.position_verdicts import far_off_positions, neighbor_distance
from ptycho.stored_array import Array, Stack

INTENSITY_SUSPICION = 4.0
"""Mean counts (taken as squared amplitudes) over stated photons, above which amplitudes must be counts."""
LARGEST_NUMBER = 1e300
LARGEST_VALUE = 1e18
"""No pattern or label holds more, in whatever unit: its square is finite in single precision."""
LARGEST_POSITION_PX = 1e12
"""No position is farther from the origin."""
CANVAS_BYTES = 40
"""Bytes for each pixel of the object while it is put together."""
LARGEST_METADATA = 4 * 2**20
"""No metadata are larger; in bytes, four to a character in an array of text."""
DEEPEST_METADATA = 32
"""No metadata are nested deeper."""
POSITIVE = ("energy", "wavelength", "distance", "pixel_size", "pixel_width", "pixel_height")
"""Parts of the names of metadata that are numbers > 0; `nphotons` is looked at by itself."""
SIGNED = ("offset", "shift", "delta", "difference", "relative", "correction")
"""Parts of names that say that a number may have either sign."""
NUMBER = re.compile(r"(?ai)[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf(inity)?)")
"""A number as text."""
SMALLEST_EXTENT_PX = 1e-3
"""A scan of smaller extent than this (and not 0) is not in pixels."""


class Checker:
    """Collects the problems of one scan and turns accepted arrays into their stored form.

    Args:
        arrays: the arrays found, by their key in the data contract.
        origin: where they come from, as printed in messages (a path, or 'memory').
        names: where a key has another name in that file, the name.
        binned: whether values of patterns are sums of those in the file.
    """

    def __init__(
        self, arrays: Mapping[str, Stack], origin: str, names: Mapping[str, str], *, binned: bool = False
    ) -> None:
        self.problems: list[str] = []
        self.wrong: set[str] = set()  # keys that were reported
        self._arrays = arrays
        self._origin = origin
        self._names = names
        self._is_binned = binned

    def report(self, key: str, expected: str, got: str, advice: str) -> None:
        """Add one problem in the house format."""
        self.wrong.update(key.split(", "))
        self.problems.append(problem(called(key, self._names), expected, got, self._origin, advice))

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

    def stack(
        self, key: str, array: Stack, *, negative_ok: bool = False, ignored: Mask | None = None
    ) -> Summary:
        """Check images block by block: finite, and not negative unless allowed; some patterns have gaps instead."""
        summary = summarize(array, ignored, with_gaps=key == "diff3d")
        if summary.n_not_finite:
            got = f"{summary.n_not_finite} NaN or infinite values, the first in pattern "
            advice = advice_on_not_finite(np.asarray(array[: 1 + 2**20 // max(1, array[0].size)]))
            self.report(key, "finite values", got + str(summary.first_not_finite_row), advice)
        if summary.minimum < 0 and not negative_ok:
            got = f"{summary.minimum:g} in pattern {summary.minimum_row}"
            of_detector = key == "diff3d" and not self._is_binned
            self.report(key, "values >= 0", got, advice_on(summary.negative if of_detector else None))
        if summary.maximum > LARGEST_VALUE:
            expected = f"values of at most {LARGEST_VALUE:g}"
            self.report(key, expected, f"{summary.maximum:g}", "Divide them by the value of one count.")
        return summary

    def patterns(self) -> tuple[Stack | None, Summary | None]:
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
        summary = self.stack("diff3d", array, ignored=(bad := self._ignored(array.shape)))
        if not summary.n_not_finite and summary.minimum >= 0 and summary.total_square == 0:
            got, there = (
                f"no value above {summary.maximum:g}",
                "" if bad is None else " outside the bad pixels",
            )
            cure = "" if bad is None else "Invert the mask (mask_marks) if it marks the good pixels, or: "
            self.report(
                "diff3d", f"some photons{there}", got, f"{cure}Check the program that wrote the file."
            )
        return array, summary

    @staticmethod
    def is_sound(summary: Summary) -> bool:
        """Whether every value of patterns is one that statistics can be made of."""
        values = 0 <= summary.minimum <= summary.maximum <= LARGEST_VALUE
        return values and not summary.n_not_finite and summary.total_square > 0

    def _ignored(self, shape: tuple[int, ...]) -> Mask | None:
        """The bad pixels as they are in the file, where they fit the patterns and mark any."""
        array = self._arrays.get("bad_pixels")
        if array is None or array.dtype.kind not in "biu" or array.shape not in (shape, shape[1:]):
            return None
        mask = np.asarray(array).astype(bool)
        return mask if mask.any() else None

    def positions(self, n: int | None, size: int | None, *, from_lengths: bool = False) -> Array | None:
        """Scan positions float64 (n, 2), rows (y, x), in object pixels, for patterns of side `size`.

        Steps that are wider than that are left to `position_verdicts` where positions come from known lengths.
        """
        columns: list[Array] = []
        for key in ("ycoords", "xcoords"):
            if self.require(key, "scan positions in object pixels, shape (n,)"):
                array = self.finite(key, self.get(key, "iuf", "real numbers in object pixels", (n,)))
                if array is not None:
                    columns.append(array)
        if len(columns) < 2 or len(columns[0]) != len(columns[1]):
            return None
        positions = np.stack(columns, axis=1)
        with np.errstate(over="ignore"):
            extent = float(np.ptp(positions, axis=0).max(initial=0)) if len(positions) else 0.0
        largest = float(np.abs(positions).max(initial=0))
        if largest > LARGEST_POSITION_PX:
            expected = f"object pixels, at most {LARGEST_POSITION_PX:g} from the origin"
            advice = "Correct that position, or their unit (positions_unit)."
            self.report("xcoords, ycoords", expected, f"a coordinate of {largest:g}", advice)
        elif 0 < extent < SMALLEST_EXTENT_PX:
            advice = "Set positions_unit (to m if these are metres) and object_pixel, or correct them."
            self.report("xcoords, ycoords", "object pixels", f"an extent of {extent:g}", advice)
        elif (
            size is not None
            and not from_lengths
            and len(positions) > 2
            and (distance := neighbor_distance(positions)) > size
        ):
            expected = f"object pixels, neighbours nearer than N = {size}"
            got = f"a median nearest-neighbour distance of {distance:.2g}"
            advice = "Set positions_unit, if it is another one; or scan in smaller steps."
            self.report("xcoords, ycoords", expected, got, advice)
        elif size is not None:
            self._canvas(positions, size)
        return positions

    def _canvas(self, positions: Array, size: int) -> None:
        """Report positions so far apart that the object between them exceeds the memory; not those left out."""
        near = np.delete(np.arange(len(positions)), far_off_positions(positions, size))
        height, width = (float(length) + size for length in np.ptp(positions[near], axis=0))
        n_bytes = int(height * width * CANVAS_BYTES)
        if not too_large(n_bytes):
            return
        row = near[np.argmax(np.abs(positions - np.median(positions, axis=0)).max(axis=1)[near])]
        place = f"y {positions[row, 0]:g}, x {positions[row, 1]:g}"
        got = f"{height:.4g} x {width:.4g} pixels, {size_text(n_bytes)}, with position {row} at {place}"
        expected = f"an object that fits into the available memory, {size_text(available_bytes())}"
        advice = "Correct that position, or their unit (positions_unit)."
        self.report("xcoords, ycoords", expected, got, advice)

    def probe(self, key: str, size: int | None) -> Array | None:
        """A probe complex64 (modes, N, N) from (N, N) or (modes, N, N)."""
        if key not in self._arrays:
            return None
        single = self._arrays[key].ndim == 2
        shape = (size, size) if single else (None, size, size)
        array = self.finite(key, self.get(key, "c", "complex numbers, as large as the patterns", shape))
        if array is not None and not array.any():
            self.report(
                key, "a probe that is not zero everywhere", "only zeros", "Write an estimate of the probe."
            )
            return None
        if array is None:
            return None
        return array.reshape((-1, *array.shape[-2:]))

    def object_(self, key: str) -> Array | None:
        """An object complex64 (H, W)."""
        array = self.finite(key, self.get(key, "c", "complex numbers", (None, None)))
        if array is not None and not array.any():
            advice = "Write ones where the object is not known, or leave it out."
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
            self.report("metadata", expected, got, "Keep only what the scan needs.")
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
        self._physical(stated)
        return stated

    def _physical(self, metadata: Mapping[str, Any]) -> None:
        """Report quantities that cannot be what the metadata state, and a domain that is none."""
        for key, value in _entries(metadata):
            name = key.lower().removesuffix(".value").rpartition(".")[2]
            if not any(word in name for word in POSITIVE) or any(word in name for word in SIGNED):
                continue
            expected, advice, numbers = "finite numbers > 0", "Correct it, or leave it out.", _numbers(value)
            is_sound = all(not isinstance(one, str) and 0 < one < np.inf for one in numbers)
            if is_sound and name == "energy_j" and max(numbers, default=0) > LARGEST_ENERGY_J:
                is_sound, expected = False, "the photon energy in joules"
                advice = "Multiply electronvolts by 1.602176634e-19, or name it energy_eV."
            if not is_sound:
                self.report(f"metadata {key!r:.60}", expected, f"{value!r:.60}", advice)
        if (said := metadata.get("measurement_domain", "amplitude")) not in ("amplitude", "intensity"):
            name = "metadata 'measurement_domain'"
            self.report(name, "'amplitude' or 'intensity'", f"{said!r:.60}", "Correct the word.")

    def scan_index(self, n: int | None) -> Array | None:
        """Which object a position belongs to, integers (n,); stored as integers, or as floats that are whole."""
        array = self.get("scan_index", "iuf", "integers", (n,))
        if array is None or array.dtype.kind != "f":
            return array
        array = array.astype(np.float64)  # half precision ends below the largest whole number
        if not (np.isfinite(array).all() and (array == np.rint(array)).all() and (abs(array) < 2**53).all()):
            self.report("scan_index", "integers", "numbers that are not whole", "Write integers.")
            return None
        return array.astype(np.int64)

    def photon_number(self, metadata: Mapping[str, Any]) -> float | None:
        """The photon number that is stated, as `nphotons` or in the metadata: finite and > 0, or None."""
        if "nphotons" not in self._arrays:
            return self._photon_number(metadata.get("nphotons"), "metadata 'nphotons'")
        array = self.get("nphotons", "iuf", "one number", ())
        return None if array is None else self._photon_number(array.item(), "nphotons")

    def _photon_number(self, value: object, key: str) -> float | None:
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < LARGEST_NUMBER:
            return float(value)
        got = f"{value!r:.60}"
        self.report(key, "a finite number of photons > 0", got, "Correct it, or leave it out.")
        return None

    def not_intensity(self, mean_square: float, nphotons: float) -> None:
        """Report amplitudes whose squares are far too large for the stated photon number."""
        if mean_square > INTENSITY_SUSPICION * nphotons:
            self.report(
                "diff3d",
                f"amplitudes, whose squares sum to about nphotons = {nphotons:g} in a pattern, or less",
                f"a mean sum of squares of {mean_square:g}",
                "If these are counts, set measurement_domain to 'intensity'. Otherwise correct nphotons.",
            )


def _is_deeper(value: object, levels: int) -> bool:
    """Whether lists and mappings in a value lie in each other more than so many levels deep."""
    layer: list[Any] = [value]  # of lists and mappings
    for _ in range(levels + 1):
        lists: list[list[Any]] = [[*one.values()] if isinstance(one, dict) else one for one in layer]
        layer = [inner for one in lists for inner in one if isinstance(inner, dict | list)]
    return bool(layer)


def _entries(metadata: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """What metadata state, also within mappings and lists of them, each with its place: 'beam.energy_J'."""
    for key, value in metadata.items():
        for one in cast(list[Any], value) if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield from _entries(cast(dict[str, Any], one), f"{place}{key}.")
        yield place + key, value


def _numbers(value: object) -> list[Any]:
    """The numbers in a value: itself, or those of a list, of lists; a number that is written as text is that text."""
    if isinstance(value, list):
        return [number for one in cast(list[Any], value) for number in _numbers(one)]
    if isinstance(value, str):
        return [value] if NUMBER.fullmatch(value.strip()) else []
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _shape_text(shape: tuple[int | None, ...]) -> str:
    inner = ", ".join("any" if length is None else str(length) for length in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"
