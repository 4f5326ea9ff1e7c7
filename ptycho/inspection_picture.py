"""The picture of an inspection."""

import io
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ptycho.stored_array import Array

INCHES: Final = (13.5, 3.6)
DOTS_PER_INCH: Final = 110
LARGEST: Final = 512
"""Dots of an image along an axis."""


def drawn(images: Mapping[str, Array], facts: Mapping[str, Any]) -> bytes:
    """Draw mean pattern, positions, probe and histogram.

    Args:
        images: of an `Inspection`.
        facts: of the same.

    Returns:
        A PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 4)
    _mean_pattern(figure, panels[0], images["mean"])
    _positions(figure, panels[1], images, facts)
    _probe(figure, panels[2], images["probe"], facts)
    _histogram(panels[3], images)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH)
    return content.getvalue()


def _mean_pattern(figure: Any, panel: Any, mean: Array) -> None:
    size = len(mean)
    every = max(1, size // LARGEST)
    lit = mean[mean > 0]
    floor = float(lit.min()) if lit.size else 1.0
    image = panel.imshow(np.log10(np.maximum(mean, floor))[::every, ::every], extent=(0, size, size, 0))
    panel.plot(size // 2 + 0.5, size // 2 + 0.5, "r+", markersize=12)
    panel.set(title="mean pattern, log10 of counts", xlabel="column (px)", ylabel="row (px)")
    figure.colorbar(image, ax=panel, shrink=0.8)


def _positions(figure: Any, panel: Any, images: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
    where, sampled = images["positions"], images["sampled"]
    panel.plot(where[:, 1], where[:, 0], ".", color="0.8", markersize=2)
    dots = panel.scatter(sampled[:, 1], sampled[:, 0], c=images["totals"], s=9)
    if "probe_diameter_px" in facts:
        angle = np.linspace(0, 2 * np.pi, 90)
        radius = float(facts["probe_diameter_px"]) / 2
        middle = where[np.argmin(np.abs(where - np.median(where, axis=0)).sum(axis=1))]
        panel.plot(middle[1] + radius * np.cos(angle), middle[0] + radius * np.sin(angle), "r-", linewidth=1)
    panel.invert_yaxis()
    panel.set_aspect("equal")
    panel.set(title="positions, by counts", xlabel="x (px)", ylabel="y (px)")
    figure.colorbar(dots, ax=panel, shrink=0.8)


def _probe(figure: Any, panel: Any, probe: Array, facts: Mapping[str, Any]) -> None:
    size = probe.shape[-1]
    every = max(1, size // LARGEST)
    light = np.sqrt(np.square(np.abs(probe), dtype=np.float64).sum(axis=0))[::every, ::every]
    image = panel.imshow(light, extent=(0, size, size, 0))
    title = "probe, amplitude" if "probe_diameter_px" in facts else "no probe: focus of the mean pattern"
    panel.set(title=title, xlabel="column (px)", ylabel="row (px)")
    figure.colorbar(image, ax=panel, shrink=0.8)


def _histogram(panel: Any, images: Mapping[str, Array]) -> None:
    counts = images["counts"]
    edges = np.linspace(0, float(images["largest"]), len(counts) + 1)
    panel.stairs(counts, edges, fill=True)
    panel.set_yscale("log")
    panel.set(title="histogram of pixels above 0", xlabel="counts", ylabel="pixels")
