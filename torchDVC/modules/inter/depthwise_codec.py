"""A codec without motion, in depthwise blocks at an eighth of the picture's size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.block_transform import BlockTransform
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.slot import HYPERPRIOR, Form, Latent, build_latent
from torchDVC.modules.layers import zeroed
from torchDVC.modules.transforms import PICTURE, PICTURE_GAIN, RESIDUAL

CELL = 8
"""Pixels a side of what one position of the networks stands for."""


@codec_module(
    optional="refs ref_memory", encoder_reads="frame", writes="recon:picture memory:feature", codes=True
)
class DepthwiseCodec(nn.Module):
    """Codes a picture given what the network remembers of the last one (after Jia et al. 2025, "DCVC-RT").

    There is no motion: a memory at 1/8 of the picture's size goes from frame to frame, and all networks work at that
    size and below, in depthwise blocks, so that a frame costs few operations and few passes over memory. Before
    training it codes the difference to the reference, or the picture where there is none, in a `BlockTransform`. One
    type serves I frames and P frames.

    ::

        frame ──┬─ embed ─ encoder ─ y ─[latent]─ y_hat ─ decoder ─┬─ memory ── head ── recon
        context ┴────────────┘                    context ─────────┘    (of the next frame)

    Args:
        width: channels of the networks.
        channels: of the latent at 1/16 of the picture's size.
        blocks: depthwise blocks in each of encoder, decoder, head, and in what adapts the memory.
        inter: whether references are looked at.
        latent: codes the latent.
    """

    def __init__(
        self, width: int = 96, channels: int = 128, blocks: int = 2, inter: bool = True, latent: Latent = HYPERPRIOR
    ) -> None:
        super().__init__()
        pixels = 3 * CELL * CELL
        self.inter = inter
        self.transform = BlockTransform(RESIDUAL if inter else PICTURE, channels)
        self.embed = nn.Conv2d(pixels, width, 1)
        self.adapt_picture = nn.Conv2d(pixels, width, 1)
        self.adapt_memory = nn.Sequential(*(DepthwiseBlock(width) for _ in range(blocks)))
        self.encoder = nn.Sequential(
            nn.Conv2d(2 * width, width, 1), *(DepthwiseBlock(width) for _ in range(blocks)),
            zeroed(nn.Conv2d(width, channels, 2, stride=2)),
        )
        self.expand = nn.Sequential(nn.Conv2d(channels, 4 * width, 1), nn.PixelShuffle(2))
        self.decoder = nn.Sequential(
            nn.Conv2d(2 * width, width, 1), *(DepthwiseBlock(width) for _ in range(blocks))
        )
        self.head = nn.Sequential(
            *(DepthwiseBlock(width) for _ in range(blocks)), zeroed(nn.Conv2d(width, pixels, 1)), nn.PixelShuffle(CELL)
        )
        self.latent = build_latent(latent, Form(channels, spreads=self.transform.spreads))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        base, context = self._context(state)
        y = None if stream.reading else self._analyse(state["frame"], base, context)
        y_hat = self.latent(y, stream, state)
        memory = self.decoder(torch.cat((self.expand(y_hat), context), 1))
        change = self.transform.inverse(y_hat) + self.head(memory)
        return {"recon": base + change.float() / PICTURE_GAIN, "memory": memory.float()}

    def _context(self, state: FrameState) -> tuple[Tensor, Tensor]:
        """What the picture is predicted to be, and what is remembered of it at 1/8 of its size."""
        if not self.inter or "refs" not in state:
            grey = self.embed.weight.new_full((state.batch, 3, state.height, state.width), 0.5)
            return grey, self.adapt_picture(F.pixel_unshuffle(grey - 0.5, CELL))
        picture = state["refs"][:, 0]
        context = self.adapt_picture(F.pixel_unshuffle(picture - 0.5, CELL))
        memory = state.recall("memory")
        return picture, context if memory is None else context + self.adapt_memory(memory)

    def _analyse(self, frame: Tensor, base: Tensor, context: Tensor) -> Tensor:
        seen = torch.cat((self.embed(F.pixel_unshuffle(frame - 0.5, CELL)), context), 1)
        y: Tensor = self.transform(PICTURE_GAIN * (frame - base)) + self.encoder(seen)
        return y


class DepthwiseBlock(nn.Module):
    """A depthwise 3x3 convolution between two of 1x1, then a gated pair of 1x1, each beside a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.LeakyReLU(0.1), nn.Conv2d(width, width, 3, padding=1, groups=width),
            nn.Conv2d(width, width, 1),
        )
        self.gated = nn.Conv2d(width, 2 * width, 1)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.spatial(x)
        value, gate = self.gated(x).chunk(2, 1)
        mixed: Tensor = x + self.mix(value * F.relu6(gate + 3) / 6)
        return mixed
