"""A motion codec of whole numbers: one vector for each block of 16x16 pixels, in quarter pixels, coded without loss."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.config.registry import codec_module
from torchDVC.entropy.grids import IntegerGrid
from torchDVC.entropy.streams import Stream, round_through
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.layers import fold, unfold, warp

BLOCK = 16
MOST = 127
"""Quarter pixels that a vector may have in either direction."""


@codec_module(reads="refs", encoder_reads="flow", writes="flow_hat:flow warped_refs warped:picture", codes=True)
class QuarterPels(nn.Module):
    """Codes the mean flow of each block, and warps the references by what lies smoothly between the vectors.

    Args:
        width: channels of the prior's hidden layers.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.grid = IntegerGrid(2, -MOST, MOST, width=width)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        refs = fold(state["refs"])
        vectors = None
        if not stream.reading:
            vectors = round_through(4 * F.avg_pool2d(fold(state["flow"]), BLOCK)).clamp(-MOST, MOST)
        size = (len(refs), 2, state.height // BLOCK, state.width // BLOCK)
        vectors = self.grid(vectors, stream, size)
        flow_hat = F.interpolate(vectors / 4, scale_factor=BLOCK, mode="bilinear")
        warped = unfold(warp(refs, flow_hat), state.batch)
        return {"flow_hat": unfold(flow_hat, state.batch), "warped_refs": warped, "warped": warped.mean(1)}
