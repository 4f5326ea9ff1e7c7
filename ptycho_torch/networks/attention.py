"""Attention of a convolutional network on its own features: gates from 0 to 1 for channels and for pixels."""

import math

import torch
from torch import Tensor, nn

REDUCTION = 8
"""Channels of CBAM's hidden layer are this factor fewer."""
CBAM_KERNEL = 7
"""Side of the kernel of CBAM's spatial attention, in pixels."""


class ChannelGate(nn.Module):
    """The channel half of CBAM (Woo et al. 2018): one small network for the mean and the peak of every channel.

    Maps float (B, n_channels, H, W) to its shape.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        hidden = max(1, n_channels // REDUCTION)
        self.network = nn.Sequential(nn.Linear(n_channels, hidden), nn.ReLU(), nn.Linear(hidden, n_channels))

    def forward(self, features: Tensor) -> Tensor:
        """Weight the channels."""
        told = self.network(features.mean(dim=(-2, -1))) + self.network(features.amax(dim=(-2, -1)))
        return features * told.sigmoid()[:, :, None, None]


class SpatialGate(nn.Module):
    """The spatial half of CBAM: a convolution over mean and peak of all channels. Keeps the shape.

    Args:
        kernel_px: side of the kernel, odd.
    """

    def __init__(self, kernel_px: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 1, kernel_px, padding=kernel_px // 2)

    def forward(self, features: Tensor) -> Tensor:
        """Weight the pixels."""
        told = torch.cat([features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)], dim=1)
        return features * self.convolution(told).sigmoid()


class EfficientChannelGate(nn.Module):
    """ECA (Wang et al. 2020): every channel is weighted by the means of itself and its neighbours. Keeps the shape."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        reach = int(abs(math.log2(n_channels) / 2 + 0.5)) // 2
        self.convolution = nn.Conv1d(1, 1, 2 * reach + 1, padding=reach, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Weight the channels."""
        means = features.mean(dim=(-2, -1))[:, None]
        return features * self.convolution(means).sigmoid()[:, 0, :, None, None]


def gates(n_channels: int, *, cbam: bool = False, eca: bool = False, spatial_px: int = 0) -> nn.Module:
    """The gates behind one block: ECA, then CBAM, then spatial attention; the identity where there are none.

    Args:
        n_channels: of the features.
        cbam: channel and spatial gate.
        eca: efficient channel gate.
        spatial_px: side of the kernel of a further spatial gate; 0 for none.
    """
    chosen: list[nn.Module] = [EfficientChannelGate(n_channels)] if eca else []
    chosen += [ChannelGate(n_channels), SpatialGate(CBAM_KERNEL)] if cbam else []
    chosen += [SpatialGate(spatial_px)] if spatial_px else []
    return nn.Sequential(*chosen) if chosen else nn.Identity()
