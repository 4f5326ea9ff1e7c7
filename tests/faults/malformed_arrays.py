"""Scans whose arrays are of wrong shapes, types and sizes."""

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ptycho.raw_data import RawData
from ptycho_torch.simulate import simulate_scan

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Malformed:
    """A scan that is wrong.

    Attributes:
        write: writes it into a folder.
        answer: refused; refused or taken with words about it; or taken as it was meant.
        words: what the answer names, a regular expression; '' for anything.
        meant: of a scan that is taken, whether it is read as it was meant.
    """

    write: Callable[[Path], Path]
    answer: Literal["refused", "told", "taken", "orderly"]
    words: str = ""
    meant: Callable[[RawData], bool] | None = None


@functools.cache
def _simulated(n: int = 60, size: int = 32) -> RawData:
    return simulate_scan(N=size, n_positions=n, nphotons=1e5, seed=3)


def arrays(n: int = 60, size: int = 32) -> Arrays:
    """A sound scan of amplitudes, without a word on what they are."""
    scan = _simulated(n, size)
    return {
        "diff3d": np.array(scan.patterns, dtype=np.float32),
        "xcoords": scan.xcoords.copy(),
        "ycoords": scan.ycoords.copy(),
        "probeGuess": np.array(scan.probe[0]),
    }


def counts(held: Arrays) -> Any:
    """Its counts, whole numbers as float64."""
    return np.round(held["diff3d"].astype(np.float64) ** 2)


def saved(change: Callable[[Arrays], Any], n: int = 60, size: int = 32) -> Callable[[Path], Path]:
    """An NPZ file of the sound scan with a change."""

    def write(folder: Path) -> Path:
        held = arrays(n, size)
        change(held)
        np.savez(folder / "scan.npz", **{name: value for name, value in held.items() if value is not None})
        return folder / "scan.npz"

    return write


def put(key: str, value: Callable[[Any], Any]) -> Callable[[Path], Path]:
    """One array replaced by what a function makes of it."""
    return saved(lambda held: held.update({key: value(held.get(key))}))


def at(index: Any, value: Any) -> Callable[[Any], Any]:
    """The array with another value at a place."""

    def change(array: Any) -> Any:
        array = np.array(array)
        array[index] = value
        return array

    return change


def said(**entries: Any) -> Any:
    return np.array(json.dumps(entries))


KEYS = ("diff3d", "xcoords", "ycoords", "probeGuess")
NAMED = {"diff3d": "diff3d|patterns", "xcoords": "xcoords", "ycoords": "ycoords", "probeGuess": "probe"}
WRONG_ARRAYS: dict[str, Callable[[Any], Any]] = {
    "missing": lambda _: None,
    "empty": lambda array: array[:0],
    "a number": lambda array: array.dtype.type(3),
    "too short": lambda array: array[:-1],
    "too long": lambda array: np.concatenate([array, array[:1]]),
    "an axis more": lambda array: array[..., None],
    "text": lambda array: array.astype("U8"),
    "bytes": lambda array: array.astype("S8"),
    "truth values": lambda array: array.real > 0,
    "times": lambda array: array.real.astype("M8[s]"),
    "fields": lambda array: np.zeros(array.shape, [("re", "f4"), ("im", "f4")]),
    "one NaN": lambda array: at((0,) * array.ndim, np.nan)(array),
    "one infinity": lambda array: at((-1,) * array.ndim, np.inf)(array),
    "only NaN": lambda array: array * np.nan,
    "all zero": lambda array: array * 0,
    "beyond single precision": lambda array: (
        array.astype(complex if array.dtype.kind == "c" else float) * 1e300
    ),
}


def structures() -> Iterator[tuple[str, Malformed]]:
    for key in KEYS:
        for name, change in WRONG_ARRAYS.items():
            if (key, name) in (("xcoords", "all zero"), ("ycoords", "all zero")):
                continue  # a line of positions is one
            words = "coords|positions" if "coords" in key else NAMED[key]
            if name in ("too short", "too long") and key == "diff3d":
                words += "|coords"
            is_found = (key, name) == ("probeGuess", "missing")  # from the patterns
            yield f"{key}: {name}", Malformed(put(key, change), "taken" if is_found else "refused", words)
    for key in ("diff3d", "xcoords", "ycoords"):
        whole = key == "diff3d"
        yield (
            f"{key}: complex numbers",
            Malformed(put(key, lambda array: array * 1j), "refused", NAMED[key]),
        )
        for order in (">", "<"):
            dtype = f"{order}f{4 if whole else 8}"
            yield (
                f"{key}: bytes in order {order}",
                Malformed(put(key, lambda array, dtype=dtype: array.astype(dtype)), "taken"),
            )
    yield "diff3d: columns first", Malformed(put("diff3d", np.asfortranarray), "taken")
    yield "diff3d: negative", Malformed(put("diff3d", lambda array: array - 5), "refused", "diff3d")
    yield (
        "diff3d: axes (N, N, n)",
        Malformed(put("diff3d", lambda array: np.moveaxis(array, 0, -1)), "refused", "diff3d"),
    )
    yield "diff3d: not square", Malformed(put("diff3d", lambda array: array[..., :-2]), "refused", "diff3d")
    yield (
        "diff3d: of another size than the probe",
        Malformed(put("probeGuess", lambda probe: np.pad(probe, 16)), "refused", "probe"),
    )
    yield (
        "probeGuess: axes (N, N, modes)",
        Malformed(put("probeGuess", lambda probe: np.stack([probe] * 3, -1)), "refused", "probe"),
    )
    yield "probeGuess: real", Malformed(put("probeGuess", np.abs), "refused", "probe")


def sizes() -> Iterator[tuple[str, Malformed]]:
    def cropped(size: int) -> Callable[[Arrays], None]:
        def change(held: Arrays) -> None:
            cut = slice(16 - size // 2, 16 - size // 2 + size)
            held["diff3d"] = np.ascontiguousarray(held["diff3d"][:, cut, cut])
            held["probeGuess"] = np.ascontiguousarray(held["probeGuess"][cut, cut])

        return change

    for size in (1, 2, 16, 23, 24, 31):
        yield f"N = {size}", Malformed(saved(cropped(size)), "orderly")
    for n in (1, 2, 3):

        def few(held: Arrays, n: int = n) -> None:
            for key in ("diff3d", "xcoords", "ycoords"):
                held[key] = held[key][:n]

        yield f"n = {n}", Malformed(saved(few), "orderly")


OPTIONAL: dict[str, tuple[str, Callable[[Arrays], Any]]] = {
    "bad_pixels: of another shape": ("refused", lambda held: np.zeros((16, 16), bool)),
    "bad_pixels: too few": ("refused", lambda held: np.zeros((3, 32, 32), bool)),
    "bad_pixels: everywhere": ("refused", lambda held: np.ones((32, 32), bool)),
    "bad_pixels: turned round": ("told", lambda held: np.arange(1024).reshape(32, 32) > 10),
    "bad_pixels: numbers to 255": ("refused", lambda held: np.full((32, 32), 255, np.uint8)),
    "bad_pixels: fractions": ("refused", lambda held: np.full((32, 32), 0.5)),
    "bad_pixels: text": ("refused", lambda held: np.full((32, 32), "no")),
    "holdout: too short": ("refused", lambda held: np.zeros(3, bool)),
    "holdout: of another kind": ("refused", lambda held: np.full(60, 7)),
    "holdout: everything": ("orderly", lambda held: np.ones(60, bool)),
    "half: too long": ("refused", lambda held: np.zeros(61, np.int8)),
    "half: of thirds": ("refused", lambda held: np.arange(60) % 3),
    "scan_index: fractions": ("refused", lambda held: np.arange(60) + 0.5),
    "scan_index: too short": ("refused", lambda held: np.zeros(3, int)),
    "scan_index: text": ("refused", lambda held: np.full(60, "a")),
    "scan_index: huge": ("orderly", lambda held: np.full(60, 2**64 - 1, np.uint64)),
    "objectGuess: real": ("refused", lambda held: np.ones((200, 200))),
    "objectGuess: NaN": ("refused", lambda held: np.full((200, 200), np.nan + 0j)),
    "objectGuess: nothing": ("refused", lambda held: np.zeros((200, 200), complex)),
    "objectGuess: flat": ("refused", lambda held: np.ones(200, complex)),
    "objectTruth: real": ("refused", lambda held: np.ones((200, 200))),
    "objectTruth: infinite": ("refused", lambda held: np.full((200, 200), np.inf + 0j)),
    "objectTruth: too small": ("orderly", lambda held: np.ones((8, 8), complex)),
    "probeTruth: of another size": ("refused", lambda held: np.ones((16, 16), complex)),
    "probeTruth: nothing": ("refused", lambda held: np.zeros((32, 32), complex)),
    "label_amp: alone": ("refused", lambda held: np.ones((60, 32, 32))),
    "label_phase: alone": ("refused", lambda held: np.ones((60, 32, 32))),
    "nphotons: 0": ("refused", lambda held: np.array(0.0)),
    "nphotons: negative": ("refused", lambda held: np.array(-1e9)),
    "nphotons: NaN": ("refused", lambda held: np.array(np.nan)),
    "nphotons: several": ("refused", lambda held: np.full(60, 1e9)),
    "nphotons: text": ("refused", lambda held: np.array("1e9")),
    "nphotons: absurd": ("orderly", lambda held: np.array(1e300)),
    "nphotons: one": ("told", lambda held: np.array(1.0)),
    "metadata: a list": ("refused", lambda held: np.array("[1]")),
    "metadata: no JSON": ("refused", lambda held: np.array("{")),
    "metadata: a wrong domain": ("refused", lambda held: said(measurement_domain="counts")),
    "metadata: an energy below 0 within": ("refused", lambda held: said(a={"energy": -8})),
    "metadata: photons in words": ("refused", lambda held: said(nphotons="many")),
    "metadata: two objects": ("refused", lambda held: np.array("{}{}")),
}


def optional() -> Iterator[tuple[str, Malformed]]:
    for name, (answer, value) in OPTIONAL.items():
        key = name.partition(":")[0]
        words = {"nphotons": "nphotons|photon|counts", "label_amp": "label", "label_phase": "label"}.get(
            key, key
        )
        if key == "metadata":
            words = "metadata|nphotons|measurement_domain"

        def change(held: Arrays, key: str = key, value: Callable[[Arrays], Any] = value) -> None:
            held[key] = value(held)

        yield name, Malformed(saved(change), answer, words)  # type: ignore[arg-type]
