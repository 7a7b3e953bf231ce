"""Variable rate: a learned gain of each channel and quality level around any latent codec."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from torchDVC.config.registry import latent_codec
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.slot import HYPERPRIOR, Form, Latent, build_latent


@latent_codec(levels="levels")
class Gain(nn.Module):
    """Each channel is multiplied by a gain of the quality level before it is coded, and by another after.

    Cui et al. 2021, "Asymmetric gained deep image compression with continuous rate adaptation". The logarithms of gains
    are learned at a few levels, evenly spaced, and interpolated between them. They start as a quantisation step suits a
    Lagrangian: its inverse square.

    Args:
        levels: quality levels, 0 the coarsest.
        anchors: at how many of them gains are learned.
        ratio: of the Lagrangians of the finest and the coarsest level, to begin with.
        latent: the latent codec around which it stands.
    """

    def __init__(
        self, form: Form, levels: int = 64, anchors: int = 8, ratio: float = 768.0, latent: Latent = HYPERPRIOR
    ) -> None:
        super().__init__()
        if ratio < 1:
            raise ValueError(f"ratio {ratio:g}; expected at least 1")
        anchors = min(anchors, levels)
        end = math.log(ratio) / 4 if levels > 1 else 0.0
        self.latent = build_latent(latent, form)
        self.log_gain = nn.Parameter(torch.linspace(-end, end, anchors)[:, None].repeat(1, form.channels))
        self.log_gain_back = nn.Parameter(-self.log_gain.detach().clone())
        self.shares: Tensor
        self.register_buffer("shares", _interpolation(levels, anchors), persistent=False)

    def forward(self, y: Tensor | None, stream: Stream, state: FrameState) -> Tensor:
        if y is not None:
            y = y * self._gain(self.log_gain, state.quality)
        decoded: Tensor = self.latent(y, stream, state)
        return decoded * self._gain(self.log_gain_back, state.quality)

    def _gain(self, logarithms: Tensor, quality: Tensor) -> Tensor:
        """(B, C, 1, 1)."""
        with torch.autocast(quality.device.type, enabled=False):
            return torch.exp(self.shares[quality] @ logarithms.float())[:, :, None, None]


def _interpolation(levels: int, anchors: int) -> Tensor:
    """(levels, anchors): how much of each anchor a level has."""
    position = torch.linspace(0, anchors - 1, levels)[:, None]
    return (1 - (position - torch.arange(anchors)).abs()).clamp(min=0)
