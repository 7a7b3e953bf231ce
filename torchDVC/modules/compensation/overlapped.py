"""Overlapped block motion compensation in exact integers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.block.coder import Planes
from torchDVC.modules.block.space import PREDICTED, RECON
from torchDVC.modules.frame_state import FrameState, stack


@codec_module(reads="refs block_motion quarters second", writes="mc:picture", formats="yuv420")
class OverlappedCompensation(nn.Module):
    """Prediction by what `BlockMotion` writes: each sample a weighted mean by the vectors of the four blocks around it.

    Pictures are YUV 4:2:0; all arithmetic is on integers, so that the prediction is the same on every machine.
    """

    one_core = True

    def __init__(self) -> None:
        super().__init__()

    @torch.no_grad()
    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        pictures = [self._predict(state, item) for item in range(state.batch)]
        return {"mc": stack(pictures).to(state.quality.device)}

    def _predict(self, state: FrameState, item: int) -> Tensor:
        from torchDVC.modules.block.compensation import FIELDS, compensate

        planes = Planes(*state.shown)
        chroma = []
        for picture in (state["refs"][item, 0], state["second"][item]):
            planes.put(RECON, picture)
            chroma.append(torch.from_numpy(planes.chroma(RECON)).clone())
        field = state["block_motion"][item, :FIELDS].permute(1, 2, 0).contiguous().cpu().numpy()
        quarters = state["quarters"][item].cpu().numpy()
        compensate(planes.pixels, quarters, field, torch.stack(chroma).numpy())
        return planes.get(PREDICTED, state.height, state.width)
