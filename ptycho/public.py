"""What `import ptycho` offers: load a scan, simulate one, train a model on it, reconstruct with the model.

What computes is the backend, found by its name among the installed packages, so that nothing here loads torch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, overload

import numpy as np
import numpy.typing as npt

from ptycho.config.data import DataConfig
from ptycho.config.errors import ConfigError, Failure, printable, show
from ptycho.config.paths import Files
from ptycho.config.recipes import STANDARD, Recipe
from ptycho.data_error import DataError
from ptycho.raw_data import RawData
from ptycho.run_files import is_model
from ptycho.run_names import refuse_run
from ptycho.workflows.backend_selector import load_backend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Scan = RawData | str | Path
"""A scan in memory, or its file."""


class Training(Protocol):
    """A finished training, which shows as a table with its losses in a notebook."""

    @property
    def run_dir(self) -> Path:
        """The folder with everything about the run."""
        ...

    @property
    def bundle(self) -> Path:
        """The saved model."""
        ...

    @property
    def history(self) -> Sequence[dict[str, float | None]]:
        """One row for each epoch: epoch, step, train_loss, val_loss, learning_rate, epoch_time_s."""
        ...

    @property
    def problem(self) -> str | None:
        """Why the training did not learn; None if it is sound."""
        ...

    def show(self) -> None:
        """Show report.html: in a notebook below the cell, elsewhere in the web browser."""
        ...

    def plot_loss(self, axes: "Axes | None" = None) -> "Axes":
        """Draw training and validation loss over epochs, on axes or in a new figure of pyplot; gives the axes."""
        ...

    def reconstruct(
        self,
        scan: "Scan",
        output_dir: str | Path | None = None,
        *,
        recipe: Recipe = STANDARD,
        file: Files | None = None,
        overwrite: bool = False,
        **settings: Any,
    ) -> "Reconstruction":
        """Reconstruct a scan with the trained model; arguments and errors as those of `ptycho.reconstruct`."""
        ...


class Reconstruction(Protocol):
    """A finished reconstruction of one scan, which shows as a table with its picture in a notebook."""

    @property
    def run_dir(self) -> Path:
        """The folder with everything about the run."""
        ...

    @property
    def object(self) -> npt.NDArray[np.complex64]:
        """The transmission of the object, complex64 (H, W)."""
        ...

    @property
    def probe(self) -> npt.NDArray[np.complex64]:
        """The probe in photon scale, complex64 (modes, N, N)."""
        ...

    @property
    def metrics(self) -> dict[str, Any]:
        """R factor and deviance, and figures against the known object where there is one."""
        ...

    @property
    def problem(self) -> str | None:
        """Why the picture is not that of the object; None where nothing is known against it."""
        ...

    def show(self) -> None:
        """Show report.html: in a notebook below the cell, elsewhere in the web browser."""
        ...


class Solution(Reconstruction, Protocol):
    """A finished reconstruction without a model."""

    @property
    def history(self) -> Sequence[dict[str, Any]]:
        """One row for each iteration: iteration, loss, deviance_per_pixel and others."""
        ...

    def plot_loss(self, axes: "Axes | None" = None) -> "Axes":
        """Draw the deviance over iterations, on axes or in a new figure of pyplot; gives the axes."""
        ...


def load(path: str | Path, domain: str = "auto", **settings: Any) -> RawData:
    """Read one scan.

    Args:
        path: an NPZ file in the data contract, or a file of another program: CXI, ptychodus, ptypy, PtyLab, EMD
            (py4DSTEM), and any HDF5 or NPZ file whose arrays the settings name.
        domain: 'amplitude' or 'intensity', what the patterns are; 'auto' asks the file.
        **settings: how it is read (`patterns="/entry/data"`, `crop=256`); `help(ptycho.DataConfig)` lists them.
            `measurement_domain` is another name of the domain.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: everything that is wrong with the settings, or both names give the domain.
        DataError: everything that is wrong with the file; or it is a folder.
        ValueError: another word for the domain.
    """
    other = settings.pop("measurement_domain", domain)
    if domain not in ("auto", other):
        words = f"given twice, as domain={show(domain)} and as measurement_domain={show(other)}. Keep one of them."
        raise ConfigError.of("domain", words)
    reading = DataConfig(**settings)
    _refuse_folder(path)
    return RawData.from_file(path, other, reading=reading)


def train(
    scan: Scan,
    output_dir: str | Path | None = None,
    *,
    recipe: Recipe = STANDARD,
    file: Files | None = None,
    overwrite: bool = False,
    resume: bool = False,
    **settings: Any,
) -> Training:
    """Train a model on a scan.

    Args:
        scan: a scan in memory, which settings of `load` cannot read in another way; or the path of a scan, or of a
            folder of NPZ files that are one data set. A scan in memory that no file holds is written into the folder
            of the run.
        output_dir: folder for everything the training writes; None: `runs/NAME`, after the scan.
        recipe: the settings to begin with: a name (`standard` works well out of the box), or a run file; None: the
            defaults of the settings.
        file: a file of settings, or several, the last one strongest.
        overwrite: whether a run in the folder is replaced. Without it, and without `resume`, it is kept, and refused.
        resume: whether to go on with the training in the folder, where there is one. One that has ended is returned.
        **settings: settings by their names (`nepochs=20`, `accelerator="gpu"`), which beat those of the file;
            `help(ptycho.TrainingConfig)`, `ModelConfig` and `PyTorchExecutionConfig` list them.

    Raises:
        ConfigError: everything that is wrong with the settings, or the folder holds a run.
        DataError, FileNotFoundError: the scan cannot be used.
        RuntimeError: the run failed for a reason outside the package; the message says how to go on.
    """
    _refuse_other(scan)
    asked = {"recipe": recipe, "file": file, "overwrite": overwrite, "resume": resume, "settings": settings}
    return cast(Training, _backend(settings).train_scan(scan, output_dir, **asked))


@overload
def reconstruct(
    scan: Scan,
    model: None = None,
    output_dir: str | Path | None = None,
    *,
    recipe: Recipe = STANDARD,
    file: Files | None = None,
    overwrite: bool = False,
    resume: bool = False,
    **settings: Any,
) -> Solution: ...


@overload
def reconstruct(
    scan: Scan,
    model: Training | str | Path,
    output_dir: str | Path | None = None,
    *,
    recipe: Recipe = STANDARD,
    file: Files | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Reconstruction: ...


def reconstruct(
    scan: Scan,
    model: Training | str | Path | None = None,
    output_dir: str | Path | None = None,
    *,
    recipe: Recipe = STANDARD,
    file: Files | None = None,
    overwrite: bool = False,
    resume: bool = False,
    **settings: Any,
) -> Reconstruction:
    """Reconstruct a scan, by itself or with a trained model.

    Args:
        scan: a scan in memory, which settings of `load` cannot read in another way; or the path of one.
        model: what `train` returned, or the folder of a training, or its `wts.h5.zip`; None: the iterative solver
            reconstructs the scan by itself.
        output_dir: folder for everything the reconstruction writes; None: `reconstructions/NAME`, after the scan, or
            with a model one in its folder.
        recipe: the settings to begin with: a name (`standard` works well out of the box), or a run file; None: the
            defaults of the settings.
        file: a file of settings, or several, the last one strongest.
        overwrite: whether a reconstruction in the folder is replaced. Without it, and without `resume`, it is kept, and
            refused.
        resume: without a model, whether to go on with the reconstruction in the folder, where there is one. One that
            has ended is returned.
        **settings: settings by their names, which beat those of the file; `help(ptycho.SolverConfig)`, with a model
            `InferenceConfig`, and `PyTorchExecutionConfig` list them.

    Raises:
        ConfigError: everything that is wrong with the settings, there is no such model, or the folder holds a run.
        DataError, FileNotFoundError: the scan cannot be used.
        ValueError: the model cannot be read; or `resume` beside a model, or beside `overwrite`.
    """
    _refuse_other(scan, model)
    if not isinstance(scan, RawData):
        _refuse_swapped(scan, model)
        _refuse_folder(scan)
    asked = {"recipe": recipe, "file": file, "overwrite": overwrite, "settings": settings}
    if model is None:
        return cast(Reconstruction, _backend(settings).solve_scan(scan, output_dir, resume=resume, **asked))
    if resume:
        raise ValueError(
            "resume: expected without a model; got both. With a model it cannot be resumed: use overwrite."
        )
    trained = model if isinstance(model, str | Path) else model.run_dir
    return cast(Reconstruction, _backend(settings).reconstruct_scan(scan, trained, output_dir, **asked))


def _refuse_other(scan: object, model: object = None) -> None:
    """Refuse what is no scan, or no model."""
    if not isinstance(scan, Scan):
        got = f"an object of the type {type(scan).__name__}"
        raise TypeError(f"scan: expected a RawData, or the path of a file; got {got}. Use ptycho.load(path).")
    if not isinstance(model, str | Path | None) and not hasattr(model, "run_dir"):
        rule = "expected the result of ptycho.train, or the folder of a training"
        got = f"an object of the type {type(model).__name__}"
        raise TypeError(f"model: {rule}; got {got}. The scan comes first, the model second.")


def _refuse_swapped(scan: str | Path, model: object) -> None:
    if isinstance(model, str | Path) and is_model(scan) and not is_model(model):
        got = f"got the model {show(str(scan))}, and then {show(str(model))}"
        message = f"scan: expected a scan, and then a trained model; {got}. Swap the two."
        raise ConfigError([Failure("scan", message)])


def _refuse_folder(path: str | Path) -> None:
    refuse_run(path)
    if Path(path).is_dir():
        message = "expected the file of one scan; got a folder. Name its files one by one."
        raise DataError(f"{printable(str(path))}: {message}")


def _backend(settings: dict[str, Any]) -> Any:
    return load_backend(settings.get("backend", "pytorch"))
