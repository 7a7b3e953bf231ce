"""The hyperprior that scale-space flow codes each of its latents with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.entropy.fixed_point import FixedPoint
from torchDVC.entropy.streams import Stream
from torchDVC.modules.latent.compressai import Coder, Density
from torchDVC.modules.layers import conv, deconv

STRIDE = 128
"""Heights and widths of pictures are padded to multiples of this: 16 to the latent, 8 more to the hyper-latent."""
MOST_SCALE = 255.0
"""Activations of the network that gives scales are bounded by this."""
PLANES, WIDTH = 192, 128
"""Channels of every latent and hyper-latent, and of the hidden layers of transforms."""


class ScaleSpaceHyperprior(nn.Module):
    """A mean-scale hyperprior with a network for each of both, in exact fixed point (Agustsson et al. 2020).

    Args:
        planes: channels of latent and hyper-latent.
    """

    def __init__(self, planes: int = PLANES) -> None:
        super().__init__()
        self.hyper_encoder = _stack(conv, (planes,) * 4)
        self.hyper_decoder_mean = FixedPoint(*_stack(deconv, (planes,) * 4))
        scales = [layer for _ in range(3) for layer in (deconv(planes, planes), nn.Hardtanh(0.0, MOST_SCALE))]
        self.hyper_decoder_scale = FixedPoint(*scales)
        self.entropy_bottleneck = Density(planes)
        self.coder = Coder()

    def forward(self, y: Tensor | None, size: tuple[int, int, int], stream: Stream) -> Tensor:
        """The decoded latent (B, C, H/16, W/16).

        Args:
            y: the latent, or None where the stream reads.
            size: B, H, W of the pictures; H and W multiples of `STRIDE`.
        """
        batch, height, width = size
        z = None if y is None else self.hyper_encoder(y)
        z_hat = stream.code(z, self.entropy_bottleneck.over(batch, height // STRIDE, width // STRIDE))
        y_hat: Tensor = self.coder(y, self.hyper_decoder_scale(z_hat), self.hyper_decoder_mean(z_hat), stream)
        return y_hat


def encoder(inputs: int, width: int = WIDTH, planes: int = PLANES) -> nn.Sequential:
    """(N, inputs, H, W) to (N, planes, H/16, W/16)."""
    return _stack(conv, (inputs, width, width, width, planes))


def decoder(planes: int, outputs: int, width: int = WIDTH) -> nn.Sequential:
    """The mirror image of `encoder`."""
    return _stack(deconv, (planes, width, width, width, outputs))


def _stack(layer: Callable[[int, int], nn.Module], widths: tuple[int, ...]) -> nn.Sequential:
    layers = [part for a, b in pairwise(widths) for part in (layer(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def padded(x: Tensor) -> Tensor:
    """Pictures (N, C, H, W) with their borders repeated to multiples of `STRIDE`."""
    below, right = (-side % STRIDE for side in x.shape[2:])
    return F.pad(x, (0, right, 0, below), mode="replicate")


def padded_size(size: tuple[int, int, int]) -> tuple[int, int, int]:
    """Batch, height and width of what `padded` makes."""
    batch, height, width = size
    return batch, height + -height % STRIDE, width + -width % STRIDE


_KEPT_BESIDE = re.compile(r"gaussian_conditional\.|lower_bound|\.(target|_offset|_quantized_cdf|_cdf_length)$")
_LAYER = {"deconv1": "0", "deconv2": "2", "deconv3": "4"}
_DENSITY = re.compile(r"entropy_bottleneck\._?(matri|bias|factor)(?:x|ces|es|s)?\.(\d)$")
_KIND = {"matri": "matrix", "bias": "bias", "factor": "factor"}


def of_part(tensors: Mapping[str, Tensor], part: str) -> Mapping[str, Tensor]:
    """The weights of a part of CompressAI's ``ssf2020``, ``img``, ``motion`` or ``res``; others' as they are."""
    own = {name.removeprefix(f"{part}_"): x for name, x in tensors.items() if name.startswith(f"{part}_")}
    if not own:
        return tensors
    return {_renamed(name): x for name, x in own.items() if not _KEPT_BESIDE.search(name)}


def _renamed(name: str) -> str:
    name = re.sub(r"\.(deconv[123])\.", lambda match: f".{_LAYER[match[1]]}.", name)
    return _DENSITY.sub(lambda match: f"entropy_bottleneck._{_KIND[match[1]]}{match[2]}", name)
