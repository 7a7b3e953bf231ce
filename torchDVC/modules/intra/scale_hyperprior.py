"""Learned intra codec that takes the weights of compressai's zoo."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from torchDVC.config.registry import codec_module
from torchDVC.entropy.fixed_point import FixedPoint
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.compressai import Coder, Density
from torchDVC.modules.layers import conv, deconv
from torchDVC.modules.transforms import PICTURE, PICTURE_GAIN, wavelet_transforms


@codec_module(encoder_reads="frame", writes="recon", codes=True, weights_from="translate_weights")
class ScaleHyperpriorIntra(nn.Module):
    """Image codec with GDN transforms and a scale hyperprior (Ballé et al. 2018, "Variational image compression…").

    The networks are those of compressai's ``ScaleHyperprior``, so that the weights of its ``bmshj2018-hyperprior``
    load. The hyper-synthesis keeps their precision and runs in exact fixed-point arithmetic
    (`torchDVC.entropy.fixed_point`), so that every machine codes with the same tables.

    Args:
        width: channels of the transforms and of the hyper-latent (``N``; 128 in the zoo's qualities 1 to 5, else 192).
        channels: of the latent (``M``; 192, else 320).
    """

    def __init__(self, width: int = 128, channels: int = 192) -> None:
        super().__init__()
        self.g_a, self.g_s, spreads = wavelet_transforms(PICTURE, width, channels, gain=PICTURE_GAIN)
        first, last = conv(channels, width, 3, stride=1), conv(width, channels, 3, stride=1)
        self.h_a = nn.Sequential(first, nn.ReLU(), conv(width, width), nn.ReLU(), conv(width, width))
        self.h_s = FixedPoint(deconv(width, width), nn.ReLU(), deconv(width, width), nn.ReLU(), last, nn.ReLU())
        self.entropy_bottleneck = Density(width)
        self.coder = Coder()
        first.weight = nn.Parameter(first.weight / torch.tensor(spreads)[:, None, None])
        last.bias = nn.Parameter(torch.tensor(spreads))

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        y = None if stream.reading else self.g_a(state["frame"])
        z = None if y is None else self.h_a(y.abs())
        z_prior = self.entropy_bottleneck.over(state.batch, state.height // STRIDE, state.width // STRIDE)
        y_hat = self.coder(y, self.h_s(stream.code(z, z_prior)), None, stream)
        return {"recon": self.g_s(y_hat).float()}

    @staticmethod
    def translate_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights among the tensors of a compressai model (of any version), by the names that they have here.

        What compressai keeps beside them (its tables, bounds and targets) is left out: it is worked out anew.
        """
        return {_NAMES.sub(_renamed, name): x for name, x in tensors.items() if not _KEPT_BESIDE.search(name)}


STRIDE = 64
"""From the picture to the hyper-latent."""

_NAMES = re.compile(r"^entropy_bottleneck\._?(matrices|biases|factors)\.(\d)$")
_SINGULAR = {"matrices": "matrix", "biases": "bias", "factors": "factor"}
_KEPT_BESIDE = re.compile(
    r"_reparam\.|lower_bound|^gaussian_conditional\.|\.(target|_offset|_quantized_cdf|_cdf_length)$"
)


def _renamed(name: re.Match[str]) -> str:
    return f"entropy_bottleneck._{_SINGULAR[name[1]]}{name[2]}"
