"""Deblocking of what a codec of blocks has coded."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.block.coder import Planes
from torchDVC.modules.block.space import RECON
from torchDVC.modules.block.transform import STEP_BITS
from torchDVC.modules.frame_state import FrameState, stack


@codec_module(reads="recon blocks step", writes="recon:picture", formats="yuv420")
class Deblocking(nn.Module):
    """Takes the edges of blocks out of a picture that `BlockCoder` has coded, and so out of what later frames refer to.

    An edge is filtered where a block on either side has levels or is predicted within the picture, unless one has no
    transform, as text on a screen; motion leaves no edges where blocks overlap. Both sides must be even: a line in the
    picture is no edge. There is no switch: one a picture gained nothing. All arithmetic is on integers. Pictures are
    YUV 4:2:0.

    Args:
        strength: by how much luma may change, in its quantiser steps.
        chroma_strength: by how much U and V may, in steps of luma.
        bend: how bent luma may be beside an edge, in codes, where the quantiser step is 1; it grows with its root.
        chroma_bend: how bent U and V may be.
    """

    one_core = True

    def __init__(
        self, strength: float = 0.12, chroma_strength: float = 0.08, bend: float = 12.0, chroma_bend: float = 4.0
    ) -> None:
        super().__init__()
        self.strengths, self.bends = (strength, chroma_strength), (bend, chroma_bend)

    @torch.no_grad()
    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        pictures = [self._smooth(state, item) for item in range(state.batch)]
        return {"recon": stack(pictures).to(state.quality.device)}

    def _smooth(self, state: FrameState, item: int) -> Tensor:
        from torchDVC.modules.block.edges import smooth_picture

        planes = Planes(*state.shown)
        planes.put(RECON, state["recon"][item])
        smooth_picture(planes.pixels, state["blocks"][item].cpu().numpy(), self._limits(int(state["step"][item])))
        return planes.get(RECON, state.height, state.width)

    def _limits(self, step: int) -> np.ndarray:
        """By how much samples may change, and how bent they may be, of luma and of chroma, (2, 2)."""
        codes = step / 2**STEP_BITS
        pairs = zip(self.strengths, self.bends, strict=True)
        return np.array([(int(strength * codes + 0.5), int(bend * math.sqrt(codes))) for strength, bend in pairs])
