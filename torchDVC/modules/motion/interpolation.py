"""The motion of a B frame as its references tell it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.layers import fold, unfold, warp
from torchDVC.modules.motion.spynet import SPyNet


@codec_module(reads="refs", writes="flow_expected:flow interpolated:picture", from_zero="finest")
class Interpolation(nn.Module):
    """Predicts a frame from the two references around it, in encoder and decoder alike, without a bit.

    The flow between the references, estimated both ways, is taken to be even (Jiang et al. 2018, "Super SloMo",
    equation 4). Writes ``flow_expected`` (N, R, 2, H, W) in pixels, from the frame to each reference, which a motion
    codec corrects, and ``interpolated`` (N, 3, H, W), the references warped by it, each weighted by how near it is.
    With one reference nothing moves. Before training nothing moves either, as `SPyNet` starts with zero flow.

    Args:
        levels, finest, kernel_size, widths: of the estimator, see `SPyNet`.
    """

    def __init__(
        self, levels: int = 4, finest: int = 1, kernel_size: int = 7, widths: tuple[int, ...] = (32, 64, 32, 16)
    ) -> None:
        super().__init__()
        self.estimator = SPyNet(levels, finest, kernel_size, widths)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        refs = state["refs"]
        flow = refs.new_zeros(*refs.shape[:2], 2, *refs.shape[3:])
        near = refs.new_tensor([1.0] + [0.0] * (refs.shape[1] - 1))
        indexes = state.info.references
        earlier = [i for i, index in enumerate(indexes) if index < state.info.index]
        later = [i for i, index in enumerate(indexes) if index > state.info.index]
        if earlier and later:
            first, last = earlier[0], later[0]
            way = (state.info.index - indexes[first]) / (indexes[last] - indexes[first])
            forth = self.estimator.estimate(refs[:, first], refs[:, last])
            back = self.estimator.estimate(refs[:, last], refs[:, first])
            flow = flow.index_copy(1, torch.tensor([first, last], device=refs.device), _between(forth, back, way))
            near = near.new_zeros(len(indexes))
            near[first], near[last] = 1 - way, way
        warped = unfold(warp(fold(refs), fold(flow)), state.batch)
        return {"flow_expected": flow, "interpolated": (near[:, None, None, None] * warped).sum(1)}


def _between(forth: Tensor, back: Tensor, way: float) -> Tensor:
    """(N, 2, 2, H, W) from a picture ``way`` of the way between two to either of them, from theirs (N, 2, H, W)."""
    to_first = way * way * back - way * (1 - way) * forth
    to_last = (1 - way) ** 2 * forth - way * (1 - way) * back
    return torch.stack((to_first, to_last), 1)
