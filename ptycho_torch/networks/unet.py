"""A small U-Net with group normalization (Ronneberger et al. 2015; Wu and He 2018)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptycho_torch.networks.attention import gates
from ptycho_torch.networks.layout import FOLD, fold, unfold

NORMALIZATION_GROUPS = 8


@dataclass(frozen=True)
class Options:
    """What a U-Net has beside its plain parts."""

    batch_norm: bool = False
    """Normalize by the batch, in place of groups of channels."""
    cbam_encoder: bool = False
    """CBAM after every level of the encoder."""
    cbam_bottleneck: bool = False
    """CBAM after the bottleneck."""
    cbam_decoder: bool = False
    """CBAM after every level of the decoder."""
    eca_encoder: bool = False
    """ECA after every level of the encoder."""
    eca_decoder: bool = False
    """ECA after every level of the decoder."""
    spatial_px: int = 0
    """Side of the kernel of spatial attention after every level of the decoder; 0 for none."""
    shared_decoder: bool = True
    """One decoder for all output channels; False: one for each."""
    outer_fraction: float = 0.0
    """Share of the last features that give as many output channels again, for the outer band; 0 for none."""


PLAIN = Options()


def convolution_block(n_in: int, n_out: int, *, batch_norm: bool = False) -> nn.Sequential:
    """Two 3 x 3 convolutions with one normalization between them."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1),
        nn.BatchNorm2d(n_out) if batch_norm else nn.GroupNorm(NORMALIZATION_GROUPS, n_out),
        nn.GELU(),
        nn.Conv2d(n_out, n_out, 3, padding=1),
        nn.GELU(),
    )


def quiet_head(n_in: int, n_out: int) -> nn.Conv2d:
    """A last layer that starts near zero, so that an untrained network says (almost) nothing."""
    head = nn.Conv2d(n_in, n_out * FOLD**2, 3, padding=1)
    nn.init.normal_(head.weight, std=1e-3)
    nn.init.zeros_(head.bias)
    return head


class Decoder(nn.Module):
    """From the bottleneck back to the first level, with the features of the encoder.

    Args:
        n_out: channels of the output.
        width: channels of the first level.
        options: normalization and attention; with ``outer_fraction`` n_out further channels follow.
    """

    def __init__(self, n_out: int, width: int, options: Options) -> None:
        super().__init__()
        kind = options.batch_norm
        self.blocks = nn.ModuleList(
            [convolution_block(n, width, batch_norm=kind) for n in (4 * width, 2 * width)]
        )
        self.head = quiet_head(width, n_out)
        chosen = {"cbam": options.cbam_decoder, "eca": options.eca_decoder, "spatial_px": options.spatial_px}
        self.gates = nn.ModuleList([gates(width, **chosen) for _ in self.blocks])
        self.n_outer = math.ceil(options.outer_fraction * width)
        self.outer_head = quiet_head(self.n_outer, n_out) if self.n_outer else None

    def forward(self, features: Tensor, skipped: list[Tensor]) -> Tensor:
        """Map features (B, 2 width, H/4, W/4) and those of the levels above, the first one first."""
        for block, gate, other in zip(self.blocks, self.gates, reversed(skipped), strict=True):
            features = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = gate(block(torch.cat([features, other], dim=1)))
        inner = unfold(self.head(features))
        if self.outer_head is None:
            return inner
        return torch.cat([inner, unfold(self.outer_head(features[:, : self.n_outer]))], dim=1)


class UNet(nn.Module):
    """Image to image at equal size: fold pixels, two levels, a bottleneck, unfold.

    Args:
        n_in: channels of the input.
        n_out: channels of the output.
        width: channels of the first level, a multiple of 8; the deeper levels have twice as many.
        options: see there.

    The last layer starts near zero, so that an untrained network predicts (almost) no correction.
    """

    def __init__(self, n_in: int, n_out: int, width: int, options: Options = PLAIN) -> None:
        super().__init__()
        kind = options.batch_norm
        widths = (width, 2 * width)
        inputs = (n_in * FOLD**2, width)
        self.encoder = nn.ModuleList(
            [convolution_block(*pair, batch_norm=kind) for pair in zip(inputs, widths, strict=True)]
        )
        self.bottleneck = convolution_block(2 * width, 2 * width, batch_norm=kind)
        parts = [n_out] if options.shared_decoder else [1] * n_out
        self.decoders = nn.ModuleList([Decoder(n, width, options) for n in parts])
        self.gates = nn.ModuleList(
            [gates(n, cbam=options.cbam_encoder, eca=options.eca_encoder) for n in widths]
        )
        self.bottleneck_gate = gates(2 * width, cbam=options.cbam_bottleneck)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        """Map float (B, n_in, N, N) to (B, n_out, N, N); N is a multiple of 8.

        With an outer fraction to (B, 2 n_out, N, N): the channels of the outer band follow the others.
        """
        features = fold(image)
        skipped: list[Tensor] = []
        for block, gate in zip(self.encoder, self.gates, strict=True):
            features = gate(block(features))
            skipped.append(features)
            features = functional.avg_pool2d(features, 2)
        features = self.bottleneck_gate(self.bottleneck(features))
        parts = [decoder(features, skipped) for decoder in self.decoders]
        if len(parts) == 1:
            return parts[0]
        # each decoder gives its own channel, and that of the outer band behind it
        return torch.cat([part[:, k : k + 1] for k in range(parts[0].shape[1]) for part in parts], dim=1)
