"""Pictures inside a page: PNG that a script reads values from, and drawings as SVG in the colours of the page."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib import colormaps
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from ptycho_torch.runs.figures import Part, draw_lines, probe_image

LARGEST_BYTES: Final = 1_200_000
"""Of the PNG of an object's part; a larger object is shown in blocks of several pixels."""
LARGEST_WIDTH: Final = 1400
"""Pixels of a picture as wide as the page, along an axis."""
LARGEST_SIDE: Final = 256
"""Pixels of a small picture along an axis."""
MOST_POSITIONS: Final = 20_000
"""Positions that are drawn."""
INK: Final = "#010203"
"""Stands for the colour of the page's text."""
COLOURS: Final = ("#2f7fd6", "#d4661a", "#3a9a4b")
"""Of curves, on light and on dark."""
RULES: Final = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": "#808080",
    "grid.alpha": 0.35,
    "legend.framealpha": 0,
}


class Shown(NamedTuple):
    """A part of an object in a page."""

    name: str
    unit: str
    source: str
    """PNG as a data URI: grey 1 is `low`, 255 is `high`; where there is hardly any light it is transparent."""
    low: float
    high: float
    height: int
    width: int
    """Pixels of the object."""
    block: int
    """Side of the blocks of these pixels of which each is a pixel of the picture."""
    pixel_nm: float | None
    """Side of a pixel of the object, where that is known."""


def shown_part(part: Part, pixel_nm: float | None, largest_bytes: int = LARGEST_BYTES) -> Shown:
    """A part of an object as a grey picture, at full resolution where it fits."""
    height, width = part.values.shape
    if not (np.isfinite(part.low) and np.isfinite(part.high)):
        part = part._replace(low=0.0, high=1.0)
    block = max(1, round(np.sqrt(height * width / (4 * largest_bytes))))
    while len(content := _grey(_blocks(part.values, block), part.low, part.high)) > largest_bytes:
        block = max(block + 1, int(block * np.sqrt(len(content) / largest_bytes)))
    return Shown(part.name, part.unit, _uri(content), part.low, part.high, height, width, block, pixel_nm)


def probe_pictures(probe: NDArray[np.complex64]) -> list[str]:
    """The modes of a probe in colours, as data URIs."""
    return [_coloured(probe_image(mode)) for mode in probe]


def pattern_pictures(*patterns: NDArray[np.float32], valid: NDArray[np.bool_]) -> list[str]:
    """Amplitudes (N, N) with one scale of colours, as data URIs; the scale is logarithmic.

    Args:
        patterns: amplitudes, what was measured first.
        valid: (N, N), where it was measured.
    """
    logs = [np.log1p(np.where(valid, np.maximum(pattern, 0), 0)) for pattern in patterns]
    top = max(float(logs[0].max()), 1e-12)
    return [_coloured(colormaps["viridis"](np.minimum(one / top, 1))[..., :3]) for one in logs]


def curves(
    name: str, rows: Sequence[Mapping[str, Any]], x: str, lines: Mapping[str, str], label: str, *, first: int
) -> Markup | None:
    """A drawing of columns of a history over epochs or iterations; None where there is nothing to draw.

    Args:
        name: what it shows, in words.
        rows: the history.
        x: the column of the horizontal axis.
        lines: column -> what it is called.
        label: of the vertical axis, which is logarithmic where the values span orders of magnitude.
        first: number of the first epoch or iteration, where the column counts from 0 it is 1.
    """
    points = {
        called: [(row[x] + first, row[column]) for row in rows if _are_numbers(row.get(x), row.get(column))]
        for column, called in lines.items()
    }
    points = {called: values for called, values in points.items() if values}
    if not points:
        return None
    with mpl.rc_context(RULES | {"svg.hashsalt": name}):
        figure, axes = _axes((6.4, 3.4))
        draw_lines(axes, points, x, label, COLOURS)
        return _svg(figure, name)


def positions_map(
    name: str,
    positions_px: NDArray[np.float64],
    looked_at: NDArray[np.int64],
    r_factor: NDArray[np.float64],
    light: tuple[NDArray[np.float32], Sequence[int]] | None,
) -> Markup:
    """A drawing of the positions, coloured by how well their patterns are predicted, on the illumination.

    Args:
        name: what it shows, in words.
        positions_px: (n, 2), rows (y, x).
        looked_at: rows of positions whose R factor is known.
        r_factor: of these.
        light: illumination (H, W), with the place of its first pixel.
    """
    step = -(-len(positions_px) // MOST_POSITIONS)
    with mpl.rc_context(RULES | {"svg.hashsalt": name}):
        figure, axes = _axes((6.4, 5.2))
        if light is not None:
            image, (top, left) = light
            image = _blocks(image.astype(np.float64), -(-max(image.shape) // (2 * LARGEST_SIDE)))
            height, width = light[0].shape
            place = (left - 0.5, left + width - 0.5, top + height - 0.5, top - 0.5)
            axes.imshow(image, cmap="gray", extent=place, interpolation="nearest")
        dots: dict[str, Any] = {"s": 9, "linewidths": 0, "rasterized": True}
        known = looked_at[(looked_at >= 0) & (looked_at < len(positions_px))]
        others = np.setdiff1d(np.arange(len(positions_px)), known)[::step]
        axes.scatter(positions_px[others, 1], positions_px[others, 0], color="#4f93e0", **dots)
        if len(known) == len(r_factor) > 0:
            drawn = axes.scatter(
                positions_px[known, 1], positions_px[known, 0], c=r_factor, cmap="plasma", **dots
            )
            figure.colorbar(drawn, ax=axes, label="R factor of the pattern")
        axes.set(xlabel="x (px)", ylabel="y (px)", aspect="equal")
        if light is None:
            axes.invert_yaxis()
        return _svg(figure, name)


def small_picture(content: bytes) -> str | None:
    """A picture as a data URI, no wider than a page and with few colours; None where it is damaged.

    Args:
        content: of a PNG file.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            shown = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    shown.thumbnail((LARGEST_WIDTH, LARGEST_WIDTH))
    return _uri(_png(shown.quantize(128)))


def _are_numbers(*values: object) -> bool:
    return all(isinstance(value, float | int) and np.isfinite(value) for value in values)


def _axes(size: tuple[float, float]) -> tuple[Figure, Any]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def _svg(figure: Figure, name: str) -> Markup:
    """The drawing as an element of a page, whose text has the colour of the page."""
    with io.StringIO() as text:
        figure.savefig(
            text, format="svg", dpi=110, bbox_inches="tight", metadata={"Date": None, "Creator": None}
        )
        drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(INK, "currentColor")
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)
    return Markup(drawing.replace("<svg ", f'<svg role="img" aria-label="{escape(name)}" ', 1))


def _blocks(image: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    """Means of blocks of pixels; what is left over at the right and below makes smaller blocks."""
    if block == 1:
        return image
    height, width = image.shape
    rows, columns = np.arange(0, height, block), np.arange(0, width, block)
    sums = np.add.reduceat(np.add.reduceat(image, rows, axis=0), columns, axis=1)
    lengths = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    return sums / lengths


def _grey(values: NDArray[np.float64], low: float, high: float) -> bytes:
    lit = np.isfinite(values)
    share = (np.where(lit, values, low) - low) / ((high - low) or 1.0)
    levels = np.where(lit, 1 + np.rint(254 * np.clip(share, 0, 1)), 0).astype(np.uint8)
    return _png(Image.fromarray(levels), transparency=0)


def _coloured(image: NDArray[np.float64]) -> str:
    """Red, green and blue between 0 and 1, (N, N, 3), as a data URI with few colours."""
    step = -(-max(image.shape[:2]) // LARGEST_SIDE)
    levels = np.rint(255 * image[::step, ::step]).astype(np.uint8)
    return _uri(_png(Image.fromarray(levels).quantize(128)))


def _png(image: Image.Image, **options: Any) -> bytes:
    with io.BytesIO() as file:
        image.save(file, format="PNG", **options)
        return file.getvalue()


def _uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
