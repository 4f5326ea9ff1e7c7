"""SolverConfig: how one scan is reconstructed by the iterative solver, without a network and without training.

Like the canonical configurations it is mutable, and checked at every construction and assignment. How a run is carried
out is set in `ptycho.config.execution.PyTorchExecutionConfig`.
"""

import dataclasses
from typing import Annotated, Literal

from annotated_types import Ge, Le
from pydantic import Strict

from ptycho.config.data import DataConfig
from ptycho.config.dataclass import CheckedDataclass
from ptycho.config.field_types import Domain, File, OptionalFile, SaveFormat, Share, path
from ptycho.config.fields import Exact, Flag, PositiveFloat, PositiveInt

MOST_MODES = 16
"""Probe modes; a scan cannot separate more."""

IterationCount = Annotated[PositiveInt | Literal["auto"], Exact()]
Loss = Annotated[Literal["auto", "amplitude", "poisson"], Exact()]
Prior = Annotated[Literal["auto", "none", "tv"], Exact()]
PriorWeight = Annotated[PositiveFloat | Literal["auto"], Exact()]
ModeCount = Annotated[int, Strict(), Ge(1), Le(MOST_MODES), Exact()]
Refinement = Annotated[Annotated[bool, Strict()] | Literal["auto"], Exact()]


class SolverConfig(CheckedDataclass, table="solver", recipe_omits=("execution",)):  # which suits networks
    """One reconstruction without a network: the scan, and how its object is solved for."""

    data_file: OptionalFile = path(None)
    """The scan to reconstruct, or a folder of NPZ files that are reconstructed one by one."""

    output_dir: File = path("solver_outputs")
    """Folder for everything the reconstruction writes."""

    measurement_domain: Domain = "auto"
    """Whether patterns are counts (intensity) or their square root (amplitude); auto: from the file or its values."""

    n_iterations: IterationCount = "auto"
    """Passes over the patterns; auto: as many as the scan needs (50, more with a prior or a guessed probe, and more
    while the fit still improves)."""

    loss: Loss = "auto"
    """What is fitted; auto: amplitudes, then the Poisson likelihood if the probe is known or the dose is low."""

    probe_modes: ModeCount | None = None
    """Incoherent modes of the probe; none: as many as the file has. Missing modes are added."""

    refine_probe: Refinement = "auto"
    """Refine the probe together with the object; auto: if the probe of the file does not explain the patterns."""

    refine_positions: Flag = False
    """Refine the scan positions together with the object."""

    positions_from: PositiveInt = 15
    """First iteration that refines positions; start later with a poor probe."""

    refine_intensities: Flag = False
    """Refine the intensity of the beam in each pattern together with the object."""

    prior: Prior = "auto"
    """tv: prefer objects of small total variation, for low dose and wide steps; auto: only for these, and mildly with a
    refined probe."""

    prior_weight: PriorWeight = "auto"
    """Weight of the prior; auto: the one that best predicts measurements that are not fitted, or 10 for the mild
    prior."""

    start: OptionalFile = path(None)
    """Object to start from: a run's folder, its reconstruction.npz, or another NPZ file with object and corner_px. A
    probe, positions and intensities in it are used, too. none: free space."""

    holdout: Share = 0.05
    """Share of the patterns that is set aside to judge the result, and fitted in the last iterations, where the file
    marks none as held out."""

    save: SaveFormat = "none"
    """Also write the result for other programs: h5 (a ptychodus product), cxi, tiff (32-bit, for ImageJ), or all."""

    unwrap_phase: Flag = False
    """With save tiff, unwrap the phase of the object, so that it does not jump by a turn."""

    remove_ramp: Flag = False
    """With save, remove the object's linear phase ramp, which patterns do not determine."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """How scans are read."""
