"""Pictures of a run."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from ptycho_torch.runs.figures import NOT_DRAWN, Placed, _extent, _round_length, _wraps, save_reconstruction

PROBE = np.ones((2, 8, 8), np.complex64)


@pytest.mark.integration
def test_a_picture_takes_less_memory_than_a_large_object(tmp_path: Path) -> None:
    image = np.ones((4200, 4200), np.complex64)
    image[1000:2000] = 2j
    tracemalloc.start()
    save_reconstruction(tmp_path / "picture.png", image, np.ones((1, 8, 8), np.complex64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * image.nbytes


@pytest.mark.parametrize("shape", [(40, 30), (700, 500)])
def test_every_pixel_of_an_object_has_a_dot(tmp_path: Path, shape: tuple[int, int]) -> None:
    image = np.ones(shape, np.complex64)
    image[:, ::2] = 0.5
    save_reconstruction(tmp_path / "picture.png", image, PROBE)
    row = imread(tmp_path / "picture.png")[:, :, 0]
    row = row[len(row) // 2, : row.shape[1] // 3]
    assert np.count_nonzero(np.diff((row > 0.5).astype(int))) >= shape[1] - 1


def test_nothing_is_drawn_where_there_is_little_light(tmp_path: Path) -> None:
    image, light = np.exp(1j * np.linspace(0, 1, 900).reshape(30, 30)), np.ones((30, 30), np.float32)
    light[:15] = 0
    save_reconstruction(tmp_path / "picture.png", image.astype(np.complex64), PROBE, light)
    colour = np.array([int(NOT_DRAWN[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    empty = (np.abs(imread(tmp_path / "picture.png")[:, :, :3] - colour) < 0.01).all(axis=2)
    assert empty.mean() > 0.05


@pytest.mark.parametrize(("amplitude", "turns"), [(1.0, False), (4.0, True)])
def test_the_colours_of_a_phase_go_round_where_it_does(tmp_path: Path, amplitude: float, turns: bool) -> None:
    y, x = np.mgrid[:60, :60]
    image = np.exp(1j * amplitude * np.sin(x / 9) * np.cos(y / 9)).astype(np.complex64)
    assert _wraps(np.angle(image), np.ones(image.shape, bool)) == turns
    save_reconstruction(tmp_path / "picture.png", image, PROBE)
    dots = imread(tmp_path / "picture.png")
    middle = dots[:, dots.shape[1] // 3 : dots.shape[1] * 3 // 5, :3]
    assert (np.ptp(middle, axis=2) > 0.2).mean() > 0.1 if turns else np.ptp(middle, axis=2).max() < 0.1


@pytest.mark.parametrize(
    ("pixel_m", "corner_px", "extent", "word"),
    [
        (None, (-5, 3), (2.5, 22.5, 4.5, -5.5), "px"),
        ((1e-8, 2e-8), (-5, 3), (50, 450, 45, -55), "nm"),
        ((1e-6, 2e-6), (0, 0), (-1, 39, 9.5, -0.5), "um"),
        ((1e-3, 2e-3), (0, 0), (-1, 39, 9.5, -0.5), "mm"),
    ],
)
def test_axes_are_in_real_units_where_a_pixel_is_known(pixel_m, corner_px, extent, word) -> None:
    found, unit = _extent((10, 20), Placed("", corner_px, pixel_m))
    assert found == pytest.approx(extent)
    assert unit == word


def test_a_scale_bar_has_a_round_length() -> None:
    assert [_round_length(longest) for longest in (0.93, 3.4, 7, 60, 10)] == [0.5, 2, 5, 50, 10]
