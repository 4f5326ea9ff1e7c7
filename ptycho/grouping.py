"""Neighbour groups of scan positions, and where their members lie in them (pure numpy functions).

A group is one network sample: gridsize^2 positions near each other, the centre first. Positions are float64
(n, 2), rows (y, x), in object pixels; groups hold indices into them.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy import spatial  # pyright: ignore[reportMissingTypeStubs]

from ptycho.data_error import DataError
from ptycho.memory import available_bytes, size_text, too_large
from ptycho.wording import counted

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


GAP = 0.25
"""Gaps between neighbouring coordinates that are smaller, relative to the largest, lie within one line of a scan."""


MOST_WITHIN = 200
"""Nearest neighbours that Min_dist looks at."""


NEIGHBOR_BYTES = 48
"""Memory for each neighbour of each position while groups are drawn."""

GROUP_BYTES = 200
"""Memory for each group beside that for its members: its centre, and its place in the order of an epoch."""

MEMBER_BYTES = 32
"""Memory for each member of a group while groups are drawn."""


@dataclass(frozen=True)
class Neighborhood:
    """Which neighbours of a position may form a group with it, beyond the nearest ones.

    Attributes:
        function: Nearest, Min_dist (those between two distances) or 4_quadrant (each from another quadrant).
        pool_quadrant: nearest neighbours that 4_quadrant chooses from.
        distances_px: closest and farthest neighbour of Min_dist.
        rectangular: measure distances in typical steps of each axis.
        lower, upper: part of the scan range, as fractions (y, x), where the centres of groups lie.
    """

    function: str = "Nearest"
    pool_quadrant: int = 30
    distances_px: tuple[float, float] = (0.0, np.inf)
    rectangular: bool = False
    lower: tuple[float, float] = (0.0, 0.0)
    upper: tuple[float, float] = (1.0, 1.0)


NEAREST = Neighborhood()


def select_positions(n: int, n_subsample: int | None, seed: int | None, sequential: bool = False) -> Indices:
    """Choose positions of a scan, each at most once.

    Args:
        n: number of positions.
        n_subsample: how many to choose; None for all.
        seed: of the random choice; None for another choice at every call.
        sequential: the first ones instead of random ones.

    Returns:
        int64 (n_subsample,), ascending.

    Raises:
        DataError: n_subsample is not in 1..n.
    """
    if n_subsample is None:
        return np.arange(n)
    if not 1 <= n_subsample <= n:
        raise DataError(
            f"n_subsample: expected 1 to {n}, the number of positions; got {n_subsample}. "
            "Choose fewer positions, or leave it out to use all."
        )
    if sequential:
        return np.arange(n_subsample)
    return np.sort(np.random.default_rng(seed).choice(n, n_subsample, replace=False))


def neighbor_groups(
    positions_px: npt.ArrayLike,
    gridsize: int,
    neighbor_count: int,
    n_groups: int,
    seed: int | None,
    sequential: bool = False,
    oversample: bool = False,
    neighbor_pool_size: int | None = None,
    scan_index: npt.ArrayLike | None = None,
    neighborhood: Neighborhood = NEAREST,
) -> Indices:
    """Draw groups: a centre, and gridsize^2 - 1 distinct others at random from its nearest neighbours.

    Every position is the centre of one group before any is the centre of two. Positions of different objects
    (`scan_index`) never share a group; where an object has fewer neighbours than asked for, all count.

    Args:
        positions_px: (n, 2) scan positions.
        gridsize: a group has gridsize^2 members.
        neighbor_count: how many nearest neighbours of a centre the others are drawn from.
        n_groups: number of groups.
        seed: of every random choice; None for another one at every call.
        sequential: centres in the order of the scan instead of shuffled; members stay random.
        oversample: allow more groups than positions; a centre then comes again with members drawn anew.
        neighbor_pool_size: replaces neighbor_count where given.
        scan_index: (n,) which object a position belongs to; None for one object.
        neighborhood: which neighbours count; positions that have too few are no centres.

    Returns:
        int64 (n_groups, gridsize^2), the centre in the first column.

    Raises:
        DataError: a number out of range, too few neighbours or positions for a group, or more groups than
            positions without `oversample`.
    """
    positions = np.asarray(positions_px, dtype=np.float64)
    n, n_others = len(positions), gridsize**2 - 1
    name, pool = (
        ("neighbor_count", neighbor_count)
        if neighbor_pool_size is None
        else ("neighbor_pool_size", neighbor_pool_size)
    )
    if neighborhood.function == "4_quadrant":
        name, pool = "K_quadrant", neighborhood.pool_quadrant
    elif neighborhood.function == "Min_dist":
        pool = MOST_WITHIN
    _check_numbers(gridsize, n_groups, n, oversample)
    _refuse_too_many_groups(n_groups, gridsize, min(pool, n - 1) if n_others else 0)
    if pool < n_others:
        raise DataError(
            f"{name}: expected at least {n_others}, the other members of a group of gridsize {gridsize}; "
            f"got {pool}. Raise it, or lower gridsize."
        )
    rng = np.random.default_rng(seed)
    central = _within(positions, neighborhood)
    if n_others == 0:
        return _centers(rng, central, n_groups, sequential)[:, None]
    objects = np.zeros(n, dtype=np.int64) if scan_index is None else np.asarray(scan_index)
    if neighborhood.rectangular:
        positions = positions / [typical_step(axis) for axis in positions.T]
    pool = min(pool, n - 1)
    _refuse_too_many(name, pool, n)
    neighbors = _nearest(positions, objects, pool, gridsize)
    if neighborhood.function == "Min_dist":
        neighbors = _between(np.asarray(positions_px, dtype=np.float64), neighbors, neighborhood.distances_px)
    quadrants = _quadrants(positions, neighbors) if neighborhood.function == "4_quadrant" else None
    enough = _choices(neighbors, quadrants) >= n_others
    centers = _centers(rng, _refuse_none(central[enough[central]], neighborhood), n_groups, sequential)
    neighbors, quadrants = neighbors[centers], None if quadrants is None else quadrants[centers]
    keys = rng.random(neighbors.shape)
    keys[neighbors < 0] = np.inf
    if quadrants is not None:
        keys = _first_of_each(keys, quadrants)
    drawn = np.argsort(keys, axis=1)[:, :n_others]
    return np.concatenate([centers[:, None], np.take_along_axis(neighbors, drawn, axis=1)], axis=1)


def typical_step(coordinates: Floats) -> float:
    """Distance between the lines of a scan along one axis, (n,) coordinates; 1 where all are equal."""
    gaps = np.diff(np.sort(coordinates))
    return float(np.median(gaps[gaps > GAP * gaps.max()])) if len(gaps) and gaps.max() > 0 else 1.0


def _within(positions: Floats, neighborhood: Neighborhood) -> Indices:
    """Positions in the part of the scan range where centres lie."""
    low = positions.min(axis=0)
    extent = positions.max(axis=0) - low
    inside = positions >= low + extent * neighborhood.lower
    inside &= positions <= low + extent * neighborhood.upper
    return _refuse_none(np.flatnonzero(inside.all(axis=1)), neighborhood)


def _refuse_none(centers: Indices, neighborhood: Neighborhood) -> Indices:
    if not len(centers):
        raise DataError(
            f"positions: expected some between the fractions {neighborhood.lower} and {neighborhood.upper} of the scan "
            f"range with enough neighbours by {neighborhood.function}; got none. Widen the bounds, or "
            "the distances."
        )
    return centers


def _centers(rng: np.random.Generator, central: Indices, n_groups: int, sequential: bool) -> Indices:
    n_rounds = -(-n_groups // len(central))
    rounds = [central if sequential else rng.permutation(central) for _ in range(n_rounds)]
    return np.concatenate(rounds)[:n_groups]


def _between(positions: Floats, neighbors: Indices, distances_px: tuple[float, float]) -> Indices:
    """The neighbours at a distance between two; -1 in place of the others."""
    offsets: Floats = positions[neighbors] - positions[:, None]
    distances = np.hypot(offsets[..., 0], offsets[..., 1])
    low, high = distances_px
    return np.where((neighbors >= 0) & (distances >= low) & (distances <= high), neighbors, -1)


def _quadrants(positions: Floats, neighbors: Indices) -> Indices:
    """The quadrant (0 to 3) of every neighbour around its position; -1 where there is none."""
    offsets: Floats = positions[neighbors] - positions[:, None]
    return np.where(neighbors >= 0, 2 * (offsets[..., 0] >= 0) + (offsets[..., 1] >= 0), -1)


def _choices(neighbors: Indices, quadrants: Indices | None) -> Indices:
    """How many members each position can choose."""
    if quadrants is None:
        return np.count_nonzero(neighbors >= 0, axis=1)
    return np.sum([(quadrants == number).any(axis=1) for number in range(4)], axis=0)


def _first_of_each(keys: Floats, quadrants: Indices) -> Floats:
    """Leave of every quadrant the smallest key; infinity in place of the others."""
    left = np.full_like(keys, np.inf)
    rows = np.arange(len(keys))
    for number in range(4):
        own = np.where(quadrants == number, keys, np.inf)
        column = own.argmin(axis=1)
        left[rows, column] = np.minimum(left[rows, column], own[rows, column])
    return left


def relative_offsets(positions_px: npt.ArrayLike, groups: npt.ArrayLike) -> tuple[Indices, Floats]:
    """Where the members of each group lie relative to it, as whole pixels and what remains.

    With rounded = round(position) (halves to even) and reference = round(mean of the members' rounded):
    whole = rounded - reference, remainder = position - rounded, so position = reference + whole + remainder
    exactly, and reference is the same for all members.

    Args:
        positions_px: (n, 2) scan positions.
        groups: integers (G, C), indices of positions.

    Returns:
        whole int64 (G, C, 2) and remainder float64 (G, C, 2) in [-0.5, 0.5], both (y, x) in object pixels.
    """
    members = np.asarray(positions_px, dtype=np.float64)[np.asarray(groups)]
    rounded: Floats = np.round(members)
    middle: Floats = np.mean(rounded, axis=1, keepdims=True)
    reference: Floats = np.round(middle)
    return (rounded - reference).astype(np.int64), members - rounded


def _check_numbers(gridsize: int, n_groups: int, n: int, oversample: bool) -> None:
    if gridsize < 1:
        raise DataError(f"gridsize: expected at least 1; got {gridsize}. Use 1 for no grouping.")
    if n_groups < 1:
        raise DataError(f"n_groups: expected at least 1; got {n_groups}. Set 1 or more.")
    if n == 0:
        raise DataError("positions: expected at least one; got none. Leave out fewer.")
    if n_groups > n and not oversample:
        raise DataError(
            f"n_groups: expected at most {n}, the number of positions; got {n_groups}. "
            "Lower it, or set enable_oversampling=True to use positions as centres more than once."
        )


def _refuse_too_many_groups(n_groups: int, gridsize: int, pool: int) -> None:
    """Refuse more groups than there is memory for, which only come of positions used more than once."""
    n_bytes = n_groups * (GROUP_BYTES + gridsize**2 * MEMBER_BYTES + pool * NEIGHBOR_BYTES)
    if too_large(n_bytes):
        raise DataError(
            f"n_groups: expected groups that fit into the available memory, {size_text(available_bytes())}; got "
            f"{n_groups} groups of {counted(gridsize**2, 'pattern')}, {size_text(n_bytes)}. Lower it."
        )


def _refuse_too_many(name: str, pool: int, n: int) -> None:
    """Refuse more neighbours of all positions than there is memory for."""
    n_bytes = n * pool * NEIGHBOR_BYTES
    if too_large(n_bytes):
        raise DataError(
            f"{name}: expected neighbours that fit into the available memory, {size_text(available_bytes())}; got "
            f"{pool} of each of {counted(n, 'position')}, {size_text(n_bytes)}. Lower it."
        )


def _nearest(positions: Floats, objects: npt.NDArray[Any], pool: int, gridsize: int) -> Indices:
    """Nearest neighbours within the same object, int64 (n, pool); -1 where the object has no more."""
    neighbors = np.full((len(positions), pool), -1, dtype=np.int64)
    for number in np.unique(objects):
        rows = np.flatnonzero(objects == number)
        if len(rows) < gridsize**2:
            where = "" if len(rows) == len(objects) else f" of scan_index {number}"
            raise DataError(
                f"positions{where}: expected at least {gridsize**2} for a group of gridsize {gridsize}; "
                f"got {len(rows)}. Use more positions, or lower gridsize."
            )
        k = min(pool, len(rows) - 1)
        found: Indices = cast(Any, spatial).KDTree(positions[rows]).query(positions[rows], k=k + 1)[1]
        itself = found == np.arange(len(rows))[:, None]
        itself[~itself.any(axis=1), -1] = True  # pushed out by others at the very same place: drop the last
        neighbors[rows, :k] = rows[found[~itself].reshape(len(rows), k)]
    return neighbors
