"""Frames that are left to their interpolation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.grids import IntegerGrid
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState


@codec_module(reads="interpolated", encoder_reads="frame", writes="skip:map", codes=True)
class SkipFrame(nn.Module):
    """Tells the decoder in one symbol whether a frame is its interpolation and nothing else.

    Writes ``skip`` (N, 1, 1, 1), 1 for such frames. The encoder takes those that the interpolation meets well enough;
    the latent codec ``Skip`` then codes nothing, and motion and residual are what their decoders make of zeros. Frames
    of a training batch are skipped together or not at all.

    Args:
        psnr: in dB, the least PSNR of an interpolation that is good enough: one value, or one for each quality level.
    """

    def __init__(self, psnr: tuple[float, ...] = (38.0,)) -> None:
        super().__init__()
        self.psnr: Tensor
        self.register_buffer("psnr", torch.tensor(psnr), persistent=False)
        self.flag = IntegerGrid(1, 0, 1, ordered=False, width=8)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        skip = None if stream.reading else self._good_enough(state)
        return {"skip": self.flag(skip, stream, (state.batch, 1, 1, 1))}

    def _good_enough(self, state: FrameState) -> Tensor:
        error = (state["interpolated"] - state["frame"]).square().flatten(1).mean(1)
        asked = self.psnr[state.quality.clamp(max=len(self.psnr) - 1)]
        return (-10 * error.clamp(min=1e-9).log10() >= asked).float()[:, None, None, None]
