"""How a network's two output channels change an object patch: amplitude gain, phase, field of view, blur."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "sigmoid": (torch.sigmoid, 0.0),
    "softplus": (functional.softplus, 0.0),
    "swish": (functional.silu, 1.0),
    "silu": (functional.silu, 1.0),
    "relu": (functional.relu, 1.0),
}
"""Activation and the point at which it is taken as gain 1."""

EDGE_FRACTION = 16
"""The band outside the field of view of a large probe is 1/16 of the patch on each side."""


def amplitude_gain(values: Tensor, activation: str) -> Tensor:
    """Non-negative amplitude factor act(x0 + x) / act(x0): 1 where the network says nothing (x = 0).

    A sigmoid bounds it by 2, so that one step can at most double the amplitude; softplus and relu leave it
    unbounded above; swish (= silu) may go slightly below zero.

    Args:
        values: float, any shape.
        activation: a key of ``ACTIVATIONS``.

    Returns:
        Float, shape of ``values``.
    """
    function, at_rest = ACTIVATIONS[activation]
    rest = torch.tensor(at_rest, dtype=values.dtype, device=values.device)
    return function(values + rest) / function(rest)


def outer_band_px(n_pixels: int, *, probe_big: bool, pad_object: bool, edge_pad: int | None = None) -> int:
    """Width of the band of a patch outside the network's field of view.

    Args:
        n_pixels: side N of the patch.
        probe_big: the illumination nearly fills the patch: field of view of 7/8 N; else of its central half.
        pad_object: pad the field of view with the current object; False: the field of view is the whole patch.
        edge_pad: width with a large illumination, in place of N/16; at most N/4.

    Returns:
        Pixels on each side.
    """
    if not pad_object:
        return 0
    if not probe_big:
        return n_pixels // 4
    return n_pixels // EDGE_FRACTION if edge_pad is None else min(edge_pad, n_pixels // 4)


class Correction(nn.Module):
    """Apply a network's output to object patches.

    Args:
        n_pixels: side N of a patch.
        activation: of the amplitude gain.
        band_px: outer band that stays as it is.
        blur_sigma_px: sigma of the Gaussian that smooths the correction, pixels; 0 for none.
    """

    field_of_view: Tensor
    kernel: Tensor

    def __init__(self, n_pixels: int, activation: str, band_px: int, blur_sigma_px: float) -> None:
        super().__init__()
        self.activation = activation
        inside = torch.zeros(n_pixels, n_pixels)
        inside[band_px : n_pixels - band_px, band_px : n_pixels - band_px] = 1
        reach = int(3 * blur_sigma_px + 0.5)
        axis = torch.arange(-reach, reach + 1, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (axis / blur_sigma_px).square()) if blur_sigma_px > 0 else torch.ones(1)
        self.register_buffer("field_of_view", inside, persistent=False)
        self.register_buffer("kernel", kernel / kernel.sum(), persistent=False)

    def forward(self, patch: Tensor, output: Tensor) -> Tensor:
        """Multiply patches by the predicted gain and phase factor.

        Args:
            patch: complex (M, N, N), current transmission.
            output: float (M, 2, N, N), channels (amplitude logit, phase in rad); or (M, 4, N, N), the last two for the
                outer band.

        Returns:
            Complex (M, N, N).
        """
        inner = self._blur(output[:, :2]) * self.field_of_view
        if output.shape[1] > 2:
            inner = inner + self._blur(output[:, 2:]) * (1 - self.field_of_view)
        output = inner
        result: Tensor = _Turned.apply(patch, amplitude_gain(output[:, 0], self.activation), output[:, 1])
        return result

    def _blur(self, output: Tensor) -> Tensor:
        if len(self.kernel) == 1:
            return output
        reach = len(self.kernel) // 2
        weight = self.kernel.expand(2, 1, -1)
        padded = functional.pad(output, (reach, reach, reach, reach), mode="replicate")
        blurred = functional.conv2d(padded, weight[:, :, None, :], groups=2)
        return functional.conv2d(blurred, weight[:, :, :, None], groups=2)


class _Turned(torch.autograd.Function):
    """patch * gain * exp(i phase): complex and two times float (M, N, N); the backward pass is written out."""

    @staticmethod
    def forward(ctx: Any, patch: Tensor, gain: Tensor, phase: Tensor) -> Tensor:
        ctx.save_for_backward(patch, gain, phase)
        return patch * _factor(gain, phase)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        patch, gain, phase = ctx.saved_tensors
        back = _factor(torch.ones_like(phase), -phase).mul_(gradient)
        along = patch.conj_physical().mul_(back)
        return back.mul_(gain), along.real, along.imag * gain


def _factor(gain: Tensor, phase: Tensor) -> Tensor:
    """The complex number gain * exp(i phase), in half the time of ``torch.polar`` on a CPU."""
    return torch.complex(phase.cos().mul_(gain), phase.sin().mul_(gain))
