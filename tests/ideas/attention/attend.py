"""A network of layers that no shipped codec has: group normalisation, PReLU and attention, as a filter in the loop."""

from __future__ import annotations

from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState

CELL = 16


@codec_module(reads="recon", writes="recon")
class Attend(nn.Module):
    """Corrects cells of 16x16 pixels by what other cells of the picture look like.

    Args:
        width: channels of a cell, a multiple of 4.
        heads: of the attention.
    """

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, width, CELL, CELL), nn.GroupNorm(4, width), nn.PReLU(width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.tail = nn.ConvTranspose2d(width, 3, CELL, CELL)
        nn.init.zeros_(self.tail.weight)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        cells = self.head(state["recon"] - 0.5)
        tokens = self.norm(cells.flatten(2).transpose(1, 2))
        seen, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return {"recon": state["recon"] + self.tail((tokens + seen).transpose(1, 2).view_as(cells)).float()}
