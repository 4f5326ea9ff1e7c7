"""`ptycho demo`: simulate, reconstruct by the solver and by a trained network, and compare with the truth."""

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError, Failure
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.origins import Layer
from ptycho.config.paths import RUNS
from ptycho.config.request import Request
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from ptycho.judgement import Kind, judgement
from ptycho.run_files import MEMBERS, REPORT
from ptycho.run_folder import RunFolder
from ptycho.wording import duration
from ptycho_torch.cli.compare import PAGE
from ptycho_torch.cli.console import (
    is_first_process,
    refuse_unlearned,
    refusing,
    relative,
    tell_loading,
    tell_page,
    watching_for_interrupt,
)
from ptycho_torch.cli.flags import Flag, flags_of
from ptycho_torch.cli.options import CommandLine, add_own_options, in_the_way, run_in_the_way, shown_values
from ptycho_torch.cli.parameters import call, parameter_flags, read_parameters
from ptycho_torch.cli.parser import FlagParser

if TYPE_CHECKING:
    from ptycho_torch.config_solver import SolverPayload
    from ptycho_torch.runs.reconstruction import ReconstructionResult
    from ptycho_torch.runs.solved import SolverResult
    from ptycho_torch.runs.training import TrainingResult

RECIPE = "demo"
SCAN, NETWORK, SOLVER = "scan.npz", "reconstruction", "solver"
PICTURE = "demo.png"
"""Solver, network and truth in one picture, in the folder of the run."""
MEANINGS = {
    "output_dir": "Folder for everything that the demonstration writes.",
    "N": "Side of the simulated patterns in pixels; a multiple of 16, from 32 up.",
    "nphotons": "Photons on the object in a simulated pattern.",
    "seed": "Seed of the scan, the weights, shuffling and augmentation.",
}
"""Help texts in place of those of a training, whose data are there before."""


def add_arguments(parser: FlagParser) -> None:
    """Add the flags of a training, and those of a simulation; a name of both sets both."""
    add_own_options(parser, RECIPE)
    training = [
        flag._replace(help=partial(MEANINGS.__getitem__, flag.name)) if flag.name in MEANINGS else flag
        for flag in (*_training_flags(), *flags_of(PyTorchExecutionConfig))
    ]
    shared, simulated = {flag.name for flag in training}, {flag.name: flag.default for flag in _scan_flags()}
    scan = [flag for flag in _scan_flags() if flag.name not in shared]
    classes = (ModelConfig, TrainingConfig, PyTorchExecutionConfig)
    shown = partial(
        shown_values,
        RECIPE,
        *classes,
        N=simulated["N"],
        nphotons=simulated["nphotons"],
        output_dir=f"{RUNS}/demo",
    )
    parser.add_flags(scan + training, shown)
    parser.hands_on_unknown = True


def _training_flags() -> list[Flag]:
    files = ["train_data_file", "test_data_file", "start"]
    return flags_of(ModelConfig) + flags_of(TrainingConfig, without=files)


def _scan_flags() -> list[Flag]:
    from ptycho.simulation import simulate_scan

    return parameter_flags(simulate_scan, "scan")


def run(options: argparse.Namespace) -> int:
    """Run the demonstration, and say where to look.

    Raises:
        ConfigError, Refusal, OSError: wrong input.
    """
    line = CommandLine.of(options, recipe=RECIPE)
    training, later = _training(line), (_with_network(line), _by_solver(line))
    run_dir = Path(training.path("output_dir") or "")
    scan, image, folders = run_dir / SCAN, run_dir / PICTURE, (run_dir, run_dir / NETWORK, run_dir / SOLVER)

    tell_loading()
    from ptycho.raw_data import DataError
    from ptycho.simulation import simulate_scan
    from ptycho_torch.bundle import BundleError
    from ptycho_torch.config_payload import training_payload
    from ptycho_torch.runs.beside import save_beside
    from ptycho_torch.runs.preflight import refused_trainings
    from ptycho_torch.runs.report.writing import write_comparison
    from ptycho_torch.runs.training import check, train_in

    started_s, overwrite = time.perf_counter(), "overwrite" in options
    with refusing(DataError, BundleError), watching_for_interrupt(run_dir):
        kept = [failure for folder in folders for failure in run_in_the_way(folder, options)]
        kept = kept or (in_the_way(scan, options) if is_first_process() else [])
        answer, (parameters, wrong) = training.outcome(), _parameters(line)
        if failures := [*kept, *wrong, *refused_trainings(answer, n_is_known=True), *_wrong_later(*later)]:
            raise ConfigError(failures)
        simulated = call(simulate_scan, parameters)
        with RunFolder(run_dir, writes=is_first_process()) as home:
            if not overwrite:
                home.refuse_run()
            home.begin(anew=True, members=(*MEMBERS, scan.name, PICTURE, PAGE))
            simulated.to_file(scan)
            payload = training_payload(answer)
            trained = train_in(home, payload, check(payload, None))
        by_network, by_solver = _reconstructed(run_dir, *later, overwrite=overwrite)
    if is_first_process():
        found = {"solver": by_solver.reconstruction, "network": by_network.reconstruction}
        save_beside(image, simulated, found)
        write_comparison(run_dir / PAGE, [run_dir / name for name in (SOLVER, NETWORK)])
        _report(run_dir, {"solver": by_solver, "network": by_network}, trained)
        print(f"{duration(time.perf_counter() - started_s)} in total")
        tell_page(run_dir / PAGE)
    refuse_unlearned(trained.problem or by_network.problem or by_solver.problem)
    return 0


def _wrong_later(*requests: Request) -> Iterator[Failure]:
    """What is wrong with the settings of the runs that follow the training, each section by itself.

    With what the network was trained with they are compared when it is there.
    """
    for request in requests:
        for section in request.outcome().found.values():
            yield from section.failures


def _parameters(line: CommandLine) -> tuple[dict[str, Any], list[Failure]]:
    """The parameters of the simulation, and what is wrong with those that are no settings of the training as well."""
    try:
        return read_parameters(_scan_flags(), line.flags), []
    except ConfigError as error:
        return {}, [failure for failure in error.failures if failure.name not in _training_names()]


def _training_names() -> set[str]:
    return {flag.name for flag in _training_flags()} | {*section_of(PyTorchExecutionConfig).names}


def _training(line: CommandLine) -> Request:
    """The request of the training, with what the simulated scan will tell where no flag does."""
    classes = (ModelConfig, TrainingConfig, PyTorchExecutionConfig)
    request = line.request(*classes, only=_training_names(), beside=(InferenceConfig, SolverConfig))
    request.add(TrainingConfig, Layer("cli-default", {"output_dir": str(Path(RUNS) / "demo")}))
    if folder := request.path("output_dir"):
        place = {"train_data_file": str(Path(folder, SCAN))}
        request.add(TrainingConfig, Layer("argument", place, level=1))
    defaults = {flag.name: flag.default for flag in _scan_flags() if flag.name not in line.flags}
    for cls, name in ((ModelConfig, "N"), (TrainingConfig, "nphotons")):
        told = {name: defaults[name]} if name in defaults else {}
        request.add(cls, Layer("inferred", told, {name: "the simulated scan"}))
    return request


def _with_network(line: CommandLine) -> Request:
    classes = (ModelConfig, InferenceConfig, PyTorchExecutionConfig)
    knobs = section_of(PyTorchExecutionConfig).names
    return line.request(*classes, only=knobs, beside=(TrainingConfig, SolverConfig))


def _by_solver(line: CommandLine) -> Request:
    knobs, others = section_of(PyTorchExecutionConfig).names, (ModelConfig, TrainingConfig, InferenceConfig)
    return line.request(SolverConfig, PyTorchExecutionConfig, only=knobs, beside=others)


def _reconstructed(
    run_dir: Path, with_network: Request, by_solver: Request, *, overwrite: bool
) -> "tuple[ReconstructionResult, SolverResult]":
    """Reconstruct the scan with the network, and by the solver alone."""
    from ptycho_torch.config_factory import create_inference_payload
    from ptycho_torch.config_solver import create_solver_payload
    from ptycho_torch.runs.reconstruction import reconstruct_scans
    from ptycho_torch.runs.solving import solve

    scan, network, solver = (str(run_dir / name) for name in (SCAN, NETWORK, SOLVER))
    inference = create_inference_payload(str(run_dir), scan, network, request=with_network)
    network_result = reconstruct_scans(inference, overwrite=overwrite)[0]
    alone = _for_solver(create_solver_payload(scan, solver, request=by_solver))
    return network_result, solve(alone, overwrite=overwrite)[0]


def _for_solver(payload: "SolverPayload") -> "SolverPayload":
    """What the solver does without, a mixed format or a device without 64-bit numbers, is for the network alone."""
    from ptycho_torch.runtime.checks import solver_failures

    if not solver_failures(payload.execution_config, payload.solver_config):
        return payload
    plain = payload.execution_config.replace(accelerator="cpu", precision="32-true")
    return replace(payload, execution_config=plain)


def _report(
    run_dir: Path, results: "Mapping[Kind, SolverResult | ReconstructionResult]", trained: "TrainingResult"
) -> None:
    here, trained_s = relative(run_dir), sum(row["epoch_time_s"] or 0 for row in trained.history)
    for name, result in results.items():
        found = result.metrics
        image = ", ".join(
            f"{part} {found[f'{part}_psnr_db']:.1f} dB (SSIM {found[f'{part}_ssim']:.3f})"
            for part in ("amplitude", "phase")
        )
        took = duration(found["seconds"]) + (f", training {duration(trained_s)}" if name == "network" else "")
        print(f"{name:15}{image}; R factor {found['r_factor']:.4f} ({found['patterns']} patterns); {took}")
        verdict = judgement(found, name, problem=result.problem)
        print(
            f"{'':15}{verdict.headline[0].lower()}{verdict.headline[1:]}; {relative(result.run_dir / REPORT)}"
        )
    print(f"training       {here}/{REPORT}, {here}/loss.png, {here}/history.csv, {here}/wts.h5.zip")
    print(f"settings       {here}/config.json, {here}/solver/config.json: every value and its origin")
    print(f"picture        {here}/{PICTURE} (the solver above, the network, the truth below)")
    print(f"page           {here}/{PAGE} (the solver and the network side by side)")
