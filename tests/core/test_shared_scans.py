from pathlib import Path

import numpy as np
import pytest

from ptycho.grouping import neighbor_groups
from ptycho.raw_data import DataError, RawData


@pytest.mark.parametrize("name", ["siemens-star-128.npz", "synth-64-test-1e4.npz", "synth-64-test-1e6.npz"])
def test_the_shared_scans_are_read(shared_data: Path, name: str):
    scan = RawData.from_file(shared_data / name)
    assert scan.domain == "amplitude"
    assert not scan.scan_index.any()
    assert scan.holdout is not None
    assert 0.04 < scan.holdout.mean() < 0.08
    assert (scan.positions_px.min(axis=0) >= scan.patterns.shape[-1] // 2).all()


@pytest.mark.parametrize(
    ("name", "nphotons"), [("synth-64-test-1e4.npz", 1e4), ("synth-64-test-1e6.npz", 1e6)]
)
def test_counts_of_a_shared_scan_are_refused_as_amplitudes(
    shared_data: Path, tmp_path: Path, name: str, nphotons: float
):
    scan = RawData.from_file(shared_data / name)
    path = tmp_path / "counts.npz"
    np.savez(
        path,
        diff3d=scan.patterns**2,
        xcoords=scan.xcoords,
        ycoords=scan.ycoords,
        probeGuess=scan.probe,
        nphotons=nphotons,
    )
    with pytest.raises(DataError, match="diff3d: expected amplitudes"):
        RawData.from_file(path, domain="amplitude")
    scan = RawData.from_file(path)
    assert (scan.domain, scan.domain_reason) == (
        "intensity",
        "all values are multiples of 1: they must be counts",
    )


def test_groups_of_a_shared_scan_are_near_neighbours(shared_data: Path):
    scan = RawData.from_file(shared_data / "siemens-star-128.npz")
    groups = neighbor_groups(scan.positions_px, 2, 7, len(scan), seed=0, scan_index=scan.scan_index)
    reach = np.linalg.norm(scan.positions_px[groups[:, 1:]] - scan.positions_px[groups[:, :1]], axis=2)
    assert np.median(reach) < 24, "the probe is 48 px wide: members overlap"
