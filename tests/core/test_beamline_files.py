"""What raw files of beamlines hold beside counts: masks of detectors, counts below 0, tables of positions."""

import cProfile
import json
import pstats
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ptycho
from ptycho.config.config import DataConfig, SolverConfig
from ptycho.config.request import Request
from ptycho.data_error import DataError
from ptycho.formats import frames
from ptycho.raw_data import RawData
from tests.core.foreign_files import ALL, LENGTHS, NAMED, PIXEL_M, H, N, W, positions_px, read, standard
from tests.core.test_formats_of_others import COUNTS, SIDE, cxi, moved, names
from tests.core.test_variants_of_formats import GOOD, replaced

# Masks of NeXus and CXI


def marked(path: Path, place: str, mask: np.ndarray) -> Path:
    with h5py.File(path, "a") as file:
        file[place] = mask
    return path


@pytest.mark.parametrize(
    "place",
    [
        "entry/instrument/detector/pixel_mask",
        "entry/instrument/detector/detectorSpecific/pixel_mask",
        "entry1/instrument/detector/pixel_mask",
        "entry/data/pixel_mask",
        "entry/pixel_mask",
        "entry/detectorSpecific/pixel_mask",
    ],
)
def test_the_mask_of_a_detector_is_found_beside_its_data(tmp_path: Path, place: str) -> None:
    mask = np.zeros((H, W), np.uint32)
    mask[9, 9], mask[10, 10], mask[11, 11] = 1, 1 << 4, 1 << 31  # the last is interpolated
    scan = read(marked(standard(tmp_path / "scan.h5"), place, mask), **ALL)
    assert np.argwhere(np.asarray(scan.bad_pixels)).tolist() == [[8, 3], [9, 4]]
    (said,) = [one for one in scan.verdicts if one.name == "mask_found"]
    assert said.severity == "note"
    assert place in said.text


def test_a_mask_of_another_detector_is_said_and_not_used(tmp_path: Path) -> None:
    path = marked(standard(tmp_path / "scan.h5"), "entry/instrument/detector/pixel_mask", np.ones((H + 1, W)))
    scan = read(path, **ALL)
    assert scan.bad_pixels is None
    (said,) = [one for one in scan.verdicts if one.name == "mask_found"]
    assert said.severity == "warning"
    assert "pixel_mask has shape (25, 30), and the patterns have 24 x 30 pixels" in said.text
    scan = read(marked(path, "entry/data/pixel_mask", np.indices((H, W))[0] == 10), **ALL)
    assert np.argwhere(np.asarray(scan.bad_pixels).all(axis=1)).tolist() == [[9]]
    with pytest.raises(DataError, match=r"expected a mask of 24 x 30 pixels, .*; got shape \(25, 30\)"):
        read(path, **ALL, mask="entry/instrument/detector/pixel_mask")


@pytest.mark.parametrize(
    "mask",
    ["none", np.zeros(0), np.zeros((2,) * 5), h5py.SoftLink("/nowhere"), h5py.ExternalLink("no.h5", "/m")],
)
def test_what_only_has_the_name_of_a_mask_is_said_and_not_used(tmp_path: Path, mask: Any) -> None:
    path = marked(standard(tmp_path / "scan.h5"), "entry/data/pixel_mask", mask)
    (said,) = [one for one in read(path, **ALL).verdicts if one.name == "mask_found"]
    assert "entry/data/pixel_mask" in said.text
    assert said.text.endswith("no mask of the file is used. Name one that fits (mask, mask_file).")


def test_a_mask_of_cxi_may_be_beside_its_data(tmp_path: Path) -> None:
    path = marked(cxi(tmp_path / "scan.cxi"), "entry_1/data_1/mask", ~GOOD)
    np.testing.assert_array_equal(read(path).bad_pixels, ~GOOD)


def test_a_mask_of_the_file_can_be_switched_off(tmp_path: Path) -> None:
    path = marked(standard(tmp_path / "scan.h5"), "entry/instrument/detector/pixel_mask", np.eye(H, W))
    (said,) = [one for one in read(path, **ALL).verdicts if one.name == "mask_found"]
    assert said.text.endswith("Set mask to use another one, or to none.")
    y, x = positions_px().T
    held = {"diff3d": COUNTS, "xcoords": x, "ycoords": y, "bad_pixels": ~GOOD, "holdout": np.arange(N) < 3}
    np.savez(tmp_path / "scan.npz", **held, metadata=np.array('{"measurement_domain": "intensity"}'))
    (tmp_path / "off.toml").write_text('[data]\nmask = "none"\n')
    off = Request([SolverConfig], file=tmp_path / "off.toml", environ={}).answer()[DataConfig]
    assert off == DataConfig(mask=None)
    for file, settings in (
        (path, ALL),
        (marked(cxi(tmp_path / "scan.cxi"), "entry_1/data_1/mask", ~GOOD), {}),
        (tmp_path / "scan.npz", {}),
    ):
        assert read(file, **settings).bad_pixels is not None
        scan = RawData.from_file(file, reading=off.replace(**settings))
        assert scan.bad_pixels is None
        assert "mask_found" not in names(scan)
    assert scan.holdout is not None
    assert scan.metadata["measurement_domain"] == "intensity"


# Counts below 0


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


# Tables


def table(*fields: str) -> np.ndarray:
    """Positions in um in the first two of some fields, or in one of two columns."""
    where = positions_px() * PIXEL_M * 1e6
    found = np.zeros(N, [(name, "<f8") for name in fields] if fields else [("t", "<f8"), ("yx", "<f8", 2)])
    if not fields:
        found["yx"] = where
    for name, column in zip(fields, where.T, strict=False):
        found[name] = column
    return found


LENGTHS_ALONE: dict[str, Any] = {"patterns": "/entry/patterns", **LENGTHS, "positions_unit": "um"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (("y", "x", "theta"), {"positions": "entry/t"}),
        (("py", "px"), {"positions_y": "entry/t[py]", "positions_x": "entry/t[px]"}),
        ((), {"positions": "entry/t[yx]"}),
    ],
)
@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_positions_may_be_fields_of_a_table(
    tmp_path: Path, fields: tuple[str, ...], named: dict[str, str], suffix: str
) -> None:
    path, settings = tmp_path / f"scan{suffix}", {**LENGTHS_ALONE, **named}
    if suffix == ".npz":
        np.savez(path, mine=COUNTS, t=table(*fields))
        settings = {name: value.replace("entry/t", "t") for name, value in settings.items()}
        settings["patterns"] = "mine"
    else:
        standard(path, patterns=COUNTS, t=table(*fields))
    np.testing.assert_allclose(moved(read(path, **settings)), positions_px(), atol=1e-6)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_a_table_that_is_named_as_an_array_is_refused_with_its_fields(tmp_path: Path, suffix: str) -> None:
    path, place = tmp_path / f"scan{suffix}", "t" if suffix == ".npz" else "/entry/t"
    if suffix == ".npz":
        np.savez(path, mine=COUNTS, t=table("theta", "my", "mx"))
    else:
        standard(path, patterns=COUNTS, y=None, x=None, t=table("theta", "my", "mx"))
    settings = {**LENGTHS_ALONE, "patterns": "mine" if suffix == ".npz" else "/entry/patterns"}
    advice = rf"got a table with the fields theta, my, mx from .*\. Name a field, as in {place}\[theta\]\."
    with pytest.raises(DataError, match=advice):
        read(path, **settings, positions=place)
    with pytest.raises(DataError, match=rf"--positions-x {place}\[mx\] --positions-y {place}\[my\]"):
        read(path, **settings)
    with pytest.raises(DataError, match=rf"positions_x: .*got '{place}\[m\]'"):
        read(path, **settings, positions_x=f"{place}[m]", positions_y=f"{place}[my]")


@pytest.mark.parametrize("place", ["table", "group"])
def test_positions_may_be_in_a_table_or_group_of_another_file(tmp_path: Path, place: str) -> None:
    with h5py.File(tmp_path / "stage.h5", "w") as file:
        columns = table("y", "x", "frame")
        file["table"] = columns[["frame", "x", "y"]]
        for axis in "yx":
            file[f"group/{axis}"] = columns[axis]
    path = standard(tmp_path / "scan.h5", patterns=COUNTS)
    scan = read(path, **LENGTHS_ALONE, positions=f"stage.h5:/{place}")
    np.testing.assert_allclose(moved(scan), positions_px(), atol=1e-6)


def test_parts_of_a_stack_grids_of_positions_and_other_files_are_proposed(tmp_path: Path) -> None:
    parts = {f"data_{number:06d}": COUNTS[10 * number :][:10] for number in range(2)}
    y, x = positions_px().T.reshape(2, 4, 5) * PIXEL_M
    path = standard(tmp_path / "scan.h5", patterns=None, y=None, x=None, stage_y=y, stage_x=x, **parts)
    with pytest.raises(DataError, match=r"Name it, as in --patterns /entry/data_\*\."):
        read(path, **LENGTHS)
    with pytest.raises(DataError, match="--positions-x /entry/stage_x --positions-y /entry/stage_y"):
        read(path, **LENGTHS, patterns="/entry/data_*")
    named = {"positions_x": "/entry/stage_x", "positions_y": "/entry/stage_y"}
    np.testing.assert_array_equal(read(path, **LENGTHS, patterns="/entry/data_*", **named).patterns, COUNTS)
    with pytest.raises(DataError, match=r"in another file of the folder as in --positions FILE:PATH\."):
        read(
            standard(tmp_path / "a.h5", patterns=COUNTS, y=None, x=None),
            **LENGTHS,
            patterns="/entry/patterns",
        )


def test_a_name_with_brackets_is_a_name(tmp_path: Path) -> None:
    path = standard(tmp_path / "scan.h5", patterns=COUNTS)
    with h5py.File(path, "a") as file:
        for axis, column in zip("yx", positions_px().T * PIXEL_M, strict=True):
            file[f"entry/stage {axis} [um]"] = column * 1e6
    named = {f"positions_{axis}": f"/entry/stage {axis} [um]" for axis in "yx"}
    scan = read(path, **LENGTHS_ALONE, **named)
    np.testing.assert_allclose(moved(scan), positions_px(), atol=1e-6)


# Once each


def test_arrays_are_read_once_and_the_value_of_one_count_is_looked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, n_read, as_it_is = (
        standard(tmp_path / "scan.h5", patterns=COUNTS * 0.37),
        [],
        h5py.Dataset.__getitem__,
    )

    def counting(dataset: h5py.Dataset, *place: Any, **more: Any) -> Any:
        n_read.append(dataset.name)
        return as_it_is(dataset, *place, **more)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counting)
    profile = cProfile.Profile()
    scan = profile.runcall(read, path, **NAMED, **LENGTHS)
    assert scan.domain_reason == "all values are multiples of 0.37: they must be counts"
    assert [n_read.count(f"/entry/{axis}") for axis in "yx"] == [1, 1]
    calls = {name: n for (_, _, name), (n, *_) in pstats.Stats(profile).stats.items()}  # pyright: ignore
    assert calls["step_of"] == 1
