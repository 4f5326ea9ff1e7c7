"""`ptycho reconstruct DATA`, without a model: from a scan to pictures, arrays and figures by the iterative solver."""

from pathlib import Path
from typing import TYPE_CHECKING

from ptycho.config.data import DataConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Layer, Origin
from ptycho.config.paths import RECONSTRUCTIONS
from ptycho.config.reconstructions import unread_by_reconstructions
from ptycho.config.request import Request
from ptycho.config.solver import SolverConfig
from ptycho.data_error import DataError
from ptycho.judgement import judgement
from ptycho.run_files import REPORT
from ptycho.run_names import default_folder
from ptycho.run_verdicts import recorded_problems
from ptycho.wording import counted, duration
from ptycho_torch.cli.console import (
    Refusal,
    is_first_process,
    refuse_unlearned,
    refusing,
    relative,
    tell_loading,
    tell_report,
    watching_for_interrupt,
)
from ptycho_torch.cli.options import CommandLine, Resumed
from ptycho_torch.cli.settled import Settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ptycho_torch.config_solver import SolverPayload
    from ptycho_torch.runs.reconstruction import ReconstructionResult
    from ptycho_torch.runs.solved import SolverResult


def run(line: CommandLine, request: Request) -> int:
    """Reconstruct without a model, and print one line for every scan.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    run_dir = line.ready(request, SolverConfig, {"data_file": "DATA"})
    with refusing(DataError), watching_for_interrupt(run_dir):
        payload = _payload(request)
        tell_loading()
        if line.is_automatic:
            from ptycho_torch.runs.resuming_solver import solve_or_resume

            return _tell_resumed(solve_or_resume(payload), run_dir)
        from ptycho_torch.runs.solving import solve

        return tell_results(solve(payload, overwrite=line.overwrites))


def settled(request: Request) -> Settled:
    """The settings of a reconstruction that is not started; DATA may be left out."""
    if request.path("data_file") is None:
        unknown = {
            "solver.data_file": (Origin("argument"), "DATA"),
            "solver.output_dir": (Origin("cli-default"), f"{RECONSTRUCTIONS}/NAME-OF-DATA"),
        }
        return Settled.without_data(request, unknown, SolverConfig, DataConfig)
    with refusing(DataError):
        return Settled.of(_payload(request), SolverConfig, DataConfig)


def settled_again(line: CommandLine) -> Settled:
    """The settings of a reconstruction that would go on."""
    known = _asked_to_resume(line)

    from ptycho_torch.runs.changes import recorded_solver_payload

    payload = recorded_solver_payload(known.record, known.run_dir, **known.changes)
    return Settled.of(payload, SolverConfig, DataConfig)


def _payload(request: Request) -> "SolverPayload":
    from ptycho_torch.config_solver import create_solver_payload

    return create_solver_payload(None, None, request=request)


def asked(line: CommandLine) -> Request:
    """The request of a command line; its output folder is called after the scan, where that is known."""
    unread = unread_by_reconstructions(with_model=False)
    request = line.request(SolverConfig, PyTorchExecutionConfig, unread=unread)
    if data := request.path("data_file"):
        place = {"output_dir": str(default_folder(Path(RECONSTRUCTIONS), data))}
        request.add(SolverConfig, Layer("cli-default", place))
    return request


def resume(line: CommandLine) -> int:
    """Go on with a reconstruction without a model, and print one line for every scan.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    known = _asked_to_resume(line)
    tell_loading()
    with refusing(DataError), watching_for_interrupt(known.run_dir):
        from ptycho_torch.runs.resuming_solver import resume_solving

        return _tell_resumed(resume_solving(known.run_dir, **known.changes), known.run_dir)


def _asked_to_resume(line: CommandLine) -> Resumed:
    if len(line.places) > 1:
        rule = "expected with DATA alone, where the scan was moved"
        raise Refusal(f"--resume: {rule}; got MODEL as well. Drop MODEL: a run keeps its settings.")
    return line.resuming("solver", data=next(iter(line.places.values()), None))


def _tell_resumed(results: "Sequence[SolverResult]", run_dir: Path) -> int:
    if not results and is_first_process():
        print(f"{relative(run_dir)}: the reconstruction has finished already")
    code = tell_results(results)
    refuse_unlearned(next(iter(recorded_problems(run_dir)), None))  # of scans that were finished before
    return code


def tell_results(results: "Sequence[SolverResult | ReconstructionResult]") -> int:
    """Print one line for every scan, and the next command; gives the exit code.

    Raises:
        Interruption: a picture is not that of its object.
    """
    for result in results if is_first_process() else ():
        print(_line_of(result))
    refuse_unlearned(next((result.problem for result in results if result.problem), None))
    if results and is_first_process():
        tell_report(results[0].run_dir / REPORT)
    return 0


def _line_of(result: "SolverResult | ReconstructionResult") -> str:
    figures = result.metrics
    n_done = figures.get("n_iterations")
    verdict = judgement(figures, "network" if n_done is None else "solver", problem=result.problem)
    headline = verdict.headline[0].lower() + verdict.headline[1:]
    iterations = [] if n_done is None else [counted(n_done, "iteration")]
    told = [
        f"R factor {figures['r_factor']:.4f}, deviance {figures['poisson_deviance_per_pixel']:.4g} per pixel "
        f"({figures['patterns']} patterns): {headline}",
        *iterations,
        duration(figures["seconds"]),
    ]
    return ", ".join([*told, relative(result.run_dir / REPORT)])
