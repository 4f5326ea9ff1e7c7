"""The plain architecture: a U-Net from the raw pattern to amplitude and phase of the object patch."""

import torch
from torch import Tensor, nn

from ptycho_torch.networks.correction import Correction
from ptycho_torch.networks.patterns import Estimate, Patterns
from ptycho_torch.networks.unet import PLAIN, Options, UNet
from ptycho_torch.physics import fourier_shift, zero_centred


class PatternNetwork(nn.Module):
    """One U-Net, from the standardized logarithm of the measured amplitude to the object patch.

    Args:
        width: channels of the U-Net.
        correction: how its output changes free space into the object.
        options: of the U-Net.
    """

    n_passes = 1

    def __init__(self, width: int, correction: Correction, options: Options = PLAIN) -> None:
        super().__init__()
        self.unet = UNet(1, 2, width, options)
        self.correction = correction

    def is_learned(self, k: int) -> bool:
        """Whether pass k ends with a learned correction: its only one does."""
        return k == 0

    def step(self, k: int, estimate: Estimate, patterns: Patterns) -> Tensor:
        """Predict object patches; arguments as in :meth:`UnrolledNetwork.step`.

        A pattern tells the object relative to the probe, not to the pixel grid: the predicted deviation from
        free space is displaced by the sub-pixel part of the position.
        """
        del k
        amplitude, measured = patterns.amplitude, patterns.measured
        logarithm = zero_centred(torch.log1p(amplitude if measured is None else amplitude * measured))
        mean = logarithm.mean(dim=(-2, -1), keepdim=True)
        deviation = logarithm.std(dim=(-2, -1), keepdim=True).clamp_min(1e-6)
        output = self.unet(((logarithm - mean) / deviation).unsqueeze(1))
        predicted = self.correction(torch.ones_like(estimate.patch), output)
        return 1 + fourier_shift(predicted - 1, patterns.remainder_px)
