"""A loop filter in exact integers, learned by coding."""

from __future__ import annotations

import torch
from torch import Tensor

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.filter.learned import LearnedFilters
from torchDVC.modules.frame_state import FrameState


@codec_module(
    reads="recon step", optional="mc", encoder_reads="frame", writes="recon:picture", codes=True, formats="yuv420"
)
class GatedFilter(LearnedFilters):
    """Brings a decoded picture nearer its source by learned linear filters, on I frames by others than elsewhere.

    Pictures are YUV 4:2:0.

    Args:
        share, ridge: see `LearnedFilters`.
    """

    def __init__(self, share: float = 0.375, ridge: float = 1e-3) -> None:
        super().__init__(2, share, ridge)

    @torch.no_grad()
    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        return {"recon": self.filtered(state, stream, "recon", state["step"], int("mc" in state))}
