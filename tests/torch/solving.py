"""Reconstructions of a tiny scan without a network."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric

from ptycho.config.data import DataConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.section import section_of
from ptycho.config.solver import SolverConfig
from ptycho.raw_data import RawData
from ptycho_torch.config_solver import SolverPayload, create_solver_payload
from ptycho_torch.runs.course import Course, margin_px
from ptycho_torch.runs.solved import SolverResult
from ptycho_torch.runs.solving import solve
from ptycho_torch.runs.start import start_of
from ptycho_torch.simulate import simulate_scan


def scan_of(**changes: Any) -> RawData:
    """70 patterns of 32 x 32; changes are arrays of the scan, or of its simulation."""
    simulation = inspect.signature(simulate_scan).parameters
    own = {name: changes.pop(name) for name in list(changes) if name not in simulation}
    simulated = simulate_scan(**{"N": 32, "n_positions": 70, "nphotons": 1e5, "seed": 3, **changes})
    return dataclasses.replace(simulated, **own)


def payload_of(file: Path, folder: Path, **settings: Any) -> SolverPayload:
    """Settings of [solver] and [data], the others knobs."""
    fields = {*section_of(SolverConfig).fields, *section_of(DataConfig).fields}
    knobs = {name: settings.pop(name) for name in list(settings) if name not in fields}
    execution = PyTorchExecutionConfig(**{"accelerator": "cpu", "reconstruction_window": 0, **knobs})
    return create_solver_payload(file, folder, settings, execution)


def course_of(file: Path, scan: RawData, **settings: Any) -> Course:
    payload = payload_of(file, file.parent / "out", **settings)
    config = payload.solver_config
    fabric = Fabric(accelerator="cpu", devices=1)
    return Course(payload, scan, start_of(config.start, scan, margin_px(config)), fabric)


def solved(file: Path, folder: Path, scan: RawData | None = None, **settings: Any) -> SolverResult:
    """One scan, reconstructed."""
    (result,) = solve(payload_of(file, folder, **settings), None if scan is None else [scan])
    return result
