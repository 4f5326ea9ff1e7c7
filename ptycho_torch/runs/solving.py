"""What happens in a reconstruction without a network: from a payload to pictures, arrays and figures in a folder."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from lightning.fabric import Fabric
from lightning.pytorch.loggers import Logger

from ptycho.checksums import Checksums, refuse_changed
from ptycho.config.errors import ConfigError, Failure, printable
from ptycho.config.rules import idle_settings, values_of
from ptycho.config.solver import SolverConfig
from ptycho.memory import available_bytes, size_text, too_large
from ptycho.raw_data import DataError, RawData, load_scans
from ptycho.run_files import OF_RECONSTRUCTION, PREVIEW, STATE
from ptycho.run_folder import RunFolder
from ptycho.run_names import distinct_names
from ptycho.wording import counted
from ptycho_torch.config_solver import SolverPayload
from ptycho_torch.data.found import with_found
from ptycho_torch.runs.completing import as_found
from ptycho_torch.runs.course import Course, margin_px
from ptycho_torch.runs.exports import export_of
from ptycho_torch.runs.fingerprints import domains_of, scan_fingerprint
from ptycho_torch.runs.judging import TOLD
from ptycho_torch.runs.pace import PREVIEW_S, Pace, PreviewPace
from ptycho_torch.runs.product import pixel_sizes_of
from ptycho_torch.runs.reconstruction import refuse_folder_of_model, refuse_several_objects, stem_of
from ptycho_torch.runs.record import (
    ENDING,
    as_started,
    logged,
    recorded_domains,
    refuse_replaced,
    write_configuration,
)
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

PIXEL_BYTES: Final = 120
"""Bytes for each pixel of an object while it is found and drawn."""

log = logging.getLogger(__name__)


def solve(
    payload: SolverPayload, scans: Sequence[RawData] | None = None, *, overwrite: bool = False
) -> list[SolverResult]:
    """Reconstruct the scan, or every scan of the folder, that a payload names, without a network.

    An interrupt keeps the object as it is then; `ptycho_torch.runs.resuming_solver.resume_solving` goes on.

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
    with folder_for(payload) as folder:
        if not overwrite:
            folder.refuse_run(may_resume=False)
        return solve_in(folder, payload, scans)


def folder_for(payload: SolverPayload) -> RunFolder:
    """The folder of a run, to be entered, once what this machine cannot do is refused."""
    check_solver(payload.execution_config, payload.solver_config)
    _warn_of_idle_settings(payload)
    run_dir = Path(str(payload.solver_config.output_dir))
    refuse_folder_of_model(run_dir)
    return RunFolder(run_dir, writes=is_first_process())


def _warn_of_idle_settings(payload: SolverPayload) -> None:
    values, defaults = values_of(payload.solver_config, payload.execution_config), values_of(SolverConfig())
    for name, message in idle_settings(values):
        is_changed = values[name] != defaults[name]
        if is_changed and payload.sources[f"solver.{name}"].kind not in ("default", "recipe", "cli-default"):
            warn_once(message)


def solve_in(
    home: RunFolder,
    payload: SolverPayload,
    scans: Sequence[RawData] | None,
    record: Mapping[str, Any] | None = None,
    *,
    may_be_done: bool = False,
) -> list[SolverResult]:
    """Solve in a folder that this process has for itself; with the record of a run, go on with it.

    Raises:
        ConfigError: nothing is left to do, unless it `may_be_done`.
    """
    config, execution, run_dir = payload.solver_config, payload.execution_config, home.path
    goes_on = record is not None
    with (
        run_environment(execution),
        logged(home, further=goes_on),
        naming_losses(execution, run_dir, trains=False),
    ):
        fabric = build_fabric(execution)
        if scans is None:
            trained = recorded_domains(record) if record is not None else None
            scans = load_scans(Path(str(config.data_file)), config.measurement_domain, trained, config.data)
        for scan in scans:
            refuse_several_objects(scan)
            _refuse_large(scan)
        export_of(config).refuse(scans)
        if record is not None:
            _refuse_other_scans(scans, record)
        else:
            refuse_replaced(config, run_dir)
        folders = home.folders_for(distinct_names(stem_of(scan, i) for i, scan in enumerate(scans)))
        finished = [folder for folder in folders if goes_on and _is_finished(folder)]
        _refuse_changed(run_dir, finished)
        left = [pair for pair in zip(scans, folders, strict=True) if pair[1] not in finished]
        if not left and may_be_done:
            log.info("%s: its reconstruction has finished", printable(str(run_dir)))
            return []
        if not left:
            message = f"{run_dir}: expected an unfinished reconstruction; got a finished one."
            raise ConfigError([Failure(str(run_dir), f"{message} Start another one from it with --start.")])
        home.begin(anew=not goes_on)
        checksums = Checksums(run_dir)
        if fabric.is_global_zero:
            _write_record(payload, scans, run_dir, record)
        results: list[SolverResult] = []
        for scan, folder in left:
            with home.for_scan(folder):
                results.append(_one_scan(payload, scan, folder, run_dir, fabric, checksums))
        if fabric.is_global_zero:
            checksums.settle()
        home.saved()
        fabric.barrier()  # what the first process writes is there for every process that returns
        return results


def _refuse_large(scan: RawData) -> None:
    """Refuse positions so far apart that there is no memory to find the object between them.

    Raises:
        DataError: they are.
    """
    height, width = np.ptp(scan.positions_px, axis=0) + scan.patterns.shape[-1]
    n_bytes = float(height * width * PIXEL_BYTES)
    if too_large(n_bytes):
        raise DataError(
            f"{scan.path or 'scan'}: positions: expected an object that fits into memory, "
            f"{size_text(available_bytes())}; got {height:.4g} x {width:.4g} pixels, which take {size_text(n_bytes)}. "
            "Leave out positions far from the others, or correct their unit (object pixels)."
        )


def _refuse_other_scans(scans: Sequence[RawData], record: Mapping[str, Any]) -> None:
    found = [scan_fingerprint(scan) for scan in scans]
    if found != (record.get("fingerprints") or found):
        raise DataError(
            f"{', '.join(str(scan.path or 'scan') for scan in scans)}: expected the data that the run started with; "
            "got other shapes, positions, probes or patterns. Name the data of the run, or start a new one."
        )


def _refuse_changed(run_dir: Path, finished: Sequence[Path]) -> None:
    """Refuse results, of scans that were finished before, which are not as the run wrote them."""
    names = (OF_RECONSTRUCTION[0], OF_RECONSTRUCTION[-1])
    results = [(folder / name).relative_to(run_dir).as_posix() for folder in finished for name in names]
    if results:
        cure = "Put it back, or replace the run (--overwrite; overwrite=True in Python)."
        refuse_changed(run_dir, results, cure)


def _is_finished(folder: Path) -> bool:
    return (folder / OF_RECONSTRUCTION[-1]).is_file() and not (folder / STATE).exists()


def _write_record(
    payload: SolverPayload,
    scans: Sequence[RawData],
    run_dir: Path,
    record: Mapping[str, Any] | None,
) -> None:
    facts: dict[str, Any] = {
        "measurement_domain": {str(scan.path): f"{scan.domain} ({scan.domain_reason})" for scan in scans},
        "domains": domains_of(scans).to_json(),
        "object_pixel_size_m": pixel_sizes_of(scans),
        "fingerprints": [scan_fingerprint(scan) for scan in scans],
        "resumed": [],
    }
    if record is not None:
        resumed = {"from": STATE, "command_line": sys.argv}
        facts |= {**as_started(record), "resumed": [*(record.get("resumed") or ()), resumed]}
    write_configuration(
        run_dir,
        payload.solver_config,
        payload.execution_config,
        payload.sources,
        payload.overrides_applied,
        facts,
        [scan.path for scan in scans],
        None if record is None else _kept_origins(record),
    )


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
    scan = as_found(with_found(scan, config.start, "solver.start", ("object",)), fabric)
    course = Course(payload, scan, start_of(config.start, scan, margin_px(config)), fabric)
    state = StateFile(folder, checksums, fingerprint)
    if (saved := state.read()) is not None:
        try:
            course.restore(saved)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise state.damaged(error) from None
        log.info("%s: resumed after %s", printable(str(scan.path)), counted(course.n_done, "iteration"))
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
    """Write a picture and a report of what a course has found so far, and send the picture to the logger.

    Every process of the run calls it, and the first one writes.
    """
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
        logging.getLogger(ENDING).warning(
            "%s: stopped after %d of %s; the current object is kept",
            printable(str(course.scan.path)),
            course.n_done,
            counted(course.plan.n_iterations, "iteration"),
        )
        result, _ = finish(course, folder, window, is_whole=False)
        save_so_far(result, run_dir, checksums, history_of(result.history))


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
    name, lines = printable(stem_of(course.scan, 0)), Pace(PREVIEW_S)
    previews = PreviewPace(execution.preview_every)
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
            if not shown and lines.is_due and fabric.is_global_zero and not course.is_done:
                with lines.writing():
                    log.info(
                        "%s: iteration %d of %d, deviance %.4g per pixel", name, course.n_done,
                        course.plan.n_iterations, row["deviance_per_pixel"],
                    )  # fmt: skip
            due = state.is_due, previews.is_due_after(course.n_done)
            writes_state, writes_preview = fabric.broadcast(due) if fabric.world_size > 1 else due
            if writes_state and not course.is_done:
                snapshot = course.snapshot()
                if fabric.is_global_zero:
                    state.write(snapshot)
            if writes_preview and not course.is_done:
                with previews.writing():
                    preview()


@contextmanager
def _logged_to(logger: Logger | None) -> Iterator[None]:
    try:
        yield
    finally:
        if logger is not None:
            logger.save()
            logger.finalize("success")
