"""Figures of a reconstruction: predicted patterns against measured ones, and the object against a known one."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ptycho.config.errors import printable
from ptycho.model_archive import PROBLEM
from ptycho.raw_data import DataError, RawData
from ptycho.verdict import Verdict
from ptycho_torch.data.groups import Indices
from ptycho_torch.reassembly import Reconstruction
from ptycho_torch.runs import metrics

log = logging.getLogger(__name__)

MOST_UNEXPLAINED: Final = (0.5, 0.1)
"""Share of the deviance beyond noise that the mean pattern leaves, above which a result does not explain the data; and
the same for a deviance that is far beyond noise."""
FAR_BEYOND_NOISE: Final = 1000.0
"""Deviance over that of photon noise, which no scan in photons leaves."""
LEAST_TO_EXPLAIN: Final = 0.1
"""Deviance of the mean pattern beyond noise, over that of noise, below which there is nothing to explain."""

AT_ONCE: Final = 64
"""Patterns that are read at once."""


def judge(
    scan: RawData,
    indices: Indices,
    what_they_are: str,
    predicted: Callable[[Indices], Iterator[metrics.Block]],
) -> dict[str, Any]:
    """R factor and Poisson deviance of some patterns.

    Both also of the mean of the other patterns in place of the predicted one (``mean_pattern_...``): what is no better
    tells nothing of the object. ``unexplained``: deviance beyond that of photon noise, over that which the mean leaves.

    Args:
        scan: all patterns.
        indices: those that judge.
        what_they_are: in words, such as 'held out'.
        predicted: gives these patterns, predicted and measured.
    """
    every = np.arange(len(scan.patterns))
    found = metrics.agreement(lambda: predicted(indices))
    mean = metrics.agreement(
        lambda: metrics.mean_of_others(_measured_blocks(scan, every), _measured_blocks(scan, indices))
    )
    noise = found["noise_poisson_deviance_per_pixel"]
    left, most = (one["poisson_deviance_per_pixel"] - noise for one in (found, mean))
    compared = {name: mean[name] for name in ("r_factor", "poisson_deviance_per_pixel")}
    return {
        "patterns": what_they_are,
        "n_patterns": len(indices),
        **found,
        **{f"mean_pattern_{name}": value for name, value in compared.items()},
        "unexplained": max(left, 0.0) / most if most > LEAST_TO_EXPLAIN * noise else 0.0,
    }


def unexplained(scan: RawData, figures: Mapping[str, Any], *, with_model: bool) -> Verdict | None:
    """Whether a result leaves more of the data unexplained than photon noise allows; None where it does not.

    Args:
        scan: what was reconstructed.
        figures: from `judge`.
        with_model: whether a network has reconstructed it.
    """
    share, noise = figures["unexplained"], figures["noise_poisson_deviance_per_pixel"]
    is_no_noise = figures["poisson_deviance_per_pixel"] > FAR_BEYOND_NOISE * noise
    most, far = MOST_UNEXPLAINED
    if not share > most and not (is_no_noise and share > far):
        return None
    noticed = ", ".join(verdict.name for verdict in scan.verdicts if verdict.severity == "warning")
    causes = [
        *([f"what was noticed when the scan was read ({noticed})"] if noticed else []),
        *(["patterns read in the wrong measurement_domain, or not in photons"] if is_no_noise else []),
        *(["a model that was trained for too few epochs, or on other data"] if with_model else []),
        "positions of the wrong sign, order (x and y exchanged) or unit",
        "a probe that is not that of the scan",
        *([] if is_no_noise else ["patterns read in the wrong measurement_domain"]),
        *([] if with_model else ["a beam that takes several probe_modes, or positions to refine"]),
    ]
    return Verdict(
        "unexplained", "warning", share, "of what the mean pattern leaves",
        f"the result does not explain these data: of the deviance beyond photon noise that the mean of the patterns "
        f"leaves, which knows of no object, {share:.0%} is left (R {figures['r_factor']:.3f}, that of the mean "
        f"{figures['mean_pattern_r_factor']:.3f})",
        f"Likely causes, the first ones first: {'; '.join(causes)}.",
    )  # fmt: skip


def tell_unexplained(scan: RawData, figures: Mapping[str, Any], *, with_model: bool) -> None:
    """Warn of a result that is better than nothing, and leaves more than photon noise allows."""
    if (verdict := unexplained(scan, figures, with_model=with_model)) is not None:
        log.warning("%s: %s", printable(str(scan.path or "scan")), verdict.text)


def measured_by(scan: RawData, block: Indices) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Amplitudes of some patterns, float32 (k, N, N), and where they were measured (broadcasts)."""
    bad = scan.bad_pixels
    return scan.amplitude(block), np.array(True) if bad is None else ~(bad if bad.ndim == 2 else bad[block])


def in_blocks(indices: Indices) -> Iterator[Indices]:
    """Patterns, a few at a time."""
    return (indices[first : first + AT_ONCE] for first in range(0, len(indices), AT_ONCE))


def _measured_blocks(scan: RawData, indices: Indices) -> Iterator[metrics.Block]:
    for block in in_blocks(indices):
        amplitude, measured = measured_by(scan, block)
        yield metrics.Block(amplitude, amplitude, measured)


def compared(result: Reconstruction, scan: RawData) -> metrics.Comparison | None:
    """The object beside the known one; None, with the reason in the log, where they cannot be compared."""
    if scan.object_truth is None:
        return None
    try:
        return metrics.compare(result.canvas, scan.object_truth, result.canvas_corner_px, result.coverage)
    except DataError as error:
        log.warning("%s: not compared with the known object: %s", printable(str(scan.path)), error)
        return None


def tell_figures(scan: RawData, figures: Mapping[str, Any]) -> None:
    """Log the figures of a scan on one line; `tell_problem` tells what is wrong with them."""
    listed = ", ".join(f"{name} {_short(value)}" for name, value in figures.items() if name != PROBLEM)
    log.info("%s: %s", printable(str(scan.path)), listed)


def tell_problem(scan: RawData, problem: str | None) -> str | None:
    """Log why a picture is not that of the object, and give the line; None where nothing is known against it."""
    if problem is None:
        return None
    problem = f"{printable(str(scan.path or 'scan'))}: {problem}."
    log.error("%s", problem)
    return problem


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
