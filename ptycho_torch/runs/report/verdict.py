"""What the figures of a run say in plain words: whether to believe it, and what each number means."""

import math
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from ptycho.memory import size_text
from ptycho_torch.runs.report.contents import Contents, is_finished, number_of

NEAR_NOISE: Final = 2.0
"""Deviance over that of photon noise, up to which little more than noise is left."""
EXPLAINED: Final = 0.5
"""R factor over that of the mean pattern, up to which most of what tells the patterns apart is explained."""
LEARNED: Final = 0.9
"""The same of a training, up to which its model has learned something."""

Level = Literal["good", "doubtful", "bad", "open"]


class Verdict(NamedTuple):
    """Whether to believe a run."""

    level: Level
    headline: str
    reason: str


class Figure(NamedTuple):
    """A number of a run."""

    name: str
    value: str
    meaning: str


def verdict_of(run: Contents) -> Verdict:
    """Whether to believe a run, by its figures."""
    judged = run.judged
    share = _share(judged)
    if run.problem is not None:
        headline = "The training came to nothing" if run.is_training else "Do not trust this picture"
        return Verdict("bad", headline, run.problem)
    if not is_finished(run):
        return Verdict(
            "doubtful", "Not finished", "The run was stopped, or is under way: this is its result so far."
        )
    if not math.isfinite(share):
        return Verdict("open", "Not judged", "No figure tells how well measured patterns are predicted.")
    told = f"The R factor is {judged['r_factor']:.3f}, and that of the mean pattern {_mean(judged):.3f}"
    if run.is_training:
        if share <= LEARNED:
            return Verdict("good", "The model has learned", f"It predicts patterns. {told}.")
        reason = f"It predicts patterns hardly better than their mean does. {told}. Train it for longer."
        return Verdict("doubtful", "The model has learned little yet", reason)
    excess = float(run.patterns["excess_deviance"]) if "excess_deviance" in run.patterns else math.nan
    noise = f" What is left is {excess:.2g} times photon noise." if math.isfinite(excess) else ""
    if share <= EXPLAINED or excess <= NEAR_NOISE:
        return Verdict("good", "The picture explains the patterns", f"{told}.{noise}")
    reason = (
        f"{told}.{noise} Look at the patterns that are predicted worst, at the probe and at the warnings; more "
        "iterations or epochs, a refined probe or refined positions may help."
    )
    return Verdict("doubtful", "The picture explains a part of the patterns", reason)


def figures_of(run: Contents) -> list[Figure]:
    """The figures that tell how good a run is."""
    return list(_figures(run))


def further_figures_of(run: Contents) -> list[Figure]:
    """All other figures."""
    known = {*_TOLD, *run.judged, *(f"{part}_{of}" for part in _PARTS for of in ("psnr_db", "ssim"))}
    named = {
        name: value
        for name, value in run.figures.items()
        if name not in known and name != "problem" and not name.endswith("_reason")
    }
    return [Figure(name.replace("_", " "), _text(value), "") for name, value in named.items()]


def costs_of(run: Contents) -> list[Figure]:
    """Time and memory."""
    found: list[Figure] = []
    seconds = number_of(run.figures, "seconds")
    if run.is_training:
        times = [row.get("epoch_time_s") for row in run.history]
        seconds = sum(time for time in times if isinstance(time, float))
        found.append(Figure("Epochs", str(len(run.history)), ""))
    if math.isfinite(seconds):
        what = "of all epochs" if run.is_training else "of the computation, without reading and saving"
        found.append(Figure("Time", duration(seconds), what))
    for name, what in _MEMORY.items():
        if math.isfinite(n_bytes := number_of(run.figures, name)):
            found.append(Figure(what, size_text(n_bytes), "the most at any moment"))
    return found


def duration(seconds: float) -> str:
    """Word a time: 3.2 s, 4 min 10 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


_PARTS: Final = ("amplitude", "phase")
_MEMORY: Final = {"peak_memory_bytes": "Memory", "peak_device_memory_bytes": "Memory of the device"}
_TOLD: Final = ("seconds", "patterns", "n_patterns", *_MEMORY)


def _figures(run: Contents) -> Iterator[Figure]:
    judged, figures = run.judged, run.figures
    if judged:
        which = (
            f"{figures.get('n_patterns', 'some')} patterns ({figures.get('patterns', 'of the validation')})"
        )
        yield Figure(
            "R factor",
            f"{judged['r_factor']:.4f}",
            f"part of the measured amplitudes that is not explained, on {which}; the mean pattern leaves "
            f"{_mean(judged):.4f}",
        )
        yield Figure(
            "Deviance per pixel",
            f"{judged['poisson_deviance_per_pixel']:.4g}",
            "about 1, or less in faint patterns, where nothing but photon noise is left; the mean pattern has "
            f"{judged['mean_pattern_poisson_deviance_per_pixel']:.4g}",
        )
    for part in _PARTS:
        if f"{part}_psnr_db" in figures:
            psnr, ssim = (number_of(figures, f"{part}_{of}") for of in ("psnr_db", "ssim"))
            yield Figure(
                f"{part.capitalize()} against the known object",
                f"{psnr:.1f} dB, SSIM {ssim:.3f}",
                "above 30 dB the eye hardly sees a difference; SSIM is 1 for equal images",
            )


def _mean(judged: dict[str, float]) -> float:
    return judged["mean_pattern_r_factor"]


def _share(judged: dict[str, float]) -> float:
    return judged["r_factor"] / _mean(judged) if judged and _mean(judged) else math.nan


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return "none" if value is None else str(value)
