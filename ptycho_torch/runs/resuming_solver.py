"""Going on with a reconstruction without a network that was stopped: its recorded settings, and what may change."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.config.origins import Layer
from ptycho.raw_data import RawData
from ptycho.run_files import RECORD
from ptycho.run_folder import RunFolder
from ptycho.run_record import read_record
from ptycho_torch.config_solver import SolverPayload
from ptycho_torch.runs.changes import fixed_failure, layers_of, recorded_solver_payload, said_otherwise
from ptycho_torch.runs.report.contents import read_contents
from ptycho_torch.runs.shown import ShownSolution
from ptycho_torch.runs.solved import SolverResult
from ptycho_torch.runs.solving import folder_for, solve_in
from ptycho_torch.runtime import check_solver, is_first_process

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EndedSolution(ShownSolution):
    """A reconstruction of one scan in which nothing was left to do.

    Attributes:
        run_dir: folder with everything about the run.
        arrays: those of reconstruction.npz, see `ptycho_torch.runs.product.Product.arrays`.
        metrics: figures.
        history: one row an iteration.
        problem: why the picture is not that of the object; None where nothing is known against it.
    """

    run_dir: Path
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)
    metrics: dict[str, Any]
    history: list[dict[str, Any]] = field(repr=False)
    problem: str | None

    @property
    def object(self) -> NDArray[np.complex64]:
        """The transmission of the object, complex64 (H, W)."""
        return self.arrays["object"]

    @property
    def probe(self) -> NDArray[np.complex64]:
        """The probe in photon scale, complex64 (modes, N, N), the strongest mode first."""
        return self.arrays["probe"]


def ended_solution(run_dir: Path) -> EndedSolution:
    """What a reconstruction of one scan left that has ended.

    Raises:
        ConfigError: its object or its probe is gone.
        DataError: one of its files is damaged.
    """
    found = read_contents(run_dir)
    if not {"object", "probe"} <= found.arrays.keys():
        message = f"{run_dir}: expected the results of a reconstruction; got no object and probe."
        raise ConfigError([Failure(str(run_dir), f"{message} Repeat it with overwrite=True.")])
    problem = None if found.problem is None else f"{found.title}: {found.problem}."
    if problem is not None:
        log.error("%s", printable(problem))
    return EndedSolution(run_dir, found.arrays, dict(found.figures), found.history, problem)


def resume_solving(
    run_dir: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    said: Sequence[tuple[type, Layer]] = (),
    scans: Sequence[RawData] | None = None,
) -> list[SolverResult]:
    """Go on with a reconstruction that was stopped, with the settings that it recorded.

    The result is, bit by bit on the same machine, the one of a run that was never stopped. The environment is not
    read.

    Args:
        run_dir: folder of the run.
        overrides: execution knob -> value; the other settings are those of the run.
        flags: command-line flags that were passed, by knob.
        data: where the scan is now; None: where it was.
        said: further settings, as layers for the classes of their sections.
        scans: scans in memory, as for `solve`.

    Returns:
        One result for each scan that was not finished.

    Raises:
        ConfigError: there is no such run, or nothing is left to do; a setting is wrong, or cannot change.
        FileNotFoundError: the scan is gone.
        DataError: the scan does not fit the data contract.
    """
    with RunFolder(run_dir, writes=is_first_process()) as folder:
        record = read_record(folder.path, "solver")
        payload = recorded_solver_payload(record, folder.path, overrides, flags, data, said)
        check_solver(payload.execution_config, payload.solver_config)
        return solve_in(folder, payload, scans, record)


def solve_or_resume(payload: SolverPayload, scans: Sequence[RawData] | None = None) -> list[SolverResult]:
    """Go on where the output folder holds a reconstruction that was stopped, and start otherwise.

    The same call begins a reconstruction, goes on with it after each stop, and does nothing once it has ended. One that
    goes on keeps the settings that it recorded; what the payload sets otherwise is changed, or refused, as by
    `resume_solving`.

    Args:
        payload: as for `solve`.
        scans: scans in memory, as for `solve`.

    Returns:
        One result for each scan that was not finished.

    Raises:
        ConfigError, DataError: as `solve` and `resume_solving`.
    """
    SolverPayload.refuse_other(payload)
    with folder_for(payload) as folder:
        if not (folder.path / RECORD).exists():
            folder.refuse_run(may_resume=False)
            return solve_in(folder, payload, scans)
        record = read_record(folder.path, "solver")
        changed = dict(said_otherwise(record, payload))
        begun = f"as {folder.path} was begun"
        if fixed := [
            fixed_failure(name, change, begun, "reconstruction")
            for name, change in changed.items()
            if "." in name
        ]:
            raise ConfigError(fixed)
        said, scan = layers_of(payload, changed), payload.solver_config.data_file
        payload = recorded_solver_payload(record, folder.path, data=scan, said=said)
        check_solver(payload.execution_config, payload.solver_config)
        return solve_in(folder, payload, scans, record, may_be_done=True)
