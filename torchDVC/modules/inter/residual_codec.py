"""Codec of the prediction residual."""

from __future__ import annotations

from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.slot import HYPERPRIOR, Form, Latent, build_latent
from torchDVC.modules.transforms import PICTURE_GAIN, RESIDUAL, wavelet_transforms


@codec_module(reads="mc", encoder_reads="frame", writes="recon", codes=True)
class ResidualCodec(nn.Module):
    """Codes source minus prediction with GDN transforms (Lu et al. 2019, "DVC", section 3.4).

    Args:
        width: channels of the transforms (``N``).
        channels: of the latent (``M``).
        kernel_size: of the transforms.
        latent: codes the latent.
    """

    gain = PICTURE_GAIN
    """What a residual is multiplied by before its analysis."""

    def __init__(
        self, width: int = 128, channels: int = 128, kernel_size: int = 5, latent: Latent = HYPERPRIOR
    ) -> None:
        super().__init__()
        self.g_a, self.g_s, spreads = wavelet_transforms(RESIDUAL, width, channels, kernel_size)
        self.latent = build_latent(latent, Form(channels, spreads=tuple(spreads)))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        y = None if stream.reading else self.g_a(self.gain * (state["frame"] - state["mc"]))
        y_hat = self.latent(y, stream, state)
        return {"recon": state["mc"] + self.g_s(y_hat).float() / self.gain}
