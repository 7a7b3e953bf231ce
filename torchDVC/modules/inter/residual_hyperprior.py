"""Codecs of the prediction residual."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.factorized import FactorizedLatent
from torchDVC.modules.latent.hyperprior import Hyperprior
from torchDVC.modules.transforms import PICTURE_GAIN, RESIDUAL, wavelet_transforms


@codec_module(reads="mc", encoder_reads="frame", writes="recon", codes=True)
class ResidualHyperprior(nn.Module):
    """Codes source minus prediction with GDN transforms and a hyperprior (Lu et al. 2019, "DVC", section 3.4).

    Args:
        width: channels of the transforms (``N``).
        latent: channels of the latent (``M``).
        hyper_width: channels of the hyper-latent.
        kernel_size: of the transforms.
        levels: quality levels; more than one gives variable rate through learned gains.
    """

    def __init__(
        self, width: int = 128, latent: int = 128, hyper_width: int = 96, kernel_size: int = 5, levels: int = 1
    ) -> None:
        super().__init__()
        self.g_a, self.g_s, spreads = wavelet_transforms(RESIDUAL, width, latent, kernel_size)
        self.hyperprior = Hyperprior(latent, hyper_width, levels, spreads)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        return code_residual(state, stream, self.g_a, self.hyperprior, self.g_s)


@codec_module(reads="mc", encoder_reads="frame", writes="recon", codes=True)
class ResidualFactorized(nn.Module):
    """Codes the residual as `ResidualHyperprior` does, but its latent with a learned density of each channel.

    Args:
        width: channels of the transforms (``N``).
        latent: channels of the latent (``M``).
        kernel_size: of the transforms.
    """

    def __init__(self, width: int = 128, latent: int = 128, kernel_size: int = 5) -> None:
        super().__init__()
        self.g_a, self.g_s, _ = wavelet_transforms(RESIDUAL, width, latent, kernel_size)
        self.prior = FactorizedLatent(latent)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        return code_residual(state, stream, self.g_a, self.prior, self.g_s)


def code_residual(
    state: FrameState, stream: Stream, analyse: nn.Module, latent: Callable[..., Tensor], synthesise: nn.Module
) -> dict[str, Tensor]:
    """Code what the prediction lacks; ``latent`` codes a latent and is called as `Hyperprior`."""
    y = None if stream.reading else analyse(PICTURE_GAIN * (state["frame"] - state["mc"]))
    y_hat = latent(y, stream, state.size(), state.quality)
    return {"recon": state["mc"] + synthesise(y_hat).float() / PICTURE_GAIN}
