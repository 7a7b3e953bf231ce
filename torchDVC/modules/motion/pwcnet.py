"""Motion estimator with a feature pyramid, warping and a cost volume."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.layers import fold, unfold, warp
from torchDVC.modules.motion.spynet import enlarge

SLOPE = 0.1
"""Of the leaky ReLUs, as in the paper."""


@codec_module(reads="refs", encoder_reads="frame", writes="flow:flow aligned:picture", encoder_only=True)
class PWCNet(nn.Module):
    """Pyramid, warping, cost volume (Sun et al. 2018, "PWC-Net"), from the coarsest level to 1/4 of the size.

    At each level the reference's features are warped by the flow of the level above; the costs of small displacements
    between them and the frame's features, with these and that flow, give a correction. A context network of dilated
    convolutions refines the last flow. Writes what `torchDVC.modules.motion.spynet.SPyNet` writes.

    Args:
        widths: channels of the feature pyramid; level ``l`` (from 1) has 1/2^l of the size. At least two.
        radius: displacements of the cost volume reach from ``-radius`` to ``radius`` in both directions.
        decoder: channels of the hidden layers that estimate a level's flow.
    """

    FINEST = 2
    """The level that gives the flow, enlarged bilinearly to the picture's size."""

    def __init__(
        self, widths: tuple[int, ...] = (16, 32, 64, 96, 128, 196), radius: int = 4,
        decoder: tuple[int, ...] = (128, 128, 96, 64, 32),
    ) -> None:  # fmt: skip
        super().__init__()
        self.radius = radius
        self.pyramid = nn.ModuleList(_encoder(a, b) for a, b in pairwise((3, *widths)))
        costs = (2 * radius + 1) ** 2
        used = widths[self.FINEST - 1 :]
        self.decoders = nn.ModuleList(_Decoder(costs + width + 2, decoder) for width in used)
        self.context = _context(decoder[-1] + 2)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        refs = state["refs"]
        batch, references = refs.shape[:2]
        flow = self.estimate(state["frame"].repeat_interleave(references, 0), fold(refs))
        aligned = unfold(warp(fold(refs), flow), batch).mean(1)
        return {"flow": unfold(flow, batch), "aligned": aligned}

    def estimate(self, frame: Tensor, ref: Tensor) -> Tensor:
        """Flow (N, 2, H, W) in pixels such that warping ``ref`` by it gives ``frame``; both (N, 3, H, W) in [0, 1].

        Pictures of any size: the borders are repeated to a multiple of the coarsest level's stride.
        """
        height, width = frame.shape[2:]
        below, right = (-side % 2 ** len(self.pyramid) for side in (height, width))
        both = F.pad(torch.cat((frame, ref)) - 0.5, (0, right, 0, below), mode="replicate")
        levels = [features.chunk(2) for features in self._features(both)]
        coarsest = levels[-1][0]
        flow = coarsest.new_zeros(frame.shape[0], 2, *coarsest.shape[2:], dtype=torch.float32)
        for decoder, (own, other) in zip(reversed(self.decoders), reversed(levels), strict=True):
            flow = enlarge(flow, own.shape[2:])
            costs = F.leaky_relu(cost_volume(own, warp(other, flow).to(own), self.radius), SLOPE)
            hidden, change = decoder(torch.cat((costs, own, flow.to(own)), 1))
            flow = flow + change.float()
        flow = flow + self.context(torch.cat((hidden, flow.to(hidden)), 1)).float()
        return enlarge(flow, both.shape[2:])[..., :height, :width]

    def _features(self, x: Tensor) -> list[Tensor]:
        """The feature maps from level `FINEST` to the coarsest."""
        maps = []
        for encoder in self.pyramid:
            x = encoder(x)
            maps.append(x)
        return maps[self.FINEST - 1 :]


def cost_volume(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """How well features fit at small displacements.

    ``out[:, k, y, x]`` is the mean over the channels of ``a[:, :, y, x] * b[:, :, y + dy, x + dx]``, zero where that
    lies outside, with ``k = (dy + radius) * (2 * radius + 1) + dx + radius``.

    Args:
        a, b: (N, C, H, W).

    Returns:
        (N, (2 * radius + 1)^2, H, W).
    """
    height, width = a.shape[2:]
    padded = F.pad(b, (radius,) * 4)
    reach = range(2 * radius + 1)
    costs = [(a * padded[:, :, y : y + height, x : x + width]).mean(1) for y in reach for x in reach]
    return torch.stack(costs, 1)


class _Decoder(nn.Module):
    """Hidden features and a flow from costs, features and the flow of the level above."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers = [layer for a, b in pairwise((inputs, *widths)) for layer in (_conv(a, b), nn.LeakyReLU(SLOPE))]
        self.hidden = nn.Sequential(*layers)
        self.flow = _conv(widths[-1], 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.hidden(x)
        return hidden, self.flow(hidden)


def _encoder(inputs: int, outputs: int) -> nn.Sequential:
    """One level of the pyramid: halves the size."""
    return nn.Sequential(
        _conv(inputs, outputs, stride=2), nn.LeakyReLU(SLOPE), _conv(outputs, outputs), nn.LeakyReLU(SLOPE)
    )


def _context(inputs: int) -> nn.Sequential:
    """Dilated convolutions that see far around each position."""
    widths, dilations = (inputs, 128, 128, 128, 96, 64, 32), (1, 2, 4, 8, 16, 1)
    layers: list[nn.Module] = []
    for (a, b), dilation in zip(pairwise(widths), dilations, strict=True):
        layers += [_conv(a, b, dilation=dilation), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, _conv(widths[-1], 2))


def _conv(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation)
