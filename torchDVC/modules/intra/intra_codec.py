"""Learned intra codec."""

from __future__ import annotations

from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.slot import HYPERPRIOR, Form, Latent, build_latent
from torchDVC.modules.transforms import PICTURE, PICTURE_GAIN, wavelet_transforms


@codec_module(encoder_reads="frame", writes="recon", codes=True)
class IntraCodec(nn.Module):
    """Image codec with GDN transforms (Ballé et al. 2018, "Variational image compression with a scale hyperprior").

    Args:
        width: channels of the transforms (``N``).
        channels: of the latent (``M``).
        kernel_size: of the transforms.
        latent: codes the latent.
    """

    def __init__(
        self, width: int = 128, channels: int = 192, kernel_size: int = 5, latent: Latent = HYPERPRIOR
    ) -> None:
        super().__init__()
        self.g_a, self.g_s, spreads = wavelet_transforms(PICTURE, width, channels, kernel_size)
        self.latent = build_latent(latent, Form(channels, spreads=tuple(spreads)))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        y = None if stream.reading else self.g_a(PICTURE_GAIN * (state["frame"] - 0.5))
        y_hat = self.latent(y, stream, state)
        return {"recon": self.g_s(y_hat).float() / PICTURE_GAIN + 0.5}
