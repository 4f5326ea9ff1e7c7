"""The forward model of far-field ptychography as pure tensor functions.

object patch O(r) -> interaction with the probe P(r) -> exit wave P(r) O(r) -> far field -> intensity.
Conventions (axes, origin, normalization) are drawn in docs/physics.md and hold for every function here:

* real-space arrays have axes (..., row y, column x); pixel (N//2, N//2) of a patch lies on the scan position;
* far-field arrays have the zero frequency at pixel (0, 0); patterns, stored with it at (N//2, N//2), are reordered
  once on entry by ``zero_first``;
* ``sum(abs(probe)**2)`` is the mean photon count of a pattern of a fully transparent object.
"""

from ptycho_torch.physics.illumination import circular_mask, displaced, fourier_shift, limit_support
from ptycho_torch.physics.measurement import exit_waves, intensity, object_update
from ptycho_torch.physics.propagation import back_propagate, far_field, zero_centred, zero_first
from ptycho_torch.physics.scaling import probe_peak

__all__ = [
    "back_propagate",
    "circular_mask",
    "displaced",
    "exit_waves",
    "far_field",
    "fourier_shift",
    "intensity",
    "limit_support",
    "object_update",
    "probe_peak",
    "zero_centred",
    "zero_first",
]
