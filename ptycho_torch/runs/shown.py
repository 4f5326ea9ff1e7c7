"""What a finished run can be asked for in Python: its report, the course of its loss, and the next step."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ptycho.config.paths import Files
from ptycho.config.recipes import STANDARD, Recipe
from ptycho.display import (
    reconstruction_html,
    reconstruction_line,
    show_page,
    training_html,
    training_line,
)
from ptycho.public import Reconstruction, Scan, reconstruct
from ptycho.run_files import REPORT
from ptycho_torch.reassembly import Reconstruction as Found
from ptycho_torch.runs.figures import draw_iterations, draw_losses


class ShownRun:
    """A run with a report in its folder."""

    run_dir: Path

    def __init_subclass__(cls) -> None:
        cls.__repr__ = cls.__repr__  # in place of the one that a dataclass makes of all its fields

    def show(self) -> None:
        """Show report.html: in a notebook below the cell, elsewhere in the web browser.

        Raises:
            FileNotFoundError: the report no longer exists; `ptycho report RUN` writes it again.
        """
        show_page(self.run_dir / REPORT)


class ShownTraining(ShownRun):
    """A training that has ended."""

    bundle: Path
    history: list[dict[str, float | None]]
    problem: str | None

    __repr__ = training_line
    _repr_html_ = training_html

    def plot_loss(self, axes: Axes | None = None) -> Axes:
        """Draw training and validation loss over epochs, on axes or in a new figure of pyplot; gives the axes."""
        return draw_losses(axes or _new_axes(), self.history)

    def reconstruct(
        self,
        scan: Scan,
        output_dir: str | Path | None = None,
        *,
        recipe: Recipe = STANDARD,
        file: Files | None = None,
        overwrite: bool = False,
        **settings: Any,
    ) -> Reconstruction:
        """Reconstruct a scan with the trained model; see `ptycho.reconstruct`, which has the same arguments."""
        asked = {"recipe": recipe, "file": file, "overwrite": overwrite, **settings}
        return reconstruct(scan, self, output_dir, **asked)


class ShownReconstruction(ShownRun):
    """A reconstruction that has ended."""

    reconstruction: Found
    metrics: dict[str, Any]
    problem: str | None

    __repr__ = reconstruction_line
    _repr_html_ = reconstruction_html

    @property
    def object(self) -> NDArray[np.complex64]:
        """The transmission of the object, complex64 (H, W)."""
        return self.reconstruction.object

    @property
    def probe(self) -> NDArray[np.complex64]:
        """The probe in photon scale, complex64 (modes, N, N), the strongest mode first."""
        return self.reconstruction.probe


class ShownSolution(ShownReconstruction):
    """A reconstruction without a model that has ended."""

    history: list[dict[str, Any]]

    def plot_loss(self, axes: Axes | None = None) -> Axes:
        """Draw the deviance over iterations, on axes or in a new figure of pyplot; gives the axes."""
        return draw_iterations(axes or _new_axes(), self.history)


def _new_axes() -> Axes:
    from matplotlib import pyplot as plt  # which chooses how figures are shown in this process

    return plt.figure(layout="constrained").add_subplot()
