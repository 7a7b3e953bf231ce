"""A prediction made better in exact integers, by filters that are learned by coding."""

from __future__ import annotations

import torch
from torch import Tensor

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.block.coder import Schedule
from torchDVC.modules.block.transform import step_of
from torchDVC.modules.filter.learned import LearnedFilters
from torchDVC.modules.frame_state import FrameState


@codec_module(reads="mc", encoder_reads="frame", writes="mc:picture", codes=True, levels="levels", formats="yuv420")
class FilteredPrediction(LearnedFilters):
    """Brings ``mc`` nearer the picture that it predicts, by learned linear filters, before the rest is coded.

    Any module may have written ``mc``; what comes is whole codes. Pictures are YUV 4:2:0.

    Args:
        levels, lowest, highest, offsets, intra_offset: see `Schedule`; filters are told apart by its steps.
        share, ridge: see `LearnedFilters`.
    """

    def __init__(
        self, levels: int = 64, lowest: float = 47.0, highest: float = 15.5, offsets: tuple[float, ...] = (0, 2, 1, 2),
        intra_offset: float = -1.0, share: float = 0.375, ridge: float = 1e-3,
    ) -> None:  # fmt: skip
        super().__init__(1, share, ridge)
        self.schedule = Schedule(levels, lowest, highest, offsets, intra_offset)

    @torch.no_grad()
    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        qps = [self.schedule.qp(int(level), state.info.since_intra) for level in state.quality]
        return {"mc": self.filtered(state, stream, "mc", torch.tensor([step_of(qp) for qp in qps]))}
