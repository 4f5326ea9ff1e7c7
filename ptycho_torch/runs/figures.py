"""Pictures of a run: the reconstruction, what it is compared with, the loss."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import MaxNLocator, NullFormatter
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import NDArray

from ptycho.atomic import atomic_write
from ptycho_torch.runs.metrics import Comparison

PANEL_INCHES = 3.6
DOTS_PER_INCH = 110
FAINT = 0.05
"""Share of the usual light below which an object is not drawn."""
COMPRESSION = 3
"""Level of zlib in PNG files: higher ones take twice the time, and make them no smaller."""
LARGEST_SIDE = 2048
"""Pixels of an image along an axis, beyond which only every second, third ... is drawn; up to it, each has a dot of its
own at least."""
NOT_DRAWN = "#b8c4cc"
"""Colour where there is no object to draw."""
WRAPS = 1e-4
"""Share of neighbours with more than half a turn between their phases, from which on the colours go round as well."""
SPAN = 20.0
"""Largest value of a line over the smallest, from which on its axis is logarithmic."""
FEW = 40
"""Points of a line, below which each is marked."""
LEAST_SPAN = 1e-3
"""From black to white, at least: rounding is not worth a picture."""
UNITS = {1e-3: "mm", 1e-6: "um", 1e-9: "nm", 1e-12: "pm"}


@dataclass(frozen=True)
class Placed:
    """Where an image lies, and what stands above it.

    Attributes:
        title: above the picture.
        corner_px: row and column of the first pixel of the object, in the pixels of the scan positions.
        pixel_m: side of an object pixel, rows and columns; None: not known.
    """

    title: str = ""
    corner_px: tuple[int, int] = (0, 0)
    pixel_m: tuple[float, float] | None = None


class Part(NamedTuple):
    """Amplitude or phase of an object, to be drawn."""

    name: str
    values: NDArray[np.float64]
    """(H, W); NaN where there is hardly any light."""
    unit: str
    low: float
    """Drawn black: hardly any value is below it where there is much light."""
    high: float
    """Drawn white."""
    much: NDArray[np.bool_]
    """Where there is much light."""


def parts_of(image: NDArray[np.complex64], light: NDArray[np.float32] | None) -> Iterator[Part]:
    """Amplitude and phase of an object; the phase is 0 on average where there is much light.

    Args:
        image: complex (H, W), transmission.
        light: (H, W), illumination; None: the same everywhere.
    """
    much = shown = np.ones(image.shape, dtype=bool)
    if light is not None and np.isfinite(light).all() and light.any():
        usual = np.median(light[light > FAINT * light.max()])
        much, shown = light >= 0.5 * usual, light >= FAINT * usual
    phase = np.angle(image * np.exp(-1j * np.angle(image[much].mean())))
    for name, values, unit in (("amplitude", np.abs(image), "transmission"), ("phase", phase, "rad")):
        low, high = (float(each) for each in np.percentile(values[much], (0.5, 99.5)))
        yield Part(name, np.where(shown, values, np.nan), unit, low, high, much)


def save_reconstruction(
    path: Path,
    image: NDArray[np.complex64],
    probe: NDArray[np.complex64],
    light: NDArray[np.float32] | None = None,
    placed: Placed = Placed(),
) -> Path:
    """Draw amplitude and phase of an object and its probe.

    Args:
        path: PNG to write.
        image: complex (H, W), transmission.
        probe: complex (modes, N, N), photon**0.5.
        light: (H, W), illumination; where there is little, nothing is drawn, and the greys are those of where there is
            much.
        placed: title, and where the object lies.
    """
    figure = _figure(1, 3, placed.title)
    for place, part in enumerate(parts_of(_thinned(image), None if light is None else _thinned(light)), 1):
        middle, half = (part.low + part.high) / 2, max((part.high - part.low) / 2, LEAST_SPAN / 2)
        turns = part.unit == "rad" and _wraps(part.values, part.much)
        limits = (-np.pi, np.pi) if turns else (middle - half, middle + half)
        colours = "twilight" if turns else "gray"
        title = f"object {part.name}"
        _panel(figure, (1, 3, place), part.values, title, part.unit, placed, limits=limits, colours=colours)
    _probe_panel(figure, (1, 3, 3), probe, "", placed)
    return _save(figure, path)


class Compared(NamedTuple):
    """A reconstruction to be drawn beside the known object."""

    name: str
    """What it is called."""
    pair: Comparison
    """Both, aligned."""
    probe: NDArray[np.complex64]
    """complex (modes, N, N) used for the reconstruction."""


def save_comparison(
    path: Path, found: Sequence[Compared], true_probe: NDArray[Any] | None, placed: Placed = Placed()
) -> Path:
    """Draw reconstructions, and below them the known object, with equal grey scales; and the probes.

    Args:
        path: PNG to write.
        found: from above to below, at least one.
        true_probe: complex (modes, N, N), or None when it is not known.
        placed: title, and the size of a pixel.
    """
    known = found[0].pair.pairs
    n_rows = len(found) + 1
    figure = _figure(n_rows, 3, placed.title)
    placed = replace(placed, corner_px=(0, 0))
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
            _panel(figure, place, image, title, unit, placed, limits=limits)
    for row, (name, probe) in enumerate([*((one.name, one.probe) for one in found), ("true", true_probe)]):
        if probe is not None:
            place = (n_rows, 3, 3 * row + 3)
            _probe_panel(figure, place, probe, f"{name} ", placed)
    return _save(figure, path)


def save_history(path: Path, history: Sequence[Mapping[str, Any]]) -> Path:
    """Draw the losses of a training as `draw_losses` does.

    Args:
        path: PNG to write.
        history: one mapping an epoch.
    """
    figure, axes = _one_panel()
    draw_losses(axes, history)
    return _save(figure, path)


def save_iterations(path: Path, history: Sequence[Mapping[str, Any]]) -> Path:
    """Draw the iterations of a reconstruction as `draw_iterations` does.

    Args:
        path: PNG to write.
        history: one mapping an iteration.
    """
    figure, axes = _one_panel()
    draw_iterations(axes, history)
    return _save(figure, path)


def draw_losses(axes: Axes, history: Sequence[Mapping[str, Any]]) -> Axes:
    """Draw training and validation loss over epochs, which count from 1; gives the axes.

    Args:
        axes: to draw on.
        history: one mapping an epoch with ``epoch``, ``train_loss`` and, where there is one, ``val_loss``.
    """
    lines = {
        name: [(row["epoch"] + 1, row[name]) for row in history if row.get(name) is not None]
        for name in ("train_loss", "val_loss")
    }
    return draw_lines(axes, lines, "epoch", "loss")


def draw_iterations(axes: Axes, history: Sequence[Mapping[str, Any]]) -> Axes:
    """Draw the deviance of the fitted patterns over iterations, one line for each loss; gives the axes.

    Args:
        axes: to draw on.
        history: one mapping an iteration with ``iteration``, ``loss`` and ``deviance_per_pixel``.
    """
    lines = {
        f"{loss} loss": [
            (row["iteration"], row["deviance_per_pixel"]) for row in history if row["loss"] == loss
        ]
        for loss in dict.fromkeys(row["loss"] for row in history)
    }
    return draw_lines(axes, lines, "iteration", "deviance per pixel, fitted patterns")


def draw_lines(
    axes: Axes,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    x: str,
    y: str,
    colours: Sequence[str] = (),
) -> Axes:
    """Draw numbers over epochs or iterations, with whole ticks below and plain numbers beside; gives the axes.

    Args:
        axes: to draw on.
        lines: what each is called -> its points; one without points is left out.
        x: what is counted.
        y: label of the vertical axis, which is logarithmic where the values span orders of magnitude.
        colours: of the lines; those of the axes where there are none.
    """
    drawn = {name: points for name, points in lines.items() if points}
    for number, (name, points) in enumerate(drawn.items()):
        marker = "." if len(points) < FEW else None
        colour = {"color": colours[number]} if colours else {}
        axes.plot(*zip(*points, strict=True), marker=marker, label=name, **colour)
    axes.set(xlabel=x, ylabel=y)
    heights = [height for points in drawn.values() for _, height in points if np.isfinite(height)]
    if heights and 0 < SPAN * min(heights) < max(heights):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.ticklabel_format(axis="y", useOffset=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(visible=True, alpha=0.35)
    if len(drawn) > 1:
        axes.legend()
    return axes


def _one_panel() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 4), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _figure(n_rows: int, n_columns: int, title: str) -> Figure:
    size = (PANEL_INCHES * n_columns, PANEL_INCHES * n_rows + 0.3)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=9)
    return figure


def _panel(
    figure: Figure,
    place: tuple[int, int, int],
    image: NDArray[Any],
    title: str,
    unit: str | None,
    placed: Placed,
    *,
    limits: tuple[float, float] | None = None,
    colours: str = "gray",
) -> Axes:
    axes = figure.add_subplot(*place)
    low, high = limits or (None, None)
    axes.set_facecolor(NOT_DRAWN)
    extent, word = _extent(image.shape, placed)
    drawn = _thinned(image)
    shown = axes.imshow(drawn, cmap=colours, vmin=low, vmax=high, interpolation="nearest", extent=extent)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(f"x ({word})", fontsize=8)
    axes.set_ylabel(f"y ({word})", fontsize=8)
    axes.tick_params(labelsize=7)
    length = _round_length(0.3 * (extent[1] - extent[0]))
    bar = AnchoredSizeBar(
        axes.transData, length, f"{length:g} {word}", "lower left",
        size_vertical=0.012 * (extent[2] - extent[3]), pad=0.3, borderpad=0.4, sep=3,
        fontproperties=FontProperties(size=8),
    )  # fmt: skip
    bar.patch.set_alpha(0.7)
    axes.add_artist(bar)
    if unit is not None:
        beside = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.03)
        beside.set_label(unit, size=8)
        beside.ax.tick_params(labelsize=7)
    return axes


def _probe_panel(
    figure: Figure, place: tuple[int, int, int], probe: NDArray[Any], name: str, placed: Placed
) -> None:
    """The first mode of a probe: brightness is amplitude, hue is phase, with a key."""
    side = probe.shape[-1] // 2
    here = replace(placed, corner_px=(-side, -side))
    powers = np.square(np.abs(probe), dtype=np.float64).sum(axis=(1, 2))
    share = powers[0] / max(float(powers.sum()), np.finfo(float).tiny)
    modes = "" if len(probe) == 1 else f", mode 1 of {len(probe)} ({share:.0%})"
    axes = _panel(figure, place, probe_image(probe[0]), f"{name}probe{modes}", None, here)
    key = axes.inset_axes((0.74, 0.02, 0.24, 0.24))
    steps = np.linspace(-1, 1, 101)
    wheel = steps[None, :] - 1j * steps[:, None]
    inside = np.abs(wheel) <= 1
    key.imshow(np.dstack([probe_image(np.where(inside, wheel, 0)), inside]), interpolation="bilinear")
    key.set_axis_off()
    for words, x, y in (("0", 0.93, 0.5), (r"$\pi$", 0.08, 0.5), (r"$\pi/2$", 0.5, 0.9)):
        key.text(x, y, words, transform=key.transAxes, ha="center", va="center", fontsize=6, color="white")
    peak = f"brightest: {float(np.abs(probe[0]).max()):.3g} photon$^{{1/2}}$"
    axes.text(0.98, 0.98, peak, transform=axes.transAxes, ha="right", va="top", fontsize=7, color="white")


def probe_image(wave: NDArray[Any]) -> NDArray[np.float64]:
    """A mode, or any complex image, in colours, float (..., 3): brightness is amplitude, hue is phase."""
    hue = (np.angle(wave) / (2 * np.pi)) % 1.0
    brightness = np.abs(wave) / max(float(np.abs(wave).max()), 1e-12)
    return hsv_to_rgb(np.stack([hue, np.ones_like(hue), brightness], axis=-1))


def _extent(shape: tuple[int, ...], placed: Placed) -> tuple[tuple[float, float, float, float], str]:
    """Left, right, bottom and top edge of an image, and their unit."""
    (down, right), (height, width) = placed.corner_px, shape[:2]
    edges = np.array([right - 0.5, right + width - 0.5, down + height - 0.5, down - 0.5])
    if placed.pixel_m is None:
        return tuple(edges.tolist()), "px"
    sides = np.array(placed.pixel_m)[[1, 1, 0, 0]]
    size = max(height * placed.pixel_m[0], width * placed.pixel_m[1])
    unit = next((unit for unit in UNITS if size >= 2 * unit), min(UNITS))
    return tuple((edges * sides / unit).tolist()), UNITS[unit]


def _round_length(longest: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is no longer."""
    power = 10.0 ** np.floor(np.log10(longest))
    return float(next(step * power for step in (5, 2, 1) if step * power <= longest))


def _wraps(phase: NDArray[Any], much: NDArray[np.bool_]) -> bool:
    """Whether a phase goes round within the part of an image where there is much light."""
    jumps = n_pairs = 0
    for axis in (0, 1):
        both = np.delete(much, 0, axis) & np.delete(much, -1, axis)
        jumps += np.count_nonzero(np.abs(np.diff(phase, axis=axis))[both] > np.pi)
        n_pairs += np.count_nonzero(both)
    return jumps > WRAPS * n_pairs


def _thinned(image: NDArray[Any]) -> NDArray[Any]:
    step = -(-max(image.shape[:2]) // LARGEST_SIDE)
    return image[::step, ::step]


def _save(figure: Figure, path: Path) -> Path:
    """Write a figure, with as many dots that each pixel of its images has one at least."""
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)
    figure.set_layout_engine("none")  # it would be found again for each drawing
    dense = 1.0
    for axes in figure.axes:
        axes.apply_aspect()
        box = axes.get_window_extent()
        for image in axes.images:
            height, width = image.get_size()
            dense = max(dense, 1.02 * height / box.height, 1.02 * width / box.width)
    with atomic_write(path) as file:
        figure.savefig(
            file, format="png", dpi=DOTS_PER_INCH * dense, pil_kwargs={"compress_level": COMPRESSION}
        )
    return path
