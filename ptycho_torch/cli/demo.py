"""`ptycho demo`: simulate, train, reconstruct, and compare with the truth."""

import argparse
import time
from pathlib import Path
from typing import Any

from ptycho.config.canonical import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.config.errors import ConfigError
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.layer import Layer
from ptycho.config.section import section_of
from ptycho.run_folder import MEMBERS, RunFolder
from ptycho.run_names import RUNS
from ptycho_torch.cli.console import (
    is_first_process,
    refuse_unlearned,
    refusing,
    relative,
    watching_for_interrupt,
)
from ptycho_torch.cli.flags import Flag, flags_of
from ptycho_torch.cli.options import (
    OVERWRITE,
    CommandLine,
    add_own_options,
    in_the_way,
    run_in_the_way,
    shown_values,
)
from ptycho_torch.cli.parameters import call, parameter_flags, read_parameters
from ptycho_torch.cli.parser import FlagParser
from ptycho_torch.cli.solve import picture

RECIPE = "demo"


def add_arguments(parser: FlagParser) -> None:
    """Add the flags of a training, and those of a simulation; a name of both sets both."""
    add_own_options(parser, overwrite=OVERWRITE, recipe=RECIPE)
    training = [*_training_flags(), *flags_of(PyTorchExecutionConfig)]
    shared = {flag.name for flag in training}
    scan = [flag for flag in _scan_flags() if flag.name not in shared]
    shown = shown_values(RECIPE, ModelConfig, TrainingConfig, PyTorchExecutionConfig)
    parser.add_flags(scan + training, shown | {"N": "64", "output_dir": f"{RUNS}/demo"})


def _training_flags() -> list[Flag]:
    files = ["train_data_file", "test_data_file"]
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
    fields = {flag.name for flag in _training_flags()}
    knobs = section_of(PyTorchExecutionConfig).names
    request = line.request(ModelConfig, TrainingConfig, PyTorchExecutionConfig, only=fields.union(knobs))
    request.add(TrainingConfig, Layer("cli-default", {"output_dir": str(Path(RUNS) / "demo")}))
    run_dir = Path(request.path("output_dir") or "")
    parameters = read_parameters(_scan_flags(), line.flags)

    from ptycho.raw_data import DataError
    from ptycho.simulation import simulate_scan
    from ptycho_torch.bundle import BundleError
    from ptycho_torch.config_factory import create_inference_payload, create_training_payload
    from ptycho_torch.runs.preflight import refused_trainings
    from ptycho_torch.runs.reconstruction import reconstruct_scans
    from ptycho_torch.runs.training import check, train_in

    started_s = time.perf_counter()
    scan = run_dir / "scan.npz"
    place, overwrite = run_dir / "reconstruction", "overwrite" in options
    with refusing(DataError, BundleError), watching_for_interrupt(run_dir):
        kept = [*run_in_the_way(run_dir, options), *run_in_the_way(place, options)]
        kept = kept or (in_the_way(scan, options) if is_first_process() else [])
        if failures := [*kept, *refused_trainings(request)]:
            raise ConfigError(failures)
        simulated = call(simulate_scan, parameters)
        with RunFolder(run_dir, writes=is_first_process()) as home:
            if not overwrite:
                home.refuse_run()
            home.begin(anew=True, members=(*MEMBERS, scan.name))
            simulated.to_file(scan)
            payload = create_training_payload(str(scan), None, request=request)
            trained = train_in(home, payload, check(payload, None))
        request = line.request(ModelConfig, InferenceConfig, PyTorchExecutionConfig, only=knobs)
        inference = create_inference_payload(str(run_dir), str(scan), str(place), request=request)
        reconstructed = reconstruct_scans(inference, overwrite=overwrite)[0]
    if is_first_process():
        _report(run_dir, picture(reconstructed.run_dir), reconstructed.metrics, len(trained.history))
        print(f"{time.perf_counter() - started_s:.0f} s in all")
    refuse_unlearned(trained.problem or reconstructed.problem)
    return 0


def _report(run_dir: Path, image: Path, figures: dict[str, Any], n_epochs: int) -> None:
    amplitude, phase = (
        f"{name} PSNR {figures[f'{name}_psnr_db']:.1f} dB, SSIM {figures[f'{name}_ssim']:.3f}"
        for name in ("amplitude", "phase")
    )
    here = relative(run_dir)
    print(f"picture        {relative(image)} (reconstructed above, truth below)")
    print(f"against truth  {amplitude}; {phase}")
    print(f"R factor       {figures['r_factor']:.4f} ({figures['patterns']} patterns)")
    print(f"loss           {here}/loss.png, {here}/history.csv ({n_epochs} epochs)")
    print(f"model          {here}/wts.h5.zip")
    print(f"settings       {here}/config.json: every value, and where it came from")
