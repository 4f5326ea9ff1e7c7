"""The backend of `ptycho.train` and `ptycho.reconstruct`: one scan, in memory or in a file, and settings by name."""

import contextlib
import hashlib
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptycho.config.data import DataConfig
from ptycho.config.errors import ConfigError, Failure, show
from ptycho.config.paths import RECONSTRUCTIONS, RUNS, Files
from ptycho.config.recipes import Recipe
from ptycho.config.section import jsonable, section_of
from ptycho.display import in_notebook
from ptycho.folder_lock import locked, make_folder
from ptycho.raw_data import RawData
from ptycho.run_names import data_of, default_folder, reconstruction_folder
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.config_solver import create_solver_payload
from ptycho_torch.data.module import ScanDataModule
from ptycho_torch.runs.reconstruction import ReconstructionResult, reconstruct_scans
from ptycho_torch.runs.resuming import EndedTraining, train_or_resume
from ptycho_torch.runs.resuming_solver import EndedSolution, ended_solution, solve_or_resume
from ptycho_torch.runs.solved import SolverResult
from ptycho_torch.runs.solving import solve
from ptycho_torch.runs.training import TrainingResult, train


def train_scan(
    scan: RawData | str | Path,
    output_dir: str | Path | None,
    *,
    recipe: Recipe,
    file: Files | None,
    overwrite: bool,
    resume: bool,
    settings: Mapping[str, Any],
) -> TrainingResult | EndedTraining:
    """Train a model on a scan; see `ptycho.train`."""
    _refuse_both(overwrite, resume)
    name = _name_of(scan)
    stated = _stated(default_folder(Path(RUNS), name, is_own=_is_nameless(scan)))
    settings = _with_reading(scan, settings, is_read=not _is_nameless(scan))
    with _on_disk(scan, name, output_dir, stated) as (path, folder):
        payload = create_training_payload(
            path, folder, arguments=settings, file=file, recipe=recipe, cli_defaults=stated
        )
        config, execution = payload.tf_training_config, payload.execution_config
        data = None
        if isinstance(scan, RawData) and scan.path is not None:
            data = ScanDataModule(config, execution, options=payload.pt_data_config, scans=[scan])
        return (
            train_or_resume(payload, data=data) if resume else train(payload, data=data, overwrite=overwrite)
        )


def reconstruct_scan(
    scan: RawData | str | Path,
    model: str | Path,
    output_dir: str | Path | None,
    *,
    recipe: Recipe,
    file: Files | None,
    overwrite: bool,
    settings: Mapping[str, Any],
) -> ReconstructionResult:
    """Reconstruct a scan with a trained model; see `ptycho.reconstruct`."""
    name = _name_of(scan)
    stated = _stated(reconstruction_folder(model, name, is_own=_is_nameless(scan)))
    settings = _with_reading(scan, settings, is_read=True)
    with _on_disk(scan, name, output_dir, stated) as (path, folder):
        payload = create_inference_payload(
            model, path, folder, arguments=settings, file=file, recipe=recipe, cli_defaults=stated
        )
        scans = [scan] if isinstance(scan, RawData) else None
        return reconstruct_scans(payload, scans, overwrite=overwrite)[0]


def solve_scan(
    scan: RawData | str | Path,
    output_dir: str | Path | None,
    *,
    recipe: Recipe,
    file: Files | None,
    overwrite: bool,
    resume: bool,
    settings: Mapping[str, Any],
) -> SolverResult | EndedSolution:
    """Reconstruct a scan without a model; see `ptycho.reconstruct`."""
    _refuse_both(overwrite, resume)
    own = {name: value for name, value in settings.items() if name != "backend"}  # there is one solver
    own = _with_reading(scan, own, is_read=not _is_nameless(scan))
    name = _name_of(scan)
    stated = _stated(default_folder(Path(RECONSTRUCTIONS), name, is_own=_is_nameless(scan)))
    with _on_disk(scan, name, output_dir, stated) as (path, folder):
        payload = create_solver_payload(
            path, folder, arguments=own, file=file, recipe=recipe, cli_defaults=stated
        )
        scans = [scan] if isinstance(scan, RawData) and scan.path is not None else None
        if not resume:
            return solve(payload, scans, overwrite=overwrite)[0]
        results = solve_or_resume(payload, scans)
        return results[0] if results else ended_solution(Path(str(payload.solver_config.output_dir)))


def _refuse_both(overwrite: bool, resume: bool) -> None:
    if overwrite and resume:
        raise ValueError(
            "overwrite: expected without resume, which keeps the run in the folder; got both. Drop one."
        )


def _stated(folder: Path) -> dict[str, Any]:
    """What a call states where its user does not: the folder of the run, and a progress bar where somebody watches."""
    return {"output_dir": str(folder), "enable_progress_bar": in_notebook() or sys.stderr.isatty()}


def _with_reading(
    scan: RawData | str | Path, settings: Mapping[str, Any], *, is_read: bool
) -> dict[str, Any]:
    """Settings, and those that the file of a scan was read with, above all of files: so the run can read it again.

    Args:
        scan: the scan.
        settings: those of the call.
        is_read: whether the run takes a scan in memory as it is, and not from a file.

    Raises:
        ConfigError: a setting of how a scan is read that one that is read was not read with.
    """
    if not isinstance(scan, RawData) or not is_read:
        return dict(settings)
    read = {**scan.reading.to_dict(), "measurement_domain": scan.domain}
    wrong = [
        Failure.of(
            name,
            f"expected {show(read[name])}, with which the scan was loaded; got {show(value)} from argument. "
            "Load the scan with it, or give its path.",
        )
        for name, value in settings.items()
        if name in read and jsonable(value) != read[name] and (name, value) != ("measurement_domain", "auto")
    ]
    if wrong:
        raise ConfigError(wrong)
    return {name: read[name] for name in section_of(DataConfig).fields} | dict(settings)


def _is_nameless(scan: RawData | str | Path) -> bool:
    """Whether a scan is in memory alone."""
    return isinstance(scan, RawData) and scan.path is None


def _name_of(scan: RawData | str | Path) -> str | Path:
    """The file of a scan; of one that is in memory alone the name of the file that its run writes."""
    if not isinstance(scan, RawData):
        return scan
    return scan.path or f"scan-{_digest(scan)[:8]}.npz"


@contextlib.contextmanager
def _on_disk(
    scan: RawData | str | Path, name: str | Path, output_dir: str | Path | None, stated: Mapping[str, Any]
) -> Generator[tuple[str | Path, str | Path | None]]:
    """Give the file of a scan and the folder of its run, None where a setting may name it.

    A scan that is in memory alone is written into the folder, so that the run can be gone on with, and checked. Its
    name follows from its content: no other scan is replaced. It is removed again where the run has not begun.
    """
    if not isinstance(scan, RawData) or scan.path is not None:
        yield name, output_dir
        return
    folder = Path(output_dir or stated["output_dir"])
    with contextlib.ExitStack() as undo:
        for made in reversed(make_folder(folder)):
            undo.callback(_remove_empty, made)
        path = folder / name
        if not path.exists():
            undo.callback(_remove_unused, path)
        scan.to_file(path)
        yield path, folder
        undo.pop_all()


def _remove_unused(path: Path) -> None:
    """Remove the file of a scan that the run in its folder does not name, unless a run there is about to."""
    with contextlib.suppress(ConfigError), locked(path.parent):
        if path.resolve() not in data_of(path.parent):
            path.unlink(missing_ok=True)


def _digest(scan: RawData) -> str:
    """SHA-256 of all arrays of a scan."""
    told = hashlib.sha256()
    for name, array in scan.to_arrays().items():
        told.update(f"{name} {array.dtype} {array.shape}".encode())
        told.update(np.ascontiguousarray(array))
    return told.hexdigest()


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # somebody else's file is in it
        folder.rmdir()
