"""What the detector sees of an object patch, and what a measured pattern says about the patch."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ptycho_torch.physics.propagation import back_propagate, far_field

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
    return _over_modes(waves.real.square() + waves.imag.square())


def object_update(
    patch: Tensor,
    probe: Tensor,
    amplitude: Tensor,
    step_length: Tensor,
    intensity_factor: Tensor,
    measured: Tensor | None = None,
) -> Tensor:
    """Object update of one physics step.

    The far field of each mode keeps its phase and takes the measured amplitude, shared between the modes in
    proportion (Thibault and Menzel 2013); what that changes in the exit waves is carried to the object as in
    the extended ptychographic iterative engine (Maiden and Rodenburg 2009):
    d = step sum_m conj(P_m) (F^-1[A F(P_m O) / sqrt(c I + DARK)] - P_m O), step = 1 / max sum_m abs(P_m)**2.

    The backward pass is written out: it keeps one complex array of each mode, and has two Fourier transforms. There is
    a gradient for the patch, the probe, the step and the factor, none for what was measured.

    Args:
        patch: complex (M, N, N), current object patches.
        probe: complex (M, modes, N, N) at each patch.
        amplitude: float (M, N, N), measured amplitude, photon**0.5, zero frequency first.
        step_length: float (M, 1, 1), photon**-1.
        intensity_factor: float (M, 1, 1), c, measured intensity for one of the intensity that the probe gives.
        measured: bool (M, N, N), zero frequency first; False where a pixel was not measured and keeps the
            prediction. None when every pixel was.

    Returns:
        The update d, complex (M, N, N), dimensionless.
    """
    update: Tensor = _ObjectUpdate.apply(patch, probe, amplitude, step_length, intensity_factor, measured)
    return update


class _ObjectUpdate(torch.autograd.Function):
    """Forward and backward pass of :func:`object_update`; what is multiplied once is overwritten by its product."""

    @staticmethod
    def forward(
        ctx: Any,
        patch: Tensor,
        probe: Tensor,
        amplitude: Tensor,
        step_length: Tensor,
        intensity_factor: Tensor,
        measured: Tensor | None,
    ) -> Tensor:
        waves = exit_waves(patch, probe)
        far = far_field(waves)
        predicted = intensity(far)
        root = (predicted * intensity_factor).add_(DARK).rsqrt_()
        if any(ctx.needs_input_grad):
            given = (patch, probe, amplitude, step_length, intensity_factor, measured)
            ctx.save_for_backward(*given, far, predicted, root)
        excess = _excess(amplitude, root, measured).mul_(step_length).unsqueeze(-3)
        change = back_propagate(torch.mul(far, excess, out=waves))
        return _over_modes(change.mul_(torch.conj_physical(probe, out=waves)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        patch, probe, amplitude, step_length, factor, measured, far, predicted, root = ctx.saved_tensors
        needs_patch, needs_probe, _, needs_step, needs_factor, _ = ctx.needs_input_grad
        excess = _excess(amplitude, root, measured).unsqueeze(-3)
        work = probe * (gradient * step_length).unsqueeze(-3)
        carried = far_field(work)
        slope = root.pow(3).mul_(amplitude).mul_(-0.5)
        if measured is not None:
            slope.mul_(measured)
        slope.mul_(_over_modes(torch.conj_physical(far, out=work).mul_(carried).real))
        of_patch = of_probe = of_step = of_factor = None
        if needs_factor:
            of_factor = (slope * predicted).sum(dim=(-2, -1), keepdim=True)
        if needs_patch or needs_probe:
            torch.mul(far, slope.mul_(factor).mul_(2).unsqueeze(-3), out=work)
            waves = back_propagate(carried.mul_(excess).add_(work))
            of_patch = _over_modes(torch.conj_physical(probe, out=work).mul_(waves))
        if needs_probe or needs_step:
            change = back_propagate(far * excess)
            along = (gradient.conj() * _over_modes(probe.conj() * change)).real
            of_step = along.sum(dim=(-2, -1), keepdim=True)
        if needs_probe:
            change.mul_((gradient.conj() * step_length).unsqueeze(-3))
            of_probe = waves.mul_(patch.conj().unsqueeze(-3)).add_(change)
        return of_patch, of_probe, None, of_step, of_factor, None


def _excess(amplitude: Tensor, root: Tensor, measured: Tensor | None) -> Tensor:
    """What a predicted far field lacks, relative to it; nothing where a pixel was not measured."""
    excess = (amplitude * root).sub_(1)
    return excess if measured is None else excess.mul_(measured)


def _over_modes(values: Tensor) -> Tensor:
    """Sum (..., modes, N, N) over the modes; a single one is not copied."""
    return values.squeeze(-3) if values.shape[-3] == 1 else values.sum(dim=-3)
