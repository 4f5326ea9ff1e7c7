"""Scans whose numbers mean something else: wrong units, order, centre, domain, or a bad detector."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ptycho.raw_data import RawData
from tests.faults.malformed_arrays import Arrays, Malformed, at, counts, said, saved


def _shift(axis: int) -> Callable[[Arrays], Any]:
    return lambda held: held.update(diff3d=np.roll(held["diff3d"], axis, axis=(1, 2)))


def _as(dtype: Any, largest: float | None = None) -> Callable[[Arrays], None]:
    """Counts of a type; those at a few pixels at the largest value, as gaps of a detector."""

    def change(held: Arrays) -> None:
        whole = np.minimum(counts(held), np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else np.inf)
        held["diff3d"] = whole.astype(dtype)
        if largest is not None:
            held["diff3d"][:, 5:7, :] = largest

    return change


def _hot(held: Arrays) -> None:
    held["diff3d"] = counts(held).astype(np.uint32)
    for row, column in ((3, 4), (7, 25), (20, 2), (28, 28), (1, 16)):
        held["diff3d"][:, row, column] = 10**6


def _hot_edge(held: Arrays) -> None:
    held["diff3d"] = counts(held).astype(np.uint32)
    held["diff3d"][:, 0, 0] = 10**6


def _saturated(held: Arrays) -> None:
    whole = counts(held)
    held["diff3d"] = np.minimum(whole, 0.3 * whole.max()).astype(np.uint32)


def _saturated_at_16_bits(held: Arrays) -> None:
    whole = counts(held)
    held["diff3d"] = np.minimum(whole * (2**17 / whole.max()), 2**16 - 1).astype(np.uint16)


def _dark(held: Arrays) -> None:
    held["diff3d"] = counts(held).astype(np.uint32)
    held["diff3d"][::6] = 0


def _places(change: Callable[[Any], Any]) -> Callable[[Arrays], None]:
    def changed(held: Arrays) -> None:
        for key in ("xcoords", "ycoords"):
            held[key] = change(held[key])

    return changed


def _is(domain: str) -> Callable[[RawData], bool]:
    return lambda scan: scan.domain == domain


def _masks_the_gaps(scan: RawData) -> bool:
    return scan.bad_pixels is not None and bool(np.asarray(scan.bad_pixels)[..., 5:7, :].all())


FLAT = np.zeros((32, 32), bool)
CENTRE = "centre|center|corner|zero frequency"
COUNTS: tuple[tuple[str, Callable[[Arrays], Any], str, str, Callable[[RawData], bool] | None], ...] = (
    ("counts as float32", lambda h: h.update(diff3d=counts(h).astype("f4")), "taken", "", _is("intensity")),
    ("counts as float64", lambda h: h.update(diff3d=counts(h)), "taken", "", _is("intensity")),
    ("counts as uint16", _as(np.uint16), "taken", "", _is("intensity")),
    ("counts as int64", _as(np.int64), "taken", "", _is("intensity")),
    ("no bad pixels beside amplitudes", lambda h: h.update(bad_pixels=FLAT), "taken", "", _is("amplitude")),
    (
        "rounded amplitudes as uint8",
        lambda h: h.update(diff3d=np.round(h["diff3d"]).astype(np.uint8)),
        *("told", "domain|amplitude|intensity|counts", None),
    ),
    (
        "counts that are called amplitudes",
        lambda h: h.update(diff3d=counts(h), metadata=said(measurement_domain="amplitude")),
        *("orderly", "domain|amplitude|intensity|counts", None),
    ),
    (
        "amplitudes that are called counts",
        lambda h: h.update(metadata=said(measurement_domain="intensity")),
        *("orderly", "domain|amplitude|intensity|counts|photon", None),
    ),
    (
        "zero frequency in the corner",
        lambda h: h.update(diff3d=np.fft.ifftshift(h["diff3d"], axes=(1, 2))),
        *("told", CENTRE, None),
    ),
    (
        "zero frequency at the ends of the rows",
        lambda h: h.update(diff3d=np.fft.ifftshift(h["diff3d"], axes=2)),
        *("refused", "axes=-1", None),
    ),
    (
        "probe at the ends of the columns",
        lambda h: h.update(probeGuess=np.fft.ifftshift(h["probeGuess"], axes=0)),
        *("refused", "axes=-2", None),
    ),
    ("one hot pixel at the edge", _hot_edge, "told", "hot", None),
    ("centre off by 3 pixels", _shift(3), "orderly", CENTRE, None),
    ("centre off by 8 pixels", _shift(8), "orderly", CENTRE, None),
    (
        "probe in the corners",
        lambda h: h.update(probeGuess=np.fft.ifftshift(h["probeGuess"])),
        *("refused", "probe", None),
    ),
    ("gaps at the largest uint16", _as(np.uint16, 65535), "taken", "", _masks_the_gaps),
    ("gaps at the largest uint32", _as(np.uint32, 2**32 - 1), "taken", "", _masks_the_gaps),
    ("gaps at the largest uint16 as uint32", _as(np.uint32, 65535), "taken", "", _masks_the_gaps),
    ("gaps at the largest uint32 as int64", _as(np.int64, 2**32 - 1), "taken", "", _masks_the_gaps),
    ("gaps at the second largest uint32", _as(np.uint32, 2**32 - 2), "taken", "", _masks_the_gaps),
    ("gaps at -1", _as(np.int32, -1), "told", "diff3d|mask|bad_pixels", None),
    ("gaps at -2", _as(np.int64, -2), "told", "diff3d|mask|bad_pixels", None),
    ("five hot pixels", _hot, "told", "hot", None),
    ("saturated at 30 %", _saturated, "orderly", "saturat", None),
    ("saturated at the largest uint16", _saturated_at_16_bits, "told", "saturat", None),
    ("every sixth frame is dark", _dark, "orderly", "empty|dark|frame|pattern|photon", None),
    ("counts times 1e-12", lambda h: h.update(diff3d=counts(h) * 1e-12), "orderly", "", None),
    ("counts times 1e12", lambda h: h.update(diff3d=counts(h) * 1e12), "orderly", "", None),
    (
        "one photon in all",
        lambda h: h.update(diff3d=at((0, 16, 16), 1)(h["diff3d"] * 0)),
        "orderly",
        "",
        None,
    ),
    (
        "every pattern the same",
        lambda h: h.update(diff3d=np.repeat(h["diff3d"][:1], 60, 0)),
        "orderly",
        "",
        None,
    ),
    (
        "noise alone",
        lambda h: h.update(diff3d=np.random.default_rng(0).random((60, 32, 32))),
        "orderly",
        "",
        None,
    ),
    (
        "a probe 1e12 times too strong",
        lambda h: h.update(probeGuess=h["probeGuess"] * 1e12),
        "taken",
        "",
        None,
    ),
    (
        "a probe 1e-12 times too weak",
        lambda h: h.update(probeGuess=h["probeGuess"] * 1e-12),
        "taken",
        "",
        None,
    ),
    (
        "a probe of one pixel",
        lambda h: h.update(probeGuess=at((16, 16), 1)(h["probeGuess"] * 0)),
        *("orderly", "", None),
    ),
    ("a probe that is even", lambda h: h.update(probeGuess=np.ones((32, 32), complex)), "orderly", "", None),
    ("float zeros as scan_index", lambda h: h.update(scan_index=np.zeros(60)), "taken", "", None),
    (
        "scan_index counts patterns",
        lambda h: h.update(scan_index=np.arange(60)),
        *("taken", "", lambda scan: not scan.scan_index.any()),
    ),
)
POSITIONS: tuple[tuple[str, Callable[[Any], Any], str], ...] = (
    ("one at 1e6", at(5, 1e6), "told"),
    ("one at -1e6", at(5, -1e6), "told"),
    ("one at 1e4", at(5, 1e4), "told"),
    ("one at 1e18", at(5, 1e18), "refused"),
    ("one at 1e308", at(5, 1e308), "refused"),
    ("in metres", lambda array: array * 1e-8, "refused"),
    ("in micrometres", lambda array: array * 1e-2, "told"),
    ("100 times too small", lambda array: array / 100, "told"),
    ("100 times too large", lambda array: array * 100, "refused"),
    ("1e9 times too large", lambda array: array * 1e9, "refused"),
    ("10 times too large", lambda array: array * 10, "told"),
    ("all equal", lambda array: array * 0 + 40, "told"),
    ("all but one equal", lambda array: at(0, 44)(array * 0 + 40), "told"),
    ("far from the origin", lambda array: array + 1e6, "taken"),
    ("negative", lambda array: -array, "orderly"),
    ("whole", lambda array: np.round(array).astype(int), "taken"),
    ("turned around", lambda array: array[::-1], "orderly"),
)


ALONG_X: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("100 times too small", lambda array: array / 100),
    ("all equal", lambda array: array * 0 + 40),
)


def _stated(change: Callable[[Arrays], Any]) -> Callable[[Arrays], None]:
    """The change, and a statement of what the patterns are: no other words than about the change are due."""

    def changed(held: Arrays) -> None:
        change(held)
        whole = held["diff3d"].dtype.kind in "iu"
        held["metadata"] = said(measurement_domain="intensity" if whole else "amplitude")

    return changed


def physics() -> Iterator[tuple[str, Malformed]]:
    for name, change, answer, words, meant in COUNTS:
        is_of_domain = meant is not None or "amplitude" in words
        change = change if is_of_domain else _stated(change)
        yield name, Malformed(saved(change), answer, words, meant)  # type: ignore[arg-type]
    for name, change, answer in POSITIONS:
        wrong = Malformed(saved(_stated(_places(change))), answer, "coords|position")  # type: ignore[arg-type]
        yield f"positions: {name}", wrong
    for name, change in ALONG_X:
        one = lambda held, change=change: held.update(xcoords=change(held["xcoords"]))  # noqa: E731
        yield f"positions along x: {name}", Malformed(saved(_stated(one)), "told", "xcoords|position")
