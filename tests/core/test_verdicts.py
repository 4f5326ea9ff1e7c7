"""What the statistics of a scan tell of faults that no array shows when it is looked at alone; and of sound scans."""

import json
import re

import h5py
import numpy as np
import pytest

from ptycho.config.data import DataConfig
from ptycho.data_error import DataError
from ptycho.frame_verdicts import of_drift
from ptycho.geometry import Geometry
from ptycho.probe import probe_diameter_px
from ptycho.raw_data import RawData
from ptycho.simulation import make_probe
from tests.core.sound_scans import said, sound, write

SCAN = sound(n_positions=100, nphotons=1e6)
COUNTS = np.asarray(SCAN.patterns).astype(np.uint32)


def read(patterns=COUNTS, scan=SCAN, **changes):
    arguments = {"positions_px": scan.positions_px, "probe": scan.probe, "domain": "intensity"} | changes
    return RawData.from_arrays(patterns, **arguments)


def found(scan):
    return {verdict.name: verdict for verdict in scan.verdicts}


@pytest.fixture(params=["intensity", "amplitude"])
def domain(request):
    return request.param


def in_domain(counts, domain):
    return np.sqrt(counts) if domain == "amplitude" else counts


# Single pixels --------------------------------------------------------------------------------------------------


def test_hot_pixels_are_masked_and_said(domain, caplog):
    hot = np.zeros((32, 32), bool)
    hot[(2, 27, 20, 16, 5), (0, 9, 31, 2, 22)] = True
    patterns = in_domain(np.where(hot, 100_000, COUNTS), domain)
    scan = read(patterns, domain=domain)
    np.testing.assert_array_equal(scan.bad_pixels, hot)
    assert set(found(scan)) == {"hot_pixels"}
    assert "5 pixels, the first in row 2, column 0, hold" in said(caplog)[-1]
    expected = read(np.where(hot, 0, COUNTS))
    np.testing.assert_allclose(scan.probe, expected.probe, rtol=0.01)  # they are no light


@pytest.mark.parametrize("place", [(20, 10), (9, 19)])
@pytest.mark.parametrize("of_neighbors", [True, False])
def test_a_pixel_that_is_hot_in_every_pattern_is_found_where_the_light_is_without_a_probe(
    domain, place, of_neighbors, caplog
):
    light = COUNTS.mean(axis=0)
    row, column = place
    around = light[row - 1 : row + 2, column - 1 : column + 2].copy()
    around[1, 1] = 0
    value = 18 * around.max() if of_neighbors else 30 * light.max()
    patterns, hot = COUNTS.copy(), np.zeros((32, 32), bool)
    hot[place] = True
    patterns[:, hot] = np.random.default_rng(0).poisson(value, (len(COUNTS), 1))
    scan = read(in_domain(patterns, domain), domain=domain, probe=None)
    np.testing.assert_array_equal(scan.bad_pixels, hot)
    assert set(found(scan)) == {"hot_pixels"}


@pytest.mark.parametrize("middle", [(16, 16), (19, 14)])
def test_the_beam_of_a_probe_as_wide_as_the_field_is_no_hot_pixel(middle):
    rows, columns = np.indices((32, 32))
    halo = 40 * np.exp(-((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2) / 20)
    halo[middle] = 4000
    assert read(np.random.default_rng(0).poisson(halo, COUNTS.shape), probe=None).bad_pixels is None


def test_a_few_photons_that_happen_to_fall_on_one_dim_pixel_are_not_hot():
    """Three of some two thousand, in as many patterns."""
    counts = np.random.default_rng(0).poisson(COUNTS * 3e-5)
    counts[:, 27:30, 1:4] = 0
    counts[:3, 28, 2] = 1
    assert counts.sum() < 3000
    assert read(counts).bad_pixels is None


def test_a_cosmic_hit_is_masked_in_its_pattern_alone_and_said(domain, caplog):
    counts = COUNTS.copy()
    counts[7, 3, 4], counts[50, 30, 12] = 20_000, 3_000
    scan = read(in_domain(counts, domain), domain=domain)
    assert scan.bad_pixels.shape == counts.shape
    np.testing.assert_array_equal(np.argwhere(scan.bad_pixels), [[7, 3, 4], [50, 30, 12]])
    assert set(found(scan)) == {"cosmic_hits"}
    assert "2 pixels, the first in pattern 7, row 3, column 4, are much brighter" in said(caplog)[-1]


def test_single_photons_of_a_detector_that_counts_in_other_units_are_no_cosmic_hits():
    (verdict,) = read(sound(n_positions=100, nphotons=1e4).patterns * np.uint32(70)).verdicts
    assert (verdict.name, verdict.statistic) == ("photons", 70)


def test_a_detector_that_saturates_far_below_its_largest_integer_is_said(domain, caplog):
    bound = int(0.3 * COUNTS.max())
    scan = read(in_domain(np.minimum(COUNTS, bound), domain), domain=domain)
    verdict = found(scan)["saturation"]
    assert verdict.statistic > 0.9
    np.testing.assert_array_equal(scan.bad_pixels, bound <= COUNTS)
    assert f"3 or more pixels at {in_domain(bound, domain):g}, which no pixel exceeds" in said(caplog)[-1]


# Patterns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["in the file", "compressed"])
def test_empty_patterns_are_left_out_with_all_that_belongs_to_them(tmp_path, caplog, domain, stored):
    counts, empty = COUNTS.copy(), np.arange(100) % 10 == 3
    counts[empty] = np.random.default_rng(0).poisson(0.01, (10, 32, 32))
    arrays = {
        "diff3d": in_domain(counts, domain),
        "xcoords": SCAN.xcoords,
        "ycoords": SCAN.ycoords,
        "probeGuess": SCAN.probe,
        "holdout": np.arange(100) < 20,
        "half": np.arange(100) % 2,
        "scan_index": np.arange(100) // 50,
        "label_amp": np.ones_like(counts, float),
        "label_phase": np.arange(100.0)[:, None, None] * np.ones((32, 32)),
        "metadata": np.array(json.dumps({"measurement_domain": domain})),
    }
    (np.savez if stored == "in the file" else np.savez_compressed)(tmp_path / "scan.npz", **arrays)
    scan = RawData.from_file(tmp_path / "scan.npz")
    kept = np.flatnonzero(~empty)
    np.testing.assert_array_equal(scan.rows, kept)
    np.testing.assert_array_equal(np.asarray(scan.patterns), arrays["diff3d"][kept])
    np.testing.assert_array_equal(scan.patterns[5:7], arrays["diff3d"][kept[5:7]])
    np.testing.assert_array_equal(scan.positions_px, SCAN.positions_px[kept])
    np.testing.assert_array_equal(scan.holdout, arrays["holdout"][kept])
    np.testing.assert_array_equal(scan.half, arrays["half"][kept])
    np.testing.assert_array_equal(scan.scan_index, arrays["scan_index"][kept])
    np.testing.assert_array_equal(scan.labels.phase[:, 0, 0], kept)
    assert set(found(scan)) == {"empty_frames"}
    assert (
        "10 of 100 patterns (3, 13, 23, 33, 43 ...) hold next to no light: they are left out"
        in said(caplog)[-1]
    )
    scan.to_file(tmp_path / "again.npz")
    caplog.clear()
    assert len(RawData.from_file(tmp_path / "again.npz")) == 90
    assert said(caplog) == []


@pytest.mark.parametrize(("n_lit", "noise"), [(1, 0.0), (12, 0.0), (12, 0.01), (40, 0.01)])
def test_patterns_that_are_mostly_empty_are_told_and_left_out(n_lit, noise):
    counts = np.random.default_rng(0).poisson(noise, COUNTS.shape)
    counts[-n_lit:] = COUNTS[-n_lit:]
    scan = read(counts)
    np.testing.assert_array_equal(scan.rows, np.arange(100 - n_lit, 100))
    assert "empty_frames" in found(scan)


def test_hits_of_cosmic_rays_in_dim_patterns_leave_the_others():
    counts = np.random.default_rng(0).poisson(COUNTS * (100 / COUNTS.sum(axis=(1, 2)).mean()))
    counts[::4, 9, 9] = 60_000
    assert len(read(counts)) == 100


def test_masks_of_each_pattern_lose_those_of_empty_ones():
    counts, bad = COUNTS.copy(), np.zeros(COUNTS.shape, bool)
    counts[4], bad[5, 2, 3] = 0, True
    scan = read(counts, bad_pixels=bad)
    np.testing.assert_array_equal(np.argwhere(scan.bad_pixels), [[4, 2, 3]])


@pytest.mark.parametrize("rate", [-1.2, 0.7])
def test_a_beam_that_fades_or_grows_is_said(domain, caplog, rate):
    steps = np.exp(rate * np.arange(100) / 100)[:, None, None]
    counts = np.random.default_rng(0).poisson(COUNTS * steps)
    scan = read(in_domain(counts, domain), domain=domain)
    assert found(scan)["drift"].statistic == pytest.approx(np.expm1(rate), abs=0.2)
    assert "refine_intensities" in said(caplog)[-1]


def uneven_totals(positions, end):
    """Counts of patterns of an object with a bright and a dark part, while the beam falls to a part of what it was."""
    y, x = positions.T
    bright = np.exp(-((y - 9) ** 2 + (x - 30) ** 2) / 150) - np.exp(-((y - 30) ** 2 + (x - 12) ** 2) / 200)
    counts = 1e5 * (1 + 0.7 * bright) * np.linspace(1, end, len(positions))
    return np.random.default_rng(2).poisson(counts)


@pytest.mark.parametrize("order", ["raster", "to and fro", "random"])
@pytest.mark.parametrize("end", [0.5, 0.65, 1.5])
def test_a_beam_that_fades_is_told_from_an_object_that_absorbs_unevenly(order, end):
    rows, columns = np.divmod(np.arange(196), 14)
    columns = np.where((rows % 2 > 0) & (order == "to and fro"), 13 - columns, columns)
    rng = np.random.default_rng(0)
    positions = np.stack((rows, columns), axis=1) * 3.0 + rng.normal(0, 0.5, (196, 2))
    positions = rng.permutation(positions) if order == "random" else positions
    (verdict,) = of_drift(uneven_totals(positions, end), positions)
    assert verdict.statistic == pytest.approx(end - 1, abs=0.12)
    assert [*of_drift(uneven_totals(positions, 1.0), positions)] == []


def test_the_time_of_a_pattern_is_where_it_is_in_the_scan(tmp_path, monkeypatch):
    """Of a spiral its middle, where it begins, is read more closely than the rest."""
    scan = sound(n_positions=400, nphotons=1e6, step_px=3.0)
    fading = np.exp(-1.2 * np.linspace(0, 1, 400))[:, None, None]
    counts = np.random.default_rng(0).poisson(np.asarray(scan.patterns) * fading).astype(np.uint32)
    path = write(tmp_path, scan, diff3d=counts)
    monkeypatch.setattr("ptycho.pattern_statistics.LOOKED_AT", counts.nbytes * 15 // 100)
    some = RawData.from_file(path, reading=DataConfig(format="npz"), some=True)
    assert (len(some) < 100, some.rows[40]) == (True, 40)
    assert found(some)["drift"].statistic == pytest.approx(np.expm1(-1.2), abs=0.15)


def test_a_part_of_a_scan_that_fades_tells_of_the_whole():
    rows = np.concatenate((np.arange(60), np.arange(60, 300, 8)))
    positions = np.random.default_rng(0).uniform(0, 50, (300, 2))
    times = rows / 299
    (verdict,) = of_drift(1e4 * np.exp(-times), positions[rows], times)
    assert verdict.statistic == pytest.approx(np.expm1(-1), abs=0.01)


def test_an_object_that_absorbs_at_one_end_of_a_raster_is_no_drift():
    """A silhouette: a straight line explains 69% of what the totals differ by."""
    y, x = np.divmod(np.arange(100), 10)
    inside = (y > 4) & (np.abs(x - 5) < 4)
    totals = 1e4 * np.where(inside, 1.4, 1.0) * (1 + 0.03 * y)
    assert [*of_drift(totals, np.stack((y, x), axis=1) * 2.1)] == []


def test_an_object_that_absorbs_away_from_the_middle_of_a_spiral_is_no_drift():
    """The change is 40 times its standard error, and a straight line explains 40% of what the totals differ by."""
    turns = np.arange(200.0)
    y, x = np.sqrt(turns) * np.array([np.sin(turns * 2.4), np.cos(turns * 2.4)])
    totals = 1e5 * (0.2 + np.exp(-((y - 5) ** 2 + x**2) / 98))
    assert [*of_drift(totals, np.stack((y, x), axis=1))] == []


# Centre, positions, lengths -------------------------------------------------------------------------------------


@pytest.mark.parametrize("N", [32, 64])
def test_a_beam_off_the_centre_is_said(domain, caplog, N):
    scan = sound(N=N, n_positions=100)
    moved = np.roll(scan.patterns, (3, -3), axis=(1, 2))
    verdict = found(read(in_domain(moved, domain), scan, domain=domain))["beam_centre"]
    assert verdict.statistic == pytest.approx(np.hypot(3, 3), abs=0.7)
    assert verdict.unit == "px"
    assert "px below and" in said(caplog)[-1]
    assert "px left of where the probe has it" in said(caplog)[-1]


@pytest.mark.parametrize("spot", [(1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize("counts_of_each", [200_000, 10**6])
def test_neighbouring_hot_pixels_are_neither_a_beam_off_the_centre_nor_an_order(spot, counts_of_each):
    counts = COUNTS.copy()
    counts[:, 4 : 4 + spot[0], 5 : 5 + spot[1]] = counts_of_each + np.arange(100)[:, None, None]
    assert "beam_centre" not in found(read(counts))


def test_patterns_off_the_centre_with_a_probe_that_goes_with_them_are_sound():
    steps = np.arange(32) - 16
    tilted = SCAN.probe * np.exp(2j * np.pi * 3 * (steps[:, None] - steps) / 32)
    assert read(np.roll(COUNTS, (3, -3), axis=(1, 2)), probe=tilted).verdicts == ()


def test_steps_wider_than_the_probe_are_said(caplog):
    wide = sound(n_positions=100, step_px=24)
    assert found(wide)["overlap"].statistic == 0
    assert "neighbouring patterns share 0% of its diameter" in said(caplog)[-1]


METADATA = {"measurement_domain": "intensity", "wavelength_m": 1e-10, "distance_m": 1.0}


def test_the_near_field_is_refused_with_the_reason_and_what_serves(tmp_path):
    lengths = METADATA | {"detector_pixel_size_m": 5e-5}  # 62.5 nm, a field of 2 um
    scan = sound(n_positions=100, step_px=20)
    path = write(tmp_path, scan, metadata=np.array(json.dumps(lengths)))
    assert "overlap" in found(RawData.from_file(path))  # its probe is narrower than the steps
    with np.load(path) as arrays:
        np.savez(path, **{name: array for name, array in arrays.items() if name != "probeGuess"})
    with pytest.raises(DataError) as caught:
        RawData.from_file(path)
    (line,) = caught.value.problems
    assert re.match(r"distance: .*got steps of 1\.", line)
    assert (
        "wider than the 2 um that the far field on these pixels describes: this is the near field from"
        in line
    )
    assert "near_field=True" in line


def test_the_far_field_with_the_same_lengths_is_read(tmp_path, caplog):
    lengths = METADATA | {"detector_pixel_size_m": 5e-5}
    scan = RawData.from_file(write(tmp_path, metadata=np.array(json.dumps(lengths))))
    assert said(caplog) == []
    geometry = Geometry.of(scan.metadata, 32)
    assert geometry.object_pixel_m == pytest.approx((6.25e-8, 6.25e-8))
    assert geometry.fresnel_number(1e-6) == pytest.approx(0.01)
    assert geometry.energy_eV == pytest.approx(12398.4, rel=1e-4)


@pytest.mark.parametrize("far", [True, False])
def test_a_product_that_states_the_near_field_is_refused(tmp_path, far):
    arrays = {
        "probe_position_indexes": np.arange(60),
        "probe": SCAN.probe,
        "object": np.ones((1, 99, 99), complex),
    }
    arrays |= {f"probe_position_{axis}_m": np.random.default_rng(1).normal(0, 4e-7, 60) for axis in "xy"}
    with h5py.File(tmp_path / "product.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file["object"].attrs.update(dict.fromkeys(("pixel_width_m", "pixel_height_m"), 2e-8))
        file["object"].attrs.update(dict.fromkeys(("center_x_m", "center_y_m"), 0.0))
        file.attrs.update({"far_field": far, "photon_energy_eV": 8e3, "detector_object_distance_m": 1.0})
    with h5py.File(tmp_path / "diffraction.h5", "w") as file:
        file["patterns"], file["indexes"] = COUNTS[:60], np.arange(60)
    if far:
        geometry = Geometry.of(RawData.from_file(tmp_path / "product.h5").metadata, 32)
        assert geometry.object_pixel_m == (2e-8, 2e-8)
        assert geometry.distance_m == 1
        assert geometry.energy_eV == pytest.approx(8e3)
        return
    with pytest.raises(DataError, match=r"far_field: .*got False"):
        RawData.from_file(tmp_path / "product.h5")


# What is sound --------------------------------------------------------------------------------------------------


PAIRS = [
    ("camera", "coffee"),
    ("coins", "brick"),
    ("moon", "gravel"),
    ("grass", "chelsea"),
    ("astronaut", "coins"),
]


@pytest.mark.parametrize("number", range(20))
def test_nothing_is_said_of_sound_scans_over_probes_doses_steps_objects(number):
    rng = np.random.default_rng(number)
    N = (32, 64)[number % 2]
    defocus, n_modes = rng.uniform(0, N / 3), int(rng.integers(1, 4))
    amplitude, phase = PAIRS[number % 5]
    scan = sound(
        domain=("intensity", "amplitude")[number // 10],
        N=N,
        n_positions=100,
        nphotons=10 ** rng.uniform(2.5, 8),
        pattern=("fermat", "raster")[number // 2 % 2],
        step_px=rng.uniform(0.1, 0.7) * probe_diameter_px(make_probe(N, defocus, n_modes)),
        defocus_rad=defocus,
        n_modes=n_modes,
        object_amplitude_image=amplitude,
        phase_image=phase,
        seed=number,
    )
    assert scan.verdicts == ()


def test_verdicts_are_json():
    (verdict,) = read(np.where(np.eye(32, 32, 9, bool), 0, COUNTS) * 1e-12).verdicts
    assert json.loads(json.dumps(verdict.to_json())) | {"statistic": None} == {
        "name": "photons",
        "severity": "warning",
        "statistic": None,
        "unit": "for a count",
        "sentence": verdict.sentence,
        "remedy": verdict.remedy,
        "settings": {},
    }


@pytest.mark.parametrize("spread", [0.0, 1e-15])
def test_totals_of_a_raster_that_are_equal_do_not_drift(spread: float) -> None:
    y, x = np.indices((10, 10)).reshape(2, -1) * 4.0
    totals = 100 * (1 + spread * np.random.default_rng(0).normal(size=100))
    assert [*of_drift(totals, np.stack((y, x), axis=1))] == []


def test_a_beam_that_fades_along_a_line_is_told_with_its_size() -> None:
    line = np.stack((np.zeros(40), np.arange(40) * 4.0), axis=1)
    (verdict,) = of_drift(100 * np.linspace(1, 0.4, 40), line)
    assert verdict.statistic == pytest.approx(-0.6, abs=0.05)
