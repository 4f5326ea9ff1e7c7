"""Counts below 0 in scans of the data contract, as they remain where a background was taken off: 0 is taken for them.

That is done where the counts are stated. Whatever states nothing is checked as it is.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho.formats.background import Background, background_of, of_counts_below, without_background
from ptycho.formats.light import FEW
from ptycho.npz_files import ScanFile
from ptycho.pattern_statistics import SAMPLE, blocks
from ptycho.scan_checks import Checker
from ptycho.scan_domain import DOMAINS
from ptycho.scan_masks import Mask, joined
from ptycho.stored_array import Array, Stack


def metadata_of(arrays: Mapping[str, Stack]) -> dict[str, Any] | None:
    """The metadata of a scan; empty where there are none, None where they are wrong, which is found later."""
    if "metadata" not in arrays:
        return {}
    check = Checker(arrays, "", {})
    stated = check.metadata()
    return None if check.problems else stated


def domain_stated(domain: str, metadata: Mapping[str, Any] | None) -> str:
    """'amplitude' or 'intensity' where it is set, or else in the metadata; otherwise 'auto'."""
    written = (metadata or {}).get("measurement_domain")
    return written if domain == "auto" and written in DOMAINS else domain


def background_in(arrays: Mapping[str, Stack], domain: str) -> Background | None:
    """What a background leaves that was taken off counts, as some of them show; None where none was.

    Args:
        arrays: by their key in the data contract, without masks.
        domain: as of `domain_stated`.
    """
    patterns = arrays.get("diff3d")
    if domain != "intensity" or patterns is None or len(patterns.shape) != 3:
        return None
    if patterns.dtype.kind not in "if" or not patterns.size:
        return None
    few, rows = (np.unique(np.linspace(0, len(patterns) - 1, n).astype(np.int64)) for n in (FEW, SAMPLE))
    if not (np.asarray(patterns[few]) < 0).any():
        return None
    return background_of(np.asarray(patterns[rows]), _silent(arrays, patterns, rows), are_counts=True)


def with_counts(arrays: dict[str, Stack], domain: str) -> ScanFile:
    """A scan in memory; its patterns are copied where some of their counts become 0.

    Args:
        arrays: by their key in the data contract, without masks.
        domain: 'amplitude' or 'intensity' where it is set; 'auto' leaves it to the metadata.
    """
    found = background_in(arrays, domain_stated(domain, metadata_of(arrays)))
    if found is None:
        return ScanFile(arrays, {})
    patterns: Array = np.array(arrays["diff3d"])
    for start, block in blocks(patterns):
        rows = np.arange(start, start + len(block))
        patterns[rows] = without_background(block, found.lowest, _silent(arrays, patterns, rows))
    known, changed = arrays.get("bad_pixels"), {"diff3d": patterns}
    if found.flagged is not None:
        changed["bad_pixels"] = joined(None if known is None else np.asarray(known), found.flagged)
    verdicts = of_counts_below(found, found.flagged, str(patterns.dtype))
    return ScanFile({**arrays, **changed}, {}, None, tuple(verdicts))


def _silent(arrays: Mapping[str, Stack], patterns: Stack, rows: npt.NDArray[np.int64]) -> Mask:
    """The bad pixels of some patterns, bool (k, N, N), as far as they fit them."""
    bad = arrays.get("bad_pixels")
    shape = (len(rows), *patterns.shape[1:])
    if bad is None or bad.shape not in (patterns.shape, patterns.shape[1:]):
        return np.zeros(shape, bool)
    own = np.asarray(bad[rows] if len(bad.shape) == 3 else bad).astype(bool)
    return np.broadcast_to(own, shape)
