"""Pictures of a run: the reconstruction, what it is compared with, the loss."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ptycho.atomic import atomic_write
from ptycho_torch.runs.metrics import Comparison

PANEL_INCHES = 3.6
DOTS_PER_INCH = 110
FAINT = 0.05
"""Share of the usual light below which an object is not drawn."""
LARGEST_SIDE = 2048
"""Pixels of an image along an axis, beyond which only every second, third ... is drawn: a panel has fewer dots."""


def save_reconstruction(
    path: Path,
    image: NDArray[np.complex64],
    probe: NDArray[np.complex64],
    light: NDArray[np.float32] | None = None,
) -> Path:
    """Draw amplitude and phase of an object and its probe.

    Args:
        path: PNG to write.
        image: complex (H, W), transmission.
        probe: complex (modes, N, N), photon**0.5.
        light: (H, W), illumination; where there is little, nothing is drawn, and the greys are those of where there is
            much.
    """
    image = _thinned(image)
    much = shown = np.ones(image.shape, dtype=bool)
    if light is not None and np.isfinite(light).all() and light.any():
        light = _thinned(light)
        usual = np.median(light[light > FAINT * light.max()])
        much, shown = light >= 0.5 * usual, light >= FAINT * usual
    phase = np.angle(image * np.exp(-1j * np.angle(image[much].mean())))
    figure = _figure(1, 3)
    for place, values, title, unit in (
        (1, np.abs(image), "object amplitude", "transmission"),
        (2, phase, "object phase", "rad"),
    ):
        low, high = (float(each) for each in np.percentile(values[much], (0.5, 99.5)))
        drawn = np.where(shown, values, np.nan)
        _panel(figure, (1, 3, place), drawn, title, unit, limits=(low, high))
    _panel(figure, (1, 3, 3), _probe_image(probe), _probe_title(probe), None)
    return _save(figure, path)


class Compared(NamedTuple):
    """A reconstruction to be drawn beside the known object."""

    name: str
    """What it is called."""
    pair: Comparison
    """Both, aligned."""
    probe: NDArray[np.complex64]
    """complex (modes, N, N) used for the reconstruction."""


def save_comparison(path: Path, found: Sequence[Compared], true_probe: NDArray[Any] | None) -> Path:
    """Draw reconstructions, and below them the known object, with equal grey scales; and the probes.

    Args:
        path: PNG to write.
        found: from above to below, at least one.
        true_probe: complex (modes, N, N), or None when it is not known.
    """
    known = found[0].pair.pairs
    n_rows = len(found) + 1
    figure = _figure(n_rows, 3)
    for column, (part, unit) in enumerate((("amplitude", "transmission"), ("phase", "rad"))):
        truth, _ = known[part]
        images = [
            *(
                (f"{one.name} {part}, {one.pair.psnr_db(part):.1f} dB", one.pair.pairs[part][1])
                for one in found
            ),
            (f"true {part}", truth),
        ]
        for row, (title, image) in enumerate(images):
            place, limits = (n_rows, 3, 3 * row + column + 1), (truth.min(), truth.max())
            _panel(figure, place, image, title, unit, limits=limits)
    for row, (name, probe) in enumerate([*((one.name, one.probe) for one in found), ("true", true_probe)]):
        if probe is not None:
            place = (n_rows, 3, 3 * row + 3)
            _panel(figure, place, _probe_image(probe), f"{name} {_probe_title(probe)}", None)
    return _save(figure, path)


def save_history(path: Path, history: Sequence[dict[str, Any]]) -> Path:
    """Draw training and validation loss over epochs on a logarithmic axis.

    Args:
        path: PNG to write.
        history: one mapping an epoch with ``epoch``, ``train_loss`` and, where there is one, ``val_loss``.
    """
    figure = Figure(figsize=(6, 4), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name in ("train_loss", "val_loss"):
        points = [(row["epoch"] + 1, row[name]) for row in history if row.get(name) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker=".", label=name)
    axes.set(xlabel="epoch", ylabel="loss", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.3)
    if history:
        axes.legend()
    return _save(figure, path)


def save_iterations(path: Path, history: Sequence[dict[str, Any]]) -> Path:
    """Draw the deviance of the fitted patterns over iterations, one line for each loss.

    Args:
        path: PNG to write.
        history: one mapping an iteration with ``iteration``, ``loss`` and ``deviance_per_pixel``.
    """
    figure = Figure(figsize=(6, 4), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for loss in dict.fromkeys(row["loss"] for row in history):
        points = [(row["iteration"], row["deviance_per_pixel"]) for row in history if row["loss"] == loss]
        axes.plot(*zip(*points, strict=True), label=f"{loss} loss")
    axes.set(xlabel="iteration", ylabel="deviance per pixel, fitted patterns", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.3)
    if history:
        axes.legend()
    return _save(figure, path)


def _figure(n_rows: int, n_columns: int) -> Figure:
    size = (PANEL_INCHES * n_columns, PANEL_INCHES * n_rows)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _panel(
    figure: Figure,
    place: tuple[int, int, int],
    image: NDArray[Any],
    title: str,
    unit: str | None,
    *,
    limits: tuple[float, float] | None = None,
) -> None:
    axes = figure.add_subplot(*place)
    image = _thinned(image)
    low, high = limits or (None, None)
    shown = axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()
    if unit is not None:
        figure.colorbar(shown, ax=axes, shrink=0.8, label=unit)


def _thinned(image: NDArray[Any]) -> NDArray[Any]:
    step = -(-max(image.shape[:2]) // LARGEST_SIDE)
    return image[::step, ::step]


def _probe_title(probe: NDArray[Any]) -> str:
    return "probe (hue: phase)" if len(probe) == 1 else f"probe, mode 1 of {len(probe)} (hue: phase)"


def _probe_image(probe: NDArray[Any]) -> NDArray[np.float64]:
    """Brightness is amplitude, hue is phase: float (N, N, 3)."""
    first = probe[0]
    hue = (np.angle(first) / (2 * np.pi)) % 1.0
    brightness = np.abs(first) / max(float(np.abs(first).max()), 1e-12)
    return hsv_to_rgb(np.stack([hue, np.ones_like(hue), brightness], axis=-1))


def _save(figure: Figure, path: Path) -> Path:
    with atomic_write(path) as file:
        figure.savefig(file, format="png")
    return path
