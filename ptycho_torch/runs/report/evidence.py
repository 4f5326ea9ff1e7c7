"""Patterns of a run that a report shows: those that a picture predicts worst, and typical ones."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ptycho.atomic import atomic_write
from ptycho.raw_data import RawData
from ptycho_torch.data.groups import Indices
from ptycho_torch.runs import metrics

MOST: Final = 256
"""Patterns that are looked at, evenly spread over a scan."""
SHOWN: Final = 3
"""Patterns of a kind that are kept."""

Predicted = Callable[[Indices], Iterator[metrics.Block]]
"""Gives chosen patterns, predicted and measured."""


def evidence(
    scan: RawData, predicted: Predicted, positions_px: NDArray[np.float64], among: Indices | None = None
) -> dict[str, NDArray[Any]]:
    """The arrays of patterns.npz.

    ``index`` int64 (k,), ``measured`` and ``predicted`` float32 (k, N, N), amplitudes in photon**0.5, the latter scaled
    to the former: up to 3 that are predicted worst, then as many whose R factor is in the middle. ``valid`` bool
    (k, N, N), where they were measured. ``looked_at`` int64 (m,) and ``r_factor`` float64 (m,): up to 256 patterns, and
    how well each is predicted; NaN where nothing was measured. ``excess_deviance`` float64: the Poisson deviance of
    these over the one that photon noise has. ``positions_px`` float64 (n, 2), of all patterns.

    Args:
        scan: all patterns.
        predicted: gives some of them, predicted and measured, in their order.
        positions_px: as the picture was made with.
        among: patterns that the picture shows; None: all.
    """
    shown = np.arange(len(scan)) if among is None else among
    some = shown[np.unique(np.linspace(0, len(shown) - 1, MOST).astype(np.int64))]
    r_factors: list[float] = []

    def noted() -> Iterator[metrics.Block]:
        for block in _each(predicted(some)):
            r_factors.append(metrics.agreement(lambda block=block: [block])["r_factor"])
            yield _scaled(block)

    excess = metrics.excess_deviance(noted())
    index = some[_shown(np.array(r_factors))]
    blocks = [_scaled(block) for one in index for block in _each(predicted(np.array([one])))]
    side = scan.patterns.shape[-1]

    def stacked(images: Iterable[Any], dtype: type) -> NDArray[Any]:
        found = [np.broadcast_to(image, (1, side, side))[0] for image in images]
        return np.array(found, dtype=dtype).reshape(-1, side, side)  # also of none

    return {
        "index": index,
        "measured": stacked((block.amplitude for block in blocks), np.float32),
        "predicted": stacked((block.predicted for block in blocks), np.float32),
        "valid": stacked((block.measured for block in blocks), np.bool_),
        "looked_at": some,
        "r_factor": np.array(r_factors),
        "excess_deviance": np.array(excess),
        "positions_px": np.asarray(positions_px, dtype=np.float64),
    }


def save_evidence(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write patterns.npz."""
    with atomic_write(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _each(blocks: Iterable[metrics.Block]) -> Iterator[metrics.Block]:
    """Blocks of one pattern."""
    for predicted, amplitude, measured in blocks:
        seen = np.broadcast_to(measured, amplitude.shape)
        for one in range(len(amplitude)):
            yield metrics.Block(predicted[one : one + 1], amplitude[one : one + 1], seen[one : one + 1])


@np.errstate(divide="ignore", invalid="ignore")
def _scaled(block: metrics.Block) -> metrics.Block:
    """A block whose prediction has the photons of what was measured."""
    counted = np.sum(np.square(block.amplitude), where=block.measured, dtype=np.float64)
    foretold = np.sum(np.square(block.predicted), where=block.measured, dtype=np.float64)
    scale = np.sqrt(counted / foretold) if foretold > 0 else 1.0
    return block._replace(predicted=(block.predicted * scale).astype(np.float32))


def _shown(r_factors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places of the worst ones and of typical ones, without those that nothing is known of."""
    order = np.argsort(r_factors)[: np.count_nonzero(np.isfinite(r_factors))]
    worst, rest = order[::-1][:SHOWN], order[:-SHOWN]
    first = max(0, min(len(order) // 2 - SHOWN // 2, len(rest) - SHOWN))
    return np.concatenate([worst, rest[first : first + SHOWN]])
