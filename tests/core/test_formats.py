"""Scans of other layouts: where their arrays are, their units, and which pixels are used."""

import bz2
import dataclasses
import io
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho.config.data import DataConfig
from ptycho.formats import frames
from ptycho.formats.geometry import wavelength_of
from ptycho.formats.orientation import ORIENTATIONS, oriented
from ptycho.raw_data import DataError, RawData
from ptycho.stored_array import StoredArray
from ptycho_torch.simulate import simulate_scan
from tests.core.foreign_files import (
    ALL,
    LENGTHS,
    MIDDLE,
    NAMED,
    SQUARE,
    N,
    counts,
    positions_px,
    read,
    standard,
    write_hdf5,
)


def cut(stack: np.ndarray, side: int = 20) -> np.ndarray:
    top, left = (at - side // 2 for at in MIDDLE)
    return stack[..., top : top + side, left : left + side]


def moved(scan: RawData) -> np.ndarray:
    """Positions from the first one."""
    return scan.positions_px - scan.positions_px[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return standard(tmp_path / "scan.h5")


@pytest.mark.proves(
    "data.patterns", "data.positions_x", "data.positions_y", "data.crop", "data.centre",
    seen="the arrays named are read, around the pixel named, as large as named",
)  # fmt: skip
def test_the_arrays_that_are_named_are_read(file: Path) -> None:
    scan = read(file, **ALL)
    np.testing.assert_array_equal(scan.patterns, cut(counts()))
    assert scan.domain == "intensity"
    assert not scan.has_probe


@pytest.mark.proves(
    "data.wavelength", "data.distance", "data.detector_pixel", seen="they give the size of an object pixel"
)
def test_lengths_become_object_pixels(file: Path) -> None:
    pixel = 1e-10 * 1.2 / (20 * 250e-6)
    np.testing.assert_allclose(moved(read(file, **ALL)), positions_px() * 2e-8 / pixel)
    assert read(file, **ALL).metadata["object_pixel_size_m"] == pytest.approx([pixel, pixel])


@pytest.mark.proves("data.object_pixel", seen="positions are divided by it")
def test_the_object_pixel_may_be_stated(file: Path) -> None:
    found = moved(read(file, **NAMED, **SQUARE, object_pixel="10 nm, 20 nm"))
    np.testing.assert_allclose(found, positions_px() * [2, 1])


@pytest.mark.proves("data.positions_unit", seen="positions are read in it; px count pixels of whole patterns")
def test_positions_have_a_unit(tmp_path: Path) -> None:
    where = positions_px()
    for unit, scale in (("um", 1e6), ("nm", 1e9)):
        path = standard(tmp_path / f"{unit}.h5", y=where[:, 0] * 2e-8 * scale, x=where[:, 1] * 2e-8 * scale)
        found = read(path, **NAMED, **SQUARE, object_pixel="20 nm", positions_unit=unit)
        np.testing.assert_allclose(moved(found), where)
    path = standard(tmp_path / "px.h5", y=where[:, 0], x=where[:, 1], patterns=counts()[:, :, :24])
    found = read(path, **NAMED, crop=12, centre="11, 16", positions_unit="px")
    np.testing.assert_allclose(moved(found), where / 2)


@pytest.mark.proves("data.positions", "data.positions_axes", seen="both coordinates are read from one array")
@pytest.mark.parametrize("lies", [False, True])
def test_both_coordinates_may_be_in_one_array(tmp_path: Path, lies: bool) -> None:
    where = positions_px() * 2e-8
    both = where.T if lies else where
    path = write_hdf5(tmp_path / "scan.h5", patterns=counts(), both=both)
    settings = {"patterns": "/entry/patterns", "positions": "/entry/both", **SQUARE, "object_pixel": "20 nm"}
    np.testing.assert_allclose(moved(read(path, **settings)), positions_px())
    np.testing.assert_allclose(moved(read(path, **settings, positions_axes="xy")), positions_px()[:, ::-1])


@pytest.mark.proves("data.axes", seen="patterns are read in that order of their axes")
@pytest.mark.parametrize("axes", ["nHW", "HWn", "WHn", "Hnw".replace("w", "W"), "yxHW", "HWyx", "yHxW"])
def test_axes_are_read_in_their_order(tmp_path: Path, axes: str) -> None:
    stack = counts() if "n" in axes else counts().reshape(4, 5, *counts().shape[1:])
    usual = "nHW" if "n" in axes else "yxHW"
    stored = stack.transpose([usual.index(letter) for letter in axes])
    path = standard(tmp_path / "scan.h5", patterns=stored)
    np.testing.assert_array_equal(read(path, **ALL, axes=axes).patterns, cut(counts()))


def test_an_index_chooses_among_arrays(tmp_path: Path) -> None:
    path = standard(tmp_path / "scan.h5", patterns=np.stack([counts(1), counts(2)])[None])
    found = read(path, **{**ALL, "patterns": "/entry/patterns[0][1]"})
    np.testing.assert_array_equal(found.patterns, cut(counts(2)))
    with pytest.raises(DataError, match=r"got an array of shape \(1, 2"):
        read(path, **{**ALL, "patterns": "/entry/patterns[1]"})


def test_a_last_axis_of_one_colour_is_none_of_the_detector(tmp_path: Path) -> None:
    path = standard(tmp_path / "scan.h5", patterns=counts()[..., None])
    np.testing.assert_array_equal(read(path, **ALL).patterns, cut(counts()))


@pytest.mark.proves("data.scan_step", seen="the raster has that step along rows and columns")
def test_a_raster_needs_its_step_alone(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "scan.h5", patterns=counts().reshape(4, 5, *counts().shape[1:]))
    settings = {"patterns": "/entry/patterns", **SQUARE}
    found = moved(read(path, **settings, scan_step="60 nm, 90 nm", object_pixel="20 nm"))
    np.testing.assert_allclose(found, positions_px())
    with pytest.raises(DataError, match=r"scan_step: .*got none"):
        read(path, **settings)


def test_coordinates_of_scan_rows_and_columns_make_a_raster(tmp_path: Path) -> None:
    stack = counts().reshape(4, 5, *counts().shape[1:])
    path = standard(tmp_path / "scan.h5", patterns=stack, y=np.arange(4) * 6e-8, x=np.arange(5) * 9e-8)
    found = moved(read(path, **NAMED, **SQUARE, object_pixel="20 nm"))
    np.testing.assert_allclose(found, positions_px())


@pytest.mark.proves("data.orientation", seen="positions are turned and mirrored so")
@pytest.mark.parametrize("word", ORIENTATIONS)
def test_positions_are_oriented(file: Path, word: str) -> None:
    as_it_is, found = read(file, **ALL), read(file, **ALL, orientation=word)
    np.testing.assert_allclose(moved(found), oriented(moved(as_it_is), word))
    assert found.positions_px.min() == 10


@pytest.mark.proves("data.bin", seen="counts are added up, and the object pixel stays that of the window")
def test_binning_adds_up_counts(file: Path) -> None:
    scan = read(file, **ALL, bin=2)
    expected = cut(counts()).astype(int).reshape(N, 10, 2, 10, 2).sum(axis=(2, 4))
    np.testing.assert_array_equal(scan.patterns, expected)
    np.testing.assert_allclose(moved(scan), moved(read(file, **ALL)))


def test_binning_adds_up_the_squares_of_amplitudes(tmp_path: Path) -> None:
    path = standard(tmp_path / "scan.h5", patterns=np.sqrt(counts()).astype(np.float32))
    with pytest.raises(DataError, match=r"bin: expected counts, .* or amplitudes.*--measurement-domain"):
        read(path, **ALL, bin=2)
    scan = RawData.from_file(path, "amplitude", reading=DataConfig(**ALL, bin=2))
    summed = cut(counts()).astype(float).reshape(N, 10, 2, 10, 2).sum(axis=(2, 4))
    np.testing.assert_allclose(scan.patterns, np.sqrt(summed), rtol=1e-5)


@pytest.mark.proves("data.pad", seen="pixels that were not measured are added around")
def test_padding_adds_pixels_that_were_not_measured(file: Path) -> None:
    scan = read(file, **ALL, pad=32)
    np.testing.assert_array_equal(np.asarray(scan.patterns)[:, 6:26, 6:26], cut(counts()))
    assert scan.bad_pixels is not None
    assert (scan.bad_pixels.sum(), scan.bad_pixels[6:26, 6:26].any()) == (32**2 - 20**2, False)
    np.testing.assert_allclose(moved(scan), moved(read(file, **ALL)) * 32 / 20)


def test_what_a_window_leaves_out_of_the_detector_was_not_measured(file: Path) -> None:
    scan = read(file, **NAMED, **LENGTHS, crop=20, centre="3, 16")
    assert scan.bad_pixels is not None
    assert scan.bad_pixels[:7].all()
    assert not scan.bad_pixels[7:].any()


@pytest.mark.parametrize("centre", ["auto", "11.4, 15.6"])
def test_the_beam_is_found_or_given_to_a_pixel(file: Path, centre: str) -> None:
    found = read(file, **{**ALL, "centre": centre}).patterns
    np.testing.assert_array_equal(found, cut(counts()))


@pytest.mark.parametrize("centre", ["auto", "corner"])
def test_patterns_in_fft_order_are_shifted(tmp_path: Path, centre: str) -> None:
    square = counts()[:, :, 5:29]  # the beam is in row 11, column 11
    rolled = np.roll(square, (-11, -11), axis=(1, 2))
    path = standard(tmp_path / "scan.h5", patterns=rolled)
    scan = read(path, **NAMED, **LENGTHS, centre=centre)
    np.testing.assert_array_equal(scan.patterns, np.fft.fftshift(rolled, axes=(1, 2)))
    with pytest.raises(DataError, match=r"around the corners.*Set centre to corner"):
        read(path, **NAMED, **LENGTHS)


@pytest.mark.proves("data.mask", "data.mask_marks", seen="the pixels that the mask marks are left out")
def test_a_mask_leaves_pixels_out(tmp_path: Path) -> None:
    bad = np.zeros((24, 30), bool)
    bad[8, 14] = True
    path = standard(tmp_path / "scan.h5", bad=bad, good=(~bad).astype(float), each=np.tile(bad, (N, 1, 1)))
    for settings in (
        {"mask": "/entry/bad"},
        {"mask": "/entry/good", "mask_marks": "good"},
        {"mask": "/entry/each"},
    ):
        scan = read(path, **ALL, **settings)
        np.testing.assert_array_equal(scan.bad_pixels, cut(bad))
    assert not np.asarray(read(path, **ALL, mask="/entry/bad").patterns)[:, 7, 8].any()
    binned = read(path, **ALL, mask="/entry/bad", bin=2).bad_pixels
    assert np.argwhere(binned).tolist() == [[3, 4]]
    with pytest.raises(DataError, match="/entry/y: expected a mask of 24 x 30 pixels"):
        read(path, **ALL, mask="/entry/y")


def test_a_mask_that_leaves_out_the_light_is_noticed(tmp_path: Path) -> None:
    rows, columns = np.indices((24, 30))
    inverted = np.hypot(rows - 11, columns - 16) < 7
    path = standard(tmp_path / "scan.h5", mask=inverted)
    assert "mask" in [one.name for one in read(path, **ALL, mask="/entry/mask").verdicts]
    assert read(path, **ALL, mask="/entry/mask", mask_marks="good").verdicts == ()


@pytest.mark.proves("data.mask_file", seen="its pixels are left out as well")
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_a_mask_may_be_in_a_file_of_its_own(file: Path, tmp_path: Path, suffix: str) -> None:
    bad = np.zeros((24, 30), np.uint8)
    bad[9, 20] = 1
    path = tmp_path / f"mask{suffix}"
    if suffix == ".npy":
        np.save(path, bad)
    elif suffix == ".npz":
        np.savez(path, m=bad)
    else:
        write_hdf5(path, m=bad)
    np.testing.assert_array_equal(read(file, **ALL, mask_file=path).bad_pixels, cut(bad > 0))


@pytest.mark.proves(
    "data.dead_value", "data.saturation", seen="pixels are left out where they hold such values"
)
def test_values_that_are_no_measurements_are_left_out_where_they_are(tmp_path: Path) -> None:
    stack = counts().astype(np.int32)
    stack[:, 8, 14] = -2
    stack[3, 11, 16] = 60000
    path = standard(tmp_path / "scan.h5", patterns=stack)
    scan = read(path, **ALL, dead_value=-2, saturation=50000)
    assert scan.bad_pixels is not None
    assert scan.bad_pixels.shape == (N, 20, 20)
    assert scan.bad_pixels[:, 7, 8].all()
    assert np.argwhere(scan.bad_pixels[:, 10, 10]).tolist() == [[3]]
    assert scan.bad_pixels.sum() == N + 1
    assert np.asarray(scan.patterns).max() < 50000


@pytest.mark.proves(
    "data.energy", "data.particle", seen="they give the wavelength, relativistic of electrons"
)
def test_the_wavelength_follows_from_the_energy(file: Path) -> None:
    settings = {**NAMED, **SQUARE, "object_pixel": "24 nm"}
    for words, metres in (
        ({"energy": "8 keV"}, 1.5498e-10),
        ({"energy": "300 keV", "particle": "electron"}, 1.9687e-12),
        ({"energy": "60000 eV", "particle": "electron"}, 4.8661e-12),
    ):
        assert read(file, **settings, **words).metadata["wavelength_m"] == pytest.approx(metres, rel=1e-4)
    assert wavelength_of(1e-20, "electron") == pytest.approx(
        6.62607015e-34 / np.sqrt(2 * 9.1093837e-31 * 1e-20)
    )


def probe_of(n: int) -> np.ndarray:
    rows, columns = np.indices((n, n)) - n // 2
    return np.exp(-(rows**2 + columns**2) / 12 + 0.2j * columns).astype(np.complex64)


@pytest.mark.proves("data.probe", seen="the probe is that of the file, of optics, or none")
def test_the_probe_is_the_one_asked_for(tmp_path: Path) -> None:
    path = standard(tmp_path / "scan.h5", patterns=counts()[:, :, 5:29], probe=probe_of(24))
    known = {**NAMED, **LENGTHS, "centre": "11, 11"}
    found = read(path, **known, probe="/entry/probe")
    ratio = found.probe[0] / probe_of(24)
    np.testing.assert_allclose(ratio, ratio[12, 12], rtol=1e-4)
    assert found.has_probe
    assert not read(path, **known, probe="estimate").has_probe
    with pytest.raises(DataError, match=r"probe: .*got none .*--probe /entry/probe"):
        read(path, **known, probe="file")


def test_a_probe_is_cropped_with_its_patterns(tmp_path: Path) -> None:
    path = standard(tmp_path / "scan.h5", patterns=counts()[:, :, 5:29], probe=probe_of(24))
    scan = read(path, **NAMED, **LENGTHS, probe="/entry/probe", crop=12, centre="11, 11")
    far = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe_of(24))))[6:18, 6:18]
    near = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(far)))
    factor = scan.probe[0, 6, 6] / near[6, 6]
    np.testing.assert_allclose(scan.probe[0], factor * near, atol=1e-4 * np.abs(scan.probe).max())


@pytest.mark.proves(
    "data.convergence", "data.aperture", "data.defocus", seen="the probe is the one of such optics"
)
def test_optics_give_a_probe(file: Path) -> None:
    focus, out = (read(file, **ALL, convergence="1 mrad", defocus=z).probe[0] for z in ("0 m", "0.5 mm"))
    far = [np.abs(np.fft.fftshift(np.fft.fft2(one))) > 1 for one in (focus, out)]
    radius = 1e-3 / 1e-10 * (20 * 2.4e-8)  # pixels of the far field
    assert far[0].sum() == pytest.approx(np.pi * radius**2, rel=0.15)
    np.testing.assert_array_equal(*far)
    assert np.abs(out).max() < 0.8 * np.abs(focus).max()
    hole = read(file, **ALL, aperture="150 nm", defocus="0 m").probe[0]
    assert (np.abs(hole) > 0.5 * np.abs(hole).max()).sum() == pytest.approx(
        np.pi / 4 * (150 / 24) ** 2, rel=0.2
    )
    for optics in ({"convergence": "1 mrad"}, {"defocus": "1 mm"}):
        with pytest.raises(
            DataError, match=r"probe: expected the wavelength for the optics .* Set --energy\.$"
        ):
            read(file, **NAMED, **SQUARE, object_pixel="20 nm", **optics)
    with pytest.raises(DataError, match="probe: expected optics; got none"):
        read(file, **ALL, probe="optics", defocus="1 mm")
    assert not read(file, **ALL, defocus="1 mm").has_probe


def test_a_probe_of_the_file_and_optics_are_not_both_used(tmp_path: Path) -> None:
    path = tmp_path / "scan.npz"
    simulate_scan(N=32, n_positions=30).to_file(path)
    with pytest.raises(DataError, match=r"probe: expected one probe; got probeGuess and the optics"):
        RawData.from_file(path, reading=DataConfig(defocus="1 mm"))
    assert RawData.from_file(path, reading=DataConfig(defocus="1 mm", probe="file")).has_probe


@pytest.mark.proves("data.format", seen="the file is read by that table")
def test_the_format_is_found_from_what_a_file_holds_and_may_be_stated(tmp_path: Path) -> None:
    path = tmp_path / "scan.dat"
    with h5py.File(path, "w") as file:
        file["ptychogram"] = counts()[:, :, 5:29]
        file["encoder"] = positions_px() * 2e-8
        for name, value in (("wavelength", 1e-10), ("zo", 1.2), ("dxd", 250e-6)):
            file[name] = value
    scan = read(path)
    assert scan.metadata["format"] == "ptylab"
    np.testing.assert_allclose(moved(scan), positions_px(), rtol=1e-6)
    with pytest.raises(DataError, match=r"patterns: .*got none"):
        read(path, format="cxi")


def test_a_packed_npz_file_is_unpacked(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.savez(content, data=counts()[:, :, 5:29][None], scan=positions_px()[None])
    path = tmp_path / "scan.npz.bz2"
    path.write_bytes(bz2.compress(content.getvalue()))
    scan = read(path, patterns="data[0]", positions="scan[0]")
    np.testing.assert_array_equal(scan.patterns, counts()[:, :, 5:29])
    np.testing.assert_allclose(moved(scan), positions_px())
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="expected a whole bzip2 file"):
        read(path)


def test_arrays_may_be_in_another_file_of_the_folder(file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "stage.npz", pos=positions_px() * 2e-8)
    settings = {**LENGTHS, **SQUARE, "patterns": "/entry/patterns"}
    scan = read(file, **settings, positions="stage.npz:pos", positions_unit="m")
    np.testing.assert_allclose(scan.positions_px, read(file, **ALL).positions_px)


def test_lengths_that_are_set_join_those_of_a_file_in_the_data_contract(tmp_path: Path) -> None:
    path = tmp_path / "scan.npz"
    scan = simulate_scan(N=32, n_positions=30)
    lengths = {"distance_m": 1.0, "detector_pixel_size_m": [1e-4, 1e-4]}
    dataclasses.replace(scan, metadata={**scan.metadata, **lengths, "beamline": "5"}).to_file(path)
    read = RawData.from_file(path, reading=DataConfig(wavelength="1e-10 m", crop=16))
    assert read.metadata["object_pixel_size_m"] == pytest.approx([1e-10 / (16 * 1e-4)] * 2)
    assert (read.metadata["beamline"], read.domain) == ("5", "amplitude")
    stated = dataclasses.replace(scan, metadata={**scan.metadata, "object_pixel_size_m": [2e-8, 2e-8]})
    stated.to_file(path)
    assert "object_pixel_size_m" in RawData.from_file(path, reading=DataConfig(probe="estimate")).metadata
    cropped = RawData.from_file(path, reading=DataConfig(crop=16)).metadata["object_pixel_size_m"]
    assert cropped == pytest.approx([4e-8] * 2)
    binned = RawData.from_file(path, reading=DataConfig(bin=2)).metadata["object_pixel_size_m"]
    assert binned == pytest.approx([2e-8] * 2)
    electrons = {"energy_eV": 3e5, "distance_m": 1.0, "detector_pixel_size_m": [1e-4, 1e-4]}
    dataclasses.replace(scan, metadata={**scan.metadata, **electrons}).to_file(path)
    read = RawData.from_file(path, reading=DataConfig(particle="electron"))
    assert read.metadata["wavelength_m"] == pytest.approx(1.969e-12, rel=1e-3)
    for other in (None, [1, 2]):  # no energy: a wavelength that is stated wins, as without settings
        both = {"energy_eV": other, "wavelength_m": 1.55e-10}
        dataclasses.replace(scan, metadata={**scan.metadata, **electrons, **both}).to_file(path)
        read = RawData.from_file(path, reading=DataConfig(probe="estimate"))
        assert read.metadata["wavelength_m"] == 1.55e-10


def test_settings_work_on_a_file_in_the_data_contract(tmp_path: Path) -> None:
    where = positions_px()
    held = np.arange(N) % 5 == 0
    arrays = {"diff3d": counts()[:, :, 5:29], "ycoords": where[:, 0], "xcoords": where[:, 1], "holdout": held}
    np.savez(tmp_path / "scan.npz", **arrays)
    scan = read(tmp_path / "scan.npz", crop=12, centre="11, 11", orientation="flip-x")
    np.testing.assert_array_equal(scan.patterns, counts()[:, 5:17, 10:22])
    np.testing.assert_allclose(moved(scan), where * [0.5, -0.5])
    np.testing.assert_array_equal(scan.holdout, held)


def test_settings_that_change_no_place_leave_positions_in_their_object(tmp_path: Path) -> None:
    where = positions_px() + 31.5
    truth = np.ones((70, 80), complex)
    arrays = {
        "diff3d": counts()[:, :, 5:29],
        "ycoords": where[:, 0],
        "xcoords": where[:, 1],
        "objectTruth": truth,
    }
    np.savez(tmp_path / "scan.npz", **arrays)
    scan = read(tmp_path / "scan.npz", saturation=150.0, centre="11, 11")
    np.testing.assert_array_equal(scan.positions_px, where)
    assert scan.object_truth is not None
    turned = read(tmp_path / "scan.npz", orientation="flip-x")
    assert turned.object_truth is None  # it lies as the positions of the file do


def test_files_of_matlab_are_hdf5_behind_a_text(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.mat", "w", userblock_size=512) as file:
        where = positions_px() * 2e-8
        file["frames"], file["y"], file["x"] = counts().transpose(0, 2, 1), where[:, :1].T, where[:, 1:].T
    with (tmp_path / "scan.mat").open("r+b") as start:
        start.write(b"MATLAB 7.3 MAT-file")
    named = {"patterns": "frames", "axes": "nWH", "positions_y": "y", "positions_x": "x"}
    np.testing.assert_array_equal(
        read(tmp_path / "scan.mat", **named, **LENGTHS, **SQUARE).patterns, cut(counts())
    )


# What is wrong ----------------------------------------------------------------------------------------------


# Large files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["nHW", "yxHW"])
def test_patterns_of_a_large_file_stay_there(
    tmp_path: Path, axes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = counts() if axes == "nHW" else counts().reshape(4, 5, *counts().shape[1:])
    path = standard(tmp_path / "scan.h5", patterns=stack)
    whole = read(path, **ALL, bin=2)
    monkeypatch.setattr(frames, "IN_MEMORY", (0.25, 1))
    scan = read(path, **ALL, bin=2)
    assert isinstance(scan.patterns, StoredArray)
    for some in (slice(None), np.array([3, 4, 5, 17, 2]), 7, slice(2, 19, 3)):
        np.testing.assert_array_equal(scan.patterns[some], whole.patterns[some])
    again = pickle.loads(pickle.dumps(scan.patterns))
    np.testing.assert_array_equal(np.asarray(again), whole.patterns)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match="expected the file as it was when it was opened"):
        scan.patterns[0]


def test_negative_counts_stay_negative_where_pixels_are_binned(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(50, (20, 32, 32)).astype(np.int16)
    counts[3, 5, 5] = -300
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["d"] = counts
        file["p"] = np.indices((4, 5)).reshape(2, -1).T * 4.0
    told = {"patterns": "d", "positions": "p", "positions_unit": "px", "format": "hdf5"}
    with pytest.raises(DataError, match=r"got -\d+ in pattern 3"):
        read(tmp_path / "raw.h5", **told, bin=2)


def test_light_in_hot_pixels_alone_is_an_error(tmp_path: Path) -> None:
    patterns = np.zeros((20, 32, 32), np.uint16)
    patterns[:, 20, 20] = 500
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["d"] = patterns
        file["p"] = np.indices((4, 5)).reshape(2, -1).T * 4.0
    told = {"patterns": "d", "positions": "p", "positions_unit": "px", "format": "hdf5"}
    with pytest.raises(DataError, match="patterns: expected light outside the pixels that are masked"):
        read(tmp_path / "raw.h5", **told)
