"""Patterns that were not measured, spots of hot pixels, and where the beam is beside gaps and without a probe."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho.config.data import DataConfig
from ptycho.data_error import DataError
from ptycho.formats.light import Light
from ptycho.formats.windows import centre_of
from ptycho.probe import probe_diameter_px
from ptycho.raw_data import RawData
from ptycho_torch.simulate import simulate_scan
from tests.core.foreign_files import LENGTHS, NAMED, read, standard
from tests.core.foreign_files import counts as counts_of_file

CLEAN = simulate_scan(N=64, n_positions=100, nphotons=1e5)
COUNTS = np.square(CLEAN.amplitude(np.arange(len(CLEAN)))).round().astype(np.uint32)
SPOTS = {
    "pair": [(0, 0), (0, 1)],
    "square": [(0, 0), (0, 1), (1, 0), (1, 1)],
    "line": [(0, column) for column in range(6)],
    "corner": [(0, 0), (1, 0), (1, 1)],
}


def scan_of(counts: np.ndarray, *, with_probe: bool = True, **more: Any) -> RawData:
    probe = CLEAN.probe if with_probe else None
    return RawData.from_arrays(counts, CLEAN.positions_px, probe, domain="intensity", **more)


def names(scan: RawData) -> list[str]:
    return [verdict.name for verdict in scan.verdicts if verdict.severity != "note"]


@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        ("uint16", 65535, "65535"),
        ("float32", np.nan, "no number"),
        ("int32", -1, "-1"),
        ("float64", 2**32 - 1, "4294967295"),
    ],
)
@pytest.mark.parametrize("part", [slice(None), slice(0, 40)])
def test_a_pattern_that_was_not_measured_is_left_out_alone(
    dtype: str, value: float, words: str, part: slice
) -> None:
    counts = COUNTS.astype(dtype)
    counts[[3, 17], part] = value
    scan = scan_of(counts)
    (said,) = scan.verdicts
    assert said.name == "unmeasured_frames"
    assert f"2 of 100 patterns (3, 17) hold {words} in most pixels" in said.sentence
    np.testing.assert_array_equal(scan.patterns, np.delete(COUNTS, [3, 17], axis=0))
    assert scan.bad_pixels is None
    assert len(scan.positions_px) == 98


def test_gaps_of_the_detector_stay_beside_a_pattern_that_was_not_measured() -> None:
    counts = COUNTS.astype(np.uint16)
    counts[:, 30:34], counts[5] = 65535, 65535
    scan = scan_of(counts)
    assert names(scan) == ["flagged_pixels", "unmeasured_frames"]
    assert np.argwhere(np.asarray(scan.bad_pixels))[:, 0].tolist() == np.repeat(range(30, 34), 64).tolist()
    assert len(scan) == 99


@pytest.mark.parametrize(("dtype", "value"), [("uint16", 65535), ("uint32", 2**32 - 1), ("float32", 65535)])
def test_a_part_of_a_pattern_that_was_not_measured_is_masked_there_alone(dtype: str, value: int) -> None:
    counts = COUNTS.astype(dtype)
    counts[5, :20], counts[8, 40, 40] = value, value
    scan = scan_of(counts)
    (said,) = scan.verdicts
    assert (said.name, said.statistic) == ("flagged_values", 20 * 64 + 1)
    np.testing.assert_array_equal(scan.bad_pixels, counts == value)
    np.testing.assert_array_equal(scan.patterns, np.where(counts == value, 0, counts))


def test_what_is_masked_anyway_does_not_hide_a_pattern_that_was_not_measured() -> None:
    counts, bad = COUNTS.astype(np.uint16), np.zeros((64, 64), bool)
    bad[:20], bad[-20:] = True, True
    counts[5] = 65535
    scan = scan_of(counts, bad_pixels=bad)
    assert names(scan) == ["unmeasured_frames"]
    np.testing.assert_array_equal(scan.bad_pixels, bad)


def test_patterns_that_were_not_measured_may_be_most() -> None:
    counts = COUNTS.astype(np.uint16)
    counts[20:80] = 65535
    scan = scan_of(counts)
    assert names(scan) == ["unmeasured_frames"]
    np.testing.assert_array_equal(scan.patterns, np.delete(COUNTS, slice(20, 80), axis=0))


@pytest.mark.parametrize("with_probe", [True, False])
@pytest.mark.parametrize("spot", SPOTS)
@pytest.mark.parametrize("at", [(6, 9), (38, 25)])
def test_hot_pixels_side_by_side_are_masked(with_probe: bool, spot: str, at: tuple[int, int]) -> None:
    counts, hot = COUNTS.copy(), np.zeros((64, 64), bool)
    for row, column in SPOTS[spot]:
        hot[at[0] + row, at[1] + column] = True
    counts[:, hot] = 20000
    scan = scan_of(counts, with_probe=with_probe)
    assert names(scan) == ["hot_pixels"]
    np.testing.assert_array_equal(scan.bad_pixels, hot)


@pytest.mark.parametrize("n_side_by_side", [1, 2])
def test_a_cosmic_ray_is_no_hot_pixel(n_side_by_side: int) -> None:
    counts = COUNTS.copy()
    counts[40, 9, 9 : 9 + n_side_by_side] = 50000
    scan = scan_of(counts)
    assert names(scan) == ["cosmic_hits"]
    np.testing.assert_array_equal(scan.bad_pixels, counts != COUNTS)


def test_a_beam_of_a_few_pixels_is_not_hot() -> None:
    rows, columns = np.indices((32, 32)) - 16
    light = 5.0 + 4000.0 * ((abs(rows) < 2) & (abs(columns) < 2))
    counts = np.random.default_rng(0).poisson(light, (100, 32, 32))
    scan = RawData.from_arrays(counts, CLEAN.positions_px / 2, None, domain="intensity")
    assert "hot_pixels" not in names(scan)


@pytest.mark.parametrize("shape", ["disc", "square"])
def test_the_edge_of_an_aperture_is_not_hot(shape: str) -> None:
    rows, columns = np.mgrid[:64, :64] - 32
    lit = np.hypot(rows, columns) <= 12 if shape == "disc" else np.maximum(abs(rows), abs(columns)) <= 8
    counts = np.random.default_rng(0).poisson(300.0 * lit, (100, 64, 64))
    assert "hot_pixels" not in names(scan_of(counts, with_probe=False))


def test_the_cross_of_a_rectangular_probe_is_not_hot() -> None:
    probe = np.zeros((64, 64), complex)
    probe[26:38, 20:44] = 1
    light = np.abs(np.fft.fftshift(np.fft.fft2(probe, norm="ortho"))) ** 2
    counts = np.random.default_rng(0).poisson(np.tile(light * 1e6 / light.sum(), (100, 1, 1)))
    for known in (probe[None].astype(np.complex64), None):
        scan = RawData.from_arrays(counts, CLEAN.positions_px, known, domain="intensity")
        assert "hot_pixels" not in names(scan)
    counts[:, 7, 9] = counts[:, 7, 8] = 20000
    scan = RawData.from_arrays(
        counts, CLEAN.positions_px, probe[None].astype(np.complex64), domain="intensity"
    )
    assert np.argwhere(np.asarray(scan.bad_pixels)).tolist() == [[7, 8], [7, 9]]


def test_light_beside_a_cross_of_bad_pixels_is_not_hot() -> None:
    bad = np.zeros((64, 64), bool)
    bad[[28, 29]], bad[:, [35, 36]] = True, True
    assert not names(scan_of(np.where(bad, 0, COUNTS), bad_pixels=bad))


def test_the_corner_of_an_aperture_between_gaps_is_not_hot() -> None:
    light, bad = np.full((64, 64), 5.0), np.zeros((64, 64), bool)
    light[12:40, 12:50] = 2000
    bad[[40, 41]], bad[:, [10, 11]] = True, True
    light[39, 12], light[20:39, 12:50], light[39, 13:] = 2000, 230, 230
    counts = np.random.default_rng(0).poisson(np.tile(np.where(bad, 0, light), (100, 1, 1)))
    assert "hot_pixels" not in names(scan_of(counts, bad_pixels=bad))


@pytest.mark.parametrize("steps", [(3, 0), (0, -3), (4, 4)])
def test_a_beam_off_the_middle_is_said_without_a_probe(steps: tuple[int, int]) -> None:
    assert not names(scan_of(COUNTS, with_probe=False))
    moved = np.roll(COUNTS, steps, axis=(1, 2))
    assert names(scan_of(moved, with_probe=False)) == ["beam_centre"]


@pytest.mark.parametrize("width", [2, 4, 8])
@pytest.mark.parametrize("at", [(-9, 5), (3, -12), (-2, 0)])
def test_gaps_do_not_move_the_centre(width: int, at: tuple[int, int]) -> None:
    detector, (row, column) = np.zeros((90, 100)), (37, 58)
    detector[row - 32 : row + 32, column - 32 : column + 32] = COUNTS.mean(axis=0)
    rows, columns = np.indices(detector.shape) - np.array([row, column])[:, None, None]
    for gap in (
        (rows - at[0] >= 0) & (rows - at[0] < width),
        (columns - at[1] >= 0) & (columns - at[1] < width),
        (rows > 4) & (columns > width),
    ):
        light = Light(np.where(gap, 0, detector), gap).bridged()
        found = centre_of(*light)
        assert np.hypot(*np.subtract(found, (row, column))) < 2  # type: ignore[call-overload]


def test_the_centre_is_found_beside_a_pattern_that_was_not_measured(tmp_path: Any) -> None:
    counts = counts_of_file()
    counts[6] = 65535
    path = standard(tmp_path / "scan.h5", patterns=counts)
    scan = read(path, **NAMED, **LENGTHS, crop=12, centre="auto")
    np.testing.assert_array_equal(scan.patterns, np.delete(counts, 6, axis=0)[:, 5:17, 10:22])
    assert names(scan) == ["unmeasured_frames"]


@pytest.mark.parametrize("times", [10, 10**6])
@pytest.mark.parametrize("with_probe", [True, False])
def test_patterns_far_brighter_than_those_around_are_left_out(with_probe: bool, times: int) -> None:
    counts = COUNTS.astype(np.uint64)
    counts[[7, 40]] *= times
    scan = scan_of(counts, with_probe=with_probe)
    assert names(scan) == ["bright_frames"]
    np.testing.assert_array_equal(scan.patterns, np.delete(COUNTS, [7, 40], axis=0))
    assert scan.bad_pixels is None


@pytest.mark.parametrize("n_bright", [3, 4, 8])
def test_bright_patterns_in_a_row_are_all_left_out(n_bright: int) -> None:
    order = np.lexsort(CLEAN.positions_px.T[::-1].round(-1))  # row by row
    counts = COUNTS.astype(np.uint64)
    bright = order[40 : 40 + n_bright]
    counts[bright] *= 20
    scan = scan_of(counts)
    assert names(scan) == ["bright_frames"]
    np.testing.assert_array_equal(scan.patterns, np.delete(COUNTS, bright, axis=0))


@pytest.mark.parametrize("seed", range(4))
def test_a_small_hole_that_one_pattern_sees_alone_is_no_wrong_exposure(seed: int) -> None:
    rng, probe = np.random.default_rng(seed), np.asarray(CLEAN.probe)
    step = 0.75 * probe_diameter_px(probe)
    places = np.stack(np.meshgrid(*[np.arange(8) * step] * 2, indexing="ij"), axis=-1).reshape(-1, 2) + 40
    places = (places + rng.uniform(-0.2, 0.2, places.shape) * step).round()
    dark = np.full((int(places.max()) + 80,) * 2, 0.02)
    for hole in places[[18, 27, 45]]:
        dark[np.hypot(*(np.indices(dark.shape) - hole[:, None, None])) < 2] = 1
    fields = [probe[0] * dark[y - 32 : y + 32, x - 32 : x + 32] for y, x in places.astype(int)]
    light = 10 * np.abs(np.fft.fftshift(np.fft.fft2(fields, norm="ortho"), axes=(1, 2))) ** 2
    scan = RawData.from_arrays(rng.poisson(light), places, probe, domain="intensity")
    assert "bright_frames" not in names(scan)


def test_patterns_of_a_detector_that_sent_its_last_image_again_are_left_out() -> None:
    counts = COUNTS.copy()
    counts[20:80] = counts[20]
    scan = scan_of(counts)
    assert names(scan) == ["repeated_frames"]
    np.testing.assert_array_equal(scan.patterns, np.delete(COUNTS, slice(21, 80), axis=0))


@pytest.mark.parametrize("other", [0, COUNTS[51]])
def test_patterns_that_are_equal_but_for_one_are_said_to_be_equal(other: Any) -> None:
    counts = np.tile(COUNTS[20], (100, 1, 1))
    counts[50] = other
    scan = scan_of(counts)
    assert "equal_patterns" in names(scan)
    assert "repeated_frames" not in names(scan)
    assert len(scan) >= 99


def test_a_pattern_taken_twice_at_one_position_is_kept() -> None:
    twice = np.repeat(np.arange(len(COUNTS)), 2)
    scan = RawData.from_arrays(COUNTS[twice], CLEAN.positions_px[twice], CLEAN.probe, domain="intensity")
    assert names(scan) == []
    assert len(scan) == 2 * len(COUNTS)


@pytest.mark.parametrize("bin_", [1, 2])
@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        ("uint16", 65535, "65535"),
        ("uint32", 2**32 - 1, "4294967295"),
        ("int32", -1, "-1"),
        ("float32", np.nan, "no number"),
    ],
)
def test_a_pattern_that_was_not_measured_is_left_out_of_any_size_of_pixels(
    tmp_path: Any, dtype: str, value: float, words: str, bin_: int
) -> None:
    counts = (COUNTS.astype(np.float64) * 25000 / COUNTS.max()).round().astype(dtype)
    sampled, others = np.unique(np.linspace(0, 99, 64).astype(int)), [5, 65]
    assert not np.isin(others, sampled).any()
    lost = [*others, int(sampled[20])]
    counts[lost] = value
    places = CLEAN.positions_px * 7.5e-9
    path = standard(tmp_path / "scan.h5", patterns=counts, y=places[:, 0], x=places[:, 1])
    scan = RawData.from_file(path, "intensity", reading=DataConfig(**NAMED, **LENGTHS, bin=bin_))
    assert names(scan) == ["unmeasured_frames"]
    assert f"3 of 100 patterns (5, 31, 65) hold {words} in most pixels" in scan.verdicts[0].sentence
    rows = np.setdiff1d(np.arange(100), lost)
    n = 64 // bin_
    wanted = counts[rows].reshape(97, n, bin_, n, bin_).sum((2, 4))
    np.testing.assert_array_equal(scan.patterns, wanted)
    assert bin_ == 1 or wanted.max() > 65535


@pytest.mark.parametrize(("dtype", "value"), [("uint16", 65535), ("uint32", 2**32 - 1), ("int32", 2**31 - 1)])
@pytest.mark.parametrize("n_pixels", [4, 400])
def test_flags_are_no_counts_where_pixels_are_binned(
    tmp_path: Path, dtype: str, value: int, n_pixels: int
) -> None:
    counts, rows = (COUNTS / COUNTS.max() * 20000).round().astype(dtype), [5, 65]
    assert not np.isin(rows, np.linspace(0, 99, 64).astype(int)).any()
    hit = np.zeros(counts.shape, bool)
    hit[rows, 40:50, 4 : 4 + n_pixels // 10] = True
    hit[rows, 40, 10:14] = True
    places = CLEAN.positions_px * 7.5e-9
    found = []
    for patterns in (np.where(hit, np.array(value, dtype), counts), counts):
        path = standard(tmp_path / "scan.h5", patterns=patterns, y=places[:, 0], x=places[:, 1])
        found.append(RawData.from_file(path, "intensity", reading=DataConfig(**NAMED, **LENGTHS, bin=2)))
    scan, clean = found
    assert names(scan)[-1] in ("flagged_pixels", "flagged_values")
    assert str(value) in scan.verdicts[-1].sentence
    bad = np.broadcast_to(np.asarray(scan.bad_pixels), clean.patterns.shape)
    assert bad[hit.reshape(100, 32, 2, 32, 2).any((2, 4))].all()
    np.testing.assert_array_equal(scan.patterns, np.where(bad, 0, clean.patterns))


@pytest.mark.parametrize("with_probe", [True, False])
@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (3, 3)])
@pytest.mark.parametrize("at", [(5, 5), (44, 20)])
def test_a_block_of_hot_pixels_is_masked_and_no_order_nor_centre(
    with_probe: bool, shape: tuple[int, int], at: tuple[int, int]
) -> None:
    counts, hot = COUNTS.copy(), np.zeros((64, 64), bool)
    hot[at[0] : at[0] + shape[0], at[1] : at[1] + shape[1]] = True
    counts[:, hot] += np.random.default_rng(0).poisson(20000, (100, hot.sum())).astype(np.uint32)
    scan = scan_of(counts, with_probe=with_probe)
    assert names(scan) == ["hot_pixels"]
    np.testing.assert_array_equal(scan.bad_pixels, hot)


def test_a_beam_of_a_block_of_pixels_is_not_hot() -> None:
    rows, columns = np.indices((32, 32)) - 16
    light = (
        5.0
        + 4000.0 * ((abs(rows) < 2) & (abs(columns) < 2))
        + 400.0 * ((abs(rows - 7) < 2) & (abs(columns + 8) < 2))
    )
    counts = np.random.default_rng(0).poisson(light, (100, 32, 32))
    scan = RawData.from_arrays(counts, CLEAN.positions_px / 2, None, domain="intensity")
    assert not {"hot_pixels", "beam_centre"} & {*names(scan)}


@pytest.mark.parametrize("n_hits", [40, 150, 300])
def test_cosmic_hits_may_be_more_than_patterns(n_hits: int) -> None:
    rng, counts = np.random.default_rng(2), COUNTS.copy()
    places = rng.choice(64 * 64, n_hits, replace=False)
    counts[rng.integers(0, 100, n_hits), places // 64, places % 64] += 50000
    scan = scan_of(counts)
    assert names(scan) == ["cosmic_hits"]
    masked = np.asarray(scan.bad_pixels)
    assert not masked[counts == COUNTS].any()
    assert np.count_nonzero(masked) > 0.9 * n_hits


@pytest.mark.parametrize("gain", [1, 7, 20])
@pytest.mark.parametrize("nphotons", [300.0, 2000.0])
def test_few_photons_times_a_gain_are_no_cosmic_hits(gain: int, nphotons: float) -> None:
    rows, columns = np.indices((64, 64)) - 32
    light = np.exp(-(rows**2 + columns**2) / 128.0)
    counts = np.random.default_rng(1).poisson(np.tile(light * nphotons / light.sum(), (100, 1, 1)))
    assert not {"cosmic_hits", "hot_pixels"} & {*names(scan_of(counts * gain, with_probe=False))}


@pytest.mark.parametrize("with_bright", [False, True])
def test_a_bright_pattern_hides_neither_cosmic_hits_nor_saturation(with_bright: bool) -> None:
    counts = np.minimum(COUNTS, int(0.3 * COUNTS.max())).astype(np.uint64)
    counts[40, 9, 9] = 50000
    if with_bright:
        counts[7] = COUNTS[7] * np.uint64(10**6)
    scan = scan_of(counts)
    assert names(scan) == ["cosmic_hits", "saturation", *["bright_frames"] * with_bright]


def test_objects_of_other_exposures_are_kept() -> None:
    labels = np.arange(len(COUNTS)) % 2
    counts = COUNTS * np.where(labels, 20, 1)[:, None, None]
    assert "bright_frames" not in names(scan_of(counts, scan_index=labels))


def test_a_bright_pattern_of_one_of_several_objects_is_left_out() -> None:
    counts, labels = COUNTS.astype(np.uint64), np.arange(len(COUNTS)) % 2
    counts[40] *= 1000
    scan = scan_of(counts * np.where(labels, 20, 1).astype(np.uint64)[:, None, None], scan_index=labels)
    assert [name for name in names(scan) if name != "drift"] == ["bright_frames"]
    np.testing.assert_array_equal(scan.scan_index, np.delete(labels, 40))


def test_flags_of_few_pixels_take_no_mask_of_each_pattern() -> None:
    counts = COUNTS.astype(np.uint16)
    counts[8, 40, 40] = 65535
    scan = scan_of(counts)
    assert np.argwhere(scan.bad_pixels).tolist() == [[40, 40]]
    assert "1 pixel holds 65535 in 1 of 100 patterns, which detectors write" in scan.verdicts[0].sentence
    assert "it is masked in all" in scan.verdicts[0].sentence


def test_flags_where_the_light_is_are_masked_in_their_patterns_alone() -> None:
    counts = COUNTS.astype(np.uint16)
    brightest = np.unravel_index(np.argsort(COUNTS.mean(axis=0), axis=None)[-36:], (64, 64))
    for row in (50, 70):
        counts[row, *brightest] = 65535
    scan = scan_of(counts)
    (said,) = scan.verdicts
    assert (said.name, said.statistic) == ("flagged_values", 72)
    np.testing.assert_array_equal(scan.bad_pixels, counts == 65535)


def test_flags_of_patterns_that_are_left_out_mask_nothing() -> None:
    counts = COUNTS.astype(np.uint16)
    counts[8], counts[8, 40, 40] = 0, 65535
    scan = scan_of(counts)
    assert names(scan) == ["empty_frames"]
    assert scan.bad_pixels is None


def test_minus_one_alone_is_no_background_that_was_taken_off(tmp_path: Path) -> None:
    counts = COUNTS.astype(np.int32)
    counts[:30, :32] = -1
    places = CLEAN.positions_px * 7.5e-9
    path = standard(tmp_path / "scan.h5", patterns=counts, y=places[:, 0], x=places[:, 1])
    with pytest.raises(DataError, match="set dead_value to -1"):
        RawData.from_file(path, "intensity", reading=DataConfig(**NAMED, **LENGTHS))


def narrow() -> np.ndarray:
    """Counts of a beam of few pixels, all of which vary a little, int64 (100, 64, 64)."""
    rows, columns = np.indices((64, 64)) - 32
    light = 30000 * np.exp(-(rows**2 + columns**2) / 1.0)
    return np.random.default_rng(0).poisson(np.tile(light, (100, 1, 1)))


def test_wrong_patterns_of_a_narrow_beam_are_left_out() -> None:
    counts = narrow()
    assert "bright_frames" not in names(scan_of(counts))
    counts[10] *= 50
    counts[30:40] = counts[30]
    counts[60] = 0
    scan = scan_of(counts)
    assert {"bright_frames", "repeated_frames", "empty_frames"} <= {*names(scan)}
    assert len(scan) == 100 - 1 - 9 - 1


def test_few_wide_patterns_do_not_make_those_of_a_narrow_beam_empty() -> None:
    counts = narrow()
    counts[[4, 7], 20:44, 20:44] += 20000
    assert len(scan_of(counts)) >= 98


def test_patterns_are_numbered_as_in_the_scan_where_a_part_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = np.resize(np.arange(100), 400)
    counts, places = COUNTS[order].astype(np.int32), CLEAN.positions_px[order] * 7.5e-9
    places += np.repeat(np.arange(4), 100)[:, None] * 3e-9
    monkeypatch.setattr("ptycho.pattern_statistics.LOOKED_AT", counts.nbytes // 4)
    read_alone = partial(
        RawData.from_file, domain="intensity", reading=DataConfig(**NAMED, **LENGTHS), some=True
    )
    path = standard(tmp_path / "scan.h5", patterns=counts, y=places[:, 0], x=places[:, 1])
    rows = read_alone(path).rows
    lost, hit = int(rows[-1]), int(rows[-2])
    off = int(np.setdiff1d(np.arange(400), rows)[-1])
    assert hit > len(rows)
    counts[lost], counts[hit, 9, 9], places[off] = -1, 50000, 1.0
    path = standard(tmp_path / "scan.h5", patterns=counts, y=places[:, 0], x=places[:, 1])
    said = {verdict.name: verdict.sentence for verdict in read_alone(path).verdicts}
    assert f"({lost}) holds -1" in said["unmeasured_frames"]
    assert f"in pattern {hit}, row 9" in said["cosmic_hits"]
    assert f"position {off} (" in said["far_off_position"]


@pytest.mark.parametrize("part", [0.5, 0.52])
def test_a_bright_pattern_is_left_out_where_steps_are_about_half_of_the_probe(part: float) -> None:
    step = part * probe_diameter_px(np.asarray(CLEAN.probe))
    places = np.stack(np.meshgrid(*[np.arange(10) * step] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    counts = np.random.default_rng(0).poisson(np.tile(COUNTS.mean(axis=0), (100, 1, 1)))
    counts[44] *= 1000
    scan = RawData.from_arrays(counts, places, CLEAN.probe, domain="intensity")
    assert "bright_frames" in names(scan)
    assert len(scan) == 99
