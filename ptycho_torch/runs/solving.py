"""What happens in a reconstruction without a network: from a payload to pictures, arrays and figures in a folder."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from lightning.fabric import Fabric
from lightning.pytorch.loggers import Logger

from ptycho.checksums import Checksums
from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.config.request import Request
from ptycho.config.rules import idle_settings, values_of
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from ptycho.raw_data import RawData, load_scans
from ptycho.run_folder import OF_RECONSTRUCTION, PREVIEW, RECORD, STATE, RunFolder
from ptycho.run_names import distinct_names
from ptycho.run_record import read_record
from ptycho.wording import counted
from ptycho_torch.config_solver import SolverPayload, solver_payload
from ptycho_torch.data.found import with_found
from ptycho_torch.runs.completing import as_found
from ptycho_torch.runs.course import Course, margin_px
from ptycho_torch.runs.exports import export_of
from ptycho_torch.runs.fingerprints import domains_of, scan_fingerprint
from ptycho_torch.runs.judging import TOLD
from ptycho_torch.runs.pace import PREVIEW_S, Pace
from ptycho_torch.runs.product import pixel_sizes_of
from ptycho_torch.runs.reconstruction import refuse_folder_of_model, refuse_several_objects, stem_of
from ptycho_torch.runs.record import logged, recorded_domains, write_configuration
from ptycho_torch.runs.report.evidence import evidence
from ptycho_torch.runs.solved import SolverResult, finish, save, save_preview, save_so_far
from ptycho_torch.runs.solver_files import StateFile, history_of
from ptycho_torch.runs.start import start_of
from ptycho_torch.runtime import (
    build_fabric,
    build_logger,
    check_solver,
    is_first_process,
    log_picture,
    naming_losses,
    progress_bar,
    run_environment,
    warn_once,
)
from ptycho_torch.stopping import Terminated, stop_if_asked

log = logging.getLogger(__name__)


def solve(
    payload: SolverPayload, scans: Sequence[RawData] | None = None, *, overwrite: bool = False
) -> list[SolverResult]:
    """Reconstruct the scan, or every scan of the folder, that a payload names, without a network.

    An interrupt keeps the object as it is then; `resume_solving` goes on.

    Args:
        payload: from ``create_solver_payload``.
        scans: scans in memory; None: those that the payload names.
        overwrite: whether a run that is in the output folder is replaced; it is kept aside until this one has saved.

    Returns:
        One result for each scan. A single scan writes into ``output_dir``, several into a folder each below it.

    Raises:
        ConfigError: the machine lacks what the configuration asks for; raised before anything is read.
        ConfigError: the output folder holds a run, or another run writes into it.
        DataError: a scan does not fit the data contract.
        KeyboardInterrupt, Terminated: as asked; what is found so far is kept.
    """
    SolverPayload.refuse_other(payload)
    with _folder_for(payload) as folder:
        if not overwrite:
            folder.refuse_run(may_resume=False)
        return _solve_in(folder, payload, scans)


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
        return _solve_in(folder, payload, scans, record)


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


def _folder_for(payload: SolverPayload) -> RunFolder:
    check_solver(payload.execution_config, payload.solver_config)
    _warn_of_idle_settings(payload)
    run_dir = Path(str(payload.solver_config.output_dir))
    refuse_folder_of_model(run_dir)
    return RunFolder(run_dir, writes=is_first_process())


def _warn_of_idle_settings(payload: SolverPayload) -> None:
    values = values_of(payload.solver_config, payload.execution_config)
    for name, message in idle_settings(values):
        if payload.sources[f"solver.{name}"].kind not in ("default", "recipe", "cli-default"):
            warn_once(message)


def _solve_in(
    home: RunFolder,
    payload: SolverPayload,
    scans: Sequence[RawData] | None,
    record: Mapping[str, Any] | None = None,
) -> list[SolverResult]:
    """Solve in a folder that this process has for itself; with the record of a run, go on with it."""
    config, execution, run_dir = payload.solver_config, payload.execution_config, home.path
    goes_on = record is not None
    with (
        run_environment(execution),
        logged(home, further=goes_on),
        naming_losses(execution, run_dir),
    ):
        fabric = build_fabric(execution)
        if scans is None:
            trained = recorded_domains(record) if record is not None else None
            scans = load_scans(Path(str(config.data_file)), config.measurement_domain, trained, config.data)
        for scan in scans:
            refuse_several_objects(scan)
        export_of(config).refuse(scans)
        names = distinct_names(stem_of(scan, i) for i, scan in enumerate(scans))
        folders = [run_dir] if len(scans) == 1 else [run_dir / name for name in names]
        left = [pair for pair in zip(scans, folders, strict=True) if not goes_on or not _is_finished(pair[1])]
        if not left:
            message = f"{run_dir}: expected a reconstruction that was not finished; got one that is."
            raise ConfigError([Failure(str(run_dir), f"{message} Start another one from it with --start.")])
        home.begin(anew=not goes_on)
        checksums = Checksums(run_dir)
        if fabric.is_global_zero:
            _write_record(payload, scans, run_dir, checksums, record)
        results = [_one_scan(payload, *pair, run_dir, fabric, checksums) for pair in left]
        if fabric.is_global_zero:
            checksums.settle()
        home.saved()
        fabric.barrier()  # what the first process writes is there for every process that returns
        return results


def _is_finished(folder: Path) -> bool:
    return (folder / OF_RECONSTRUCTION[-1]).is_file() and not (folder / STATE).exists()


def _write_record(
    payload: SolverPayload,
    scans: Sequence[RawData],
    run_dir: Path,
    checksums: Checksums,
    record: Mapping[str, Any] | None,
) -> None:
    facts: dict[str, Any] = {
        "measurement_domain": {str(scan.path): f"{scan.domain} ({scan.domain_reason})" for scan in scans},
        "domains": domains_of(scans).to_json(),
        "object_pixel_size_m": pixel_sizes_of(scans),
        "fingerprints": [scan_fingerprint(scan) for scan in scans],
        "resumed": [] if record is None else [*(record.get("resumed") or ()), {"from": STATE}],
    }
    write_configuration(
        run_dir,
        payload.solver_config,
        payload.execution_config,
        payload.sources,
        payload.overrides_applied,
        facts,
        None if record is None else _kept_origins(record),
    )
    checksums.list_scans(scan.path for scan in scans if scan.path is not None)


def _kept_origins(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: told for name, told in record["origins"].items() if name.startswith("solver.")}


# One scan -----------------------------------------------------------------------------------------------------------


def _one_scan(
    payload: SolverPayload,
    scan: RawData,
    folder: Path,
    run_dir: Path,
    fabric: Fabric,
    checksums: Checksums,
) -> SolverResult:
    config, execution = payload.solver_config, payload.execution_config
    fingerprint = scan_fingerprint(scan)
    scan = as_found(with_found(scan, config.start, "solver.start", ("object",)), fabric, check=True)
    course = Course(payload, scan, start_of(config.start, scan, margin_px(config)), fabric)
    state = StateFile(folder, checksums, fingerprint)
    if (saved := state.read()) is not None:
        try:
            course.restore(saved)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise state.damaged(error) from None
        log.info("%s: goes on after %s", printable(str(scan.path)), counted(course.n_done, "iteration"))
    window = execution.reconstruction_window
    logger = build_logger(execution, folder) if fabric.is_global_zero else None
    with _logged_to(logger):
        try:
            _run(
                course,
                payload,
                state,
                logger,
                partial(_preview, course, folder, window, run_dir, checksums, logger),
            )
        except (KeyboardInterrupt, Terminated):
            _keep(course, state, folder, window, run_dir, checksums)
            raise
        result, pair = finish(course, folder, window)
        if fabric.is_global_zero:
            patterns = evidence(scan, course.predicted, result.positions_px)
            save(result, pair, patterns, run_dir, checksums, history_of(result.history), export_of(config))
            state.remove()
        if logger is not None:
            _log_results(logger, result, folder)
    return result


def _preview(
    course: Course, folder: Path, window: int, run_dir: Path, checksums: Checksums, logger: Logger | None
) -> None:
    """Write a picture and a report of what a course has found so far, and send the picture to the logger."""
    save_preview(course, folder, window, run_dir, checksums)
    if logger is not None:
        log_picture(logger, folder / PREVIEW[0], "object", course.n_done)


def _log_results(logger: Logger, result: SolverResult, folder: Path) -> None:
    """Send the figures of a scan to a logger, with the object beside the known one, or alone."""
    n_done = int(result.metrics["n_iterations"])
    logger.log_metrics({name: result.metrics[name] for name in TOLD if name in result.metrics}, step=n_done)
    for name, picture in zip(("object", "comparison"), OF_RECONSTRUCTION[1:3], strict=True):
        if (folder / picture).is_file():
            log_picture(logger, folder / picture, name, n_done)


def _keep(
    course: Course, state: StateFile, folder: Path, window: int, run_dir: Path, checksums: Checksums
) -> None:
    """Write what a course that was stopped has found, and what it goes on from."""
    if course.n_done and course.fabric.world_size == 1:
        state.write(course.snapshot())
        result, _ = finish(course, folder, window, is_whole=False)
        save_so_far(result, run_dir, checksums, history_of(result.history))
        log.warning(
            "%s: stopped after %d of %d iterations; the object so far is kept",
            printable(str(course.scan.path)),
            course.n_done,
            course.plan.n_iterations,
        )


def _run(
    course: Course,
    payload: SolverPayload,
    state: StateFile,
    logger: Logger | None,
    preview: Callable[[], None],
) -> None:
    """Let a course come to its end; now and then its state and a report are written, and it is told how far it is."""
    execution, fabric = payload.execution_config, course.fabric
    shown = execution.enable_progress_bar and fabric.is_global_zero
    name, pace = printable(stem_of(course.scan, 0)), Pace(PREVIEW_S)
    with progress_bar(course.plan.n_iterations, name, done=course.n_done, shown=shown) as bar:
        while not course.is_done:
            stop_if_asked()
            row = course.advance()
            bar.total = course.plan.n_iterations
            bar.set_description_str(f"{name}: iteration {course.n_done}/{bar.total}", refresh=False)
            bar.set_postfix_str(
                f"{row['loss']} loss, deviance {row['deviance_per_pixel']:.4g}", refresh=False
            )
            bar.update()
            if logger is not None:
                numbers = {key: value for key, value in row.items() if isinstance(value, float)}
                logger.log_metrics(numbers, step=int(row["iteration"]))
            due = fabric.broadcast(state.is_due) if fabric.world_size > 1 else state.is_due
            if due and not course.is_done:
                snapshot = course.snapshot()
                if fabric.is_global_zero:
                    state.write(snapshot)
            if pace.is_due and fabric.is_global_zero and not course.is_done:
                with pace.writing():
                    if not shown:
                        log.info(
                            "%s: iteration %d of %d, deviance %.4g per pixel", name, course.n_done,
                            course.plan.n_iterations, row["deviance_per_pixel"],
                        )  # fmt: skip
                    if fabric.world_size == 1:
                        preview()


@contextmanager
def _logged_to(logger: Logger | None) -> Iterator[None]:
    try:
        yield
    finally:
        if logger is not None:
            logger.save()
            logger.finalize("success")


# Going on -----------------------------------------------------------------------------------------------------------

_MAY_CHANGE: Final = "the settings of [execution], and where the scan is"


def _recorded_payload(
    record: Mapping[str, Any],
    run_dir: Path,
    overrides: Mapping[str, Any],
    flags: Mapping[str, Any],
    data: str | Path | None,
) -> SolverPayload:
    """The payload of a run that goes on.

    Raises:
        ConfigError: a setting cannot change, or is wrong; or the machine cannot follow it.
    """
    fields = section_of(SolverConfig).fields
    fixed = [name for level in (overrides, flags) for name in level if name in fields]
    if fixed:
        rule = f"expected as the run has it; a reconstruction that goes on can change {_MAY_CHANGE}"
        raise ConfigError([Failure(name, f"solver.{name}: {rule}. Drop it.") for name in fixed])
    moved = {} if data is None else {"data_file": data}
    place = {**moved, "output_dir": run_dir}
    request = Request.of_record(record, str(run_dir / RECORD), overrides={**overrides, **place}, flags=flags)
    payload = solver_payload(request.answer())
    check_solver(payload.execution_config, payload.solver_config)
    return payload
