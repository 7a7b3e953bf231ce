"""Conditional coding: contexts mined from a propagated feature, and a codec that sees them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.block_transform import BlockTransform
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.slot import HYPERPRIOR, Form, Latent, build_latent
from torchDVC.modules.layers import warp, zeroed
from torchDVC.modules.transforms import PICTURE_GAIN, RESIDUAL


@codec_module(
    reads="refs flow_hat warped", optional="ref_feature", writes="mc:picture context:feature context_coarse:feature"
)
class ContextMining(nn.Module):
    """Contexts at 1/2 and 1/4 of the picture's size, warped from the feature of the reference.

    Sheng et al. 2022, "Temporal context mining for learned video compression": the feature that the codec of the
    reference left, or what a convolution makes of its picture, is brought to two sizes, each warped by the flow, and
    the coarse one refines the fine one. ``mc``, the warped reference with a correction (zero before training), is what
    losses measure the motion by.

    Args:
        width: channels of the feature and of each context.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.from_picture = nn.Conv2d(12, width, 3, padding=1)
        self.fine = ResidualBlock(width)
        self.coarse = nn.Sequential(nn.Conv2d(width, width, 3, stride=2, padding=1), ResidualBlock(width))
        self.refine_coarse = ResidualBlock(width)
        self.enlarge = upsampling(width, width)
        self.refine_fine = nn.Sequential(nn.Conv2d(2 * width, width, 1), ResidualBlock(width))
        self.correction = nn.Sequential(zeroed(nn.Conv2d(width, 12, 3, padding=1)), nn.PixelShuffle(2))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        feature = state.recall("feature")
        if feature is None:
            feature = self.from_picture(F.pixel_unshuffle(state["refs"][:, 0] - 0.5, 2))
        fine = self.fine(feature)
        coarse = self.coarse(fine)
        flow = F.avg_pool2d(state["flow_hat"][:, 0], 2) / 2
        context_coarse = self.refine_coarse(warp(coarse, F.avg_pool2d(flow, 2) / 2))
        context = self.refine_fine(torch.cat((warp(fine, flow), self.enlarge(context_coarse)), 1))
        mc = state["warped"] + self.correction(context).float()
        return {"mc": mc, "context": context, "context_coarse": context_coarse}


@codec_module(
    reads="mc context context_coarse", encoder_reads="frame", writes="recon:picture feature:feature", codes=True
)
class ContextualCodec(nn.Module):
    """Codes a frame given contexts in place of a difference (Li et al. 2021, "Deep contextual video compression").

    Encoder and decoder see the contexts at two sizes, beside a linear transform of the difference to ``mc``, which is
    all that it codes before training. ``feature`` at 1/2 of the picture's size is what the next frame's contexts are
    mined from.

    Args:
        width: channels of the contexts, as in `ContextMining`.
        channels: of the latent at 1/16 of the picture's size.
        latent: codes the latent.
    """

    def __init__(self, width: int = 48, channels: int = 128, latent: Latent = HYPERPRIOR) -> None:
        super().__init__()
        self.transform = BlockTransform(RESIDUAL, channels)
        self.encode_fine = nn.Conv2d(24 + width, width, 3, stride=2, padding=1)
        self.encode_coarse = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.LeakyReLU(0.1),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1), nn.LeakyReLU(0.1),
            zeroed(nn.Conv2d(2 * width, channels, 3, stride=2, padding=1)),
        )
        self.decode = nn.Sequential(upsampling(channels, 2 * width), nn.LeakyReLU(0.1), upsampling(2 * width, width))
        self.decode_coarse = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1), ResidualBlock(width), upsampling(width, width)
        )
        self.decode_fine = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), ResidualBlock(width))
        self.head = nn.Sequential(ResidualBlock(width), zeroed(nn.Conv2d(width, 12, 3, padding=1)), nn.PixelShuffle(2))
        self.latent = build_latent(latent, Form(channels, spreads=self.transform.spreads))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        y = None if stream.reading else self._analyse(state)
        y_hat = self.latent(y, stream, state)
        coarse = self.decode_coarse(torch.cat((self.decode(y_hat), state["context_coarse"]), 1))
        feature = self.decode_fine(torch.cat((coarse, state["context"]), 1))
        change = self.transform.inverse(y_hat) + self.head(feature)
        return {"recon": state["mc"] + change.float() / PICTURE_GAIN, "feature": feature.float()}

    def _analyse(self, state: FrameState) -> Tensor:
        frame, mc = state["frame"], state["mc"]
        pictures = F.pixel_unshuffle(torch.cat((frame, mc), 1) - 0.5, 2)
        fine = F.leaky_relu(self.encode_fine(torch.cat((pictures, state["context"]), 1)), 0.1)
        learned = self.encode_coarse(torch.cat((fine, state["context_coarse"]), 1))
        y: Tensor = self.transform(PICTURE_GAIN * (frame - mc)) + learned
        return y


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LeakyReLU(0.1), nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.1), nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) to the same shape."""
        y: Tensor = x + self.body(x)
        return y


def upsampling(inputs: int, outputs: int) -> nn.Sequential:
    """A 1x1 convolution and a pixel shuffle: twice the height and width."""
    return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 1), nn.PixelShuffle(2))
