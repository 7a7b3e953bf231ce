"""Learned intra codec of compressai's hyperprior family."""

from __future__ import annotations

from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.hyperprior import Hyperprior
from torchDVC.modules.transforms import PICTURE, PICTURE_GAIN, wavelet_transforms


@codec_module(encoder_reads="frame", writes="recon", codes=True)
class HyperpriorIntra(nn.Module):
    """Image codec with GDN transforms and a mean-scale hyperprior (Ballé et al. 2018; Minnen et al. 2018).

    Args:
        width: channels of the transforms (``N``).
        latent: channels of the latent (``M``).
        hyper_width: channels of the hyper-latent.
        kernel_size: of the transforms.
        levels: quality levels; more than one gives variable rate through learned gains.
    """

    def __init__(
        self, width: int = 128, latent: int = 192, hyper_width: int = 128, kernel_size: int = 5, levels: int = 1
    ) -> None:
        super().__init__()
        self.g_a, self.g_s, spreads = wavelet_transforms(PICTURE, width, latent, kernel_size)
        self.hyperprior = Hyperprior(latent, hyper_width, levels, spreads)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        y = None if stream.reading else self.g_a(PICTURE_GAIN * (state["frame"] - 0.5))
        y_hat = self.hyperprior(y, stream, state.size(), state.quality)
        return {"recon": self.g_s(y_hat).float() / PICTURE_GAIN + 0.5}
