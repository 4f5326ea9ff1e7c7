"""Patterns that are logarithms of counts."""

import json
from pathlib import Path

import numpy as np
import pytest

from ptycho.data_error import DataError
from ptycho.raw_data import RawData
from ptycho_torch.simulate import simulate_scan
from tests.core.foreign_files import ALL, read, standard
from tests.core.foreign_files import counts as counts_of_file

LOGARITHMS = {
    "log10": (
        lambda counts: np.log10(counts + 1),
        r"\(log10\).* 10\*\*patterns, or 10\*\*patterns - 1 if 1 was added",
    ),
    "log1p": (np.log1p, r"\(log\).* np\.exp\(patterns\), or np\.exp\(patterns\) - 1 if"),
    "log2": (lambda counts: np.log2(counts + 1), r"\(log2\)"),
    "of 1 at least": (lambda counts: np.log10(np.maximum(counts, 1)), r"\(log10\)"),
}


def counts_of(nphotons: float) -> tuple[np.ndarray, RawData]:
    scan = simulate_scan(N=32, n_positions=60, nphotons=nphotons, seed=1)
    return np.square(scan.amplitude(np.arange(60)).astype(float)).round(), scan


@pytest.mark.parametrize("name", LOGARITHMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("nphotons", [1e3, 1e5, 1e8])
@pytest.mark.parametrize("domain", ["auto", "intensity"])
def test_logarithms_of_counts_are_refused_with_what_undoes_them(
    name: str, dtype: str, nphotons: float, domain: str
) -> None:
    of, message = LOGARITHMS[name]
    counts, scan = counts_of(nphotons)
    patterns = of(counts.astype(dtype)).astype(dtype)
    for probe in (scan.probe, None):
        with pytest.raises(
            DataError, match=rf"expected counts or their square roots; got logarithms of .*{message}"
        ):
            RawData.from_arrays(patterns, scan.positions_px, probe, domain=domain)


def test_logarithms_are_told_in_files_and_beside_bad_pixels(tmp_path: Path) -> None:
    counts, scan = counts_of(1e5)
    bad = np.zeros((32, 32), bool)
    bad[3:5] = True
    stated = np.array(json.dumps({"measurement_domain": "intensity"}))
    arrays = {"ycoords": scan.ycoords, "xcoords": scan.xcoords, "bad_pixels": bad, "metadata": stated}
    np.savez(tmp_path / "scan.npz", diff3d=np.where(bad, 7.5, np.log1p(counts)), **arrays)
    with pytest.raises(DataError, match=r"diff3d: .* got logarithms of whole numbers \(log\)"):
        RawData.from_file(tmp_path / "scan.npz")
    path = standard(tmp_path / "scan.h5", patterns=np.log1p(counts_of_file()))
    with pytest.raises(DataError, match=r"/entry/patterns: .* got logarithms of whole numbers \(log\)"):
        read(path, **ALL)


def test_infinite_logarithms_of_no_counts_are_told() -> None:
    counts, scan = counts_of(1e5)
    with np.errstate(divide="ignore"):
        patterns = np.log10(counts)
    with pytest.raises(
        DataError, match=r"infinite values.* These are logarithms of counts \(log10\), of which"
    ):
        RawData.from_arrays(patterns, scan.positions_px, scan.probe, domain="intensity")


@pytest.mark.parametrize("nphotons", [300, 1e4, 1e6])
@pytest.mark.parametrize("gain", [1.0, 0.37, np.log(2), np.log10(2), np.log(3)])
@pytest.mark.parametrize("power", [1.0, 0.5])
def test_what_is_no_logarithm_is_read(nphotons: float, gain: float, power: float) -> None:
    counts, scan = counts_of(nphotons)
    for dtype in ("float32", "float64", "float16"):
        patterns = (gain * counts**power).astype(dtype)
        if np.isfinite(patterns).all():
            assert len(RawData.from_arrays(patterns, scan.positions_px, scan.probe)) == 60
