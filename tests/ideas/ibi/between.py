"""B frames between two I frames, predicted by their mean, trained on I frames as they were decoded."""

from __future__ import annotations

from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.layers import fold, unfold


@codec_module(reads="refs", writes="mc:picture")
class Between(nn.Module):
    """The mean of the references, each after a convolution that begins as the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, padding=1)
        nn.init.dirac_(self.body.weight)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        assert state.info.type == "B" and state.info.layer > 0
        return {"mc": unfold(self.body(fold(state["refs"])).float(), state.batch).mean(1)}
