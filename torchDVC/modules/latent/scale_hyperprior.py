"""The scale hyperprior, with a hyper-synthesis of floating-point weights in exact fixed point."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchDVC.config.registry import latent_codec
from torchDVC.entropy.fixed_point import FixedPoint
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.compressai import Coder, Density
from torchDVC.modules.latent.slot import Form
from torchDVC.modules.layers import conv, deconv

HYPER_STRIDE = 4
"""From the latent to the hyper-latent."""


@latent_codec()
class ScaleHyperprior(nn.Module):
    """A zero-mean Gaussian for each element, whose scale follows from a coded hyper-latent (Ballé et al. 2018).

    The networks are those of CompressAI's ``ScaleHyperprior`` and of the DVC ancestor's coders, whose weights they can
    have: they need no training as integers.

    Args:
        width: channels of the hyper-latent.
        hidden: of the hidden layers; ``width`` without.
    """

    def __init__(self, form: Form, width: int = 128, hidden: int | None = None) -> None:
        super().__init__()
        self.form, hidden = form, hidden or width
        spreads = torch.tensor(form.known_spreads)
        first, last = conv(form.channels, hidden, 3, stride=1), deconv(hidden, form.channels, 3, stride=1)
        self.h_a = nn.Sequential(first, nn.ReLU(), conv(hidden, hidden), nn.ReLU(), conv(hidden, width))
        self.h_s = FixedPoint(deconv(width, hidden), nn.ReLU(), deconv(hidden, hidden), nn.ReLU(), last)
        self.entropy_bottleneck = Density(width)
        self.coder = Coder()
        first.weight = nn.Parameter(first.weight / spreads[:, None, None])
        last.bias = nn.Parameter(spreads.clone())

    def forward(self, y: Tensor | None, stream: Stream, state: FrameState) -> Tensor:
        z = None if y is None else self.h_a(y.abs())
        batch, _, height, width = self.form.shape(state)
        z_hat = stream.code(z, self.entropy_bottleneck.over(batch, height // HYPER_STRIDE, width // HYPER_STRIDE))
        y_hat: Tensor = self.coder(y, self.h_s(z_hat), None, stream)
        return y_hat
