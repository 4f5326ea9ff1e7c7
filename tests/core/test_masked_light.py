"""Verdicts of pixels beside those that were not measured: saturated ones, gaps and masks."""

import numpy as np
import pytest

from ptycho.raw_data import RawData
from ptycho_torch.simulate import simulate_scan


def names(scan: RawData) -> set[str]:
    return {verdict.name for verdict in scan.verdicts if verdict.severity != "note"}


def scan_of(counts: np.ndarray, like: RawData, **more: object) -> RawData:
    return RawData.from_arrays(counts, like.positions_px, like.probe, domain="intensity", **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=[32, 64])
def clean(request: pytest.FixtureRequest) -> RawData:
    return simulate_scan(N=request.param, n_positions=100, nphotons=1e5)


@pytest.mark.parametrize("part", [0.3, 0.1])
def test_a_detector_that_clips_a_part_of_the_light_is_said_at_any_size(clean: RawData, part: float) -> None:
    counts = np.square(clean.amplitude(np.arange(len(clean)))).round()
    assert not names(scan_of(counts.astype(np.uint16), clean))
    top = round(part * counts.max())
    clipped = np.minimum(counts, top).astype(np.uint16)
    assert names(scan_of(clipped, clean)) == {"saturation"}
    if part == 0.3:  # else the masked pixels have most of the light, as those of an inverted mask
        assert not names(scan_of(clipped, clean, bad_pixels=clipped >= top))


def test_rows_that_were_not_measured_do_not_move_the_beam(clean: RawData) -> None:
    counts = np.square(clean.amplitude(np.arange(len(clean)))).round().astype(np.uint16)
    size = counts.shape[-1]
    bad = np.zeros((size, size), bool)
    bad[size * 5 // 16 : size * 3 // 8] = True
    assert not names(scan_of(np.where(bad, 0, counts), clean, bad_pixels=bad))
    off = np.roll(counts, 4, axis=1)
    assert names(scan_of(np.where(bad, 0, off), clean, bad_pixels=bad)) == {"beam_centre"}


@pytest.mark.parametrize("nphotons", [100.0, 1e3, 3e3, 1e4, 1e6])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_clean_scan_saturates_at_any_dose(nphotons: float, seed: int) -> None:
    scan = simulate_scan(N=32, n_positions=100, nphotons=nphotons, seed=seed)
    counts = np.square(scan.amplitude(np.arange(len(scan)))).round()
    assert "saturation" not in names(scan_of(counts.astype(np.uint32), scan))
    assert "saturation" not in names(scan_of((0.37 * counts).astype(np.float32), scan))
