"""What the detector sees of an object patch, and what a measured pattern says about the patch."""

from torch import Tensor

from ptycho_torch.physics.propagation import back_propagate, far_field
from ptycho_torch.physics.scaling import probe_peak

DARK = 1e-4
"""Intensity, in the unit of the update's amplitudes, below which a predicted far field has no phase to speak of: what
rounding leaves where nothing is predicted must not be scaled up to the measured amplitude."""


def exit_waves(patch: Tensor, probe: Tensor) -> Tensor:
    """Exit waves P_m(r) O(r) of a thin object, one per incoherent probe mode.

    Args:
        patch: complex (..., N, N), transmission of the object, dimensionless.
        probe: complex (..., modes, N, N), photon**0.5.

    Returns:
        Complex (..., modes, N, N), photon**0.5.
    """
    return probe * patch.unsqueeze(-3)


def intensity(waves: Tensor) -> Tensor:
    """Photons per pixel of mutually incoherent far-field waves: the sum over modes of abs(wave)**2.

    Args:
        waves: complex (..., modes, N, N), photon**0.5.

    Returns:
        Real (..., N, N), photons.
    """
    return (waves.real.square() + waves.imag.square()).sum(dim=-3)


def adjoint_probe(probe: Tensor) -> Tensor:
    """What carries a change of the exit waves back to the object: conj(P_m) / max_r sum_m abs(P_m(r))**2.

    Args:
        probe: complex (..., modes, N, N), photon**0.5.

    Returns:
        Complex (..., modes, N, N), photon**-0.5.
    """
    return probe.conj() / probe_peak(probe).square()[..., None, None, None]


def object_update(
    patch: Tensor, probe: Tensor, adjoint: Tensor, amplitude: Tensor, measured: Tensor | None = None
) -> Tensor:
    """Object update of one physics step.

    The far field of each mode keeps its phase and takes the measured amplitude, shared between the modes in
    proportion (Thibault and Menzel 2013); what that changes in the exit waves is carried to the object as in
    the extended ptychographic iterative engine (Maiden and Rodenburg 2009):
    d = sum_m conj(P_m) (F^-1[A F(P_m O) / sqrt(I + DARK)] - P_m O) / max sum_m abs(P_m)**2.

    Args:
        patch: complex (B, N, N), current object patches.
        probe: complex (B, modes, N, N) at each patch.
        adjoint: complex (B, modes, N, N), from :func:`adjoint_probe`.
        amplitude: float (B, N, N), measured amplitude, photon**0.5, zero frequency first.
        measured: bool (B, N, N), zero frequency first; False where a pixel was not measured and keeps the
            prediction. None when every pixel was.

    Returns:
        The update d, complex (B, N, N), dimensionless.
    """
    far = far_field(exit_waves(patch, probe))
    excess = amplitude * (intensity(far) + DARK).rsqrt() - 1
    if measured is not None:
        excess = excess * measured
    return (adjoint * back_propagate(far * excess.unsqueeze(-3))).sum(dim=-3)
