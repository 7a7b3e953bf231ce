"""The transforms between pictures and latents, and how they start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor, nn

from torchDVC.modules.layers import GDN, conv, deconv

GAMMA_INIT = 1.5e-4
"""GDN's coupling at the start: nearly none, for the wavelets to pass."""
PICTURE_GAIN = 8.0
"""Pictures in [0, 1] are multiplied by this before their analysis, for quantisation steps of about 32 grey levels."""
LEAST_SPREAD = 0.3
UNKNOWN_SPREAD = 0.5
"""Least standard deviation of a latent channel to begin with, and that of channels of which nothing is known."""


def analysis(inputs: int, width: int, outputs: int, kernel_size: int = 5) -> nn.Sequential:
    """``g_a`` of Ballé et al. 2018: four strided convolutions with GDN between; (N, inputs, H, W) to H/16, W/16."""
    widths = (inputs, width, width, width, outputs)
    layers = [layer for a, b in pairwise(widths) for layer in (conv(a, b, kernel_size), GDN(b, gamma_init=GAMMA_INIT))]
    return nn.Sequential(*layers[:-1])


def synthesis(inputs: int, width: int, outputs: int, kernel_size: int = 5) -> nn.Sequential:
    """``g_s`` of Ballé et al. 2018, the mirror image of `analysis`; (N, inputs, h, w) to 16 h, 16 w."""
    widths = (inputs, width, width, width, outputs)
    layers = [
        layer
        for a, b in pairwise(widths)
        for layer in (deconv(a, b, kernel_size), GDN(b, inverse=True, gamma_init=GAMMA_INIT))
    ]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class Signal:
    """What is known of a signal before training: how its wavelet coefficients spread.

    Args:
        strength: standard deviation of its wavelet coefficients, over that of photographs with values in [0, 1].
        weights: how much weaker each component is than the first.
        mix: (C, C) orthonormal: which components the channels are made into.
    """

    strength: float
    weights: tuple[float, ...]
    mix: Tensor

    def spread(self, band: Band) -> float:
        """Standard deviation to expect of a latent channel; photographs lose about 7 dB for each doubled frequency."""
        falling = 6.0 if band.frequency == 0 else 1.5 / band.frequency**1.2
        return max(LEAST_SPREAD, self.strength * falling / self.weights[band.component])

    def rank(self, band: Band) -> float:
        """Lower is worth more bits."""
        return (band.frequency + 1) * self.weights[band.component]


@dataclass(frozen=True)
class Band:
    """A channel of a wavelet packet: of which component, and which vertical and horizontal frequency, from 0."""

    component: int
    y: int
    x: int

    @property
    def frequency(self) -> int:
        """In half periods over the block that one coefficient stands for."""
        return self.y + self.x

    def half(self, high_y: int, high_x: int) -> Band:
        """The low or high half of this band; high-pass filters mirror the order of frequencies."""
        return Band(self.component, 2 * self.y + (high_y ^ self.y & 1), 2 * self.x + (high_x ^ self.x & 1))


_OPPONENT = torch.tensor([[1.0, 1, 1], [1, 0, -1], [-1, 2, -1]]) / torch.tensor([3.0, 2, 6]).sqrt()[:, None]
PICTURE = Signal(PICTURE_GAIN, (1, 4, 10), _OPPONENT)
"""RGB times `PICTURE_GAIN`: brightness, and two differences of colours."""
RESIDUAL = Signal(PICTURE_GAIN / 4, (1, 4, 10), _OPPONENT)
"""What a prediction leaves of it: flatter, but weak in the same places."""
FLOW = Signal(1.0, (1, 1), torch.eye(2))
"""Displacements of one or two pixels, as `torchDVC.modules.motion.flow_codec` scales them."""


def wavelet_transforms(
    signal: Signal, width: int, latent: int, kernel_size: int = 5, gain: float = 1.0
) -> tuple[nn.Sequential, nn.Sequential, list[float]]:
    """`analysis` and `synthesis` for a ``signal``, and what `start_as_wavelets` makes of them and returns."""
    channels = len(signal.weights)
    analyse = analysis(channels, width, latent, kernel_size)
    synthesise = synthesis(latent, width, channels, kernel_size)
    return analyse, synthesise, start_as_wavelets(analyse, synthesise, signal, gain)


@torch.no_grad()
def start_as_wavelets(
    analyse: nn.Sequential, synthesise: nn.Sequential, signal: Signal, gain: float = 1.0
) -> list[float]:
    """Before training: make `analysis` and `synthesis` a wavelet packet transform and its inverse, or nearly.

    Each of the four steps splits its channels by 2x2 Haar filters into four, of which those of the lowest frequencies
    are kept, as many as there is room for; four full steps are the Walsh-Hadamard transform of 16x16 blocks. Channels
    beyond that keep their random start, and have no effect yet. So training refines a codec that works, instead of
    finding one (docs/decisions/transforms-start-as-wavelets.md).

    Args:
        gain: what the analysis multiplies its input by, to make it the ``signal``, and the synthesis divides by.

    Returns:
        The standard deviation to expect of each channel of the latent, for what the weights of the entropy model start
        at; see `torchDVC.modules.latent.slot.Form`.
    """
    down = [layer for layer in analyse if isinstance(layer, nn.Conv2d)]
    up = [layer for layer in reversed(synthesise) if isinstance(layer, nn.ConvTranspose2d)]
    outputs = down[-1].out_channels
    if down[0].kernel_size[0] < 3:
        return [UNKNOWN_SPREAD] * outputs
    bands = [Band(component, 0, 0) for component in range(down[0].in_channels)]
    mix = signal.mix.to(down[0].weight.device)
    for forth, back in zip(down, up, strict=True):
        kept = _split(bands, signal, forth.out_channels)
        filters = _filters(kept, len(bands), mix, forth.kernel_size[0])
        _place(forth, filters * gain)
        _place(back, filters / gain)
        bands, mix, gain = [band for band, _ in kept], torch.eye(len(kept), device=mix.device), 1.0
    return [signal.spread(band) for band in bands] + [UNKNOWN_SPREAD] * (outputs - len(bands))


_Part = tuple[Band, tuple[int, int, int]]
"""A band, and where it comes from: which channel, by which vertical and horizontal filter (1 is the high-pass)."""


def _split(bands: list[Band], signal: Signal, room: int) -> list[_Part]:
    """The quarters of each band, the most valuable first, as many as there is ``room`` for."""
    parts = [
        (band.half(y, x), (channel, y, x)) for channel, band in enumerate(bands) for y, x in product((0, 1), (0, 1))
    ]
    return sorted(parts, key=lambda part: signal.rank(part[0]))[:room]


def _filters(parts: list[_Part], inputs: int, mix: Tensor, kernel_size: int) -> Tensor:
    """(parts, inputs, k, k): 2x2 Haar filters on ``mix``ed channels."""
    haar = torch.zeros(2, kernel_size, device=mix.device)
    middle = kernel_size // 2
    haar[:, middle] = haar[0, middle + 1] = math.sqrt(0.5)
    haar[1, middle + 1] = -math.sqrt(0.5)
    filters = [mix[channel, :, None, None] * torch.outer(haar[y], haar[x]) for _, (channel, y, x) in parts]
    return torch.stack(filters)


def _place(layer: nn.Conv2d | nn.ConvTranspose2d, filters: Tensor) -> None:
    """Make ``filters`` all that connects the first channels; what lies beyond may read these, but not change them."""
    fine, coarse = filters.shape[1], filters.shape[0]
    layer.weight[:coarse] = 0
    if isinstance(layer, nn.ConvTranspose2d):
        layer.weight[coarse:, :fine] = 0
    layer.weight[:coarse, :fine] = filters
    if layer.bias is not None:
        layer.bias.zero_()
