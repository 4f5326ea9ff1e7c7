"""A compact part of a scan, on which guesses compete: probes for a scan that has none, orientations of its positions.

Each guess is fitted for a few iterations from a flat object, and judged by patterns of the part that are not fitted:
errors of fitted patterns mislead, since a wrong probe and a free object explain them almost as well as the right one.
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.solver.forward import Ids
from ptycho_torch.solver.patterns import Patterns
from ptycho_torch.solver.solve import prepare, run
from ptycho_torch.solver.weight import central

N_PATTERNS: Final = 80
"""Patterns of the part; more cost more and hardly improve the result."""
ONE_APART_OF: Final = 7
"""One in so many patterns of the part judges, the others are fitted."""


class Trials:
    """The middle of a scan.

    Args:
        patterns: of the scan.
        positions_px: float64 (n, 2), rows (y, x).
        ids: patterns that may be used, increasing.
        n_patterns: of the part.

    Attributes:
        positions_px: float64 (k, 2), of the part.
    """

    def __init__(
        self, patterns: Patterns, positions_px: Tensor, ids: Ids, n_patterns: int = N_PATTERNS
    ) -> None:
        near = central(positions_px, ids, n_patterns)
        size = patterns.n_pixels
        amplitude = patterns.read(near, "amplitude", torch.empty(len(near), size, size))
        self.positions_px = positions_px[near]
        self._patterns = Patterns(amplitude, "amplitude", patterns.bad_pixels(near))
        every = np.arange(len(near))
        self._apart = every[ONE_APART_OF // 2 :: ONE_APART_OF] if len(near) > 1 else every
        self._fitted = np.setdiff1d(every, self._apart) if len(near) > 1 else every
        seen = self._patterns.measured(self._apart, amplitude)
        judged = amplitude[self._apart] if seen is None else amplitude[self._apart] * seen
        self._total = float(judged.square().sum(dtype=torch.float64))

    def error(self, probe: Tensor, n_iterations: int, positions_px: Tensor | None = None) -> float:
        """Squared error of the amplitudes of the patterns that were not fitted, over their squares; 1 without light.

        Args:
            probe: complex (M, N, N), photon**0.5, which the fit refines.
            n_iterations: of the fit.
            positions_px: float64 (k, 2), in place of those of the part.
        """
        if not self._total:
            return 1.0
        places = self.positions_px if positions_px is None else positions_px
        descent = prepare(
            self._patterns, places, probe, fitted=self._fitted, n_modes=len(probe), switch_at=None
        )
        run(descent, n_iterations)
        descent.forward.set_probe(descent.state.modes)
        return (
            descent.forward.value(descent.state.object, self._apart, "amplitude", descent.dark) / self._total
        )
