"""Which patterns of a scan a solver fits, and which judge the picture."""

from typing import Final

import numpy as np

from ptycho.judgement import FEWEST
from ptycho.probe import covered_shares
from ptycho.raw_data import DataError, RawData
from ptycho_torch.data.groups import Indices
from ptycho_torch.data.module import usable_patterns

COVERED: Final = 0.95
"""Share of what the probe lights in a pattern that others which are fitted light as well, from which on the pattern
judges: nothing tells of the rest. Where patterns share less, those judge that share most."""


def fitted_and_judged(scan: RawData, share: float, seed: int) -> tuple[Indices, Indices, str]:
    """Patterns that are fitted, those that judge, and what the latter are.

    Raises:
        DataError: the file holds all of them out.
    """
    fitted = usable_patterns(scan)
    if not len(fitted):
        raise DataError(
            f"{scan.path or 'scan'}: holdout: expected patterns to fit; got {len(scan)} that are all held out. "
            "Mark fewer."
        )
    if len(fitted) < len(scan.patterns):
        return fitted, _covered(scan, fitted, np.setdiff1d(np.arange(len(scan.patterns)), fitted)), "held out"
    if not share or len(fitted) < FEWEST:
        return fitted, fitted[:0], "fitted"
    n_aside = min(len(fitted) - 1, max(1, round(share * len(fitted))))
    inside = _covered(scan, fitted, fitted)
    candidates = inside if len(inside) >= n_aside else fitted
    aside = np.sort(np.random.default_rng(seed).choice(candidates, n_aside, replace=False))
    return np.setdiff1d(fitted, aside), aside, "set aside"


def _covered(scan: RawData, fitted: Indices, ids: Indices) -> Indices:
    """Those of some patterns that share with fitted ones what they show."""
    lighting = np.isin(np.arange(len(scan.patterns)), fitted)
    shares = covered_shares(scan.probe, scan.positions_px, lighting)[ids]
    return ids[shares >= min(COVERED, float(np.median(shares)))]
