"""Variable rate with gains of one's own: one quantisation step for each quality level, the same for all channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.slot import HYPERPRIOR, Form, Latent, build_latent
from torchDVC.modules.transforms import PICTURE, PICTURE_GAIN, wavelet_transforms


@codec_module(encoder_reads="frame", writes="recon", codes=True, levels="steps")
class Steps(nn.Module):
    """Codes pictures; each step begins sqrt(2) times as fine as the one before it.

    Args:
        width: channels of the transforms.
        channels: of the latent.
        steps: quality levels.
        latent: codes the latent.
    """

    def __init__(self, width: int = 32, channels: int = 32, steps: int = 8, latent: Latent = HYPERPRIOR) -> None:
        super().__init__()
        self.g_a, self.g_s, _ = wavelet_transforms(PICTURE, width, channels, 3)
        self.logarithm = nn.Parameter(0.35 * (torch.arange(steps) - steps / 2))
        self.latent = build_latent(latent, Form(channels))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        gain = self.logarithm[state.quality].exp()[:, None, None, None]
        y = None if stream.reading else gain * self.g_a(PICTURE_GAIN * (state["frame"] - 0.5))
        y_hat = self.latent(y, stream, state) / gain
        return {"recon": self.g_s(y_hat).float() / PICTURE_GAIN + 0.5}
