"""Scales that connect photons with the dimensionless numbers a network works on."""

from torch import Tensor


def probe_peak(probe: Tensor) -> Tensor:
    """Largest amplitude of a probe, all modes together: sqrt(max_r sum_m abs(P_m(r))**2).

    Args:
        probe: complex (..., modes, N, N).

    Returns:
        Real (...,), in the probe's unit.
    """
    return (probe.real.square() + probe.imag.square()).sum(dim=-3).amax(dim=(-2, -1)).sqrt()
