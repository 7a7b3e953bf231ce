"""Motion compensation network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.layers import fold, unfold


@codec_module(reads="refs flow_hat warped_refs", writes="mc:picture", from_zero="blocks")
class Refinement(nn.Module):
    """Refines the warped references (Lu et al. 2019, "DVC", section 3.2) at half size, and blends them on B frames.

    A small U-net sees warped reference, reference and flow of each reference, folded 2x2 into channels; it adds a
    correction to the warped reference and gives a logit per pixel. The prediction is the mean of the corrected
    references, weighted by the softmax of the logits, so that one network serves P frames (one reference) and B frames.

    Args:
        width: channels at half size; twice as many at a quarter.
        blocks: residual blocks at each size.
    """

    def __init__(self, width: int = 48, blocks: int = 1) -> None:
        super().__init__()
        self.head = nn.Conv2d(4 * 8, width, 3, padding=1)
        self.fine = nn.Sequential(*(_Block(width) for _ in range(blocks)))
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.coarse = nn.Sequential(*(_Block(2 * width) for _ in range(blocks)))
        self.up = nn.Conv2d(2 * width, 4 * width, 1)
        self.merge = nn.Sequential(*(_Block(width) for _ in range(blocks)))
        self.tail = nn.Conv2d(width, 4 * 4, 3, padding=1)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        warped = fold(state["warped_refs"])
        seen = (warped - 0.5, fold(state["refs"]) - 0.5, fold(state["flow_hat"]) / 16)
        change = self._network(torch.cat(seen, 1)).float()
        corrected = unfold(warped + change[:, :3], state.batch)
        share = unfold(change[:, 3:], state.batch).softmax(1)
        return {"mc": (share * corrected).sum(1)}

    def _network(self, x: Tensor) -> Tensor:
        fine = self.fine(self.head(F.pixel_unshuffle(x, 2)))
        coarse = F.pixel_shuffle(self.up(self.coarse(self.down(fine))), 2)
        return F.pixel_shuffle(self.tail(self.merge(fine + coarse)), 2)


class _Block(nn.Module):
    """Two 3x3 convolutions with a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))
