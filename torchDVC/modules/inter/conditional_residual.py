"""Codec of the residual, given the prediction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.inter.residual_codec import ResidualCodec
from torchDVC.modules.latent.slot import HYPERPRIOR, Latent
from torchDVC.modules.layers import zeroed


@codec_module(reads="mc", encoder_reads="frame", writes="recon", codes=True)
class ConditionalResidual(ResidualCodec):
    """Codes source minus prediction by transforms that see the prediction too (Brand et al. 2022, "On benefits …").

    What the analysis sees of the prediction, and what the synthesis makes of it, are zero before training: it begins as
    `ResidualCodec`.

    Args:
        width: channels of the transforms (``N``).
        channels: of the latent (``M``).
        kernel_size: of the transforms.
        latent: codes the latent.
    """

    def __init__(
        self, width: int = 128, channels: int = 128, kernel_size: int = 5, latent: Latent = HYPERPRIOR
    ) -> None:
        super().__init__(width, channels, kernel_size, latent)
        self.seen = zeroed(nn.Conv2d(3, 3, kernel_size, padding=kernel_size // 2))
        self.join = nn.Sequential(nn.Conv2d(6, width // 4 or 1, 3, padding=1), nn.ReLU(),
                                  zeroed(nn.Conv2d(width // 4 or 1, 3, 3, padding=1)))  # fmt: skip

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        prediction = self.gain * (state["mc"] - 0.5)
        y = None
        if not stream.reading:
            y = self.g_a(self.gain * (state["frame"] - state["mc"]) + self.seen(prediction))
        residual = self.g_s(self.latent(y, stream, state))
        joined = residual + self.join(torch.cat((residual, prediction.to(residual)), 1))
        return {"recon": state["mc"] + joined.float() / self.gain}
