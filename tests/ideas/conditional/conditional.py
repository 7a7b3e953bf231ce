"""A conditional codec that hands a feature on from frame to frame (in the manner of Sheng et al. 2022, "TCM")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.slot import HYPERPRIOR, Form, Latent, build_latent

GAIN = 8.0
"""Pictures are in [0, 1], and latents are rounded to whole numbers."""


@codec_module(
    reads="refs", optional="ref_feature", encoder_reads="frame", writes="recon:picture feature:feature", codes=True
)
class Conditional(nn.Module):
    """Codes a frame with the last feature beside it, or with the last picture where there is no feature yet.

    Args:
        width: channels of the feature, and of the latent.
        latent: codes the latent.
    """

    def __init__(self, width: int = 16, latent: Latent = HYPERPRIOR) -> None:
        super().__init__()
        self.of_picture = nn.Conv2d(3, width, 3, padding=1)
        self.analysis = nn.Sequential(nn.Conv2d(3 + width, width, 8, 8), nn.GELU(), nn.Conv2d(width, width, 2, 2))
        self.synthesis = nn.ConvTranspose2d(width, width, 16, 16)
        self.fuse = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.GELU())
        self.to_picture = nn.Conv2d(width, 3, 3, padding=1)
        self.latent = build_latent(latent, Form(width))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        last = state["refs"][:, 0]
        context = state["ref_feature"][:, 0] if "ref_feature" in state else self.of_picture(last)
        y = None
        if not stream.reading:
            y = GAIN * self.analysis(torch.cat((state["frame"] - last, context), 1))
        y_hat = self.latent(y, stream, state)
        feature = self.fuse(torch.cat((self.synthesis(y_hat / GAIN), context), 1))
        return {"recon": last + self.to_picture(feature).float(), "feature": feature}
