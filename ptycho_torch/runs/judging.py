"""Figures of a reconstruction: predicted patterns against measured ones, and the object against a known one."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ptycho.config.errors import printable
from ptycho.judgement import (
    AS_NOTICED,
    CAUSES,
    DOMAIN,
    FEWEST,
    LEAST_TO_EXPLAIN,
    NOTICED,
    Kind,
    dose_in_words,
    excess_of,
    is_limited_by_dose,
    is_unexplained,
    likely_causes,
    more_to_refine,
    overfits,
)
from ptycho.probe import lit_pixels
from ptycho.raw_data import DataError, RawData
from ptycho.verdict import Verdict
from ptycho_torch.data.groups import Indices
from ptycho_torch.reassembly import Reconstruction
from ptycho_torch.runs import metrics

log = logging.getLogger(__name__)

TOLD: Final = (
    *("r_factor", "mean_pattern_r_factor", "poisson_deviance_per_pixel", "noise_poisson_deviance_per_pixel"),
    *("unexplained", "amplitude_psnr_db", "amplitude_ssim", "phase_psnr_db", "phase_ssim"),
)
"""Figures that the log has; metrics.json has all."""

NOT_AS_COUNTS: Final = "times as much as counts of that size would"
"""In the reason for a measurement domain: that the noise of the values is not that of counts."""

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
    ``deviance_per_unknown``: what the mean leaves of it in all patterns, for each of the two numbers of every pixel of
    the object that they are to tell. ``noticed``: the warnings of the scan.

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
    photons, n_measured = _light(_measured_blocks(scan, indices))
    n_told = most * n_measured / len(indices) * len(scan.patterns)
    return {
        "patterns": what_they_are,
        "n_patterns": len(indices),
        **found,
        **{f"mean_pattern_{name}": value for name, value in compared.items()},
        "unexplained": max(left, 0.0) / most if most > LEAST_TO_EXPLAIN * noise else 0.0,
        "photons_per_pattern": photons / len(indices),
        "deviance_per_unknown": n_told / (2 * lit_pixels(scan.probe, scan.positions_px)),
        NOTICED: noticed_in([scan]),
    }


def noticed_in(scans: Iterable[RawData]) -> list[dict[str, str]]:
    """What was noticed when scans were read and may spoil a run: name, sentence and remedy of each warning."""
    doubts = (verdict for scan in scans if (verdict := _doubt_of_domain(scan)) is not None)
    told = (one for scan in scans for one in scan.verdicts if one.severity == "warning")
    warnings = {one.text: one for one in (*doubts, *told)}
    return [{"name": one.name, "sentence": one.sentence, "remedy": one.remedy} for one in warnings.values()]


def _doubt_of_domain(scan: RawData) -> Verdict | None:
    """That values are read as counts and do not vary like them; None where nothing speaks against the domain."""
    if scan.domain != "intensity" or NOT_AS_COUNTS not in scan.domain_reason:
        return None
    text = f"patterns are read as intensity ({scan.domain_reason})"
    return Verdict(DOMAIN, "warning", None, "", text, "Set measurement_domain to amplitude if that is wrong.")


def doubt(figures: Mapping[str, Any], kind: Kind) -> Verdict | None:
    """What speaks against a picture that is better than nothing; None where nothing does.

    The dose limits it, or it leaves more of the data unexplained than photon noise allows.

    Args:
        figures: from `judge`.
        kind: of the run.
    """
    if is_limited_by_dose(figures):
        return Verdict(
            "dose", "warning", figures["photons_per_pattern"], "photons in a pattern",
            f"the dose limits the picture. {dose_in_words(figures)}",
            "Leave prior and prior_weight to the solver: the picture follows the noise of single patterns."
            if kind == "solver" and overfits(figures)
            else "More photons, or more patterns of the same area, show more of the object. At this dose wrong "
            "positions or a wrong probe may go unnoticed.",
        )  # fmt: skip
    if not is_unexplained(figures):
        return _few(figures) if kind == "solver" else None
    share, causes = figures["unexplained"], likely_causes(figures, kind, noticed_in_words(figures))
    return Verdict(
        "unexplained", "warning", share, "of what the mean pattern leaves",
        f"the picture does not explain the patterns: beyond photon noise it leaves {share:.0%} of the deviance that "
        f"the mean pattern leaves, a prediction without any object (R {figures['r_factor']:.3f}, that of the mean "
        f"pattern {figures['mean_pattern_r_factor']:.3f})",
        f"{CAUSES}{'; '.join(causes)}.",
    )  # fmt: skip


def _few(figures: Mapping[str, Any]) -> Verdict | None:
    """That a scan has so few patterns that all are fitted; None where others judge. A single one is an error."""
    n = figures["n_patterns"]
    if figures["patterns"] != "fitted" or not 1 < n < FEWEST:
        return None
    return Verdict(
        "few_patterns", "warning", n, "patterns",
        f"the picture cannot be judged: {n} patterns are too few to set some aside, and hardly determine an object",
        "Measure more patterns that overlap.",
    )  # fmt: skip


def noticed_in_words(figures: Mapping[str, Any]) -> list[str]:
    """What was noticed of the scan, as a cause; none where nothing was."""
    warned = ", ".join(one["name"] for one in figures.get(NOTICED) or ())
    return [f"{AS_NOTICED} ({warned})"] if warned else []


def tell_doubt(scan: RawData, figures: Mapping[str, Any], kind: Kind) -> None:
    """Warn of a picture that is better than nothing, and no more than that; tell how it may become better."""
    name = printable(str(scan.path or "scan"))
    if (verdict := doubt(figures, kind)) is not None:
        log.warning("%s: %s", name, verdict.text)
    elif kind == "solver" and (more := more_to_refine(figures)):
        log.info("%s: the remaining deviance is %.2g times photon noise. %s", name, excess_of(figures), more)


def measured_by(scan: RawData, block: Indices) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Amplitudes of some patterns, float32 (k, N, N), and where they were measured (broadcasts)."""
    bad = scan.bad_pixels
    return scan.amplitude(block), np.array(True) if bad is None else ~(bad if bad.ndim == 2 else bad[block])


def in_blocks(indices: Indices) -> Iterator[Indices]:
    """Patterns, a few at a time."""
    return (indices[first : first + AT_ONCE] for first in range(0, len(indices), AT_ONCE))


def _light(blocks: Iterable[metrics.Block]) -> tuple[float, int]:
    """Photons that some patterns hold, and pixels that were measured."""
    photons, n_measured = 0.0, 0
    for _, amplitude, measured in blocks:
        seen = np.broadcast_to(measured, amplitude.shape)
        photons += float(np.sum(np.square(amplitude), where=seen, dtype=np.float64))
        n_measured += int(seen.sum())
    return photons, n_measured


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
    """Log the figures of a scan that tell how good it is, on one line; `tell_problem` tells what is wrong with them."""
    listed = ", ".join(f"{name} {_short(figures[name])}" for name in TOLD if name in figures)
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
