"""What the patterns are, and which of them form groups, as this backend takes it; see `config_params`."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from ptycho.config.dataclass import CheckedDataclass
from ptycho.config.field_types import Domain, NonNegativeFloat, PatternSize
from ptycho.config.fields import Exact, Flag, PositiveFloat, PositiveInt, Rule, Seed

GridSize = Annotated[tuple[PositiveInt, PositiveInt], Rule("two integers >= 1")]
"""Neighbours in a group along y and x."""


def _is_probe_mask(value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, Sequence) and not isinstance(value, str):
        rows: list[Any] = list(value)
        return bool(rows) and all(isinstance(row, Sequence) and len(row) == len(rows) for row in rows)
    shape = tuple(getattr(value, "shape", ()))
    return len(shape) == 2 and shape[0] == shape[1]


ProbeMask = Annotated[Any, Rule("true, false, none, or a square array", _is_probe_mask), Exact()]
"""Whether, or with what, to multiply the probe."""


Bounds = Annotated[
    tuple[NonNegativeFloat, NonNegativeFloat],
    Rule("two numbers, 0 <= lower < upper <= 1", lambda pair: 0 <= pair[0] < pair[1] <= 1),
]
"""Lower and upper end, as fractions of the scan range."""

Smoothness = Annotated[Literal["Total_Variation", "Mean_Deviation"] | None, Exact(synonyms=(("none", None),))]
"""What a loss on the object asks for: small steps between pixels, or values near their mean."""


Engine = Annotated[Literal["Lightning"], Exact()]


def only(value: int, reason: str) -> Rule:
    """The rule of a field that has one value, which others state.

    Args:
        value: that value.
        reason: why there is no other.
    """
    return Rule(f"{value}", lambda given: given == value, f"{reason} Do not change it.")


class DataConfig(CheckedDataclass, label="DataConfig"):
    """What the patterns are, and which of them form groups."""

    N: PatternSize = 64
    """Side of a diffraction pattern and of an object patch, in pixels."""

    grid_size: GridSize = (1, 1)
    """Groups of grid_size[0] x grid_size[1] neighbouring patterns are reconstructed together."""

    C: PositiveInt = 1
    """Patterns in a group: grid_size[0] x grid_size[1]."""

    K: PositiveInt = 4
    """A group is drawn from this many nearest neighbours of a scan position, with Nearest; at least C - 1."""

    n_groups: PositiveInt | None = None
    """Number of groups; none is one for every scan position."""

    subsample_seed: Seed | None = None
    """Seed for drawing scan positions and groups; none uses the seed of the run."""

    nphotons: PositiveFloat = 1e9
    """Incident photons of one diffraction pattern; amplitudes that would be far more are refused as counts."""

    probe_scale: PositiveFloat = 4.0
    """Peak probe amplitude in network units."""

    measurement_domain: Domain = "auto"
    """Whether patterns are counts (intensity) or their square root (amplitude); auto: from the file or its values."""

    normalize: Annotated[Literal["Batch", "Group"], Exact()] = "Batch"
    """What the loss of a pattern is relative to: the mean photons of its scan (Batch) or of its group (Group)."""

    neighbor_function: Annotated[Literal["Nearest", "Min_dist", "4_quadrant"], Exact()] = "Nearest"
    """Which neighbours form a group with a position: some of the K nearest; some of those between the two distances
    below; or one of the K_quadrant nearest from each of several quadrants around it."""

    min_neighbor_distance: NonNegativeFloat = 0.0
    """Closest neighbour of Min_dist, in pixels."""

    max_neighbor_distance: NonNegativeFloat = 3.0
    """Farthest neighbour of Min_dist, in pixels."""

    K_quadrant: PositiveInt = 30
    """Nearest neighbours that 4_quadrant chooses from."""

    scan_pattern: Annotated[Literal["Isotropic", "Rectangular"], Exact()] = "Isotropic"
    """Rectangular: distances are measured in typical steps of each axis when nearest neighbours are looked for."""

    n_subsample: PositiveInt = 1
    """Groups drawn around every scan position; one where Nearest has no choice, since K is C - 1."""

    x_bounds: Bounds = (0.0, 1.0)
    """Part of the scan range, along columns, where the central positions of training groups lie."""

    y_bounds: Bounds = (0.0, 1.0)
    """The same along rows."""

    probe_normalize: Flag = True
    """Compute in network units, in which the probe's peak is probe_scale; off: in photon**0.5."""

    probe_ramp_removal: Flag = False
    """Remove the linear phase of the probe guess, so that its far field is centred."""

    data_scaling: Annotated[Literal["Parseval", "Max"], Exact()] = "Parseval"
    """How a probe guess without units is scaled to the counts: by its energy, or by the peak of its far field."""

    phase_subtraction: Flag = False
    """Subtract the mean phase of every label, in supervised training."""
