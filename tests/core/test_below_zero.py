"""Counts below 0, as they remain where a background was taken off, and what else detectors write below 0."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptycho
from ptycho.config.data import DataConfig
from ptycho.data_error import DataError
from ptycho.formats import frames
from ptycho.raw_data import RawData
from ptycho.scan_domain import ReadAs, TrainedDomains
from tests.core.foreign_files import LENGTHS, NAMED, N, positions_px, read, standard
from tests.core.test_formats_of_others import COUNTS, SIDE, cxi, names
from tests.core.test_variants_of_formats import GOOD, replaced

AS_COUNTS = ReadAs("of another scan", "intensity", "stated in the metadata")


def on_dark(dark: float = 0.4) -> np.ndarray:
    """Counts int32 of which a dark image was taken off, with a pixel that was hot in it."""
    noise = np.random.default_rng(0).poisson(dark, COUNTS.shape)
    found = COUNTS.astype(np.int32) - noise
    found[:, 1, 2] = -19
    return found


@pytest.mark.parametrize("dtype", ["int16", ">i4", "int64", "float32"])
def test_whole_counts_below_zero_are_read_as_others_are(tmp_path: Path, dtype: str) -> None:
    counts = on_dark().astype(dtype)
    for scan in (
        read(replaced(cxi(tmp_path / "scan.cxi"), data=counts)),
        read(standard(tmp_path / "scan.h5", patterns=counts), **NAMED, **LENGTHS),
    ):
        assert scan.domain == "intensity"
        assert scan.bad_pixels is None
        assert "below_zero" in names(scan)
        np.testing.assert_array_equal(scan.patterns, np.maximum(counts, 0))


def test_flags_stay_flags_beside_counts_below_zero(tmp_path: Path) -> None:
    counts, gap = on_dark(), np.zeros((SIDE, SIDE), bool)
    gap[20:22] = True
    counts[:, gap] = -1
    counts[:7, 22, 3], gap[22, 3] = -2, True
    counts[7:, 22, 3] = -1
    scan = read(replaced(cxi(tmp_path / "scan.cxi"), data=counts))
    np.testing.assert_array_equal(scan.bad_pixels, gap)
    assert [name for name in names(scan) if name != "turned"] == ["below_zero", "flagged_pixels"]
    np.testing.assert_array_equal(scan.patterns, np.where(gap, 0, np.maximum(counts, 0)))
    counts[3] = -1
    lost = read(replaced(cxi(tmp_path / "scan.cxi"), data=counts))
    assert "unmeasured_frames" in names(lost)
    assert len(lost.patterns) == N - 1
    counts[3] = COUNTS[3]
    summed = read(replaced(cxi(tmp_path / "scan.cxi"), data=counts), bin=2)
    np.testing.assert_array_equal(summed.bad_pixels, gap.reshape(12, 2, 12, 2).any((1, 3)))
    assert names(summed).count("flagged_pixels") == 1


@pytest.mark.parametrize(
    ("counts", "got"),
    [
        ((COUNTS.astype(np.int64) * 300).astype(np.int16), "-3"),  # ran over
        (np.where(np.indices(COUNTS.shape)[1] == 3, np.int16(-99), COUNTS), "-99"),
        (np.where(np.indices(COUNTS.shape)[1] == 3, np.int16(-999), on_dark()), "-999"),
    ],
)
def test_other_values_below_zero_are_refused(tmp_path: Path, counts: np.ndarray, got: str) -> None:
    with pytest.raises(DataError, match=f"expected values >= 0; got {got}"):
        read(replaced(cxi(tmp_path / "scan.cxi"), data=counts))


def test_counts_that_are_set_are_read_from_the_data_contract_as_well(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.6, COUNTS.shape)
    bad = ~GOOD
    y, x = positions_px().T
    for counts in (on_dark(), COUNTS + noise):
        np.savez(tmp_path / "scan.npz", diff3d=counts, xcoords=x, ycoords=y, bad_pixels=bad)
        scan = RawData.from_file(tmp_path / "scan.npz", domain="intensity")
        assert "below_zero" in names(scan)
        np.testing.assert_array_equal(scan.patterns, np.where(bad, 0, np.maximum(counts, 0)))
        np.testing.assert_array_equal(scan.bad_pixels, bad)
        for domain in ("auto", "amplitude"):
            with pytest.raises(DataError, match="expected values >= 0"):
                RawData.from_file(tmp_path / "scan.npz", domain=domain)


@pytest.mark.parametrize("level", [1, 2])
def test_a_whole_number_that_was_taken_off_leaves_no_flags(tmp_path: Path, level: int) -> None:
    counts = COUNTS.astype(np.int32) + np.random.default_rng(0).poisson(level, COUNTS.shape) - level
    assert counts.min() == -level
    in_hdf5 = read(standard(tmp_path / "scan.h5", patterns=counts), **NAMED, **LENGTHS)
    for scan in (in_hdf5, RawData.from_arrays(counts, positions_px(), None, domain="intensity")):
        assert "below_zero" in names(scan)
        assert scan.bad_pixels is None
        np.testing.assert_array_equal(scan.patterns, np.maximum(counts, 0))
    with pytest.raises(
        DataError, match="set measurement_domain to intensity, or these values to 0"
    ) as caught:
        RawData.from_arrays(counts, positions_px(), None)
    assert "dead_value" not in str(caught.value)


@pytest.mark.parametrize("value", [-1, -2])
@pytest.mark.parametrize("place", [(slice(5), slice(0, 10)), (slice(0, None, 3), slice(10, 13))])
def test_a_flag_in_blocks_of_some_patterns_is_no_background(value: int, place: tuple[slice, slice]) -> None:
    counts = COUNTS.astype(np.int32)
    counts[place] = value
    for domain in ("auto", "intensity"):
        with pytest.raises(DataError, match=f"set dead_value to {value}, or name a mask"):
            RawData.from_arrays(counts, positions_px(), None, domain=domain)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("door", ["file", "export", "load", "arrays", "metadata", "columns", "masked"])
def test_every_door_takes_0_for_counts_below_zero(tmp_path: Path, whole: bool, door: str) -> None:
    counts = on_dark() if whole else COUNTS + np.random.default_rng(0).normal(0, 0.6, COUNTS.shape)
    (y, x), probe, bad = positions_px().T, np.ones((SIDE, SIDE), complex), ~GOOD
    counts[:, bad] = -5
    arrays = {"diff3d": counts, "xcoords": x, "ycoords": y, "bad_pixels": bad}
    stated: dict[str, Any] = {"measurement_domain": "intensity"}
    if door in ("file", "load"):
        np.savez(tmp_path / "scan.npz", **arrays, metadata=np.array(json.dumps(stated)))
    elif door == "export":
        more = {
            "objectGuess": np.ones((64, 64), complex),
            "scan_index": np.zeros(N, int),
            "probeGuess": probe,
        }
        np.savez(tmp_path / "scan.npz", **arrays, **more, xcoords_start=x, ycoords_start=y)
    scans: dict[str, Callable[[], RawData]] = {
        "file": lambda: RawData.from_file(tmp_path / "scan.npz"),
        "export": lambda: RawData.from_file(tmp_path / "scan.npz"),
        "load": lambda: ptycho.load(tmp_path / "scan.npz", bin=1, mask_marks="bad"),
        "arrays": lambda: RawData.from_arrays(
            counts, positions_px(), None, domain="intensity", bad_pixels=bad
        ),
        "metadata": lambda: RawData.from_arrays(
            counts, positions_px(), probe, bad_pixels=bad, metadata=stated
        ),
        "columns": lambda: RawData.from_coords_without_pc(x, y, np.where(bad, 0, counts), probe),
        "masked": lambda: RawData.from_arrays(
            np.ma.array(counts, mask=np.broadcast_to(bad, counts.shape)),
            positions_px(),
            None,
            domain="intensity",
        ),
    }
    before, scan = counts.copy(), scans[door]()
    assert names(scan).count("below_zero") == 1
    np.testing.assert_array_equal(scan.patterns, np.where(bad, 0, np.maximum(counts, 0)))
    np.testing.assert_array_equal(counts, before)


def test_flags_stay_flags_beside_counts_below_zero_in_memory() -> None:
    counts, gap = on_dark(), np.zeros((SIDE, SIDE), bool)
    gap[20:22] = True
    counts[:, gap] = -1
    counts[7:, 22, 3], gap[22, 3] = -1, True
    counts[:7, 22, 3] = -2
    scan = RawData.from_arrays(counts, positions_px(), None, domain="intensity")
    np.testing.assert_array_equal(scan.bad_pixels, gap)
    assert [name for name in names(scan) if name != "turned"] == ["below_zero", "flagged_pixels"]
    np.testing.assert_array_equal(scan.patterns, np.where(gap, 0, np.maximum(counts, 0)))
    counts[3] = -1
    assert len(RawData.from_arrays(counts, positions_px(), None, domain="intensity")) == N - 1


@pytest.mark.parametrize("trained", [TrainedDomains("intensity"), TrainedDomains(scans=[AS_COUNTS] * 2)])
def test_counts_below_zero_are_read_as_the_scans_of_a_training_were(
    tmp_path: Path, trained: TrainedDomains
) -> None:
    counts, (y, x) = COUNTS + np.random.default_rng(0).normal(0, 0.6, COUNTS.shape), positions_px().T
    path, reading = standard(tmp_path / "scan.h5", patterns=counts), DataConfig(**NAMED, **LENGTHS)
    scan = RawData.from_file(path, trained=trained, reading=reading)
    assert (scan.domain, names(scan).count("below_zero")) == ("intensity", 1)
    np.testing.assert_array_equal(scan.patterns, np.maximum(counts, 0))
    assert len(RawData.from_file(path, trained=trained, reading=reading.replace(bin=2))) == N
    np.savez(tmp_path / "scan.npz", diff3d=counts, xcoords=x, ycoords=y)
    assert RawData.from_file(tmp_path / "scan.npz", trained=trained).domain == "intensity"
    stated = np.array('{"measurement_domain": "amplitude"}')
    np.savez(tmp_path / "scan.npz", diff3d=counts, xcoords=x, ycoords=y, metadata=stated)
    with pytest.raises(DataError, match="expected values >= 0"):
        RawData.from_file(tmp_path / "scan.npz", trained=trained)
    both = TrainedDomains(scans=[AS_COUNTS, AS_COUNTS._replace(domain="amplitude")])
    with pytest.raises(DataError, match="expected values >= 0"):
        RawData.from_file(path, trained=both, reading=reading)


@pytest.mark.parametrize("domain", ["auto", "amplitude"])
def test_arrays_that_are_not_stated_to_be_counts_are_refused_below_zero(domain: str) -> None:
    with pytest.raises(DataError, match=r"expected values >= 0; .* set measurement_domain to intensity"):
        RawData.from_arrays(on_dark(), positions_px(), None, domain=domain)


@pytest.mark.parametrize(
    ("dtype", "flag"),
    [
        *(("int32", -1), ("int16", -2), ("uint16", 65535), ("uint32", 2**32 - 1), ("uint8", 255)),
        *(("float32", -1), ("int16", 32767), ("int64", 2**31 - 1)),
    ],
)
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_pattern_that_was_not_measured_is_left_out_where_pixels_are_binned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, flag: float, in_memory: bool
) -> None:
    counts = COUNTS.astype(dtype)
    counts[3] = flag
    if not in_memory:
        monkeypatch.setattr(frames, "IN_MEMORY", (0.25, 1))
    scan = read(standard(tmp_path / "scan.h5", patterns=counts), **NAMED, **LENGTHS, bin=2)
    (said,) = [one for one in scan.verdicts if one.name not in ("positions_axes", "turned")]
    assert said.name == "unmeasured_frames"
    assert f"{flag} in most pixels" in said.sentence
    summed = np.delete(COUNTS.astype(dtype), 3, axis=0).astype(int).reshape(N - 1, 12, 2, 12, 2).sum((2, 4))
    np.testing.assert_array_equal(scan.patterns, summed)
