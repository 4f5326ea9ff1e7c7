"""Fingerprints of scans and probes: whether a run meets the data that it was trained on."""

import hashlib
from collections.abc import Sequence

import numpy as np

from ptycho.raw_data import RawData
from ptycho.scan_domain import ReadAs, TrainedDomains, patterns_fingerprint
from ptycho_torch.data.module import ScanDataModule

FINGERPRINTED = 64
"""Patterns that enter the fingerprint of a scan."""


def probe_fingerprint(scan: RawData) -> str:
    """SHA-256 of a scan's illumination: tells whether a model has refined exactly this probe."""
    return hashlib.sha256(scan.probe.tobytes()).hexdigest()


def scan_fingerprint(scan: RawData) -> str:
    """SHA-256 of a scan: shape, positions, illumination and up to 64 of its patterns."""
    told = hashlib.sha256(f"{scan.patterns.dtype} {scan.patterns.shape}".encode())
    told.update(scan.positions_px.tobytes())
    told.update(scan.probe.tobytes())
    for number in np.unique(np.linspace(0, len(scan) - 1, FINGERPRINTED).astype(int)):
        told.update(np.ascontiguousarray(scan.patterns[number]).tobytes())
    return told.hexdigest()


def probe_fingerprints(data: ScanDataModule) -> list[str]:
    """Those of the illuminations that a training starts from."""
    return [probe_fingerprint(scan) for scan in data.probe_scans]


def scan_fingerprints(data: ScanDataModule) -> list[str]:
    """Those of all scans of a training."""
    return [scan_fingerprint(scan) for scan in data.scans]


def domains_of(scans: Sequence[RawData]) -> TrainedDomains:
    """How scans are read, kept with a run and its model for whoever reads them again."""
    read = [ReadAs(patterns_fingerprint(scan.patterns), scan.domain, scan.domain_reason) for scan in scans]
    return TrainedDomains(scans=read)
