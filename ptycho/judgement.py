"""What the figures of a run say in plain words: whether to believe it, and what is likely wrong otherwise."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast

from ptycho.config.record import LARGEST
from ptycho.json_files import read_json
from ptycho.model_archive import ARCHIVE, PROBLEM
from ptycho.recorded import times_resumed
from ptycho.regular_files import read_regular
from ptycho.run_files import FIGURES, HISTORY, OF_RECONSTRUCTION, STATE

FAR_BEYOND_NOISE: Final = 1000.0
"""Deviance over that of photon noise, which no scan in photons leaves."""
MOST_UNEXPLAINED: Final = ((FAR_BEYOND_NOISE, 0.1), (5.0, 0.2), (0.0, 0.5))
"""Deviance over that of photon noise, and from there on the share of the deviance beyond noise that the mean pattern
leaves, above which a picture does not explain the data."""
WELL: Final = 0.04
"""That share up to which a picture explains its patterns: known objects were found at 25 dB or better."""
MOSTLY: Final = 0.15
"""That share up to which it explains most of them."""
REFINED_TO: Final = 0.5
"""That share up to which exact positions, several modes or other intensities are likelier to explain the rest than
positions of the wrong sign or order, which left 0.9 and more."""
FALLING: Final = 0.1
"""Share by which the deviance still falls in ten iterations, above which a fit has not come to its end."""
LEAST_TOLD: Final = 2.0
"""Deviance beyond noise that the mean pattern leaves, over the unknowns of the object, below which the dose limits the
picture: a fit leaves about one for each of its unknowns, so that more than half of it stays unexplained."""
PREDICTED: Final = 0.25
"""Share of that deviance up to which a picture predicts patterns well, whatever the dose."""
LEAST_TO_EXPLAIN: Final = 0.1
"""That deviance over the one of noise, below which there is nothing to explain."""
NEAR_NOISE: Final = 2.0
"""Deviance over that of photon noise, up to which little more than noise is left."""
NOISY: Final = 1.3
"""The same, up to which the noise that a fit follows explains what is left, if patterns are predicted."""
AT_NOISE: Final = 1.05
"""The same, up to which nothing else is left."""
OVERFIT: Final = 0.97
"""The same, below which a picture that predicts patterns worse than their mean follows the noise of others."""
BEYOND_NOISE: Final = 5.0
"""The same, from which on more than the object is worth refining."""
EXPLAINED: Final = 0.5
"""R factor over that of the mean pattern, up to which most of what tells the patterns apart is explained."""
KNOWN_DB: Final = 20.0
"""Peak signal-to-noise ratio of amplitude and phase, below which both are not those of the known object."""
LEARNED: Final = 0.75
"""The same of a training, up to which its model has learned something."""
FEWEST: Final = 10
"""Patterns of a scan of which some are set aside."""
JUDGED: Final = ("r_factor", "poisson_deviance_per_pixel")
"""Figures that are measured of the mean pattern as well."""
FALL: Final = "deviance_fall"
"""Figure with the share by which the deviance fell in the last ten iterations."""
NOTICED: Final = "noticed"
"""Figure with the warnings of the scan: name, sentence and remedy of each."""
DOMAIN: Final = "measurement_domain"
"""Name of the warning that the values speak against the way that patterns are read."""

CAUSES: Final = "Likely causes, the likeliest first: "
"""Before the causes at the end of a problem."""
AS_NOTICED: Final = "what was noticed when the scan was read"
"""A cause in a problem, in place of the warnings of the scan."""

Kind = Literal["training", "network", "solver"]
"""A training; a reconstruction with a model, or without."""


class Judgement(NamedTuple):
    """Whether to believe a run."""

    level: Literal["good", "doubtful", "bad", "open"]
    headline: str
    """Without a full stop."""
    reason: str
    """Sentences."""
    causes: tuple[str, ...] = ()
    """What is likely wrong, the likeliest first; none of a run that is good."""

    @property
    def text(self) -> str:
        """Headline and reason."""
        return f"{self.headline}. {self.reason}"


def judgement(
    figures: Mapping[str, Any], kind: Kind, *, problem: str | None = None, is_finished: bool = True
) -> Judgement:
    """Whether to believe a run, by its figures.

    Args:
        figures: content of `metrics.json`, or of `training.json`.
        kind: of the run.
        problem: its problem, if there is one.
        is_finished: whether it came to its end.
    """
    if problem is not None and (is_finished or kind == "training"):  # a picture under way is bad at first
        headline = "The model has not learned" if kind == "training" else "Do not trust this picture"
        reason, _, causes = problem.rstrip(".").partition(f". {CAUSES}")
        listed = [one for one in causes.split("; ") if one and not one.startswith(AS_NOTICED)]
        return Judgement("bad", headline, f"{_begun(reason)}.", (*_noticed_beside(figures, reason), *listed))
    if not is_finished:
        reason = "The run was stopped, or is still running: this is its result so far."
        return Judgement("doubtful", "Not finished", reason)
    found, mean = (number_of(figures, name) for name in ("r_factor", "mean_pattern_r_factor"))
    if not math.isfinite(found / mean if mean else math.nan):
        return Judgement(
            "open", "Not judged", "It is not known how well the measured patterns are predicted."
        )
    told = f"The R factor is {found:.3f}, that of the mean pattern {mean:.3f}."
    if kind == "training":
        if found / mean <= LEARNED:
            return Judgement("good", "The model has learned", f"It predicts patterns. {told}")
        reason = f"It predicts patterns hardly better than their mean. {told}"
        causes = (*_noticed(figures), "too few epochs", "patterns read in the wrong measurement_domain")
        return Judgement("doubtful", "The model has learned little yet", reason, causes)
    return _of_picture(figures, kind, told, found / mean)


def _of_picture(figures: Mapping[str, Any], kind: Kind, told: str, share: float) -> Judgement:
    """Whether to believe a picture that came to its end; `share`: its R factor over that of the mean pattern."""
    excess, left = excess_of(figures), number_of(figures, "unexplained")
    noise = f" The remaining deviance is {excess:.2g} times photon noise." if math.isfinite(excess) else ""
    noise = " What is left is photon noise." if abs(excess - 1) < AT_NOISE - 1 else noise
    causes = tuple(likely_causes(figures, kind, _noticed(figures)))
    if is_limited_by_dose(figures):
        reason = f"{dose_in_words(figures)}.{noise}"
        return Judgement("doubtful", "The dose limits the picture", reason, causes)
    if _has_not_ended(figures) and not excess <= NEAR_NOISE:
        fell = number_of(figures, FALL)
        falls = (
            f"The deviance of the fitted patterns still fell by {fell:.0%} at the end. " if fell > 0 else ""
        )
        return Judgement("doubtful", "The fit has not come to its end", f"{falls}{told}{noise}", causes)
    if is_unexplained(figures):
        return Judgement("doubtful", "The picture does not explain the patterns", told + noise, causes)
    if figures.get("patterns") == "fitted" and kind == "solver":
        n = number_of(figures, "n_patterns")
        advice = f"{n:g} are too few to set some aside." if n < FEWEST else "Set holdout above 0."
        reason = f"All patterns were fitted, which a wrong picture may explain as well. {told} {advice}"
        return Judgement("open", "The picture is not judged", reason)
    if (known := _far_from_known(figures)) is not None:
        return Judgement(
            "doubtful", "The picture differs from the known object", f"{known} {told}{noise}", causes
        )
    is_noise = excess <= AT_NOISE or (excess <= NOISY and left <= PREDICTED)
    if (is_noise or not left > WELL) and (share <= EXPLAINED or excess <= NEAR_NOISE):
        few = "" if share < 1 else " Where a detector pixel has few photons, the R factor tells little."
        more = f" {said}" if (said := more_to_refine(figures)) else ""
        return Judgement("good", "The picture explains the patterns", told + few + noise + more)
    much = "most" if left <= MOSTLY else "a part"
    return Judgement("doubtful", f"The picture explains {much} of the patterns", told + noise, causes)


def _begun(sentence: str) -> str:
    """With a capital letter, but for the name of a setting or of a figure."""
    first = sentence.partition(" ")[0]
    return sentence if "_" in first or first.endswith(":") else sentence[:1].upper() + sentence[1:]


def _noticed_beside(figures: Mapping[str, Any], problem: str) -> list[str]:
    """What was noticed of the scan, without what a problem says."""
    told = zip(_warnings(figures), _noticed(figures), strict=True)
    return [
        cause
        for one, cause in told
        if str(one.get("sentence")) not in problem
        and not (one.get("name") == "overlap" and "overlap" in problem)
    ]


def _has_not_ended(figures: Mapping[str, Any]) -> bool:
    """Whether more iterations would explain clearly more."""
    return number_of(figures, FALL) > FALLING or number_of(figures, "n_iterations") < 2


def _far_from_known(figures: Mapping[str, Any]) -> str | None:
    """How far a picture is from the known object, as a sentence; None where it is near, or none is known."""
    of_amplitude, of_phase = (number_of(figures, f"{part}_psnr_db") for part in ("amplitude", "phase"))
    if not (of_amplitude < KNOWN_DB and of_phase < KNOWN_DB):
        return None
    return (
        f"Amplitude {of_amplitude:.1f} dB, phase {of_phase:.1f} dB: it is another picture, or the same one, displaced "
        "or stretched."
    )


def recorded_judgement(place: Path, kind: Kind) -> Judgement:
    """Whether to believe a run, by the files in its folder, or in that of one of its scans."""
    figures = recorded_figures(place, kind)
    problem = figures.get(PROBLEM)
    told = problem if isinstance(problem, str) else None
    return judgement(figures, kind, problem=told, is_finished=has_ended(place, kind))


def has_ended(place: Path, kind: Kind) -> bool:
    """Whether a run has come to its end, by the files in its folder, or in that of one of its scans."""
    figures = recorded_figures(place, kind)
    if kind == "training":
        went_on = goes_further(figures, _n_rows(place / HISTORY), times_resumed(place))
        return (place / ARCHIVE).is_file() and bool(figures) and not went_on
    return bool(figures) and not figures.get("interrupted") and not (place / STATE).exists()


def goes_further(figures: Mapping[str, Any], n_rows: int, n_resumed: int) -> bool:
    """Whether a training went on after its figures, the last of its files, were written.

    Args:
        figures: content of `training.json`; that of an earlier version does not have `times_resumed`.
        n_rows: epochs in its history.
        n_resumed: how many times it was resumed, by its record, which is written when it goes on.
    """
    return n_rows > number_of(figures, "n_epochs") or n_resumed > number_of(figures, "times_resumed")


def _n_rows(history: Path) -> int:
    try:
        return max(0, len(read_regular(history, LARGEST).splitlines()) - 1)
    except (OSError, ValueError):
        return 0


def recorded_figures(place: Path, kind: Kind) -> Mapping[str, Any]:
    """The figures of a run; none where their file is missing or damaged."""
    try:
        content = read_json(place / (FIGURES if kind == "training" else OF_RECONSTRUCTION[-1]))
    except (OSError, ValueError):
        return {}
    return cast(Mapping[str, Any], content) if isinstance(content, dict) else {}


def is_unexplained(figures: Mapping[str, Any]) -> bool:
    """Whether a picture leaves more of the data unexplained than photon noise allows."""
    excess = excess_of(figures)
    most = next(most for beyond, most in MOST_UNEXPLAINED if excess > beyond or not beyond)
    return number_of(figures, "unexplained") > most


def predicts_others(figures: Mapping[str, Any]) -> bool:
    """Whether a picture predicts well patterns that it was not fitted to."""
    found, mean = (number_of(figures, name) for name in ("r_factor", "mean_pattern_r_factor"))
    is_well = number_of(figures, "unexplained") <= MOSTLY and found <= EXPLAINED * mean
    return is_well and figures.get("patterns") != "fitted"


def is_limited_by_dose(figures: Mapping[str, Any]) -> bool:
    """Whether photon noise hides most of what the patterns tell of an object; not where they are well predicted."""
    found, mean = (number_of(figures, name) for name in ("r_factor", "mean_pattern_r_factor"))
    noise, most = (number_of(figures, f"{of}_poisson_deviance_per_pixel") for of in ("noise", "mean_pattern"))
    predicted = number_of(figures, "unexplained") <= PREDICTED and most > (1 + LEAST_TO_EXPLAIN) * noise
    told = number_of(figures, "deviance_per_unknown")
    is_little = told < LEAST_TOLD and not predicted and not found <= EXPLAINED * mean
    return is_little or overfits(figures)


def overfits(figures: Mapping[str, Any]) -> bool:
    """Whether a picture follows the noise of the patterns that were fitted, and others less than their mean does."""
    found, mean = (number_of(figures, name) for name in ("r_factor", "mean_pattern_r_factor"))
    return excess_of(figures) < OVERFIT and found >= mean


def dose_in_words(figures: Mapping[str, Any]) -> str:
    """How a dose limits a picture: a sentence without a full stop."""
    return (
        f"A pattern holds {number_of(figures, 'photons_per_pattern'):.3g} photons, whose noise hides most of what "
        "tells one pattern from another"
    )


def more_to_refine(figures: Mapping[str, Any]) -> str:
    """Settings of the solver that were not set and may explain more of the data, as a sentence; empty for none."""
    names = _unrefined(figures) if excess_of(figures) > BEYOND_NOISE else {}
    return f"{' or '.join(names)} may explain more of it." if names else ""


def _unrefined(figures: Mapping[str, Any]) -> dict[str, str]:
    """What the solver was not asked to refine: setting -> cause that it would mend."""
    refined, powers = figures.get("refined"), figures.get("probe_mode_powers")
    if not isinstance(refined, list):
        return {}
    causes = {
        "refine_positions": "positions that are not exact (refine_positions)",
        "probe_modes": "a beam that needs several probe_modes",
        "refine_intensities": "a beam that changes its intensity (refine_intensities)",
    }
    done = {f"refine_{what}" for what in cast(list[Any], refined)}
    done |= {"probe_modes"} if isinstance(powers, list) and len(cast(list[Any], powers)) > 1 else set()
    return {name: cause for name, cause in causes.items() if name not in done}


def likely_causes(figures: Mapping[str, Any], kind: Kind, noticed: Iterable[str]) -> list[str]:
    """What is likely wrong where a picture does not explain its data, the likeliest first.

    Args:
        figures: of the picture.
        kind: of the run.
        noticed: what was noticed when the scan was read.
    """
    is_no_noise, with_model = excess_of(figures) > FAR_BEYOND_NOISE, kind == "network"
    few = ["too few photons"] if is_limited_by_dose(figures) else []
    if few and kind == "solver" and overfits(figures):
        few = ["a prior that is too weak for so few photons (prior, prior_weight)"]
    if few and not is_unexplained(figures):
        return [*noticed, *few]
    is_set = figures.get("prior_weight_origin") == "set" and not few
    domain = "patterns read in the wrong measurement_domain" + (", or not in photons" if is_no_noise else "")
    is_doubted = any(one.get("name") == DOMAIN for one in _warnings(figures))
    refined = figures.get("refined")
    is_fixed = isinstance(refined, list) and "probe" not in refined
    probe = "a probe that does not belong to the scan" + (
        " and is not refined (refine_probe)" if is_fixed else ""
    )
    refinements = [*_unrefined(figures).values()]
    if number_of(figures, "unexplained") <= REFINED_TO:
        others = [*refinements, "positions of the wrong scale (distance, energy, pixel sizes)", probe]
    else:
        order = "positions of the wrong sign, order (x and y exchanged), unit or scale (distance, energy, pixel sizes)"
        others = [order, probe, *refinements]
    return [
        *([domain] if is_doubted else []),
        *noticed,
        *few,
        *(["a prior_weight that is too large"] if is_set else []),
        *(["too few iterations"] if _has_not_ended(figures) else []),
        *([domain] if is_no_noise and not is_doubted else []),
        *(["a model that was trained for too few epochs, or on other data"] if with_model else []),
        *others,
        *([] if is_no_noise or is_doubted else [domain]),
    ]


def number_of(figures: Mapping[str, Any], name: str) -> float:
    """A figure as a number: NaN where it is none, infinite where that is recorded."""
    value = figures.get(name)
    if isinstance(value, int | float):
        return float(value)
    return math.inf if figures.get(f"{name}_reason") == "infinite" else math.nan


def excess_of(figures: Mapping[str, Any]) -> float:
    """Deviance over that of photon noise; NaN where it was not measured."""
    left, noise = (number_of(figures, f"{of}poisson_deviance_per_pixel") for of in ("", "noise_"))
    return left / noise if noise else math.nan


def _warnings(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = figures.get(NOTICED)
    warnings = cast(list[Any], found) if isinstance(found, list) else []
    return [cast(dict[str, Any], one) for one in warnings if isinstance(one, dict)]


def _noticed(figures: Mapping[str, Any]) -> list[str]:
    told = _warnings(figures)
    return [f"{one.get('sentence')}. {one.get('remedy')}".strip().rstrip(".") for one in told]
