"""Learned priors of integer grids: motion vectors, block modes, gates; coded without loss.

A grid is coded in three passes, each of which sees what is decoded: first every other position of every other row, then
those between them diagonally, then the rest::

    0 2 0 2
    2 1 2 1
    0 2 0 2

For each value an exact integer network (`torchDVC.entropy.integer`) chooses one of several learned distributions, and
where the integers are ordered a whole number that these are centred on. All is trained by the code length alone; who
chose the integers, and how, does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.entropy.integer import ACTIVATION_MAX, IntegerStack
from torchDVC.entropy.lower_bound import lower_bound
from torchDVC.entropy.priors import LIKELIHOOD_FLOOR, TableHolder
from torchDVC.entropy.streams import Stream, round_through
from torchDVC.entropy.tables import Tables

PASSES = 3
SCORE_MAX = 2**16
"""Scores are limited to this, so that they are exact together with what breaks ties between them."""
KERNEL = 3
WIDEST = 4.0
"""Half-width of the widest distribution to begin with, as a share of the range of values."""


class Distributions(TableHolder):
    """A ladder of learned distributions of the integers ``-reach … reach``, from narrow to wide to begin with.

    Args:
        rows: how many.
        reach: the largest integer.
    """

    def __init__(self, rows: int, reach: int) -> None:
        super().__init__(rows)
        self.reach = reach
        width = torch.logspace(math.log10(0.2), math.log10(max(1.0, reach / WIDEST)), rows)[:, None]
        self.logits = nn.Parameter(-torch.arange(-reach, reach + 1).abs() / width)

    def build_tables(self) -> Tables:
        """Integer tables of the present distributions."""
        pmf = self.logits.detach().double().softmax(1).cpu().numpy()
        return Tables.from_pmf(list(pmf), [-self.reach] * self.rows)

    def likelihood(self, v: Tensor, weights: Tensor) -> Tensor:
        """Probability of whole ``v`` (…) under the mixture of the rows by ``weights`` (…, rows).

        Its gradient to ``v`` is that of the line through the neighbouring integers.
        """
        pmf = self.logits.softmax(1).T
        middle = (v.detach() + self.reach).round().long().clamp(0, 2 * self.reach)
        at = (F.embedding(middle, pmf) * weights).sum(-1)
        if v.requires_grad:
            ends = ((middle + step).clamp(0, 2 * self.reach) for step in (1, -1))
            above, below = ((F.embedding(end, pmf) * weights).sum(-1) for end in ends)
            at = at + (v - v.detach()) * ((above - below) / 2).detach()
        return at


@dataclass(frozen=True)
class GridPrior:
    """The prior of one pass over a grid.

    Args:
        mean: (N, C, H, W), whole.
        scores: (N, C, H, W, rows), whole: the distribution of the highest is meant.
        distributions: the rows.
        at: positions to code.
        part: what the bits are booked under.
    """

    mean: Tensor
    scores: Tensor
    distributions: Distributions
    at: Tensor
    part: str = "latent"

    @property
    def indexes(self) -> Tensor:
        return best(self.scores).to(torch.int32)

    @property
    def tables(self) -> Tables:
        return self.distributions.tables

    def likelihood(self, v: Tensor) -> Tensor:
        soft = (self.scores / 16).softmax(-1)
        hard = F.one_hot(best(self.scores), self.scores.shape[-1]).to(soft.dtype)
        return lower_bound(self.distributions.likelihood(v, hard + soft - soft.detach()), LIKELIHOOD_FLOOR)


def best(scores: Tensor) -> Tensor:
    """The first of the highest whole scores: every device finds the same."""
    rows = scores.shape[-1]
    return (scores * rows - torch.arange(rows, device=scores.device)).argmax(-1)


class IntegerGrid(nn.Module):
    """Codes grids of integers.

    Args:
        channels: of the grid.
        low, high: the least and the greatest integer; at most ±`ACTIVATION_MAX`.
        ordered: near integers are alike (motion); else each is a kind of its own (modes, gates).
        conditions: channels of what else is known, such as the grid of the reference.
        rows: distributions to choose from.
        width: channels of the hidden layer.
    """

    def __init__(
        self, channels: int, low: int, high: int, *, ordered: bool = True, conditions: int = 0, rows: int = 8,
        width: int = 32,
    ) -> None:
        super().__init__()
        if not -ACTIVATION_MAX <= low <= high <= ACTIVATION_MAX:
            raise ValueError(f"integers {low} to {high}; expected a range within ±{ACTIVATION_MAX}")
        self.channels, self.low, self.high, self.ordered, self.rows = channels, low, high, ordered, rows
        self.distributions = Distributions(rows, high - low)
        inputs = self._seen_channels() + channels + conditions
        outputs = channels * (rows + ordered)
        networks = [IntegerStack(inputs, width, width, outputs, kernel_size=KERNEL) for _ in range(PASSES)]
        middle = [16 * (row == rows // 2) for row in range(rows)] + [0] * ordered
        for network in networks:
            network.start_at(middle * channels)
        self.networks = nn.ModuleList(networks)

    def forward(self, values: Tensor | None, stream: Stream, size: tuple[int, int, int, int],
                conditions: Tensor | None = None) -> Tensor:  # fmt: skip
        """Code a grid.

        Args:
            values: (N, C, H, W) whole numbers from ``low`` to ``high``; None where the stream reads.
            size: N, C, H, W.
            conditions: (N, conditions, H, W) whole numbers within ±`ACTIVATION_MAX` that the decoder has.

        Returns:
            (N, C, H, W) the same numbers, in float32.
        """
        if values is not None and not bool(((self.low <= values) & (values <= self.high)).all()):
            raise ValueError(f"integers {values.min():g} to {values.max():g}; expected {self.low} to {self.high}")
        device = self.distributions.logits.device
        decoded = torch.zeros(size, device=device)
        known = torch.zeros(size, device=device)
        given = [] if conditions is None else [conditions.float()]
        for at, network in zip(passes(*size[1:], device), self.networks, strict=True):
            mean, scores = self._chosen(network(torch.cat((*self._shown(decoded, known), 16 * known, *given), 1)), size)
            coded = stream.code_integers(values, GridPrior(mean, scores, self.distributions, at))
            now = torch.zeros_like(known[0]).flatten().index_fill(0, at, 1.0).view_as(known[0])
            decoded = decoded + coded.detach().clamp(self.low, self.high) * now
            known = known + now
        return decoded if values is None else values.float()

    def _seen_channels(self) -> int:
        return self.channels if self.ordered else self.channels * (self.high - self.low + 1)

    def _shown(self, decoded: Tensor, known: Tensor) -> Iterator[Tensor]:
        """What the networks see of decoded values: the values, or one channel for each kind."""
        if self.ordered:
            yield decoded
        else:
            for kind in range(self.low, self.high + 1):
                yield 16 * (decoded == kind) * known

    def _chosen(self, out: Tensor, size: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
        """Centres and scores of the integers that a network gives."""
        out = out.unflatten(1, (self.channels, -1))
        scores = out[:, :, : self.rows].movedim(2, -1).clamp(-SCORE_MAX, SCORE_MAX)
        if not self.ordered:
            return out.new_full(size, float(self.low)), scores
        return round_through(out[:, :, -1] / 16).clamp(self.low, self.high), scores


def passes(channels: int, height: int, width: int, device: torch.device) -> Iterator[Tensor]:
    """Flat indexes of what each pass codes; a pass may have none."""
    row, column = torch.arange(height, device=device)[:, None] % 2, torch.arange(width, device=device) % 2
    order = torch.where(row == column, row, 2).expand(channels, height, width).flatten()
    for number in range(PASSES):
        yield (order == number).nonzero().flatten()

