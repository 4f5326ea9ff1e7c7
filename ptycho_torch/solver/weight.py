"""The weight of the prior, chosen by data that were not fitted, never by the truth.

Raw counts are thinned: k1 ~ Binomial(k, 0.9) and k2 = k - k1 are exactly independent Poisson data of 0.9 and 0.1 of the
dose. k1 is fitted for one weight after the other, from weak to strong, and the Poisson likelihood of k2 judges. Where
counts are not raw, patterns that were set aside judge.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_torch.solver.descent import Descent
from ptycho_torch.solver.forward import Forward, Ids
from ptycho_torch.solver.patterns import Patterns
from ptycho_torch.solver.solve import prepare

SHARE = 0.9
"""Of the counts, fitted in the search."""
N_FOLDS = 8
"""Parts that tell how much the choice depends on the patterns."""
N_FIRST, N_NEXT = 25, 10
"""Iterations before the first weight is judged, and from one look at a score to the next."""
SETTLED = 4e-4
"""Share of the score by which it changes from one look to the next when the fit of the first weight has settled;
before, scores compare iterations rather than weights."""
N_LOOKS = 30
"""Looks at the score of the first weight, at most."""
STRIDE = 2**0.5
N_MOST = 12
"""Weights tried from one start."""
N_STARTS = 4
N_PATTERNS = 144
"""Patterns of a search: 256 chose weights within 5 % of these, and take twice the time."""
FAINT = 0.01
"""Share of the brightest pixel's light from which a pixel belongs to the object."""


class Choice(NamedTuple):
    """A weight of the prior and where it is from."""

    weight: float
    factor: float | None
    """One standard deviation of the choice: the weight is uncertain by this factor either way; None: not known."""
    bound: Literal["at most", "at least"] | None
    """Where the data do not distinguish the weight from the weakest or the strongest one that was tried."""
    origin: str
    tried: list[tuple[float, float]]
    """Weights in the order they were tried, each with its score: half a Poisson deviance, lower is better."""

    def in_words(self) -> str:
        """The weight, what judged it, and how uncertain it is."""
        if self.bound is not None:
            return f"{self.bound} {self.weight:.3g} (by {self.origin})"
        known = (
            "how uncertain is not known"
            if self.factor is None
            else f"uncertain by a factor of {self.factor:.2f}"
        )
        return f"{self.weight:.3g} (by {self.origin}; {known})"


def thin(counts: NDArray[np.integer], seed: int, share: float = SHARE) -> NDArray[np.uint32]:
    """Keep each photon with a probability: the counts of a scan of that share of the dose.

    Args:
        counts: (k, N, N), raw photon counts.
        seed: of the choice.
        share: probability.

    Returns:
        (k, N, N); what is left, ``counts`` minus this, is independent of it.
    """
    return np.random.default_rng(seed).binomial(counts, share).astype(np.uint32)


def are_raw_counts(patterns: Patterns, ids: Ids, n_most: int = 16) -> bool:
    """Whether a few patterns hold whole numbers of photons (for stored amplitudes: to the rounding of float32)."""
    some = ids[:: max(1, len(ids) // n_most)][:n_most]
    counts = patterns.read(some, "intensity", torch.empty(len(some), patterns.n_pixels, patterns.n_pixels))
    whole = counts.round()
    return bool(((counts - whole).abs() <= 1e-6 * whole + 1e-6).all())


def central(positions_px: Tensor, ids: Ids, n_most: int) -> Ids:
    """The patterns nearest to the middle of the scan, at most ``n_most``, increasing."""
    positions = positions_px[ids]
    distance = (positions - positions.median(dim=0).values).square().sum(dim=1)
    return np.sort(ids[distance.argsort()[:n_most].cpu().numpy()])


class ThinnedCounts(NamedTuple):
    """Two independent scans made of one."""

    fitted: Patterns
    judging: Patterns
    positions_px: Tensor


def thinned(patterns: Patterns, positions_px: Tensor, ids: Ids, seed: int) -> ThinnedCounts:
    """Split the counts of some patterns."""
    counts = patterns.read(ids, "intensity", torch.empty(len(ids), patterns.n_pixels, patterns.n_pixels))
    whole = counts.round_().numpy().astype(np.uint32)
    kept = thin(whole, seed)
    bad = patterns.bad_pixels(ids)
    return ThinnedCounts(
        Patterns(kept.astype(np.float32), "intensity", bad),
        Patterns((whole - kept).astype(np.float32), "intensity", bad),
        positions_px[ids],
    )


def first_weight(descent: Descent) -> float:
    """Where the search starts, by the light on the canvas: rough, and below most weights that are chosen."""
    return 3.9 * (photons_per_pixel(descent) / 155) ** 0.4


def photons_per_pixel(descent: Descent) -> float:
    """Median over the object of the photons that fall on a pixel in all patterns that are fitted."""
    state, forward = descent.state, descent.forward
    forward.positions_px, forward.intensities = state.positions_px, state.intensities
    forward.set_probe(state.modes)
    light = forward.illumination(descent.fitted)
    return float(light[light > FAINT * light.max()].median())


def folds_of(judge: Forward, ids: Ids, dark: float, scale: float) -> Callable[[Descent], NDArray[np.float64]]:
    """A score: half the Poisson deviance of some patterns, in parts.

    Args:
        judge: forward model of the patterns that judge.
        ids: which of them.
        dark: photons added, see `losses.dark_count`.
        scale: of the probe that was fitted, for these patterns.
    """

    def score(descent: Descent) -> NDArray[np.float64]:
        judge.set_probe(descent.state.modes * scale)
        parts = [ids[k::N_FOLDS] for k in range(N_FOLDS)]
        return np.array(
            [judge.value(descent.state.object, part, "poisson", dark) for part in parts if len(part)]
        )

    return score


def choose_weight(
    begin: Callable[[], Descent],
    score: Callable[[Descent], NDArray[np.float64]],
    weight: float,
    *,
    origin: str,
    correction: float = 1.0,
) -> Choice:
    """Go up from a weak weight until the score has risen twice, and take the lowest point of a parabola.

    The lowest point of all parts but one, for each of them in turn, tells how uncertain it is.

    Args:
        begin: a fresh descent for the search.
        score: of a descent, in parts; lower is better.
        weight: where to begin; where a weaker one may be better, the search begins anew far below.
        origin: what judges, for the record.
        correction: from the weight of the search to that of the whole data.
    """
    weights, sums = _path(begin(), weight, score)
    for _ in range(N_STARTS - 1):
        if sums.argmin(axis=1).min() > 0:
            break
        weight /= 8
        weights, sums = _path(begin(), weight, score)
    best, *without = (_lowest(weights, one) for one in sums)
    places, n = sums.argmin(axis=1), len(without)
    bound = "at most" if places.min() == 0 else "at least" if places.max() == len(weights) - 1 else None
    factor = None
    if bound is None and n > 1:
        factor = float(np.exp(np.sqrt((n - 1) / n * np.square(without - np.mean(without)).sum())))
    tried = [(float(one), float(total)) for one, total in zip(weights, sums[0], strict=True)]
    return Choice(float(np.exp(best)) * correction, factor, bound, origin, tried)


def _path(
    descent: Descent,
    weight: float,
    score: Callable[[Descent], NDArray[np.float64]],
) -> tuple[list[float], NDArray[np.float64]]:
    """Weights, and a row of their scores for all parts, then one for all parts but one, for each of them."""
    weights: list[float] = []
    scores: list[NDArray[np.float64]] = []
    while True:
        descent.reweigh(weight)
        scores.append(_further(descent, N_NEXT, score) if weights else _settled(descent, score))
        weights.append(weight)
        weight *= STRIDE
        parts = np.stack(scores, axis=1)
        whole = parts.sum(axis=0)
        sums = np.stack([whole, *(whole - part for part in parts if len(parts) > 1)])
        has_risen = len(weights) > 2 and all(one < other for one, other in pairwise(whole[-3:]))
        if len(weights) == N_MOST or (has_risen and sums.argmin(axis=1).max() < len(weights) - 1):
            return weights, sums


def _further(
    descent: Descent, n_iterations: int, score: Callable[[Descent], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The score after more iterations."""
    for _ in range(n_iterations):
        descent.step()
    return score(descent)


def _settled(descent: Descent, score: Callable[[Descent], NDArray[np.float64]]) -> NDArray[np.float64]:
    """The score of a fresh descent when it hardly changes any more."""
    before = _further(descent, N_FIRST, score)
    for _ in range(N_LOOKS):
        now = _further(descent, N_NEXT, score)
        if abs(now.sum() - before.sum()) <= SETTLED * abs(now.sum()):
            return now
        before = now
    return before


def _lowest(weights: list[float], scores: NDArray[np.float64]) -> float:
    """Logarithm of the weight at the bottom of the parabola through the lowest score and its neighbours."""
    logs = np.log(weights)
    middle = int(np.argmin(scores))
    if not 0 < middle < len(scores) - 1:
        return float(logs[middle])
    (left, centre, right), step = scores[middle - 1 : middle + 2], np.log(STRIDE)
    return float(logs[middle] + 0.5 * step * (left - right) / (left - 2 * centre + right))


def weight_by_thinning(descent: Descent, *, seed: int) -> Choice:
    """The weight for raw counts, from the middle of a scan.

    The search takes the probe, the positions and the intensities that the descent has found so far, and starts from
    free space: where they are guesses, descend first.

    Args:
        descent: what the weight is for; it stays as it is.
        seed: of the thinning.
    """
    state, forward = descent.state, descent.forward
    ids = central(state.positions_px, descent.fitted, N_PATTERNS)
    split = thinned(forward.patterns, state.positions_px, ids, seed)
    intensities = state.intensities[ids]

    def begin() -> Descent:
        return _search(split.fitted, split.positions_px, state.modes * SHARE**0.5, intensities, forward)

    first = begin()
    judge = Forward(
        split.judging,
        split.positions_px,
        first.forward.frame,
        forward.n_modes,
        device=forward.device,
        chunk=forward.chunk,
        real=forward.real,
    )
    judge.intensities = intensities
    score = folds_of(judge, np.arange(len(ids)), first.dark * (1 - SHARE), (1 / SHARE - 1) ** 0.5)
    return choose_weight(begin, score, first_weight(first), origin="count thinning", correction=1 / SHARE)


def weight_by_set_aside(descent: Descent, set_aside: Ids) -> Choice:
    """The weight where counts are not raw, judged by patterns that are not fitted; otherwise as above.

    Args:
        descent: what the weight is for; it stays as it is.
        set_aside: patterns that judge.
    """
    state, forward = descent.state, descent.forward

    def begin() -> Descent:
        return _search(
            forward.patterns, state.positions_px, state.modes, state.intensities, forward, descent.fitted
        )

    first = begin()
    score = folds_of(first.forward, set_aside, first.dark, 1.0)
    return choose_weight(begin, score, first_weight(first), origin="patterns set aside")


def _search(
    patterns: Patterns,
    positions_px: Tensor,
    modes: Tensor,
    intensities: Tensor,
    like: Forward,
    fitted: Ids | None = None,
) -> Descent:
    """A descent on the object alone."""
    return prepare(
        patterns,
        positions_px,
        modes,
        fitted=fitted,
        n_modes=like.n_modes,
        intensities=intensities,
        device=like.device,
        chunk=like.chunk,
        real=like.real,
        probe_from=None,
    )
