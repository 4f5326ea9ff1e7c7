"""What the shape of a probe tells."""

import numpy as np

from ptycho.probe import covered_shares, lit_pixels, probe_diameter_px

LIT = np.zeros((1, 8, 8), complex)
LIT[0, 3:5, 3:5] = 2
LIT[0, 0, 0] = 0.1


def test_a_pixel_that_several_positions_light_counts_once() -> None:
    assert lit_pixels(LIT, np.zeros((1, 2))) == 4
    assert lit_pixels(LIT, np.array([[10.2, 5], [11.1, 5], [10, 40]])) == 6 + 4


def test_what_a_pattern_shows_is_covered_by_others_alone() -> None:
    positions = np.array([[0, 0], [0, 1], [0, 2], [0, 50.0]])
    fitted = np.array([True, True, False, True])
    np.testing.assert_array_equal(covered_shares(LIT, positions, fitted), [0.5, 0.5, 0.5, 0])


def test_the_diameter_is_that_of_a_circle_of_the_lit_area() -> None:
    assert np.isclose(np.pi * probe_diameter_px(LIT) ** 2 / 4, 4)
