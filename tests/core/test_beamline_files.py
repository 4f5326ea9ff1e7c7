"""What raw files of beamlines hold beside counts: masks of detectors, tables of positions."""

import cProfile
import pstats
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho.config.config import DataConfig, SolverConfig
from ptycho.config.request import Request
from ptycho.data_error import DataError
from ptycho.raw_data import RawData
from tests.core.foreign_files import (
    ALL,
    LENGTHS,
    NAMED,
    PIXEL_M,
    SQUARE,
    H,
    N,
    W,
    counts,
    positions_px,
    read,
    standard,
)
from tests.core.test_formats_of_others import COUNTS, cxi, moved, names
from tests.core.test_variants_of_formats import GOOD

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


# Names with a colon


@pytest.mark.parametrize("in_group", [True, False])
def test_names_may_have_a_colon(tmp_path: Path, in_group: bool) -> None:
    where, path = positions_px() * PIXEL_M, tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["entry/DET:cam1:image"] = counts()
        file["entry/M:1/x"], file["entry/M:1/y"] = where[:, 1], where[:, 0]
        file["entry/M:both"] = where
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["M:1/x"], file["M:1/y"] = where[:, 1], where[:, 0]
    expected = read(standard(tmp_path / "standard.h5"), **ALL)
    settings = {**SQUARE, **LENGTHS, "patterns": "/entry/DET:cam1:image"}
    for places in (
        [{"positions": "/entry/M:1"}, {"positions": "/entry/M:both"}, {"positions": "other.h5:/M:1"}]
        if in_group
        else [
            {f"positions_{axis}": f"{file}M:1/{axis}" for axis in "xy"} for file in ("/entry/", "other.h5:")
        ]
    ):
        scan = read(path, **settings, **places)
        np.testing.assert_array_equal(scan.patterns, expected.patterns)
        np.testing.assert_allclose(scan.positions_px, expected.positions_px)
    with pytest.raises(DataError, match=r"Name it, as in --patterns /entry/DET:cam1:image\."):
        read(path, **SQUARE, **LENGTHS, positions="/entry/M:1")


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
