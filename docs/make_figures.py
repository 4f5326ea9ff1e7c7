"""Draw docs/images/coordinates.png: `python docs/make_figures.py`.

The numbers in the figure come from the package itself, so that the figure shows what the code does.
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ptycho_torch.physics import zero_first
from ptycho_torch.reassembly import Canvas

IMAGES = Path(__file__).parent / "images"
N = 6
"""Side of the patches drawn, in pixels."""
POSITION = (6.3, 7.6)
"""The scan position of the first panel: row y, column x."""
POSITIONS = np.array([(4.2, 4.7), (5.4, 9.3), (9.1, 5.9), (9.8, 10.2)])
"""The scan positions of the last panel."""
BORDER_PX = 2
"""What is trimmed from the canvas in the last panel."""
BLUE, RED, GREEN, GREY = "tab:blue", "tab:red", "tab:green", "0.65"


def main() -> None:
    """Draw the figure."""
    figure = Figure(figsize=(13, 4.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    one_position(figure.add_subplot(1, 3, 1))
    pixel_order(figure.add_subplot(1, 3, 2))
    registration(figure.add_subplot(1, 3, 3))
    figure.savefig(IMAGES / "coordinates.png")


def pixel_grid(axes: Axes, height: int, width: int) -> None:
    """Show pixels, centred on whole numbers, with y downwards."""
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), aspect="equal")
    axes.set_xticks(np.arange(width + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(height + 1) - 0.5, minor=True)
    axes.set_xticks(range(0, width, 2))
    axes.set_yticks(range(0, height, 2))
    axes.grid(which="minor", color="0.9")
    axes.set_axisbelow(True)
    axes.tick_params(which="minor", length=0)
    axes.set(xlabel="x, column (px)", ylabel="y, row (px)")


def outline(axes: Axes, corner: tuple[int, int], shape: tuple[int, int], **style: object) -> None:
    """Draw a rectangle of whole pixels; corner and shape are (rows, columns)."""
    axes.add_patch(Rectangle((corner[1] - 0.5, corner[0] - 0.5), shape[1], shape[0], fill=False, **style))


def one_position(axes: Axes) -> None:
    """The patch of one scan position, and the remainder that the probe carries."""
    y, x = POSITION
    row, column = np.round(POSITION).astype(int)
    pixel_grid(axes, 13, 14)
    outline(axes, (row - N // 2, column - N // 2), (N, N), edgecolor=BLUE, linewidth=2)
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=BLUE, alpha=0.25))
    axes.plot(x, y, "x", color=RED, markersize=9, markeredgewidth=2)
    axes.plot(column, row, ".", color=BLUE)
    axes.annotate(
        f"scan position ({y}, {x})",
        (x, y),
        (0.2, 1.3),
        color=RED,
        arrowprops={"arrowstyle": "-", "color": RED},
    )
    axes.annotate(
        f"patch pixel (N//2, N//2)\nat ({row}, {column})",
        (column, row),
        (6.6, 11.6),
        color=BLUE,
        arrowprops={"arrowstyle": "-", "color": BLUE},
    )
    axes.text(0.2, 11.6, f"remainder\n({y - row:+.1f}, {x - column:+.1f})", color=RED)
    axes.text(column - N // 2 - 0.4, row - N // 2 - 0.7, f"patch, N = {N}", color=BLUE)
    axes.set_title("object plane: one position")


def pixel_order(axes: Axes) -> None:
    """Where the zero frequency of a pattern is, in files and inside."""
    stored = np.zeros((N, N))
    stored[N // 2, N // 2] = 1
    inside = zero_first(torch.from_numpy(stored)).numpy()
    gap = 3
    for left, marked, title in ((0, stored, "in files"), (N + gap, inside, "inside")):
        row, column = (int(i[0]) for i in np.nonzero(marked))
        for line in range(N + 1):
            axes.plot((left - 0.5, left + N - 0.5), (line - 0.5, line - 0.5), color=GREY, linewidth=0.8)
            axes.plot((left + line - 0.5, left + line - 0.5), (-0.5, N - 0.5), color=GREY, linewidth=0.8)
        axes.add_patch(Rectangle((left + column - 0.5, row - 0.5), 1, 1, color=GREEN))
        axes.text(left + N / 2 - 0.5, -0.9, title, ha="center")
        axes.text(
            left + N / 2 - 0.5, N + 1.1, f"zero frequency\nat ({row}, {column})", ha="center", color=GREEN
        )
    axes.annotate(
        "", (N + gap - 0.8, N / 2 - 0.5), (N - 0.2, N / 2 - 0.5), arrowprops={"arrowstyle": "->", "lw": 1.5}
    )
    axes.text(N + gap / 2 - 0.5, N / 2 - 0.9, "zero_first", ha="center", fontsize=9)
    axes.set(xlim=(-1, 2 * N + gap), ylim=(N + 3, -3), aspect="equal")
    axes.set_axis_off()
    axes.set_title(f"detector plane: pixel order, N = {N}")


def registration(axes: Axes) -> None:
    """The canvas of a scan, what is trimmed from it, and the two corners."""
    canvas = Canvas(POSITIONS, N, torch.device("cpu"))
    row, column = canvas.corner_px
    height, width = canvas.shape
    pixel_grid(axes, 17, 15)
    for y, x in POSITIONS:
        corner = (round(y) - N // 2, round(x) - N // 2)
        outline(axes, corner, (N, N), edgecolor=GREY, linewidth=1.2)
        axes.plot(x, y, "x", color=RED)
    inner = (height - 2 * BORDER_PX, width - 2 * BORDER_PX)
    outline(axes, (row, column), canvas.shape, edgecolor=BLUE, linewidth=2)
    outline(axes, (row + BORDER_PX, column + BORDER_PX), inner, edgecolor=GREEN, linewidth=2)
    corners = ((0, BLUE, "canvas_corner_px"), (BORDER_PX, GREEN, "corner_px, of the trimmed object"))
    for at, color, name in corners:
        label = f"{name} = ({row + at}, {column + at})"
        axes.plot(column + at, row + at, "s", color=color, markersize=7, linestyle="none", label=label)
    axes.plot([], [], "x", color=RED, label="scan positions")
    axes.legend(loc="lower left", fontsize=9)
    axes.set_title("registration of a reconstruction")


if __name__ == "__main__":
    main()
