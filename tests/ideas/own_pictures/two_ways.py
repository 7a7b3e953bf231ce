"""Two predictions that are trained to agree: a loss between two of a model's own pictures."""

from __future__ import annotations

from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState


@codec_module(reads="refs", writes="mc:picture x2:picture")
class TwoWays(nn.Module):
    """The last picture after a fine network, and after a coarse one."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 3, 3, padding=1)
        self.coarse = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 48, 1), nn.PixelShuffle(4))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        last = state["refs"][:, 0]
        return {"mc": last + self.fine(last - 0.5).float(), "x2": self.coarse(last).float()}
