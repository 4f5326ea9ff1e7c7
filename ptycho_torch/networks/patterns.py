"""What a network is given besides the current object."""

from typing import NamedTuple

from torch import Tensor


class Patterns(NamedTuple):
    """M single patterns of N x N pixels with what is known about each, in network units.

    Detector arrays have the zero frequency first (``physics.zero_first``).
    """

    amplitude: Tensor
    """float (M, N, N), measured amplitude."""
    measured: Tensor | None
    """bool (M, N, N), False where a pixel was not measured; None when every pixel was."""
    probe: Tensor
    """complex (M, modes, N, N), displaced by the sub-pixel remainder."""
    step_length: Tensor
    """float (M, 1, 1), of the physics update: 1 / the largest intensity of the probe, all modes together."""
    intensity_factor: Tensor
    """float (M, 1, 1), measured intensity for one of the intensity that the probe gives."""
    remainder_px: Tensor
    """float (M, 2), sub-pixel part of the positions; the probe already carries it."""
    weight: Tensor
    """float (M, N, N), how well each object pixel is illuminated, at most about 1."""
    photon_scale: Tensor
    """float (M, 1, 1), photon**0.5 for one network unit of amplitude."""
