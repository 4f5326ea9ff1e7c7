"""The default architecture: unrolled steps of known physics, a learned correction after every few of them."""

import torch
from torch import Tensor, nn

from ptycho_torch.networks.correction import Correction
from ptycho_torch.networks.patterns import Patterns
from ptycho_torch.networks.unet import PLAIN, Options, UNet
from ptycho_torch.physics import object_update

UPDATE_GAIN = 4.0
"""Factor on the physics update, so that its channels are about as large as those of the object."""


class UnrolledNetwork(nn.Module):
    """Physics steps, U-Net, correction; repeated, with weights of their own for each correction.

    A *pass* is one physics step; the last pass of each round is followed by a U-Net. The U-Net sees the current
    object (its difference from free space) and the object update of the physics step, real and imaginary part
    of each; never the raw pattern. Its correction multiplies the updated object. After every
    pass the caller averages the patches where they overlap.

    Args:
        n_rounds: learned corrections.
        physics_steps: physics steps before each of them, at least 1.
        width: channels of the U-Nets.
        correction: how an output changes the object.
        options: of the U-Nets.
    """

    def __init__(
        self,
        n_rounds: int,
        physics_steps: int,
        width: int,
        correction: Correction,
        options: Options = PLAIN,
    ) -> None:
        super().__init__()
        self.n_passes = n_rounds * physics_steps
        self.physics_steps = physics_steps
        self.unets = nn.ModuleList([UNet(4, 2, width, options) for _ in range(n_rounds)])
        self.correction = correction

    def is_learned(self, k: int) -> bool:
        """Whether pass k ends with a learned correction."""
        return (k + 1) % self.physics_steps == 0

    def step(self, k: int, patch: Tensor, patterns: Patterns) -> Tensor:
        """Improve object patches once.

        Args:
            k: which pass, from 0.
            patch: complex (M, N, N), current transmission.
            patterns: what was measured of each patch, and with which probe.

        Returns:
            Complex (M, N, N), improved transmission.
        """
        update = object_update(
            patch,
            patterns.probe,
            patterns.amplitude,
            patterns.step_length,
            patterns.intensity_factor,
            patterns.measured,
        )
        if not self.is_learned(k):
            return patch + update
        channels = [patch.real - 1, patch.imag, UPDATE_GAIN * update.real, UPDATE_GAIN * update.imag]
        return self.correction(
            patch + update, self.unets[k // self.physics_steps](torch.stack(channels, dim=1))
        )
