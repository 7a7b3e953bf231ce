"""The residual codec of scale-space flow."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.scale_space import ScaleSpaceHyperprior, decoder, encoder, of_part, padded, padded_size


@codec_module(
    reads="mc motion_latent", encoder_reads="frame", writes="recon", codes=True, weights_from="translate_weights"
)
class ScaleSpaceResidual(nn.Module):
    """Codes source minus prediction; its synthesis sees the latent of the motion too (Agustsson et al. 2020).

    Takes the weights of CompressAI's ``ssf2020``.

    Args:
        width: channels of the transforms.
        planes: channels of latent and hyper-latent, as many as those of the motion.
    """

    def __init__(self, width: int = 128, planes: int = 192) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder(3, width, planes), decoder(2 * planes, 3, width)
        self.hyperprior = ScaleSpaceHyperprior(planes)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        y = None if stream.reading else self.encoder(padded(state["frame"] - state["mc"]))
        y_hat = self.hyperprior(y, padded_size(state.size()), stream)
        residual = self.decoder(torch.cat((y_hat, state["motion_latent"]), 1)).float()
        return {"recon": state["mc"] + residual[..., : state.height, : state.width]}

    @staticmethod
    def translate_weights(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The part of ``ssf2020`` that codes residuals."""
        return of_part(tensors, "res")
