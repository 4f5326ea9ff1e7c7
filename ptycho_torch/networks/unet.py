"""A small U-Net with group normalization (Ronneberger et al. 2015; Wu and He 2018)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

NORMALIZATION_GROUPS = 8
FOLD = 2
"""Blocks of 2 x 2 pixels become channels (Shi et al. 2016): a quarter of the pixels, at equal content."""


def convolution_block(n_in: int, n_out: int) -> nn.Sequential:
    """Two 3 x 3 convolutions with one normalization between them."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1),
        nn.GroupNorm(NORMALIZATION_GROUPS, n_out),
        nn.GELU(),
        nn.Conv2d(n_out, n_out, 3, padding=1),
        nn.GELU(),
    )


class UNet(nn.Module):
    """Image to image at equal size: fold pixels, two levels, a bottleneck, unfold.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        width: channels of the first level, a multiple of 8; the deeper levels have twice as many.

    The last layer starts near zero, so that an untrained network predicts (almost) no correction.
    """

    def __init__(self, n_in: int, n_out: int, width: int) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            [convolution_block(n_in * FOLD**2, width), convolution_block(width, 2 * width)]
        )
        self.bottleneck = convolution_block(2 * width, 2 * width)
        self.decoder = nn.ModuleList(
            [convolution_block(4 * width, width), convolution_block(2 * width, width)]
        )
        self.head = nn.Conv2d(width, n_out * FOLD**2, 3, padding=1)
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        """Map float (B, n_in, N, N) to (B, n_out, N, N); N is a multiple of 8."""
        features = functional.pixel_unshuffle(image, FOLD).contiguous(memory_format=torch.channels_last)
        skipped: list[Tensor] = []
        for block in self.encoder:
            features = block(features)
            skipped.append(features)
            features = functional.avg_pool2d(features, 2)
        features = self.bottleneck(features)
        for block in self.decoder:
            features = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = block(torch.cat([features, skipped.pop()], dim=1))
        return functional.pixel_shuffle(self.head(features).contiguous(), FOLD)
