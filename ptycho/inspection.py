"""What is known of a scan: figures, verdicts and a picture."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from ptycho.config.errors import printable
from ptycho.frame_verdicts import of_equal
from ptycho.geometry import Geometry
from ptycho.inspection_picture import drawn
from ptycho.pattern_statistics import sample_of
from ptycho.position_verdicts import probe_diameter_px
from ptycho.scan_checks import neighbor_distance
from ptycho.scan_view import ScanView
from ptycho.stored_array import Array
from ptycho.verdict import Verdict
from ptycho.wording import counted

HELD: Final = 0.999
"""Share of the counts within the frequency that the resolution is told by."""
N_BINS: Final = 60
"""Of the histogram."""
Compared = tuple[str, Verdict | None]
"""What a comparison of orientations has found, in words, and as a verdict where another one is clearly better."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """A scan, looked at. It prints as a table; a notebook shows the picture.

    Attributes:
        facts: name -> plain value: shape, dtype, domain with its reason, photons, positions, step, overlap, pixel size.
        verdicts: what was noticed.
        entries: the arrays of its file, as text.
        images: name -> array, of what the picture shows.
    """

    facts: Mapping[str, Any]
    verdicts: tuple[Verdict, ...]
    entries: tuple[str, ...] = ()
    images: Mapping[str, Array] = field(default_factory=dict[str, Array])

    def to_dict(self) -> dict[str, Any]:
        """Facts, verdicts and arrays of the file as JSON data."""
        verdicts = [verdict.to_json() for verdict in self.verdicts]
        return {"holds": list(self.entries), "scan": dict(self.facts), "verdicts": verdicts}

    def picture(self) -> bytes:
        """A PNG: mean pattern, positions by total intensity, probe, histogram of the counts."""
        return drawn(self.images, self.facts)

    def __str__(self) -> str:
        lines = io.StringIO()
        for entry in self.entries:
            print(f"  {printable(entry)}", file=lines)
        width = max(map(len, self.facts), default=0)
        for name, value in self.facts.items():
            print(f"{name.ljust(width)}  {printable(_shown(name, value))}", file=lines)
        for verdict in self.verdicts:
            print(f"{verdict.severity}: {printable(verdict.text)}", file=lines)
        return lines.getvalue().rstrip("\n")

    def _repr_png_(self) -> bytes:
        return self.picture()


def inspected(scan: ScanView, orientation: Compared, entries: tuple[str, ...] = ()) -> Inspection:
    """Look at a scan.

    Args:
        scan: the scan.
        orientation: what a comparison of the eight has found.
        entries: the arrays of its file, as text.
    """
    sample = sample_of(scan.patterns, scan.bad_pixels)
    counts = sample**2 if scan.domain == "amplitude" else sample
    mean = counts.mean(axis=0)
    n, size = scan.patterns.shape[:2]
    everywhere = scan.positions_px if scan.all_positions_px is None else scan.all_positions_px
    facts: dict[str, Any] = {
        "file": None if scan.path is None else str(scan.path),
        "format": scan.metadata.get("format", "npz" if scan.path else "memory"),
        "patterns": len(everywhere),
        **({} if scan.all_positions_px is None else {"looked_at": _runs_in(scan.rows)}),
        "pixels": [size, size],
        "dtype": str(scan.patterns.dtype),
        "domain": scan.domain,
        "domain_reason": scan.domain_reason,
        "photons_per_pattern": float(counts.sum(axis=(1, 2)).mean()),
        "bad_pixels": 0 if scan.bad_pixels is None else int(np.count_nonzero(scan.bad_pixels)),
        "extent_px": [float(length) for length in np.ptp(everywhere, axis=0)],
    }
    facts |= _of_positions(scan, everywhere) | _of_lengths(scan, mean, everywhere)
    facts["orientation"], better = orientation
    rows = np.unique(np.linspace(0, n - 1, len(counts)).astype(np.int64))
    images = {
        "mean": mean,
        "positions": everywhere,
        "sampled": scan.positions_px[rows],
        "totals": counts.sum(axis=(1, 2)),
        "probe": scan.probe,
        "counts": np.histogram(counts[counts > 0], bins=N_BINS)[0] if (counts > 0).any() else np.zeros(1),
        "largest": np.array(counts.max()),
    }
    known = any(verdict.name == "equal_patterns" for verdict in scan.verdicts)
    verdicts = (*scan.verdicts, *(() if known else of_equal(counts)), *([better] if better else []))
    return Inspection(facts, verdicts, entries, images)


def _runs_in(rows: npt.NDArray[np.int64]) -> str:
    """How many patterns of a scan were read, in words."""
    n_runs = 1 + int(np.count_nonzero(np.diff(rows) > 1))
    return f"{len(rows)} patterns, in {n_runs} parts that are spread over the scan and lie in its middle"


def _of_positions(scan: ScanView, everywhere: Array) -> dict[str, Any]:
    """Step of the scan, and the probe with the overlap that follows, where the file has a probe."""
    found: dict[str, Any] = {}
    step = neighbor_distance(everywhere) if len(everywhere) > 1 else None
    if step is not None:
        found["step_px"] = step
    found["probe"] = counted(len(scan.probe), "mode") if scan.has_probe else "none: it will be estimated"
    if scan.has_probe:
        diameter = probe_diameter_px(scan.probe)
        found["probe_diameter_px"] = diameter
        if step is not None:
            found["overlap"] = max(0.0, 1 - step / diameter)
    return found


def _of_lengths(scan: ScanView, mean: npt.NDArray[np.float64], everywhere: Array) -> dict[str, Any]:
    """Lengths in metres, where the size of a pixel is known."""
    known = Geometry.of(scan.metadata, len(mean))
    found: dict[str, Any] = {name: scan.metadata[name] for name in ("energy_J",) if name in scan.metadata}
    if known.wavelength_m is not None:
        found["wavelength_m"] = known.wavelength_m
    if known.object_pixel_m is None:
        return found
    pixels = list(known.object_pixel_m)
    along = (np.arange(len(mean)) - len(mean) // 2) / len(mean)
    radius = np.hypot(along[:, None], along[None]).ravel()
    order = np.argsort(radius)
    held = np.cumsum(mean.ravel()[order])
    at = int(np.argmax(held >= HELD * held[-1]))
    return found | {
        "object_pixel_m": pixels,
        "resolution_m": max(pixels) * max(1.0, 0.5 / float(radius[order[at]])),
        "field_of_view_m": [
            float(length * pixel) for length, pixel in zip(np.ptp(everywhere, axis=0), pixels, strict=True)
        ],
    }


def _shown(name: str, value: object) -> str:
    if name == "pixels":
        return " x ".join(map(str, cast(list[Any], value)))
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return json.dumps(
            [float(f"{one:.4g}") if isinstance(one, float) else one for one in cast(list[Any], value)]
        )
    return str(value)
