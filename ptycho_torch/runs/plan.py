"""What a reconstruction without a network does in which iteration, from its settings and a few facts of the scan."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ptycho.config.solver import SolverConfig
from ptycho.probe import probe_diameter_px
from ptycho_torch.solver import Descent

TESTED: Final = 20
"""Iterations with the probe of the file that tell whether it explains the patterns."""
SOFT: Final = 20
"""Iterations with the amplitude loss, which is kinder to a poor start, before the Poisson loss."""
FEW_PHOTONS: Final = 1500.0
"""Photons on a pixel of the object below which noise rules its details, and a prior helps."""
WIDE: Final = 0.45
"""Overlap of neighbours below which a prior helps."""
MILD: Final = 10.0
"""Weight of the prior where the scan tells the details of the object, and the probe is refined: it holds what the model
of the experiment leaves open. No search is worth its time there."""
TOO_WIDE: Final = 0.2
"""Overlap of neighbours below which patterns hardly determine an object: amplitudes are lost first."""
PROBE_FROM: Final = 3
INTENSITIES_FROM: Final = 3
"""Iterations from which probe and intensities are refined."""
COUNTS: Final = {(False, False): 50, (False, True): 70, (True, False): 60, (True, True): 220}
"""Iterations by whether the probe is refined, and whether there is a prior."""


class Facts(NamedTuple):
    """What a plan depends on."""

    photons_per_pixel: float
    """Median over the object."""
    step_px: float | None
    """Median distance from a position to the nearest other one; None for a single pattern."""
    probe_diameter_px: float
    """Of the circle of the area that the probe lights."""

    @property
    def overlap(self) -> float:
        """Part of the probe's diameter that neighbours have in common; 0 and less: none."""
        return 0.0 if self.step_px is None else 1 - self.step_px / self.probe_diameter_px

    @property
    def need_prior(self) -> bool:
        """Whether the scan alone does not tell the details of the object, and a prior can."""
        return self.overlap > 0 and (self.photons_per_pixel < FEW_PHOTONS or self.overlap < WIDE)


def facts_of(
    positions_px: NDArray[np.float64], modes: NDArray[np.complex64], photons_per_pixel: float
) -> Facts:
    """Facts of the patterns that are fitted.

    Args:
        positions_px: (n, 2), rows (y, x).
        modes: (M, N, N), probe.
        photons_per_pixel: see `solver.photons_per_pixel`.
    """
    step = None
    if len(positions_px) > 1:
        distances, _ = cKDTree(positions_px).query(positions_px, 2)
        step = float(np.median(distances[:, 1]))
    return Facts(photons_per_pixel, step, probe_diameter_px(modes))


def overlap_problem(facts: Facts) -> str | None:
    """What is wrong with a scan whose patterns hardly overlap; None where nothing is."""
    if facts.overlap >= TOO_WIDE:
        return None
    if facts.step_px is None:
        return (
            "positions: expected patterns that overlap; got a single one, which does not determine an object"
        )
    return (
        f"positions: expected patterns that overlap; got steps of {facts.step_px:.1f} px with a probe of "
        f"{facts.probe_diameter_px:.1f} px (overlap {max(0.0, facts.overlap):.0%}), which hardly determine an object. "
        "Scan in smaller steps, or with a larger probe"
    )


@dataclass(frozen=True)
class Plan:
    """Iterations count from 0; None is never."""

    n_iterations: int
    switch_at: int | None
    """From the amplitude loss to the Poisson loss."""
    probe_from: int | None
    positions_from: int | None
    intensities_from: int | None
    prior_from: int | None
    """The prior acts, with the weight that is set or, before one was chosen, a weak one."""
    search_at: int | None
    """The weight of the prior is chosen."""
    test_at: int | None
    """Whether the probe of the file explains the patterns is tested, and the plan made anew."""
    is_mild: bool = False
    """Whether the weight of the prior, where nobody set it, is `MILD`."""

    def rule(self, descent: Descent) -> None:
        """Let a descent follow the plan from now on."""
        descent.switch_at, descent.probe_from = self.switch_at, self.probe_from
        descent.positions_from, descent.intensities_from = self.positions_from, self.intensities_from
        descent.prior_from = self.prior_from or 0


def plan_of(
    config: SolverConfig,
    *,
    with_prior: bool,
    probe_fits: bool | None = None,
    n_waited: int = 0,
    has_probe: bool = True,
) -> Plan:
    """The plan for a scan.

    Args:
        config: the settings.
        with_prior: whether the scan needs a prior. Where it does not, and the probe is refined, there is a mild one.
        probe_fits: what the test of the probe gave; None before it. Without ``refine_probe`` auto there is no test.
        n_waited: iterations by which the test was put off.
        has_probe: whether the probe is known; an estimated one is refined without a test.
    """
    is_tested = config.refine_probe == "auto" and has_probe
    refines = not probe_fits if is_tested else bool(config.refine_probe)
    if config.n_iterations == "auto":
        begun = TESTED + n_waited if is_tested else 0
        n_iterations = COUNTS[refines, with_prior] + (begun if refines and not with_prior else n_waited)
    else:
        n_iterations = config.n_iterations
        begun = min(TESTED + n_waited, n_iterations // 2) if is_tested else 0
    positions_from = config.positions_from if config.refine_positions else None
    intensities_from = INTENSITIES_FROM if config.refine_intensities else None
    soft, turn = min(SOFT, n_iterations * 2 // 5), n_iterations * 6 // 11
    probe_from = prior_from = search_at = test_at = switch_at = None
    is_mild = refines and not with_prior and config.prior == "auto"
    if is_tested and probe_fits is None:
        test_at = begun
    elif refines:
        probe_from = max(begun, PROBE_FROM)
        switch_at = turn if with_prior else None
        prior_from, search_at = (max(begun, soft), turn) if with_prior else (None, None)
        prior_from = probe_from if is_mild else prior_from
    else:
        switch_at = max(begun, soft)
        prior_from, search_at = (begun, begun) if with_prior else (None, None)
    return Plan(
        n_iterations,
        {"auto": switch_at, "amplitude": None, "poisson": 0}[config.loss],
        probe_from,
        positions_from,
        intensities_from,
        prior_from,
        search_at if config.prior_weight == "auto" else None,
        test_at,
        is_mild and test_at is None,
    )
