"""An augmented normalising flow as an image codec: coupling steps, each undone exactly (Ho et al. 2021, "ANFIC")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.slot import HYPERPRIOR, Form, Latent, build_latent
from torchDVC.modules.transforms import analysis, synthesis

GAIN = 8.0
"""Pictures are in [0, 1], and latents are rounded to whole numbers."""


@codec_module(encoder_reads="frame", writes="recon", codes=True)
class FlowOfPictures(nn.Module):
    """Each step adds an encoding of the picture to the latent, and takes a decoding of that from the picture.

    What is left of the picture after the last step is not coded: a decoder begins with nothing.

    Args:
        width: channels of the transforms.
        channels: of the latent.
        steps: coupling steps.
        latent: codes the latent.
    """

    def __init__(self, width: int = 32, channels: int = 32, steps: int = 2, latent: Latent = HYPERPRIOR) -> None:
        super().__init__()
        self.encode = nn.ModuleList(analysis(3, width, channels, 3) for _ in range(steps))
        self.decode = nn.ModuleList(synthesis(channels, width, 3, 3) for _ in range(steps))
        self.latent = build_latent(latent, Form(channels))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        y = None
        if not stream.reading:
            x = GAIN * (state["frame"] - 0.5)
            y = torch.zeros((), device=x.device)
            for encode, decode in zip(self.encode, self.decode, strict=True):
                y = y + encode(x)
                x = x - decode(y)
        y_hat = self.latent(y, stream, state)
        x_hat = torch.zeros(state.batch, 3, state.height, state.width, device=y_hat.device)
        for encode, decode in zip(reversed(self.encode), reversed(self.decode), strict=True):
            x_hat = x_hat + decode(y_hat)
            y_hat = y_hat - encode(x_hat)
        return {"recon": x_hat.float() / GAIN + 0.5}
