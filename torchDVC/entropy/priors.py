"""Probability models of latents: what a symbol stream needs to know to code them.

A prior answers the same three questions for every stream: which value is expected (``mean``), how likely a difference
from it is (``likelihood``, differentiable, for training), and which row of which integer table codes it (``indexes``,
``tables``, for everything that counts or writes real symbols).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.entropy.exact import ExactModule, Integers, expect
from torchDVC.entropy.lower_bound import lower_bound
from torchDVC.entropy.tables import GAUSSIAN_SCALES, TAIL, Tables, gaussian_tables
from torchDVC.util.errors import CheckpointError

LIKELIHOOD_FLOOR = 1e-9


class Prior(Protocol):
    """What `torchDVC.entropy.streams.Stream.code` is given beside the latent."""

    @property
    def part(self) -> str:
        """What the bits are booked under: ``"latent"`` or ``"hyper"``."""

    @property
    def at(self) -> Tensor | None:
        """What is coded of each item and in which order, as int64 indexes (K,) into its C·H·W elements; None: all."""

    @property
    def mean(self) -> Tensor:
        """Expected value, broadcastable to the latent; the same on every device."""

    @property
    def indexes(self) -> Tensor:
        """Which row of ``tables`` codes each element: integers, of the latent's shape."""

    @property
    def tables(self) -> Tables:
        """The integer frequency tables that code the rounded differences from the mean."""

    def likelihood(self, v: Tensor) -> Tensor:
        """Probability of each element of ``v`` (latent minus mean), in (0, 1], of the latent's shape."""


class TableHolder(ExactModule):
    """Base of the modules that have integer tables.

    Tables are built from the present weights when first asked for, and anew whenever the weights are others; fixed ones
    stay. Weights are compared by value: fused optimizers change them without raising the version of their tensors.

    Args:
        rows: how many rows the tables have.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self._built: tuple[bytes, Tables] | None = None
        self._given: Tables | None = None

    def build_tables(self) -> Tables:
        """Integer tables for the present weights."""
        raise NotImplementedError

    def work_out(self) -> Integers:
        return self.tables.to_arrays()

    def _use(self, integers: Integers) -> None:
        tables = Tables.from_arrays(integers)
        if tables.rows != self.rows:
            raise CheckpointError(f"frequency tables have {tables.rows} rows; expected {self.rows}")
        self._given = tables

    @property
    def tables(self) -> Tables:
        """The integer tables in force."""
        if self._given is not None:
            return self._given
        weights = self._weights()
        if self._built is None or self._built[0] != weights:
            self._built = (weights, self.build_tables())
        return self._built[1]

    def _weights(self) -> bytes:
        """A copy of all parameters."""
        parameters = [parameter.detach().flatten() for parameter in self.parameters()]
        return torch.cat(parameters).cpu().numpy().tobytes() if parameters else b""


_gaussian_tables = lru_cache(gaussian_tables)


class GaussianTables(TableHolder):
    """The tables of zero-mean Gaussians with log-spaced scales; see `gaussian_tables` for the arguments."""

    def __init__(self, scales: tuple[float, ...] = GAUSSIAN_SCALES, tail: float = TAIL) -> None:
        super().__init__(len(scales))
        self._scales, self._tail = scales, tail

    def build_tables(self) -> Tables:
        return _gaussian_tables(self._scales, self._tail)


@dataclass(frozen=True)
class GaussianPrior:
    """Gaussian mass of unit intervals, with exact integer parameters (Minnen et al. 2018, "Joint autoregressive…").

    Args:
        mean: (N, C, H, W), multiples of a power of two, so that every device has the same.
        index: (N, C, H, W) scale indexes: integers in float carriers, places in the table of log-spaced scales.
            Gradients pass.
        tables: the tables.
        at: positions to code; see `Prior.at`.
        scales: log-spaced standard deviations of the tables' rows.
    """

    mean: Tensor
    index: Tensor
    tables: Tables
    part: str = "latent"
    at: Tensor | None = None
    scales: tuple[float, ...] = GAUSSIAN_SCALES

    @property
    def indexes(self) -> Tensor:
        return self.index.nan_to_num(0.0).round().clamp(0, len(self.scales) - 1).to(torch.int32)

    @property
    def scale(self) -> Tensor:
        """Standard deviations: the table's log-spaced scales, as a smooth function of the index."""
        low, high = math.log(self.scales[0]), math.log(self.scales[-1])
        return torch.exp(self.index * ((high - low) / (len(self.scales) - 1)) + low)

    def likelihood(self, v: Tensor) -> Tensor:
        v, inverse = v.abs(), math.sqrt(0.5) / self.scale
        return lower_bound(0.5 * (torch.erfc((v - 0.5) * inverse) - torch.erfc((v + 0.5) * inverse)), LIKELIHOOD_FLOOR)


class FactorizedPrior(TableHolder):
    """Learned density of each channel: the entropy bottleneck of Ballé et al. 2018, appendix 6.1.

    Parameter names and shapes equal those of ``EntropyBottleneck`` in compressai's published checkpoints (``_matrix0``
    is ``matrices.0`` in the objects of newer releases).

    Args:
        channels: channels of the latent.
        filters: widths of the hidden layers of the cumulative's network.
        init_scale: half-width of the initial densities, in symbols.
        tail_mass: probability outside the quantiles, as far as which tables reach at most.

    Attributes:
        tail: probability that its tables cut off at each end of a row; see `Tables.from_pmf`.
        median_steps: medians are multiples of one over this.
    """

    tail = TAIL
    median_steps = 16

    def __init__(
        self, channels: int, filters: tuple[int, ...] = (3, 3, 3, 3), init_scale: float = 10.0, tail_mass: float = 1e-9
    ) -> None:
        super().__init__(channels)
        self.channels, self.tail_mass, self.layers = channels, tail_mass, len(filters) + 1
        self.fixed_medians: Tensor | None
        self.register_buffer("fixed_medians", None, persistent=False)
        widths = (1, *filters, 1)
        scale = init_scale ** (1 / self.layers)
        for i, (fan_in, fan_out) in enumerate(zip(widths, widths[1:], strict=False)):
            matrix = math.log(math.expm1(1 / scale / fan_out))
            self.register_parameter(f"_matrix{i}", nn.Parameter(torch.full((channels, fan_out, fan_in), matrix)))
            self.register_parameter(f"_bias{i}", nn.Parameter(torch.rand(channels, fan_out, 1) - 0.5))
            if i < len(filters):
                self.register_parameter(f"_factor{i}", nn.Parameter(torch.zeros(channels, fan_out, 1)))
        self.quantiles = nn.Parameter(torch.tensor([-init_scale, 0.0, init_scale]).repeat(channels, 1, 1))

    def logits_cumulative(self, v: Tensor, *, learn: bool = True) -> Tensor:
        """Logits of the cumulative distribution at ``v`` of shape (C, 1, K); with ``learn`` False, weights constant."""
        for i in range(self.layers):
            v = torch.matmul(F.softplus(self._weight("matrix", i, learn)), v) + self._weight("bias", i, learn)
            if i < self.layers - 1:
                v = v + torch.tanh(self._weight("factor", i, learn)) * torch.tanh(v)
        return v

    def _weight(self, kind: str, layer: int, learn: bool) -> Tensor:
        weight = self.get_parameter(f"_{kind}{layer}")
        return weight if learn else weight.detach()

    def probability(self, v: Tensor, step: Tensor | float = 1.0) -> Tensor:
        """Mass of the interval of width ``step`` round ``v`` of shape (C, 1, K)."""
        lower, upper = self.logits_cumulative(v - step / 2), self.logits_cumulative(v + step / 2)
        sign = -torch.sign(lower + upper).detach()  # subtract where both sigmoids are small: no cancellation
        return torch.abs(torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower))

    def aux_loss(self) -> Tensor:
        """How far the quantiles are from the learned density's tails and median (only they receive gradients)."""
        tail = math.log(2 / self.tail_mass - 1)
        target = self.quantiles.new_tensor([-tail, 0.0, tail])
        return torch.abs(self.logits_cumulative(self.quantiles, learn=False) - target).sum()

    def build_tables(self) -> Tables:
        return Tables.from_pmf(*self.masses(), self.tail)

    @torch.no_grad()
    def masses(self, step: float = 1.0) -> tuple[list[np.ndarray], list[int]]:
        """Of each channel, the probabilities of multiples of ``step`` away from the median, and the least of them.

        They go from the lower to the upper quantile. Tables escape the rest, and what absurd weights give no number.
        """
        quantiles = self.quantiles.detach().double().cpu()[:, 0]
        medians = self.medians.flatten().double().cpu()
        low = ((quantiles[:, 0] - medians) / step).nan_to_num(0.0).floor().clamp(-MAX_HALF_WIDTH, 0).long()
        high = ((quantiles[:, 2] - medians) / step).nan_to_num(0.0).ceil().clamp(0, MAX_HALF_WIDTH).long()
        grid = torch.arange(int(low.min()), int(high.max()) + 1)
        points = (grid[None] * step + medians[:, None])[:, None].to(self.quantiles)
        with torch.autocast(points.device.type, enabled=False):
            mass = self.probability(points, step)[:, 0].nan_to_num(0.0).double().cpu().numpy()
        rows = [row[(grid >= a).numpy() & (grid <= b).numpy()] for row, a, b in zip(mass, low, high, strict=True)]
        return rows, low.tolist()

    @property
    def medians(self) -> Tensor:
        """(1, C, 1, 1), multiples of 1 / `median_steps`: every device subtracts the same; constant in training."""
        if self.fixed_medians is not None:
            return self.fixed_medians
        steps = self.median_steps
        return (self.quantiles[:, 0, 1].detach() * steps).round().div(steps).reshape(1, -1, 1, 1)

    def work_out(self) -> Integers:
        medians = (self.medians * self.median_steps).flatten().cpu().numpy().astype(np.int32)
        return {**super().work_out(), "medians": medians}

    def _use(self, integers: Integers) -> None:
        expect(integers, {"medians": (self.channels,)})
        medians = torch.from_numpy(integers["medians"].astype(np.float32) / self.median_steps).reshape(1, -1, 1, 1)
        super()._use(integers)
        self.register_buffer("fixed_medians", medians.to(self.quantiles.device), persistent=False)

    def over(self, batch: int, height: int, width: int, part: str = "hyper") -> ChannelPrior:
        """The prior of a latent of shape (batch, C, height, width), booked under ``part``."""
        return ChannelPrior(self, (batch, self.channels, height, width), part)


MAX_HALF_WIDTH = 512


@dataclass(frozen=True)
class ChannelPrior:
    """A `FactorizedPrior` over a latent of known shape."""

    density: FactorizedPrior
    shape: tuple[int, int, int, int]
    part: str = "hyper"
    at: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        return self.density.medians

    @cached_property
    def indexes(self) -> Tensor:
        channel = torch.arange(self.shape[1], dtype=torch.int32, device=self.density.quantiles.device)
        return channel.reshape(1, -1, 1, 1).expand(self.shape)

    @cached_property
    def tables(self) -> Tables:
        return self.density.tables

    def likelihood(self, v: Tensor) -> Tensor:
        mass = self.density.probability(by_channel(v + self.density.medians))
        return lower_bound(by_item(mass, v.shape), LIKELIHOOD_FLOOR)


def by_channel(x: Tensor) -> Tensor:
    """(N, C, H, W) to (C, 1, N·H·W)."""
    return x.transpose(0, 1).reshape(x.shape[1], 1, -1)


def by_item(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of `by_channel`, to ``shape``."""
    return x.reshape(shape[1], shape[0], *shape[2:]).transpose(0, 1)
