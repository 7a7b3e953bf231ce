"""A codec that works in YUV 4:2:0, in six channels at half the picture's size: luma's four phases, U and V."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.config.registry import codec_module
from torchDVC.entropy.priors import FactorizedPrior
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState

CHANNELS = 6
GAIN = 40.0
"""Pictures are in [0, 1], and latents are rounded to whole numbers."""


class Coder(nn.Module):
    """Codes six channels at half size, seen beside ``seen`` others, at a sixteenth of the picture's size."""

    def __init__(self, width: int, seen: int) -> None:
        super().__init__()
        self.analysis = nn.Sequential(
            nn.Conv2d(CHANNELS + seen, width, 4, 4), nn.PReLU(), nn.Conv2d(width, width, 2, 2)
        )
        self.synthesis = nn.Sequential(
            nn.Conv2d(width, 16 * width, 1), nn.PReLU(), nn.PixelShuffle(4),
            nn.Conv2d(width, 4 * CHANNELS, 3, padding=1),
        )  # fmt: skip
        self.prior = FactorizedPrior(width)

    def forward(self, x: Tensor | None, seen: Tensor | None, state: FrameState, stream: Stream) -> Tensor:
        """What a decoder has of ``x`` (N, 6, H/2, W/2), which is None where the stream reads."""
        y = None
        if x is not None:
            y = self.analysis(GAIN * (x if seen is None else torch.cat([x, seen], 1)))
        prior = self.prior.over(state.batch, state.height // 16, state.width // 16, part="latent")
        return F.pixel_shuffle(self.synthesis(stream.code(y, prior)), 2) / GAIN


@codec_module(encoder_reads="frame", writes="recon", codes=True, formats="yuv420_packed yuv420p10_packed")
class YUVIntra(nn.Module):
    """Codes a picture by itself.

    Args:
        width: channels of the latent.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.coder = Coder(width, 0)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        x = None if stream.reading else state["frame"] - 0.5
        return {"recon": self.coder(x, None, state, stream) + 0.5}


@codec_module(
    reads="refs", encoder_reads="frame", writes="recon", codes=True, formats="yuv420_packed yuv420p10_packed"
)
class YUVInter(nn.Module):
    """Codes what a picture has beyond the mean of its references.

    Args:
        width: channels of the latent.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.coder = Coder(width, CHANNELS)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        prediction = state["refs"].mean(1)
        x = None if stream.reading else state["frame"] - prediction
        return {"recon": prediction + self.coder(x, prediction, state, stream)}
