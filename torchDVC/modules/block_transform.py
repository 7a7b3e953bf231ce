"""A linear transform of blocks and its inverse, from which learned transforms depart."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from torchDVC.modules.transforms import Band, Signal

BLOCK = 16
"""Side of a block in pixels."""


class BlockTransform(nn.Module):
    """The discrete cosine transform of 16x16 blocks, its lowest frequencies only, and its inverse; both are learned.

    A network that is added to it, zero to begin with, starts as a codec that works
    (docs/decisions/transforms-start-as-wavelets.md).

    Args:
        signal: what is transformed; it mixes components, and says which of them are worth coefficients.
        channels: coefficients of a block.
        scale: 0 for a transform that gives nothing before training.
    """

    def __init__(self, signal: Signal, channels: int, scale: float = 1.0) -> None:
        super().__init__()
        components = len(signal.weights)
        bands = [Band(c, y, x) for c in range(components) for y in range(BLOCK) for x in range(BLOCK)]
        kept = sorted(bands, key=signal.rank)[:channels]
        if len(kept) < channels:
            raise ValueError(f"{channels} channels; expected at most {len(bands)}")
        basis = torch.stack([_basis(band, signal.mix) for band in kept])
        self.forth = nn.Conv2d(components, channels, BLOCK, BLOCK, bias=False)
        self.back = nn.ConvTranspose2d(channels, components, BLOCK, BLOCK, bias=False)
        with torch.no_grad():
            self.forth.weight.copy_(scale * basis)
            self.back.weight.copy_(scale * basis)
        self.spreads = tuple(signal.spread(band) for band in kept)
        """Standard deviation to expect of each coefficient before training."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, components, H, W) to (N, channels, H/16, W/16)."""
        y: Tensor = self.forth(x)
        return y

    def inverse(self, y: Tensor) -> Tensor:
        """(N, channels, h, w) to (N, components, 16 h, 16 w)."""
        x: Tensor = self.back(y)
        return x


def _basis(band: Band, mix: Tensor) -> Tensor:
    """(components, 16, 16) the orthonormal function of a band."""
    at = (torch.arange(BLOCK) + 0.5) * math.pi / BLOCK
    y, x = ((at * k).cos() * math.sqrt((1 if k == 0 else 2) / BLOCK) for k in (band.y, band.x))
    return mix[band.component, :, None, None] * torch.outer(y, x)
