"""Long waves of the object's phase: what single patterns hardly tell, and plain steps find last.

A phase ramp of q rad per pixel across a patch shifts its diffraction pattern by q N / 2 pi pixels, and that is all. So
the loss curves along a phase wave of wave vector q as c abs(q)^2 times the light on the object, where c, the stiffness,
is the mean square slope of the amplitudes on the detector. Where a wave is twenty times as long as the probe is wide,
this is a thousandth of the curvature along single pixels, and a step that suits those is far too short. Here waves get
a step of their own, as a coarse grid would give them.

With the object O, a real symmetric operator K and the gradient g, the object is turned by the phases
K Im(conj(O) g): to first order the whole remains a positive preconditioner, and what it comes to is what plain steps
come to. It is turned, not moved along a tangent, since the phase of a large object goes a long way.
"""

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ptycho_torch.solver.strips import strips

SHARE: Final = 0.25
"""Of the longest step that the stiffness allows: it is a mean, and parts of an object are stiffer."""
FARTHEST_RAD: Final = 0.3
"""That the object is turned in one step: the curvature is that of small phases."""
LIT: Final = 1.01
"""Weight over that of the dark from which a pixel is turned: all of these alike, since a turn that fades towards the
border of a scan would bend the phase there."""
BLOCK: Final = 4
"""Side of the squares whose mean light is looked at for the brightest part: a single pixel is none."""
SOFTEST_PX2: Final = 0.1
"""Least stiffness that is reckoned with: it bounds the number of waves."""
TINY: Final = 1e-30
"""Instead of zero, where a length divides."""


def long_step(canvas: Tensor, gradient: Tensor, stiffness_px2: Tensor, weight: Tensor) -> Tensor:
    """What is added to ``gradient / weight``: the step along phase waves.

    Args:
        canvas: complex (H, W), where the step begins.
        gradient: complex (H, W), -dL/dO*, of the loss and the prior.
        stiffness_px2: float64 (2,), along rows and columns, see `Forward.stiffness`.
        weight: real (H, W), illumination, photons, and what is added to it, which is all of it in the dark.

    Returns:
        Complex (H, W), which turns the object by at most `FARTHEST_RAD` and not at all in the dark, and may be changed.
    """
    (rows, along), (columns, across) = (
        _cosines(n, min(canvas.shape), stiffness, weight)
        for n, stiffness in zip(canvas.shape, stiffness_px2.tolist(), strict=True)
    )
    curvature = along[:, None] + across
    curvature[0, 0] = math.inf  # a phase of the whole object changes nothing
    gain = (1 / curvature - 1).clamp_min(0).to(weight)
    lit_from, brightest = LIT * weight.min(), weight.new_full((), TINY)
    pull = torch.zeros_like(gain)
    for some, *_ in strips(len(canvas)):
        here, there, light = canvas[some], gradient[some], weight[some]
        power = (here.abs().square_() * light)[None]
        brightest = torch.maximum(brightest, avg_pool2d(power, BLOCK, ceil_mode=True).max())
        across_phase = (
            (here.real * there.imag).addcmul_(here.imag, there.real, value=-1).mul_(light > lit_from)
        )
        pull += rows[:, some] @ (across_phase @ columns.T)
    pull *= gain * (SHARE / brightest)
    step, farthest = torch.empty_like(canvas), torch.full_like(brightest, TINY)
    for some, *_ in strips(len(canvas)):
        turn = (rows[:, some].T @ pull @ columns).mul_(weight[some] > lit_from)
        farthest = torch.maximum(farthest, turn.abs().max())
        step[some] = turn
    share = (FARTHEST_RAD / farthest).clamp_max(1.0)
    for some, *_ in strips(len(canvas)):
        turn = step[some].real * share
        torch.polar(torch.ones_like(turn), turn, out=step[some])
        step[some].sub_(1).mul_(canvas[some])
    return step


def _cosines(n: int, most: int, stiffness_px2: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines along n pixels, orthonormal, as long as a step gains by them, and how the loss curves along each.

    They are at most so many: those of a narrow canvas, which may be very long, take no more memory than the canvas.

    Returns:
        Real (m, n) of the kind of `like`, and float64 (m,), the latter relative to the light.
    """
    stiffness_px2 = max(SOFTEST_PX2, stiffness_px2)  # also where nothing is predicted, and there is none
    n_waves = min(most, 1 + int(n / math.pi / stiffness_px2**0.5))
    wave = math.pi * torch.arange(n_waves, dtype=torch.float64) / n
    cosines = (wave[:, None] * (torch.arange(n, dtype=torch.float64) + 0.5)).cos_().mul_((2 / n) ** 0.5)
    cosines[0] *= 0.5**0.5
    return cosines.to(like), stiffness_px2 * wave.square()
