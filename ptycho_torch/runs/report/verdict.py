"""The figures of a run in plain words: a verdict, and the meaning of each number."""

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ptycho.display import worded_figure
from ptycho.judgement import NOTICED, Judgement, judgement, number_of
from ptycho.memory import size_text
from ptycho.model_archive import PROBLEM
from ptycho.wording import duration
from ptycho_torch.runs.report.contents import Contents, is_finished


class Figure(NamedTuple):
    """A number of a run."""

    name: str
    value: str
    meaning: str


def verdict_of(run: Contents) -> Judgement:
    """Whether to believe a run, by its figures."""
    return judgement(run.figures, run.kind, problem=run.problem, is_finished=is_finished(run))


def figures_of(run: Contents) -> list[Figure]:
    """The figures of merit of a run."""
    return list(_figures(run))


def further_figures_of(run: Contents) -> list[Figure]:
    """All other figures."""
    known = {*_TOLD, *run.judged, *(f"{part}_{of}" for part in _PARTS for of in ("psnr_db", "ssim"))}
    named = {
        name: value
        for name, value in run.figures.items()
        if name not in (*known, PROBLEM, NOTICED) and not name.endswith("_reason")
    }
    worded = (worded_figure(name, value) for name, value in named.items())
    return [Figure(name, _text(value) or "none", "") for name, value in worded]


def costs_of(run: Contents) -> list[Figure]:
    """Time and memory."""
    found: list[Figure] = []
    seconds = number_of(run.figures, "seconds")
    if run.is_training:
        times = [row.get("epoch_time_s") for row in run.history]
        seconds = sum(time for time in times if isinstance(time, float))
        found.append(Figure("Epochs", str(len(run.history)), ""))
    if math.isfinite(seconds):
        what = "of all epochs" if run.is_training else "of the computation, without reading and saving files"
        found.append(Figure("Time", duration(seconds), what))
    for name, what in _MEMORY.items():
        if math.isfinite(n_bytes := number_of(run.figures, name)):
            found.append(Figure(what, size_text(n_bytes), "the highest value during the run"))
    return found


_PARTS: Final = ("amplitude", "phase")
_MEMORY: Final = {"peak_memory_bytes": "Memory", "peak_device_memory_bytes": "Memory of the device"}
_TOLD: Final = ("seconds", "patterns", "n_patterns", *_MEMORY)


def _figures(run: Contents) -> Iterator[Figure]:
    judged, figures = run.judged, run.figures
    if judged:
        is_known = {"patterns", "n_patterns"} <= figures.keys()
        which = f"{figures['n_patterns']} patterns ({figures['patterns']})" if is_known else "some patterns"
        yield Figure(
            "R factor",
            f"{judged['r_factor']:.4f}",
            f"part of the measured amplitudes that is not explained, on {which}; for the mean pattern it is "
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


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return "none" if value is None else str(value)
