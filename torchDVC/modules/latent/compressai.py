"""The entropy models of CompressAI's image models, with everything that decides symbols in exact fixed point.

They are put together from the networks of a CompressAI model, whose parameters keep their names. Each part codes what
CompressAI's class of a similar name codes, in the same order::

    y ──┬── Hyper (z) ── params ──┐
        └──── Gaussian | Raster | Checkerboard | ChannelGroups ── y_hat

`torchDVC.modules.latent.compressai_rates` adds those of variable rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from torchDVC.entropy.fixed_point import FRACTION_BITS, FixedPoint
from torchDVC.entropy.priors import FactorizedPrior, GaussianPrior, GaussianTables
from torchDVC.entropy.scale_row import SCALES, ScaleRow
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState

Y_STRIDE, Z_STRIDE = 16, 64
"""From pictures to latents and to hyper-latents."""


@dataclass(frozen=True)
class Steps:
    """Of each picture of a batch, by its quality level; each (B, 1, 1, 1), multiples of 2^-16 in float64.

    Attributes:
        gain: by what its latent is multiplied before it is rounded.
        step: the inverse of that.
        z_step: the quantisation step of its hyper-latent.
    """

    gain: Tensor
    step: Tensor
    z_step: Tensor


class Density(FactorizedPrior):
    """A density that codes as CompressAI's ``EntropyBottleneck`` does: no symbol between its quantiles is escaped, and
    medians are as fine as the networks that see the hyper-latent take them."""

    tail = 0.0
    median_steps = 2**FRACTION_BITS


class Coder(nn.Module):
    """Codes values with Gaussians; the one that all parts of a model share, since their tables are the same."""

    def __init__(self) -> None:
        super().__init__()
        self.scale_row = ScaleRow()
        self.y_tables = GaussianTables(SCALES, tail=0.0)

    def forward(
        self, y: Tensor | None, scales: Tensor, means: Tensor | None, stream: Stream, steps: Steps | None = None
    ) -> Tensor:
        """Code ``y`` (None where the stream reads); scales and means are multiples of 1/1024, means None are 0."""
        index = self.scale_row(scales)
        mean = torch.zeros_like(index) if means is None else means.float()
        return stream.code(y, GaussianPrior(mean, index, self.y_tables.tables, scales=SCALES))


class Part(nn.Module):
    """Base of what codes a latent, or some channels of one, with parameters from the hyper-latent."""

    def forward(self, y: Tensor | None, params: Tensor, stream: Stream, steps: Steps | None) -> Tensor:
        """The decoded latent (B, C, h, w).

        Args:
            y: (B, C, h, w), or None where the stream reads.
            params: (B, P, h, w), multiples of 1/1024 in float64.
            steps: None in a model of one rate.
        """
        raise NotImplementedError


class Gaussian(Part):
    """Scales and means are the parameters themselves, in an ``order``; or there are scales alone."""

    def __init__(self, coder: Coder, order: tuple[str, ...] = ("scales", "means")) -> None:
        super().__init__()
        self.coder, self.order = coder, order

    def forward(self, y: Tensor | None, params: Tensor, stream: Stream, steps: Steps | None) -> Tensor:
        found = dict(zip(self.order, params.chunk(len(self.order), 1), strict=True))
        y_hat: Tensor = self.coder(y, found["scales"], found.get("means"), stream, steps)
        return y_hat


class Checkerboard(Part):
    """One half of the positions first, then the other half with the first as context (He et al. 2021)."""

    def __init__(self, y: Part, context: nn.Conv2d, parameters: nn.Module, even_first: bool) -> None:
        super().__init__()
        self.y = y
        self.context_channels = context.out_channels
        self.context_prediction = exact(context)
        self.entropy_parameters = exact(parameters)
        self.even_first = even_first

    def forward(self, y: Tensor | None, params: Tensor, stream: Stream, steps: Steps | None) -> Tensor:
        half = self._half(params, 0)
        context = half.new_zeros(()).expand(half.shape[0], self.context_channels, *half.shape[2:])
        first = self._code(y, 0, context, half, stream, steps)
        y_hat = self._put_together(first, torch.zeros_like(first))
        context = self._half(self.context_prediction(y_hat), 1)
        return self._put_together(first, self._code(y, 1, context, self._half(params, 1), stream, steps))

    def _code(
        self, y: Tensor | None, which: int, context: Tensor, params: Tensor, stream: Stream, steps: Steps | None
    ) -> Tensor:
        own = None if y is None else self._half(y, which)
        y_hat: Tensor = self.y(own, self.entropy_parameters(torch.cat((context, params), 1)), stream, steps)
        return y_hat

    def _columns(self, which: int) -> tuple[int, int]:
        """The first column of even and of odd rows that a half has."""
        even = which ^ (not self.even_first)
        return even, 1 - even

    def _half(self, x: Tensor, which: int) -> Tensor:
        """(B, C, h, w) to (B, C, h, w/2): the positions of a half, row by row."""
        even, odd = self._columns(which)
        rows = torch.stack((x[..., 0::2, even::2], x[..., 1::2, odd::2]), -2)
        return rows.flatten(-3, -2)

    def _put_together(self, first: Tensor, second: Tensor) -> Tensor:
        """The inverse of `_half`, of both halves."""
        even, _ = self._columns(0)
        pairs = torch.stack((first, second), -1)
        mixed = torch.where(_is_odd_row(first) ^ bool(even), pairs.flip(-1), pairs)
        return mixed.flatten(-2)


class Raster(Part):
    """A 5x5 context of what lies above and to the left (Minnen et al. 2018).

    Positions of one diagonal, three to the left for each one down, do not see one another and are coded together: a
    latent takes w + 3 h steps. That is slow still, beside the one or two steps of the others.
    """

    SLOPE = 3

    def __init__(
        self, coder: Coder, context: nn.Conv2d, parameters: nn.Module, of_scale: nn.Linear | None = None
    ) -> None:
        super().__init__()
        self.coder = coder
        self.scale_to_context = None if of_scale is None else exact(of_scale)
        self.reach, self.channels = context.kernel_size[0] // 2, context.in_channels
        context.padding = (0, 0)
        self.context_prediction = exact(context)
        self.entropy_parameters = exact(parameters)

    def forward(self, y: Tensor | None, params: Tensor, stream: Stream, steps: Steps | None) -> Tensor:
        batch, _, height, width = params.shape
        reach = self.reach
        known = params.new_zeros((batch, self.channels, height + 2 * reach, width + 2 * reach), dtype=torch.float32)
        of_scale = 0.0 if self.scale_to_context is None or steps is None else self.scale_to_context(steps.gain)
        for rows, columns in _diagonals(height, width, self.SLOPE):
            context = self._context(known, rows, columns) + of_scale
            both = torch.cat((params[:, :, rows, columns][:, :, None], context), 1)
            own = None if y is None else y[:, :, rows, columns][:, :, None]
            scales, means = self.entropy_parameters(both).chunk(2, 1)
            y_hat = self.coder(own, scales, means, stream, steps)
            known[:, :, rows + reach, columns + reach] = y_hat[:, :, 0]
        return known[:, :, reach : reach + height, reach : reach + width]

    def _context(self, known: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """(B, P, 1, K) what the context network says at K positions of the latent, with a margin of ``reach``."""
        window = torch.arange(2 * self.reach + 1)
        seen = known[:, :, rows[:, None, None] + window[:, None], columns[:, None, None] + window]
        context = self.context_prediction(seen.transpose(1, 2).flatten(0, 1))
        return context.reshape(known.shape[0], len(rows), -1).transpose(1, 2)[:, :, None]


class ChannelGroups(Part):
    """Groups of channels one after the other, each with groups before it as context (Minnen & Singh 2020).

    A context network sees all of these, or the first and the last of them: its first layer tells.
    """

    def __init__(self, groups: list[int], contexts: Mapping[str, nn.Module], parts: Mapping[str, Part]) -> None:
        super().__init__()
        self.bounds = list(pairwise(accumulate(groups, initial=0)))
        self.sees_all = {name: _inputs(context) == sum(groups[: int(name[1:])]) for name, context in contexts.items()}
        self.channel_context = nn.ModuleDict({name: exact(context) for name, context in contexts.items()})
        self.latent_codec = nn.ModuleDict(parts)

    def forward(self, y: Tensor | None, params: Tensor, stream: Stream, steps: Steps | None) -> Tensor:
        decoded: list[Tensor] = []
        for index, (begin, end) in enumerate(self.bounds):
            name, seen = f"y{index}", params
            if decoded:
                before = decoded if self.sees_all[name] else [decoded[0], decoded[-1]]
                seen = torch.cat((self.channel_context[name](torch.cat(before, 1)), params), 1)
            own = None if y is None else y[:, begin:end]
            decoded.append(self.latent_codec[name](own, seen, stream, steps))
        return torch.cat(decoded, 1)


class Hyper(nn.Module):
    """Codes the hyper-latent and gives the parameters that follow from it."""

    def __init__(self, h_a: nn.Module, h_s: nn.Module, density: Density, of_magnitudes: bool = False) -> None:
        super().__init__()
        self.h_a, self.h_s = h_a, exact(h_s)
        self.entropy_bottleneck = density
        self.of_magnitudes = of_magnitudes

    def forward(self, y: Tensor | None, state: FrameState, stream: Stream) -> tuple[Tensor, Steps | None]:
        """Parameters (B, P, H/16, W/16), and steps in a model of variable rate."""
        z = None if y is None else self.h_a(y.abs() if self.of_magnitudes else y)
        z_hat, steps = self._coded(z, state, stream)
        return self.h_s(z_hat), steps

    def _coded(self, z: Tensor | None, state: FrameState, stream: Stream) -> tuple[Tensor, Steps | None]:
        return stream.code(z, self.entropy_bottleneck.over(*z_size(state))), None


class Hyperprior(nn.Module):
    """A hyper-latent, and the latent with parameters from it."""

    def __init__(self, hyper: Hyper, y: Part) -> None:
        super().__init__()
        self.hyper, self.y = hyper, y

    def forward(self, y: Tensor | None, state: FrameState, stream: Stream) -> Tensor:
        params, steps = self.hyper(y, state, stream)
        y_hat: Tensor = self.y(y, params, stream, steps)
        return y_hat


class Factorized(nn.Module):
    """A density of each channel alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.entropy_bottleneck = Density(channels)

    def forward(self, y: Tensor | None, state: FrameState, stream: Stream) -> Tensor:
        batch, height, width = state.size()
        prior = self.entropy_bottleneck.over(batch, height // Y_STRIDE, width // Y_STRIDE, part="latent")
        return stream.code(y, prior)


def _inputs(network: nn.Module) -> int:
    """Channels that a network's first convolution sees."""
    return next(int(layer.in_channels) for layer in network.modules() if isinstance(layer, nn.Conv2d))


def z_size(state: FrameState) -> tuple[int, int, int]:
    """Batch, height and width of the hyper-latent."""
    batch, height, width = state.size()
    return batch, height // Z_STRIDE, width // Z_STRIDE


def _is_odd_row(x: Tensor) -> Tensor:
    """(h, 1, 1): which rows of (B, C, h, w) are odd."""
    return (torch.arange(x.shape[-2], device=x.device) % 2 == 1)[:, None, None]


def exact(network: nn.Module) -> FixedPoint:
    """A stack of layers, or one layer, in fixed point."""
    return FixedPoint(*(network.children() if isinstance(network, nn.Sequential) else [network]))


def _diagonals(height: int, width: int, slope: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and columns of the positions of each diagonal ``column + slope * row``."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    step = (columns + slope * rows).flatten()
    for value in range(width + slope * (height - 1)):
        at = (step == value).nonzero()[:, 0]
        yield at // width, at % width
