"""What a reconstruction without a network leaves: arrays, pictures and figures of one scan."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import grey_closing

from ptycho.atomic import atomic_write
from ptycho.checksums import Checksums
from ptycho.config.errors import printable
from ptycho.json_files import write_json
from ptycho.judgement import FALL, predicts_others
from ptycho.model_archive import PROBLEM
from ptycho.raw_data import RawData
from ptycho.run_files import HISTORY, LOSS_PICTURE, PATTERNS, PREVIEW, REPORT
from ptycho.run_folder import one_set
from ptycho_torch.reassembly import Reconstruction, border_of
from ptycho_torch.runs.course import FALLS, Course, margin_px
from ptycho_torch.runs.exports import Export
from ptycho_torch.runs.figures import Compared, save_comparison, save_iterations, save_reconstruction
from ptycho_torch.runs.judging import compared, tell_doubt, tell_figures, tell_problem
from ptycho_torch.runs.metrics import Comparison
from ptycho_torch.runs.outcome import problem_of_picture
from ptycho_torch.runs.plan import overlap_problem
from ptycho_torch.runs.product import Product, product_of
from ptycho_torch.runs.report.contents import read_contents
from ptycho_torch.runs.report.evidence import save_evidence
from ptycho_torch.runs.report.page import report_page
from ptycho_torch.runs.report.writing import add_report
from ptycho_torch.runs.shown import ShownSolution
from ptycho_torch.runtime.memory import peak_memory
from ptycho_torch.solver import solution_of
from ptycho_torch.solver.probes import mode_powers

log = logging.getLogger(__name__)

CHOSEN: Final = {"uncertain_by_factor": "factor", "bound": "bound"}
"""What metrics.json has of a weight that was chosen, and its name in `solver.Choice`."""

GAP_PX: Final = 9
"""Side of the gaps between patterns across which an object is compared with a known one."""


@dataclass(frozen=True)
class SolverResult(ShownSolution):
    """A finished reconstruction of one scan without a network.

    Attributes:
        run_dir: folder with report.html, reconstruction.npz, reconstruction.png, patterns.npz, loss.png, metrics.json,
            history.csv.
        scan: what was reconstructed.
        reconstruction: the object, its registration, and the probe.
        positions_px: float64 (n, 2), rows (y, x), refined where that was asked for.
        intensities: float64 (n,), relative to their geometric mean.
        metrics: figures; what was set aside is judged before it was fitted.
        history: one row an iteration.
        problem: why the picture is not that of the object; None where nothing is known against it.
    """

    run_dir: Path
    scan: RawData
    reconstruction: Reconstruction = field(repr=False)
    positions_px: NDArray[np.float64] = field(repr=False)
    intensities: NDArray[np.float64] = field(repr=False)
    metrics: dict[str, Any]
    history: list[dict[str, Any]] = field(repr=False)
    problem: str | None


def finish(
    course: Course, folder: Path, window_px: int, *, is_whole: bool = True
) -> tuple[SolverResult, Comparison | None]:
    """Judge what a course has found; every process of the run calls it.

    Args:
        course: at its end, or where it was interrupted.
        folder: for its files.
        window_px: trimmed from each border.
        is_whole: whether it came to its end.

    Returns:
        What was found, and the object beside the known one where there is one; of a course that was interrupted, which
        has seconds to end in, the former alone.
    """
    course.close()
    figures = course.figures()
    solution = solution_of(course.descent, [])
    scan, state = course.scan, course.descent.state
    # modes that were refined are mixed until they are made orthogonal; a single one keeps its phase
    mixed = len(state.modes) > 1 and course.plan.probe_from is not None
    modes = (solution.modes if mixed else state.modes).cpu().numpy()
    # object and probe share a scale, which no pattern tells: the probe keeps the power that it started with
    gain = float(np.sqrt(np.square(np.abs(course.start.probe)).sum() / np.square(np.abs(modes)).sum()))
    gain = gain if np.isfinite(gain) and gain > 0 else 1.0
    coverage = solution.coverage.cpu().numpy().astype(np.float32)
    image = np.where(coverage > 0, solution.object.cpu().numpy() / gain, 1).astype(np.complex64)
    inner = slice(margin_px(course.config), -margin_px(course.config))
    canvas, coverage = (np.ascontiguousarray(each[inner, inner]) for each in (image, coverage))
    corner = solution.corner_px[0] + inner.start, solution.corner_px[1] + inner.start
    border = border_of(canvas.shape, window_px)
    kept = slice(border, -border or None)
    result = Reconstruction(
        object=np.ascontiguousarray(canvas[kept, kept]),
        canvas=canvas,
        coverage=coverage,
        probe=(modes * gain).astype(np.complex64),
        corner_px=(corner[0] + border, corner[1] + border),
        canvas_corner_px=corner,
        n_patterns=len(course.fitted),
        seconds=course.progress.seconds,
    )
    told = {
        "seconds": result.seconds,
        "n_patterns_used": result.n_patterns,
        **peak_memory(),
        **figures,
        **_facts(course, mode_powers(torch.from_numpy(modes)).tolist()),
        **({} if is_whole else {"interrupted": True}),
    }
    # between wide steps there is little light, and an object all the same
    lit = replace(result, coverage=grey_closing(coverage, (GAP_PX, GAP_PX)))
    pair = compared(lit, scan) if is_whole else None
    told |= {} if pair is None else pair.figures()
    # a probe that was refined may have shrunk because something else is wrong
    apart = None if predicts_others(told) else overlap_problem(course.facts)
    problem = apart or problem_of_picture(told, with_model=False)
    told[PROBLEM] = problem if is_whole else None
    if is_whole and problem is None:
        tell_doubt(scan, told, "solver")
        _tell_unfinished(course)
    found = SolverResult(
        folder,
        scan,
        result,
        state.positions_px.cpu().numpy(),
        state.intensities.cpu().numpy(),
        told,
        course.progress.rows,
        tell_problem(scan, told[PROBLEM]),
    )
    return found, pair


def _facts(course: Course, powers: Sequence[float]) -> dict[str, Any]:
    """What was done, and what of it the scan decided."""
    progress, facts, choice = course.progress, course.facts_now(), course.progress.choice or {}
    moved = course.descent.state.positions_px.cpu().numpy() - course.scan.positions_px
    prior: dict[str, Any] = {"prior": "none"}
    if progress.weight and course.plan.prior_from is not None:
        unchosen = "fixed" if course.plan.is_mild else "not chosen yet"
        origin = choice.get("origin", "set" if course.config.prior_weight != "auto" else unchosen)
        prior = {"prior": "tv", "prior_weight": progress.weight, "prior_weight_origin": origin}
        if choice:
            prior |= {f"prior_weight_{name}": choice.get(key) for name, key in CHOSEN.items()}
    return {
        "n_iterations": course.n_done,
        "loss": progress.rows[-1]["loss"] if progress.rows else course.descent.loss,
        FALL: course.fall(),
        "refined": [
            *(["probe"] if course.plan.probe_from is not None else []),
            *(["positions"] if course.config.refine_positions else []),
            *(["intensities"] if course.config.refine_intensities else []),
        ],
        "probe_mode_powers": list(powers),
        **({"positions_moved_rms_px": _rms(moved[course.fitted])} if course.config.refine_positions else {}),
        **prior,
        "photons_per_pixel": facts.photons_per_pixel,
        "step_px": facts.step_px,
        "probe_diameter_px": facts.probe_diameter_px,
        "overlap": facts.overlap,
    }


def _tell_unfinished(course: Course) -> None:
    """Warn of a picture that more iterations would improve."""
    if (fall := course.fall()) > FALLS and course.fabric.is_global_zero:
        otherwise = "" if course.config.n_iterations == "auto" else "to auto, or "
        log.warning(
            "%s: the deviance of the fitted patterns still fell by %.2g %% in the last iterations: more would give a "
            "better picture. Set n_iterations %sabove %d.",
            printable(str(course.scan.path or "scan")),
            100 * fall,
            otherwise,
            course.n_done,
        )  # fmt: skip


def _rms(moves: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(moves).sum(axis=1).mean()))


def save(
    result: SolverResult,
    pair: Comparison | None,
    patterns: dict[str, NDArray[Any]],
    run_dir: Path,
    checksums: Checksums,
    history: str,
    export: Export,
) -> None:
    """Write the files of a scan; they appear together.

    Args:
        result: what was found.
        pair: the object beside the known one.
        patterns: the arrays of patterns.npz.
        run_dir: folder of the run, which holds that of the scan, or is it.
        checksums: of the run.
        history: content of the history.
        export: what is written for other programs.
    """
    found, scan, product = result.reconstruction, result.scan, _product_of(result)
    placed = product.placed(result.metrics)
    with one_set(run_dir, result.run_dir) as new:
        save_reconstruction(new / "reconstruction.png", found.object, found.probe, product.coverage, placed)
        product.save(new)
        export.write(new, product)
        if pair is not None:
            shown = [Compared("reconstructed", pair, found.probe)]
            save_comparison(new / "comparison.png", shown, scan.probe_truth, placed)
        save_iterations(new / LOSS_PICTURE, result.history)
        with atomic_write(new / HISTORY) as file:
            file.write(history.encode("ascii"))
        write_json(new / "metrics.json", result.metrics)
        save_evidence(new / PATTERNS, patterns)
        add_report(new, result.run_dir, run_dir)
        checksums.list_moved({result.run_dir / file.name: file for file in new.iterdir()})
        (new / PREVIEW[0]).mkdir()  # which takes it away
    tell_figures(scan, result.metrics)


def save_preview(course: Course, folder: Path, window_px: int, run_dir: Path, checksums: Checksums) -> None:
    """Write a picture and a report of what a course has found so far; the files of its results are not written.

    Every process of the run calls it, and the first one writes.

    Args:
        course: under way.
        folder: for its files.
        window_px: trimmed from each border.
        run_dir: folder of the run.
        checksums: of the run.
    """
    found, _ = finish(course.copied(), folder, window_px, is_whole=False)
    if not course.fabric.is_global_zero:
        return
    told, product = read_contents(folder, run_dir=run_dir), _product_of(found)
    run = replace(told, figures=found.metrics, history=found.history, arrays=product.arrays(), patterns={})
    folder.mkdir(exist_ok=True)
    with checksums.write(folder / REPORT) as file:  # first, so that the record lists the folder
        file.write(report_page(run).encode())
    placed = product.placed(found.metrics)
    save_reconstruction(folder / PREVIEW[0], product.object, product.probe, product.coverage, placed)


def save_so_far(result: SolverResult, run_dir: Path, checksums: Checksums, history: str) -> None:
    """Write what was found until an interrupt, what matters first: the run may be ended at any moment.

    Args:
        result: what was found.
        run_dir: folder of the run.
        checksums: of the run.
        history: content of the history.
    """
    product = _product_of(result)
    with one_set(run_dir, result.run_dir) as new:
        product.save(new)
        with atomic_write(new / HISTORY) as file:
            file.write(history.encode("ascii"))
        write_json(new / "metrics.json", result.metrics)
        checksums.list_moved({result.run_dir / file.name: file for file in new.iterdir()})
    with one_set(run_dir, result.run_dir) as new:
        placed = product.placed(result.metrics)
        save_reconstruction(new / "reconstruction.png", result.object, result.probe, product.coverage, placed)
        checksums.list_moved({result.run_dir / file.name: file for file in new.iterdir()})
    with checksums.write(result.run_dir / REPORT) as file:
        file.write(report_page(read_contents(result.run_dir, run_dir=run_dir)).encode())


def _product_of(result: SolverResult) -> Product:
    return product_of(result.reconstruction, result.scan, result.positions_px, result.intensities)
