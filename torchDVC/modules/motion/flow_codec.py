"""Motion codec."""

from __future__ import annotations

from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.slot import HYPERPRIOR, Form, Latent, build_latent
from torchDVC.modules.layers import fold, unfold, warp
from torchDVC.modules.transforms import FLOW, wavelet_transforms

FLOW_SCALE = 2.0
"""Displacements are divided by this. Untrained, the latent quantises coefficients of 16x16 blocks with steps of 1 then,
which is 1/8 of a pixel for the whole block."""


@codec_module(
    reads="refs", optional="flow_expected", encoder_reads="flow",
    writes="flow_hat:flow warped_refs:feature warped:picture", codes=True,
)
class FlowCodec(nn.Module):
    """Codes optical flow with GDN transforms (Lu et al. 2019, "DVC", section 3.3), and warps by it.

    The flow to each reference is coded by itself, so that one network serves any number of references; where it is
    expected to be ``flow_expected``, the difference to that. Writes
    ``flow_hat`` (N, R, 2, H, W) in pixels, ``warped_refs`` (N, R, 3, H, W), the references warped by it, and
    ``warped`` (N, 3, H, W), their mean.

    Args:
        width: channels of the transforms.
        channels: of the latent.
        kernel_size: of the transforms.
        latent: codes the latent.
    """

    gain = 1 / FLOW_SCALE
    """What a flow is multiplied by before its analysis."""

    def __init__(
        self, width: int = 64, channels: int = 64, kernel_size: int = 3, latent: Latent = HYPERPRIOR
    ) -> None:
        super().__init__()
        self.g_a, self.g_s, spreads = wavelet_transforms(FLOW, width, channels, kernel_size)
        self.latent = build_latent(latent, Form(channels, spreads=tuple(spreads)))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        expected = fold(state["flow_expected"]) if "flow_expected" in state else 0.0
        y = None if stream.reading else self.g_a((fold(state["flow"]) - expected) * self.gain)
        y_hat = self.latent(y, stream, state.per_reference())
        flow_hat = expected + self.g_s(y_hat).float() / self.gain
        return warped_by(flow_hat, state)


def warped_by(flow_hat: Tensor, state: FrameState) -> dict[str, Tensor]:
    """What a motion codec writes: the flow, (N·R, 2, H, W) in pixels, the references warped by it, and their mean."""
    warped = unfold(warp(fold(state["refs"]), flow_hat), state.batch)
    return {"flow_hat": unfold(flow_hat, state.batch), "warped_refs": warped, "warped": warped.mean(1)}
