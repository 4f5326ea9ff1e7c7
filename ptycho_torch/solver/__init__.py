"""An iterative solver on the object's canvas: one scan, no training.

Everything here takes numbers and tensors, on a CPU or a GPU. `prepare` and `run` are the whole of it; the conventions
are those of docs/physics.md.
"""

from ptycho_torch.solver.descent import Descent, Iteration
from ptycho_torch.solver.forward import Forward
from ptycho_torch.solver.orientation import Ranked, rank_orientations
from ptycho_torch.solver.patterns import Patterns
from ptycho_torch.solver.places import carried_along, refined_intensities, refined_positions
from ptycho_torch.solver.probe_search import (
    HOLES,
    FoundProbe,
    mean_pattern,
    pupil_radius,
    search_near,
    search_probe,
)
from ptycho_torch.solver.solve import MARGIN_PX, Solution, prepare, run, share_of, solution_of
from ptycho_torch.solver.trials import Trials
from ptycho_torch.solver.weight import (
    Choice,
    are_raw_counts,
    first_weight,
    photons_per_pixel,
    weight_by_set_aside,
    weight_by_thinning,
)

__all__ = [
    "HOLES",
    "MARGIN_PX",
    "Choice",
    "Descent",
    "Forward",
    "FoundProbe",
    "Iteration",
    "Patterns",
    "Ranked",
    "Solution",
    "Trials",
    "are_raw_counts",
    "carried_along",
    "first_weight",
    "mean_pattern",
    "photons_per_pixel",
    "prepare",
    "pupil_radius",
    "rank_orientations",
    "refined_intensities",
    "refined_positions",
    "run",
    "search_near",
    "search_probe",
    "share_of",
    "solution_of",
    "weight_by_set_aside",
    "weight_by_thinning",
]
