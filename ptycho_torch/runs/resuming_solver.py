"""Going on with a reconstruction without a network that was stopped: its recorded settings, and what may change."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.config.origins import Layer
from ptycho.config.request import Request
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from ptycho.raw_data import RawData
from ptycho.run_files import RECORD
from ptycho.run_folder import RunFolder
from ptycho.run_record import read_record
from ptycho_torch.config_solver import SolverPayload, solver_payload
from ptycho_torch.runs.changes import fixed_failure, layers_of, said_otherwise
from ptycho_torch.runs.report.contents import read_contents
from ptycho_torch.runs.shown import ShownSolution
from ptycho_torch.runs.solved import SolverResult
from ptycho_torch.runs.solving import folder_for, solve_in
from ptycho_torch.runtime import check_solver, is_first_process

log = logging.getLogger(__name__)

_MAY_CHANGE: Final = "the settings of [execution] and the place of the scan"


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
        payload = _recorded_payload(record, folder.path, overrides or {}, flags or {}, data)
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
        payload = _recorded_payload(record, folder.path, {}, {}, scan, said)
        return solve_in(folder, payload, scans, record, may_be_done=True)


def stopped_payload(
    run_dir: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
) -> SolverPayload:
    """The settings that `resume_solving` would go on with; arguments and errors as there."""
    path = Path(run_dir)
    return _recorded_payload(read_record(path, "solver"), path, overrides or {}, flags or {}, data)


def _recorded_payload(
    record: Mapping[str, Any],
    run_dir: Path,
    overrides: Mapping[str, Any],
    flags: Mapping[str, Any],
    data: str | Path | None,
    said: Iterable[tuple[type, Layer]] = (),
) -> SolverPayload:
    """The payload of a run that goes on; for the rest see `layers_of`.

    Raises:
        ConfigError: a setting cannot change, or is wrong; or the machine cannot follow it.
    """
    fields = section_of(SolverConfig).fields
    fixed = [name for level in (overrides, flags) for name in level if name in fields]
    if fixed:
        rule = f"expected the value of the run; a resumed reconstruction can change {_MAY_CHANGE}"
        raise ConfigError([Failure(name, f"solver.{name}: {rule}. Drop it.") for name in fixed])
    moved = {} if data is None else {"data_file": data}
    place = {**moved, "output_dir": run_dir}
    request = Request.of_record(record, str(run_dir / RECORD), overrides={**overrides, **place}, flags=flags)
    for cls, layer in said:
        request.add(cls, layer)
    payload = solver_payload(request.answer())
    check_solver(payload.execution_config, payload.solver_config)
    return payload
