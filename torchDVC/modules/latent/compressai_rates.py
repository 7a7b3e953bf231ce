"""CompressAI's image models of variable rate: quantisation steps of each quality level, in exact fixed point.

Kamisli et al. 2024, "Variable-Rate Learned Image Compression with Multi-Objective Optimization and
Quantization-Reconstruction Offsets": a latent is multiplied by the gain of its level, rounded, moved towards zero by an
offset that follows from its scale and the gain, and divided by the gain. The hyper-latent may have a step of its own.
Parameters keep CompressAI's names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from torchDVC.entropy.exact import Integers, expect
from torchDVC.entropy.fixed_point import rounded
from torchDVC.entropy.lower_bound import lower_bound
from torchDVC.entropy.priors import LIKELIHOOD_FLOOR, ChannelPrior, by_channel, by_item
from torchDVC.entropy.scale_row import SCALES
from torchDVC.entropy.streams import Stream, round_through
from torchDVC.entropy.tables import Tables
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.compressai import Coder, Density, Hyper, Steps, exact, z_size
from torchDVC.util.errors import CheckpointError

STEP_BITS = 16
"""Gains and steps count 2^-16ths."""
STEP_MAX = 2**24
"""A gain or step is at most 256: its product with an activation stays below 2^48."""
LEAST_Z_STEP = 0.5
KINDS = ("gain", "step", "z_step")


class VariableCoder(Coder):
    """Codes values with the gain of their picture's level.

    Args:
        offsets: from a scale, in quantisation steps, and a gain to how far a symbol is moved towards zero.
    """

    def __init__(self, offsets: nn.Module) -> None:
        super().__init__()
        self.QuantABCD = exact(offsets)

    def forward(
        self, y: Tensor | None, scales: Tensor, means: Tensor | None, stream: Stream, steps: Steps | None = None
    ) -> Tensor:
        assert steps is not None
        mean = torch.zeros_like(scales) if means is None else means
        spread = rounded(scales * steps.gain)
        symbols = super().forward(None if y is None else (y - mean) * steps.gain, spread, None, stream).double()
        moved = rounded(symbols - symbols.sign() * self._offsets(spread, steps.gain))
        return rounded(moved * steps.step + mean).float()

    def _offsets(self, spread: Tensor, gain: Tensor) -> Tensor:
        """Multiples of 1/1024, of the shape (B, C, h, w) of ``spread``."""
        given = torch.stack((lower_bound(spread, SCALES[0]), gain.expand_as(spread)), 1)
        offsets: Tensor = self.QuantABCD(given.flatten(2, 3))
        return offsets[:, 0].unflatten(1, spread.shape[1:3])


class VariableBottleneck(Density):
    """The density of hyper-latents, and the steps of all quality levels: those of the hyper-latent follow from gains.

    Its integers are, beside those of a density, ``gain``, ``step`` and ``z_step`` (levels,) in 2^-16ths. Its tables
    have a row for each channel or, where the step varies, for each level and channel.

    Args:
        channels: of the hyper-latent.
        gains: (levels,) to start with.
        z_steps: from the inverse of a gain (L, 1) to the step (L, 1) of the hyper-latent; None: that is 1.
    """

    def __init__(self, channels: int, gains: nn.Parameter, z_steps: nn.Module | None) -> None:
        super().__init__(channels)
        self.Gain, self.gayn2zqstep, self.levels = gains, z_steps, len(gains)
        self.rows = channels if z_steps is None else channels * self.levels
        self.fixed_steps: Tensor | None
        self.register_buffer("fixed_steps", None, persistent=False)

    def steps(self, quality: Tensor) -> Steps:
        """The steps of pictures of these levels (B,)."""
        own = self._steps[:, quality].view(len(KINDS), -1, 1, 1, 1) * 2.0**-STEP_BITS
        return Steps(*own)

    @property
    def _steps(self) -> Tensor:
        """(3, levels) gains, steps and steps of the hyper-latent: integers in float64."""
        if self.fixed_steps is not None:
            return self.fixed_steps
        with torch.autocast(self.Gain.device.type, enabled=False):
            gain = self.Gain.abs()
            z_step = torch.ones_like(gain) if self.gayn2zqstep is None else self.gayn2zqstep(1 / gain[:, None])[:, 0]
            every = torch.stack((gain, 1 / gain, z_step.clamp(min=LEAST_Z_STEP))).double()
            return round_through(every * 2**STEP_BITS).clamp(1, STEP_MAX)

    def row_of(self, quality: Tensor, channel: Tensor) -> Tensor:
        """The row of the tables for a level and a channel, which broadcast."""
        return channel + (0 if self.gayn2zqstep is None else quality * self.channels)

    def build_tables(self) -> Tables:
        steps = [1.0] if self.gayn2zqstep is None else (self._steps[2].detach() * 2.0**-STEP_BITS).tolist()
        masses, least = zip(*map(self.masses, steps), strict=True)
        return Tables.from_pmf(sum(masses, []), sum(least, []), self.tail)

    def work_out(self) -> Integers:
        steps = self._steps.detach().cpu().numpy().astype(np.int32)
        return {**super().work_out(), **dict(zip(KINDS, steps, strict=True))}

    def _use(self, integers: Integers) -> None:
        expect(integers, {name: (self.levels,) for name in KINDS})
        steps = np.stack([integers[name] for name in KINDS]).astype(np.float64)
        if steps.min() < 1 or steps.max() > STEP_MAX:
            raise CheckpointError(f"steps of {steps.min():g} to {steps.max():g}; expected 1 to {STEP_MAX}")
        super()._use(integers)
        self.register_buffer("fixed_steps", torch.from_numpy(steps).to(self.Gain.device), persistent=False)


@dataclass(frozen=True)
class LevelPrior(ChannelPrior):
    """A `VariableBottleneck` over a latent of known shape, in units of its pictures' steps (B, 1, 1, 1)."""

    density: VariableBottleneck
    quality: Tensor = field(kw_only=True)

    @property
    def mean(self) -> Tensor:
        return torch.zeros_like(self.density.medians)

    @cached_property
    def indexes(self) -> Tensor:
        channel = torch.arange(self.shape[1], device=self.quality.device).view(1, -1, 1, 1)
        return self.density.row_of(self.quality.view(-1, 1, 1, 1), channel).to(torch.int32).expand(self.shape)

    def likelihood(self, v: Tensor) -> Tensor:
        step = self.density.steps(self.quality).z_step.float().expand_as(v)
        mass = self.density.probability(by_channel(v * step + self.density.medians), by_channel(step))
        return lower_bound(by_item(mass, v.shape), LIKELIHOOD_FLOOR)


class VariableHyper(Hyper):
    """Codes the hyper-latent with the step of its picture's level."""

    def _coded(self, z: Tensor | None, state: FrameState, stream: Stream) -> tuple[Tensor, Steps | None]:
        density = cast(VariableBottleneck, self.entropy_bottleneck)
        steps, medians = density.steps(state.quality), density.medians
        batch, height, width = z_size(state)
        prior = LevelPrior(density, (batch, density.channels, height, width), quality=state.quality)
        symbols = stream.code(None if z is None else (z - medians) / steps.z_step, prior)
        return rounded(symbols * steps.z_step + medians), steps
