"""P frames predicted from up to three frames, with a weight for each place of each of them."""

from __future__ import annotations

from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.layers import fold, unfold


@codec_module(reads="refs", writes="mc:picture")
class Blend(nn.Module):
    """A network gives each reference a logit; the prediction is their mean by the softmax of these.

    Args:
        width: channels of the hidden layer.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        refs = state["refs"]
        share = unfold(self.body(fold(refs) - 0.5).float(), state.batch).softmax(1)
        return {"mc": (share * refs).sum(1)}
