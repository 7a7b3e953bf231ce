"""Motion codecs."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.factorized import FactorizedLatent
from torchDVC.modules.latent.hyperprior import Hyperprior
from torchDVC.modules.layers import fold, unfold, warp
from torchDVC.modules.transforms import FLOW, wavelet_transforms


@codec_module(reads="refs", encoder_reads="flow", writes="flow_hat:flow warped_refs warped:picture", codes=True)
class FlowHyperprior(nn.Module):
    """Codes optical flow with GDN transforms and a hyperprior (Lu et al. 2019, "DVC", section 3.3), and warps by it.

    The flow to each reference is coded by itself, so that one network serves P and B frames. Writes ``flow_hat``
    (N, R, 2, H, W) in pixels, ``warped_refs`` (N, R, 3, H, W), the references warped by it, and ``warped``
    (N, 3, H, W), their mean.

    Args:
        width: channels of the transforms.
        latent: channels of the latent.
        hyper_width: channels of the hyper-latent.
        kernel_size: of the transforms.
        levels: quality levels; more than one gives variable rate through learned gains.
    """

    def __init__(
        self, width: int = 64, latent: int = 64, hyper_width: int = 64, kernel_size: int = 3, levels: int = 1
    ) -> None:
        super().__init__()
        self.g_a, self.g_s, spreads = wavelet_transforms(FLOW, width, latent, kernel_size)
        self.hyperprior = Hyperprior(latent, hyper_width, levels, spreads)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        return code_flow(state, stream, self.g_a, self.hyperprior, self.g_s)


@codec_module(reads="refs", encoder_reads="flow", writes="flow_hat:flow warped_refs warped:picture", codes=True)
class FlowFactorized(nn.Module):
    """Codes optical flow as `FlowHyperprior` does, but its latent with a learned density of each channel.

    Args:
        width: channels of the transforms.
        latent: channels of the latent.
        kernel_size: of the transforms.
    """

    def __init__(self, width: int = 64, latent: int = 64, kernel_size: int = 3) -> None:
        super().__init__()
        self.g_a, self.g_s, _ = wavelet_transforms(FLOW, width, latent, kernel_size)
        self.prior = FactorizedLatent(latent)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        return code_flow(state, stream, self.g_a, self.prior, self.g_s)


FLOW_SCALE = 2.0
"""Displacements are divided by this. Untrained, the latent quantises coefficients of 16x16 blocks with steps of 1 then,
which is 1/8 of a pixel for the whole block."""


def code_flow(
    state: FrameState, stream: Stream, analyse: nn.Module, latent: Callable[..., Tensor], synthesise: nn.Module
) -> dict[str, Tensor]:
    """Code the flow to each reference by itself, and warp the references by what the decoder has of it.

    Args:
        latent: codes a latent; called as `Hyperprior`.
    """
    refs = state["refs"]
    batch, references = refs.shape[:2]
    y = None if stream.reading else analyse(fold(state["flow"]) / FLOW_SCALE)
    y_hat = latent(y, stream, state.size(references), state.quality)
    flow_hat = synthesise(y_hat).float() * FLOW_SCALE
    warped = unfold(warp(fold(refs), flow_hat), batch)
    return {"flow_hat": unfold(flow_hat, batch), "warped_refs": warped, "warped": warped.mean(1)}
