"""Loader, probe, reassembly and model manager: names that callers of TensorFlow's times know."""

from pathlib import Path

import numpy as np
import pytest

from ptycho import loader, model_manager, params, probe, tf_helper
from ptycho.checksums import Checksums, verify
from ptycho.config.errors import ConfigError
from ptycho.raw_data import DataError, RawData


@pytest.fixture
def scan() -> RawData:
    rng = np.random.default_rng(1)
    positions = rng.uniform(0, 40, (12, 2))
    illumination = np.exp(-(np.hypot(*np.mgrid[-8:8, -8:8]) ** 2) / 20) * 30 + 0j
    return RawData.from_coords_without_pc(
        positions[:, 1],
        positions[:, 0],
        rng.poisson(20.0, (12, 16, 16)).astype(np.float32),
        illumination[None],
    )


@pytest.mark.parametrize("more", [0.0, 0.3])
def test_patterns_are_counts_whole_or_not(scan: RawData, more: float) -> None:
    rows, columns = scan.positions_px.T
    found = RawData.from_coords_without_pc(columns, rows, scan.patterns + np.float32(more), scan.probe)
    assert found.domain == "intensity"
    np.testing.assert_allclose(found.amplitude([3]), np.sqrt(scan.patterns[[3]] + more), rtol=1e-6)
    told = RawData.from_coords_without_pc(columns, rows, scan.patterns, scan.probe, domain="amplitude")
    assert told.domain == "amplitude"


def test_loader_gives_amplitudes_and_places_from_the_middle(
    scan: RawData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(params.cfg, "intensity_scale", 4.0)
    held = loader.load(lambda: scan.generate_grouped_data(16, K=7, nsamples=1, gridsize=1), scan.probeGuess)
    np.testing.assert_allclose(held.X * 4.0, scan.amplitude(np.arange(12)), rtol=1e-6)
    assert held.local_offsets.min(axis=0) == pytest.approx(0.5 - np.ptp(scan.positions_px, axis=0) / 2)
    np.testing.assert_array_equal(held.local_offsets, held.global_offsets)


def test_a_split_and_numbers_out_of_range_are_refused(scan: RawData) -> None:
    with pytest.raises(ValueError, match="create_split: expected False"):
        loader.load(lambda: scan.generate_grouped_data(16), scan.probeGuess, which="train", create_split=True)
    with pytest.raises(DataError, match=r"N: .*got 32"):
        scan.generate_grouped_data(32)
    with pytest.raises(DataError, match=r"nsamples: .*got 0"):
        scan.generate_grouped_data(16, nsamples=0)


def test_probe_is_the_one_that_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_guess", None)
    with pytest.raises(ValueError, match="set_probe_guess first"):
        probe.get_probe_guess()
    with pytest.raises(ValueError, match="probe_guess: expected a complex array"):
        probe.set_probe_guess(None, None)
    probe.set_probe_guess(None, np.ones((4, 4)))
    assert probe.get_probe_guess().shape == (1, 4, 4)


def test_patches_of_one_image_are_that_image() -> None:
    rng = np.random.default_rng(2)
    image = rng.normal(size=(40, 50)) + 1j * rng.normal(size=(40, 50))
    corners = np.array([(r, c) for r in (0, 5, 10, 24) for c in (0, 8, 16, 24, 34)])
    patches = np.stack([image[r : r + 16, c : c + 16] for r, c in corners])
    positions = corners + 8.0
    whole = tf_helper.reassemble_position(patches, positions - positions.mean(axis=0).round(), M=16)
    np.testing.assert_allclose(whole, image, rtol=1e-5)
    middle = tf_helper.reassemble_position(patches[..., None], positions, M=6)
    assert middle.shape == (30, 40)
    reached = middle != 1
    np.testing.assert_allclose(middle[reached], image[5:35, 5:45][reached], rtol=1e-5)


@pytest.mark.parametrize(("n_offsets", "side"), [(2, 20), (3, 4)])
def test_patches_that_do_not_fit_are_refused(n_offsets: int, side: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        tf_helper.reassemble_position(np.ones((2, 16, 16), complex), np.zeros((n_offsets, 2)), M=side)


def test_a_run_in_a_temporary_folder_is_moved_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_manager, "_trained", None)
    monkeypatch.setattr(model_manager, "_temporary", False)
    run, place = tmp_path / "temporary", tmp_path / "place"
    for name in ("wts.h5.zip", "config.json", "checkpoints/last.ckpt"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    model_manager.remember(run / "wts.h5.zip", temporary=True)
    assert model_manager.save(place) == place / "wts.h5.zip"
    assert not run.exists()
    assert (place / "checkpoints" / "last.ckpt").read_text() == "checkpoints/last.ckpt"
    assert model_manager.save(place).is_file()
    assert model_manager.save(tmp_path / "again").read_text() == "wts.h5.zip"
    assert (place / "wts.h5.zip").is_file()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training and its reconstruction in a temporary folder, which were the last of this process."""
    monkeypatch.setattr(model_manager, "_trained", None)
    monkeypatch.setattr(model_manager, "_temporary", False)
    run = tmp_path / "temporary"
    written(run, "new", ("wts.h5.zip", "config.json", "logs/csv/metrics.csv", *PICTURE))
    checksums = Checksums(run / "reconstruction")
    checksums.write_record({}, [run / "wts.h5.zip"])
    with checksums.write(run / "reconstruction" / "reconstruction.npz") as file:
        file.write(b"new")
    checksums.settle()
    model_manager.remember(run / "wts.h5.zip", temporary=True)
    return run


PICTURE = tuple(f"reconstruction/{name}" for name in ("config.json", "reconstruction.npz", "metrics.json"))


def written(folder: Path, words: str, names: tuple[str, ...]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(words)


def texts(folder: Path, *, without: str = "") -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_text() for path in files}
    return {name: text for name, text in found.items() if name != without}


def test_the_reconstruction_of_a_run_moves_with_it(temporary: Path, tmp_path: Path) -> None:
    before = texts(temporary, without=PICTURE[0])  # it names the model by where it is
    model_manager.save(tmp_path / "place")
    assert texts(tmp_path / "place", without=PICTURE[0]) == before
    assert not temporary.exists()
    place = tmp_path / "place" / "reconstruction"
    assert verify(place) == {
        str((place.parent / "wts.h5.zip").resolve()): "ok",
        "reconstruction.npz": "ok",
    }


def test_a_run_that_is_there_is_replaced_where_that_is_asked_for_alone(
    temporary: Path, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    old = ("wts.h5.zip", "config.json", "history.csv", *PICTURE, "reconstruction/comparison.png")
    written(place, "old", old)
    with pytest.raises(ConfigError, match=r"got one with a trained model\. Replace it"):
        model_manager.save(place)
    assert texts(place) == dict.fromkeys(old, "old")
    new = texts(temporary, without=PICTURE[0])
    model_manager.save(place, overwrite=True)
    assert texts(place, without=PICTURE[0]) == new


def test_a_reconstruction_alone_is_not_replaced_unasked(temporary: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    written(place, "old", PICTURE)
    with pytest.raises(ConfigError, match="got one with a reconstruction"):
        model_manager.save(place)
    assert texts(place) == dict.fromkeys(PICTURE, "old")
    assert temporary.is_dir()


def test_a_run_that_nobody_saved_is_kept(
    temporary: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = texts(temporary)
    written(tmp_path / "next", "next", ("wts.h5.zip",))
    model_manager.remember(tmp_path / "next" / "wts.h5.zip", temporary=True)
    assert texts(temporary) == before
    assert f"{temporary}: the previous run was not saved; its files stay there" in caplog.text


def test_model_trained_last_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_manager, "_trained", None)
    with pytest.raises(ValueError, match="Call run_cdi_example first"):
        model_manager.save(tmp_path)
    archive = tmp_path / "run" / "wts.h5.zip"
    archive.parent.mkdir()
    archive.write_bytes(b"weights")
    model_manager.remember(archive)
    assert model_manager.save(tmp_path / "out").read_bytes() == b"weights"
    assert model_manager.save(archive.parent) == archive
