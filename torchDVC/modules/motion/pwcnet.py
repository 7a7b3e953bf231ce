"""Motion estimator with a feature pyramid, warping and a cost volume."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.layers import fold, unfold, warp
from torchDVC.modules.motion.pwcnet_weights import translated
from torchDVC.modules.motion.spynet import enlarge

SLOPE = 0.1
"""Of the leaky ReLUs, as in the paper."""
FLOW_UNIT = 20.0
"""Pixels of the full size that a flow of 1 stands for inside the network, as the published weights have it."""
UPSAMPLED = 2
"""Channels of the hidden features that are handed to the level below."""


@codec_module(
    reads="refs", encoder_reads="frame", writes="flow:flow flow_warped:picture", encoder_only=True,
    weights_from="translate_weights",
)
class PWCNet(nn.Module):
    """Pyramid, warping, cost volume (Sun et al. 2018, "PWC-Net"), from the coarsest level to 1/4 of the size.

    At each level the reference's features are warped by the flow of the level above; the costs of small displacements
    between them and the frame's features, with these, that flow and what was seen there, give a flow through a densely
    connected stack of convolutions. A context network of dilated convolutions refines the last one. The network is that
    of the authors, whose weights it takes. Writes what `torchDVC.modules.motion.spynet.SPyNet` writes.

    Args:
        widths: channels of the feature pyramid; level ``l`` (from 1) has 1/2^l of the size. At least two.
        radius: displacements of the cost volume reach from ``-radius`` to ``radius`` in both directions.
        decoder: channels that each layer adds in the stack that estimates a level's flow.
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
        self.decoders = nn.ModuleList()
        above = 0
        for width in reversed(widths[self.FINEST - 1 :]):
            level = _Decoder(costs + (width + 2 + UPSAMPLED if above else 0), decoder, above)
            self.decoders.append(level)
            above = level.outputs
        self.context = _context(above)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        refs = state["refs"]
        batch, references = refs.shape[:2]
        flow = self.estimate(state["frame"].repeat_interleave(references, 0), fold(refs))
        warped = unfold(warp(fold(refs), flow), batch).mean(1)
        return {"flow": unfold(flow, batch), "flow_warped": warped}

    def estimate(self, frame: Tensor, ref: Tensor) -> Tensor:
        """Flow (N, 2, H, W) in pixels such that warping ``ref`` by it gives ``frame``; both (N, 3, H, W) in [0, 1].

        Pictures of any size: the borders are repeated to a multiple of the coarsest level's stride.
        """
        height, width = frame.shape[2:]
        below, right = (-side % 2 ** len(self.pyramid) for side in (height, width))
        both = F.pad(torch.cat((frame, ref)), (0, right, 0, below), mode="replicate")
        (own, other), *levels = [features.chunk(2) for features in reversed(self._features(both))]
        hidden, flow = self.decoders[0](self._costs(own, other))
        level = len(self.pyramid)
        for decoder, (own, other) in zip(list(self.decoders)[1:], levels, strict=True):
            assert isinstance(decoder, _Decoder)
            level -= 1
            flow, seen = decoder.enlarged(flow, hidden)
            costs = self._costs(own, warp(other, flow * (FLOW_UNIT / 2**level)).to(own))
            hidden, flow = decoder(torch.cat((costs, own, flow, seen), 1))
        flow = (flow + self.context(hidden)).float() * (FLOW_UNIT / 2**self.FINEST)
        return enlarge(flow, both.shape[2:])[..., :height, :width]

    def _features(self, x: Tensor) -> list[Tensor]:
        """The feature maps from level `FINEST` to the coarsest."""
        maps = []
        for encoder in self.pyramid:
            x = encoder(x)
            maps.append(x)
        return maps[self.FINEST - 1 :]

    def _costs(self, own: Tensor, other: Tensor) -> Tensor:
        return F.leaky_relu(cost_volume(own, other, self.radius), SLOPE)

    @staticmethod
    def translate_weights(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The authors' weights by the names here; see `torchDVC.modules.motion.pwcnet_weights`."""
        return translated(tensors)


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
    """Hidden features and a flow of a level.

    Args:
        inputs: channels of what it is given.
        widths: channels that each layer adds to what it sees.
        above: channels of the hidden features of the level above; 0 at the coarsest.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...], above: int) -> None:
        super().__init__()
        seen = list(accumulate(widths, initial=inputs))
        self.outputs = seen[-1]
        self.dense = nn.ModuleList(_conv(a, b) for a, b in zip(seen, widths, strict=False))
        self.flow = _conv(self.outputs, 2)
        if above:
            self.up_flow = nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1)
            self.up_hidden = nn.ConvTranspose2d(above, UPSAMPLED, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.dense:
            x = torch.cat((F.leaky_relu(layer(x), SLOPE), x), 1)
        return x, self.flow(x)

    def enlarged(self, flow: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Flow and hidden features of the level above at this level's size."""
        return self.up_flow(flow), self.up_hidden(hidden)


def _encoder(inputs: int, outputs: int) -> nn.Sequential:
    """One level of the pyramid: halves the size."""
    layers = [_conv(inputs, outputs, stride=2), _conv(outputs, outputs), _conv(outputs, outputs)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.LeakyReLU(SLOPE))))


def _context(inputs: int) -> nn.Sequential:
    """Dilated convolutions that see far around each position."""
    widths, dilations = (inputs, 128, 128, 128, 96, 64, 32), (1, 2, 4, 8, 16, 1)
    layers: list[nn.Module] = []
    for (a, b), dilation in zip(pairwise(widths), dilations, strict=True):
        layers += [_conv(a, b, dilation=dilation), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, _conv(widths[-1], 2))


def _conv(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation)
