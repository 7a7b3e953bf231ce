"""The motion compensation network of the DVC ancestor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.layers import fold, unfold


@codec_module(reads="refs flow_hat warped_refs", writes="mc:picture")
class UNetCompensation(nn.Module):
    """Makes a prediction of flow, reference and warped reference (Lu et al. 2019, "DVC", figure 4), as a U-net.

    It has three sizes, and gives the prediction itself rather than a correction, so it must be trained before it is of
    use. Of several references the predictions are averaged.

    Args:
        width: channels at every size.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.l1 = nn.Sequential(nn.Conv2d(8, width, 3, padding=1), _Block(width))
        self.l2 = nn.Sequential(nn.AvgPool2d(2), _Block(width))
        self.l3 = nn.Sequential(nn.AvgPool2d(2), _Block(width))
        self.d3 = nn.Sequential(_Block(width), _enlarging())
        self.d2 = nn.Sequential(_Block(width), _enlarging())
        self.d1 = nn.Sequential(
            _Block(width), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        seen = (fold(state["flow_hat"]), fold(state["refs"]), fold(state["warped_refs"]))
        fine = self.l1(torch.cat(seen, 1))
        half = self.l2(fine)
        predicted = self.d1(self.d2(self.d3(self.l3(half)) + half) + fine)
        return {"mc": unfold(predicted.float(), state.batch).mean(1)}


def _enlarging() -> nn.Module:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)


class _Block(nn.Sequential):
    """Two convolutions after their ReLUs, with a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = super().forward(x)
        return x + changed
