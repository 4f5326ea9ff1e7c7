"""The scans of `benchmarks.quality`, and how each is solved."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality_peers import PEERS
from ptycho.raw_data import RawData
from ptycho_torch.runs.plan import MILD, PROBE_FROM
from ptycho_torch.simulate import simulate_scan


class Case(NamedTuple):
    """One scan and how it is solved."""

    scan: str
    n_iterations: int
    options: dict[str, Any]
    probe: str | None = "probeGuess"
    """Its key in the file; None: it is searched for."""
    wrong_by_px: float = 0.0
    """Root mean square of seeded errors of the positions, both axes together."""
    auto_prior: bool = False
    peers: tuple[str, ...] = ()
    """Which other codes are measured beside it."""
    network_from: str | None = None
    """The scan that the network beside it is trained on."""
    gpu_alone: bool = False
    """Whether it takes too long on a CPU."""

    @property
    def n_modes(self) -> int:
        """Probe modes."""
        return self.options.get("n_modes", 1)

    @property
    def refine_probe(self) -> bool:
        """Whether the probe is to be refined."""
        return "probe_from" not in self.options


N_GUESSED = 120
"""Iterations with a guessed probe before the weight of the prior is chosen."""
FIXED = {"probe_from": None}
REFINED = {"switch_at": None, "prior_weight": MILD, "prior_from": PROBE_FROM}
"""What `ptycho reconstruct` does where the probe is refined, and the scan needs no prior."""
ALL = tuple(PEERS)
SEVERAL_MODES = ("lsqml", "cdtools")
CASES = {
    "1e6": Case("synth-64-test-1e6", 50, FIXED, peers=ALL, network_from="synth-64-train-1e6"),
    "1e6 guessed probe": Case("synth-64-test-1e6", 60, REFINED, "probeStart", peers=ALL),
    "1e6 no probe": Case("synth-64-test-1e6", 140, REFINED, None),
    "1e6 wrong positions": Case("synth-64-test-1e6", 80, REFINED | {"positions_from": 15}, wrong_by_px=0.7),
    "siemens": Case("siemens-star-128", 60, REFINED, peers=ALL),
    "siemens 4 modes": Case("siemens-star-128", 40, REFINED | {"n_modes": 4}, peers=SEVERAL_MODES),
    "siemens 4 modes, no probe": Case("siemens-star-128", 40, REFINED | {"n_modes": 4}, None),
    "siemens best": Case("siemens-star-128", 80, REFINED | {"n_modes": 4, "positions_from": 40}),
    "1e4": Case("synth-64-test-1e4", 40, FIXED | {"switch_at": None}, peers=ALL),
    "1e4 auto prior": Case(
        "synth-64-test-1e4", 50, FIXED, auto_prior=True, peers=ALL, network_from="synth-64-train-1e4"
    ),
    "16 px steps": Case(
        "sparse", 220, {"switch_at": N_GUESSED, "prior_from": 20}, "probeStart", auto_prior=True
    ),
    "phase +-4 rad": Case("strong phase", 80, FIXED),
    "10,000 patterns": Case("many", 50, FIXED, peers=("lsqml",), gpu_alone=True),
}


def scan_of(case: Case, folder: Path) -> tuple[RawData, NDArray[np.complex64]]:
    """A scan and the probe to start from."""
    if case.scan == "sparse":
        known = {"object_amplitude_image": "coins", "phase_image": "moon", "step_px": 16.0, "nphotons": 1e5}
        scan = simulate_scan(N=64, n_positions=200, defocus_rad=7.0, **known)
        guess = simulate_scan(N=64, n_positions=1, step_px=16.0, nphotons=1e5, defocus_rad=11.0)
        return scan, guess.probe
    if case.scan == "many":
        scan = simulate_scan(N=64, n_positions=10_000, nphotons=1e6)
        return scan, scan.probe
    if case.scan == "strong phase":
        return strong_phase(), strong_phase().probe
    scan = RawData.from_file(folder / f"{case.scan}.npz")
    if case.probe in ("probeGuess", None):
        return scan, scan.probe
    with np.load(folder / f"{case.scan}.npz", allow_pickle=False) as file:
        probe = np.asarray(file[case.probe])
    return scan, probe.reshape(-1, *probe.shape[-2:])


def strong_phase() -> RawData:
    """An object whose phase goes from -4 to 4 rad: 120 patterns of 32 x 32, steps of 4 px, 1e5 photons."""
    scan = simulate_scan("camera", "coffee", N=32, n_positions=120, step_px=4.0, nphotons=1e5)
    assert scan.object_truth is not None
    truth = np.abs(scan.object_truth) * np.exp(4j * np.angle(scan.object_truth))
    n_pixels, whole = 32, np.round(scan.positions_px).astype(int)
    frequency = np.fft.fftfreq(n_pixels)
    counts = np.zeros(scan.patterns.shape, dtype=np.float32)
    rng = np.random.default_rng(1)
    for pattern, place, corner in zip(counts, scan.positions_px, whole - n_pixels // 2, strict=True):
        rest = place - np.round(place)
        ramp = np.exp(-2j * np.pi * (frequency[:, None] * rest[0] + frequency[None] * rest[1]))
        patch = truth[corner[0] : corner[0] + n_pixels, corner[1] : corner[1] + n_pixels]
        far = np.fft.fft2(np.fft.ifft2(np.fft.fft2(scan.probe) * ramp) * patch, norm="ortho")
        pattern[...] = np.sqrt(rng.poisson(np.fft.fftshift((np.abs(far) ** 2).sum(axis=0))))
    return RawData.from_arrays(
        counts, scan.positions_px, scan.probe, domain="amplitude", holdout=scan.holdout, object_truth=truth
    )
