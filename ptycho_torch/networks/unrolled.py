"""The default architecture: unrolled steps of known physics, each followed by a learned correction."""

import torch
from torch import Tensor, nn

from ptycho_torch.networks.correction import Correction
from ptycho_torch.networks.unet import UNet
from ptycho_torch.physics import object_update

UPDATE_GAIN = 4.0
"""Factor on the physics update, so that its channels are about as large as those of the object."""


class UnrolledNetwork(nn.Module):
    """Physics step, U-Net, correction; repeated, with weights of their own for each step.

    The U-Net sees the current object (its difference from free space) and the object update of one physics
    step, real and imaginary part of each; never the raw pattern. Its correction multiplies the updated object.
    Between two steps the caller averages the patches where they overlap.

    Args:
        n_steps: number of unrolled steps.
        width: channels of the U-Nets.
        correction: how an output changes the object.
    """

    def __init__(self, n_steps: int, width: int, correction: Correction) -> None:
        super().__init__()
        self.n_steps = n_steps
        self.steps = nn.ModuleList([UNet(4, 2, width) for _ in range(n_steps)])
        self.correction = correction

    def step(
        self,
        k: int,
        patch: Tensor,
        probe: Tensor,
        amplitude: Tensor,
        remainder_px: Tensor,
        measured: Tensor | None,
    ) -> Tensor:
        """Improve object patches once.

        Args:
            k: which step, from 0.
            patch: complex (M, N, N), current transmission.
            probe: complex (M, modes, N, N), displaced to each patch, network units.
            amplitude: float (M, N, N), measured, network units.
            remainder_px: float (M, 2), sub-pixel part of the positions (the probe already carries it).
            measured: bool (M, N, N) or None.

        Returns:
            Complex (M, N, N), improved transmission.
        """
        del remainder_px
        update = object_update(patch, probe, amplitude, measured)
        channels = [patch.real - 1, patch.imag, UPDATE_GAIN * update.real, UPDATE_GAIN * update.imag]
        return self.correction(patch + update, self.steps[k](torch.stack(channels, dim=1)))
