"""What the detector sees of an object patch, and what a measured pattern says about the patch."""

from typing import Any, NamedTuple

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
    result: Tensor = _Intensity.apply(waves)
    return result


class _Intensity(torch.autograd.Function):
    """Forward and backward pass of :func:`intensity`."""

    @staticmethod
    def forward(ctx: Any, waves: Tensor) -> Tensor:
        ctx.save_for_backward(waves)
        return _over_modes(waves.real.square().add_(waves.imag.square()))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (waves,) = ctx.saved_tensors
        return waves * (2 * gradient).unsqueeze(-3)


class Scattering(NamedTuple):
    """What object patches scatter, for as many uses as there are."""

    far: Tensor
    """complex (M, modes, N, N), photon**0.5, zero frequency first."""
    intensity: Tensor
    """float (M, N, N), photons."""


def scattering(patch: Tensor, probe: Tensor) -> Scattering:
    """Far field of complex patches (M, N, N) under a probe (M, modes, N, N), and its intensity."""
    far = far_field(exit_waves(patch, probe))
    return Scattering(far, intensity(far))


def object_update(
    scattered: Scattering,
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

    The backward pass is written out. There is a gradient for all but what was measured.

    Args:
        scattered: what the current object patches scatter under the probe.
        probe: complex (M, modes, N, N) at each patch.
        amplitude: float (M, N, N), measured amplitude, photon**0.5, zero frequency first.
        step_length: float (M, 1, 1), photon**-1.
        intensity_factor: float (M, 1, 1), c, measured intensity for one of the intensity that the probe gives.
        measured: bool (M, N, N), zero frequency first; False where a pixel was not measured and keeps the
            prediction. None when every pixel was.

    Returns:
        The update d, complex (M, N, N), dimensionless.
    """
    update: Tensor = _ObjectUpdate.apply(
        *scattered, probe, amplitude, step_length, intensity_factor, measured
    )
    return update


class _ObjectUpdate(torch.autograd.Function):
    """Forward and backward pass of :func:`object_update`; what is multiplied once is overwritten by its product."""

    @staticmethod
    def forward(
        ctx: Any,
        far: Tensor,
        predicted: Tensor,
        probe: Tensor,
        amplitude: Tensor,
        step_length: Tensor,
        intensity_factor: Tensor,
        measured: Tensor | None,
    ) -> Tensor:
        root = (predicted * intensity_factor).add_(DARK).rsqrt_()
        given = (far, predicted, probe, amplitude, step_length, intensity_factor, measured)
        ctx.save_for_backward(*given, root)
        unitary = step_length / far.shape[-1]  # the scale of `back_propagate`, where it costs nothing
        excess = _excess(amplitude, root, measured).mul_(unitary).unsqueeze(-3)
        change = torch.fft.ifft2(far * excess, norm="forward")
        return _over_modes(change.mul_(probe.conj()))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        far, predicted, probe, amplitude, step_length, factor, measured, root = ctx.saved_tensors
        needs_far, needs_predicted, needs_probe, _, needs_step, needs_factor, _ = ctx.needs_input_grad
        excess = _excess(amplitude, root, measured).unsqueeze(-3)
        carried = far_field(probe * (gradient * step_length).unsqueeze(-3))
        of_far = of_predicted = of_probe = of_step = of_factor = None
        if needs_predicted or needs_factor:
            slope = root.pow(3).mul_(amplitude).mul_(-0.5)
            if measured is not None:
                slope.mul_(measured)
            slope.mul_(_over_modes(far.conj_physical().mul_(carried).real))
            of_factor = (slope * predicted).sum(dim=(-2, -1), keepdim=True)
            of_predicted = slope.mul_(factor)
        if needs_probe or needs_step:
            change = back_propagate(far * excess)
            along = (gradient.conj() * _over_modes(probe.conj() * change)).real
            of_step = along.sum(dim=(-2, -1), keepdim=True)
            of_probe = change.mul_((gradient.conj() * step_length).unsqueeze(-3))
        if needs_far:
            of_far = carried.mul_(excess)
        return of_far, of_predicted, of_probe, None, of_step, of_factor, None


def _excess(amplitude: Tensor, root: Tensor, measured: Tensor | None) -> Tensor:
    """What a predicted far field lacks, relative to it; nothing where a pixel was not measured."""
    excess = (amplitude * root).sub_(1)
    return excess if measured is None else excess.mul_(measured)


def _over_modes(values: Tensor) -> Tensor:
    """Sum (..., modes, N, N) over the modes; a single one is not copied."""
    return values.squeeze(-3) if values.shape[-3] == 1 else values.sum(dim=-3)
