import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptycho.data_error import DataError
from ptycho.grouping import Neighborhood, neighbor_groups, relative_offsets, select_positions, typical_step


@st.composite
def scans(draw):
    """A small scan on a coarse lattice (ties and equal positions happen), one or two objects."""
    n = draw(st.integers(min_value=4, max_value=24))
    lattice = st.tuples(st.integers(0, 5), st.integers(0, 5))
    positions = np.array(draw(st.lists(lattice, min_size=n, max_size=n)), dtype=float)
    shared = draw(st.booleans()) or n < 8
    return positions, np.zeros(n, int) if shared else np.arange(n) % 2


def allowed_neighbors(positions, objects, center, count):
    """Oracle: positions no farther than the count-th nearest other position of the same object."""
    others = [i for i in range(len(positions)) if i != center and objects[i] == objects[center]]
    distance = {i: np.hypot(*(positions[i] - positions[center])) for i in others}
    reach = sorted(distance.values())[: min(count, len(others))][-1]
    return {i for i in others if distance[i] <= reach + 1e-9}


@settings(max_examples=60, deadline=None)
@given(scan=scans(), gridsize=st.integers(1, 2), extra=st.integers(0, 6), seed=st.integers(0, 99))
def test_members_are_distinct_and_among_the_nearest_neighbours(scan, gridsize, extra, seed):
    positions, objects = scan
    count = gridsize**2 - 1 + extra
    groups = neighbor_groups(positions, gridsize, count, len(positions), seed, scan_index=objects)
    assert groups.shape == (len(positions), gridsize**2)
    for center, *others in groups.tolist():
        assert len({center, *others}) == gridsize**2
        if others:
            assert set(others) <= allowed_neighbors(positions, objects, center, count)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 30), n_groups=st.integers(1, 90), seed=st.integers(0, 99), sequential=st.booleans())
def test_no_position_is_a_centre_twice_before_all_were_once(n, n_groups, seed, sequential):
    groups = neighbor_groups(np.zeros((n, 2)), 1, 1, n_groups, seed, sequential, oversample=True)
    times = np.bincount(groups[:, 0], minlength=n)
    assert len(groups) == n_groups
    assert times.max() - times.min() <= 1


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), n_members=st.integers(1, 9), scale=st.sampled_from([1.0, 50.0, 3000.0]))
def test_offsets_and_one_reference_give_the_positions_back(seed, n_members, scale):
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-scale, scale, (12, 2))
    groups = rng.integers(0, 12, (7, n_members))
    whole, remainder = relative_offsets(positions, groups)
    reference = positions[groups] - whole - remainder
    assert whole.dtype == np.int64
    assert np.abs(remainder).max() <= 0.5
    np.testing.assert_allclose(reference, np.broadcast_to(np.round(reference[:, :1]), reference.shape))
    middle = np.round(positions[groups]).mean(axis=1)
    assert np.abs(reference[:, 0] - middle).max() <= 0.5 + 1e-9


def test_every_group_of_one_scan_position_is_that_position():
    groups = neighbor_groups(np.zeros((5, 2)), 1, 4, 5, seed=0, sequential=True)
    np.testing.assert_array_equal(groups, np.arange(5)[:, None])


def test_sequential_takes_centres_in_the_order_of_the_scan():
    positions = np.random.default_rng(0).uniform(0, 50, (20, 2))
    groups = neighbor_groups(positions, 2, 6, 8, seed=3, sequential=True)
    np.testing.assert_array_equal(groups[:, 0], np.arange(8))


def test_equal_seeds_give_equal_groups_and_others_differ():
    positions = np.random.default_rng(0).uniform(0, 50, (40, 2))
    first = neighbor_groups(positions, 2, 6, 30, seed=3)
    np.testing.assert_array_equal(first, neighbor_groups(positions, 2, 6, 30, seed=3))
    assert not np.array_equal(first, neighbor_groups(positions, 2, 6, 30, seed=4))


def test_neighbor_pool_size_replaces_neighbor_count():
    positions = np.stack([np.zeros(40), np.arange(40.0)], axis=1)
    groups = neighbor_groups(positions, 2, 4, 40, seed=0, neighbor_pool_size=12)
    reach = np.abs(groups[:, 1:] - groups[:, :1])[10:-10].max()
    assert reach > 2, "with 4 neighbours on a line no member is farther than 2"


def test_groups_never_mix_objects():
    positions = np.zeros((30, 2))
    objects = np.repeat([7, 9], 15)
    groups = neighbor_groups(positions, 3, 8, 30, seed=1, scan_index=objects)
    assert all(len(set(objects[group])) == 1 for group in groups)


def test_an_object_with_few_positions_uses_all_of_them():
    objects = np.array([0] * 20 + [1] * 4)
    groups = neighbor_groups(np.random.default_rng(1).uniform(0, 9, (24, 2)), 2, 9, 24, 5, scan_index=objects)
    assert {tuple(sorted(group)) for group in groups.tolist() if group[0] >= 20} == {(20, 21, 22, 23)}


def test_members_vary_over_all_neighbours_when_a_centre_comes_again():
    positions = np.random.default_rng(0).uniform(0, 50, (10, 2))
    groups = neighbor_groups(positions, 2, 6, 1000, seed=0, oversample=True)
    drawn = {member for group in groups.tolist() if group[0] == 0 for member in group[1:]}
    assert drawn == allowed_neighbors(positions, np.zeros(10), 0, 6)


def test_a_hundred_thousand_positions_are_grouped_correctly():
    side = 317
    rows, columns = np.divmod(np.arange(side * side)[:100_000], side)
    positions = np.stack([rows, columns], axis=1) * 7.0
    groups = neighbor_groups(positions, 2, 8, 100_000, seed=0)
    assert np.array_equal(np.sort(groups[:, 0]), np.arange(100_000))
    inner = (rows > 0) & (rows < rows.max() - 1) & (columns > 0) & (columns < side - 1)
    steps = np.abs(positions[groups[:, 1:]] - positions[groups[:, :1]]).max(axis=(1, 2))
    assert (steps[inner[groups[:, 0]]] == 7.0).all()
    ordered = np.sort(groups, axis=1)
    assert (np.diff(ordered, axis=1) > 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_groups": 11}, "n_groups: expected at most 10.*enable_oversampling"),
        ({"n_groups": 0}, "n_groups: .*got 0"),
        ({"neighbor_count": 2}, "neighbor_count: .*got 2"),
        ({"neighbor_pool_size": 1}, "neighbor_pool_size: expected at least 3"),
        ({"gridsize": 4, "neighbor_count": 20}, "positions: .*got 10"),
        ({"gridsize": 0}, "gridsize: .*got 0"),
        ({"scan_index": [0] * 7 + [1] * 3}, "positions of scan_index 1: .*got 3"),
        (
            {"n_groups": 10**11, "oversample": True},
            "n_groups: expected groups that fit.*got 100000000000 groups",
        ),
        ({"n_groups": 10**11, "oversample": True, "gridsize": 1}, "n_groups: .*groups of 1 pattern, 23"),
    ],
)
def test_an_impossible_request_is_refused_with_the_way_out(arguments, message):
    request = {"gridsize": 2, "neighbor_count": 5, "n_groups": 10, "seed": 0} | arguments
    with pytest.raises(ValueError, match=message):
        neighbor_groups(np.random.default_rng(0).uniform(0, 9, (10, 2)), **request)


@given(n=st.integers(1, 50), fraction=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_a_subsample_is_ascending_and_without_repetition(n, fraction, seed):
    n_subsample = max(1, int(n * fraction))
    chosen = select_positions(n, n_subsample, seed)
    assert len(chosen) == n_subsample
    assert set(chosen.tolist()) <= set(range(n))
    assert (np.diff(chosen) > 0).all()


def test_a_sequential_subsample_is_the_beginning_of_the_scan():
    np.testing.assert_array_equal(select_positions(9, 4, seed=0, sequential=True), [0, 1, 2, 3])


def test_no_subsample_means_all_positions():
    np.testing.assert_array_equal(select_positions(3, None, seed=0), [0, 1, 2])


@pytest.mark.parametrize("n_subsample", [0, -1, 11])
def test_a_subsample_out_of_range_is_refused(n_subsample):
    with pytest.raises(ValueError, match="n_subsample: expected 1 to 10"):
        select_positions(10, n_subsample, seed=0)


def raster(step_y: float, step_x: float, n: int = 9) -> np.ndarray:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:n, :n]
    return np.stack([step_y * y.ravel(), step_x * x.ravel()], axis=1) + rng.uniform(-0.05, 0.05, (n * n, 2))


def offsets(positions: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return positions[groups[:, 1:]] - positions[groups[:, :1]]


def test_members_lie_between_two_distances():
    positions = raster(4.0, 4.0)
    hood = Neighborhood("Min_dist", distances_px=(5.0, 8.5))
    groups = neighbor_groups(positions, 2, 6, 50, 3, neighborhood=hood)
    distances = np.hypot(*offsets(positions, groups).transpose(2, 0, 1))
    assert distances.min() >= 5.0
    assert distances.max() <= 8.5
    assert all(len(set(group)) == 4 for group in groups.tolist())


def test_distances_without_neighbours_are_refused():
    with pytest.raises(DataError, match="enough neighbours by Min_dist; got none"):
        neighbor_groups(
            raster(4.0, 4.0), 2, 6, 5, 3, neighborhood=Neighborhood("Min_dist", distances_px=(0, 3))
        )


def test_members_come_from_different_quadrants():
    positions = raster(4.0, 4.0)
    groups = neighbor_groups(positions, 2, 6, 60, 3, neighborhood=Neighborhood("4_quadrant", pool_quadrant=8))
    signs = offsets(positions, groups) >= 0
    for group in (2 * signs[..., 0] + signs[..., 1]).tolist():
        assert len(set(group)) == 3


def test_centres_lie_within_the_bounds_and_members_anywhere():
    positions = raster(4.0, 4.0)
    hood = Neighborhood(lower=(0.4, 0.1), upper=(0.6, 0.9))
    groups = neighbor_groups(positions, 2, 8, 30, 3, oversample=True, neighborhood=hood)
    centres = (positions[groups[:, 0]] - positions.min(axis=0)) / np.ptp(positions, axis=0)
    assert (centres >= (0.4, 0.1)).all()
    assert (centres <= (0.6, 0.9)).all()
    assert positions[groups[:, 1:], 0].min() < positions[groups[:, 0], 0].min()


def test_rectangular_scans_have_neighbours_along_both_axes():
    positions = raster(12.0, 2.0)
    assert [typical_step(axis) for axis in positions.T] == pytest.approx([12, 2], rel=0.05)
    plain, rectangular = (
        np.abs(
            offsets(
                positions, neighbor_groups(positions, 2, 8, 81, 3, neighborhood=Neighborhood(rectangular=r))
            )
        )
        for r in (False, True)
    )
    assert (plain[..., 0] > 6).mean() < 0.2 < (rectangular[..., 0] > 6).mean()


@pytest.mark.parametrize("name", ["neighbor_count", "neighbor_pool_size"])
def test_more_neighbours_than_positions_are_all_the_others(name):
    positions = np.random.default_rng(0).random((40, 2))
    counts = {"neighbor_count": 6, "gridsize": 2, "n_groups": 40, "seed": 1}
    groups = neighbor_groups(positions, **(counts | {name: 10**9}))
    np.testing.assert_array_equal(groups, neighbor_groups(positions, **(counts | {name: 39})))


def test_more_neighbours_than_there_is_memory_for_are_refused():
    positions = np.random.default_rng(0).random((2_000_000, 2))
    with pytest.raises(
        DataError, match=r"neighbor_count: expected neighbours that fit into the available memory, "
    ):
        neighbor_groups(positions, 2, 1_999_999, 8, 1)
