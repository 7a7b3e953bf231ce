"""The mean-scale hyperprior that every coding module here stands on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from torchDVC.entropy.integer import IntegerSynthesis
from torchDVC.entropy.lower_bound import lower_bound
from torchDVC.entropy.priors import FactorizedPrior, GaussianPrior, GaussianTables
from torchDVC.entropy.streams import Stream
from torchDVC.entropy.tables import BETWEEN_SCALES
from torchDVC.modules.layers import conv

STRIDE = 64
"""Heights and widths that a hyperprior codes are multiples of this: 16 to the latent, 4 more to the hyper-latent."""
INDEX_AT_ZERO = 28
"""Row of the Gaussian tables where the hyper-synthesis gives 0."""
HYPER_INIT_SCALE = 3.0
"""Half-width of the initial densities of the hyper-latent, which starts with a standard deviation of about 1."""


class Hyperprior(nn.Module):
    """Codes a latent ``y`` with a Gaussian whose mean and scale come from a coded hyper-latent ``z``.

    ::

        y ──┬── h_a ── z ─[code, learned density]─ z_hat ── h_s (exact integers) ── mean, scale index
            └─────────[code, Gaussian]───────────────────────────── y_hat

    Minnen et al. 2018, "Joint autoregressive and hierarchical priors", without the context model; the hyper-synthesis
    runs in exact integers (`torchDVC.entropy.integer`). With ``levels`` > 1 each channel is scaled by a
    learned gain of the quality level before it is coded, and back after (Cui et al. 2021, "Asymmetric gained deep image
    compression").

    Args:
        channels: C of the latent.
        width: channels of the hyper-latent and of the hidden layers.
        levels: number of quality levels.
        spreads: standard deviation to expect of each channel of the untrained latent; 1 without.
    """

    def __init__(self, channels: int, width: int, levels: int = 1, spreads: Sequence[float] | None = None) -> None:
        super().__init__()
        self.quality_levels = levels
        spreads = spreads or [1.0] * channels
        first = conv(channels, width, 3, stride=1, border="replicate")
        further = [conv(width, width, border="replicate") for _ in range(2)]
        for layer in (first, *further):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        first.weight = nn.Parameter(first.weight / torch.tensor(spreads)[:, None, None])
        self.h_a = nn.Sequential(first, nn.ReLU(), further[0], nn.ReLU(), further[1])
        self.h_s = IntegerSynthesis(width, width, width, 2 * channels)
        rows = np.searchsorted(BETWEEN_SCALES, spreads, side="right")
        self.h_s.start_at([0] * channels + [int(row) - INDEX_AT_ZERO for row in rows])
        self.z_prior = FactorizedPrior(width, init_scale=HYPER_INIT_SCALE)
        self.y_tables = GaussianTables()
        if levels > 1:
            self.log_gain = nn.Parameter(torch.linspace(-1, 1, levels)[:, None].repeat(1, channels))
            self.log_gain_back = nn.Parameter(-self.log_gain.detach().clone())

    def forward(self, y: Tensor | None, stream: Stream, size: tuple[int, int, int], quality: Tensor) -> Tensor:
        """Code a latent.

        Args:
            y: (B, C, H/16, W/16), or None where the stream reads.
            size: B, H, W of the pictures; H and W multiples of 64.
            quality: (N,) level of each picture, int64; B is a multiple of N.

        Returns:
            (B, C, H/16, W/16) the decoded latent.
        """
        batch, height, width = size
        if y is not None and self.quality_levels > 1:
            y = y * self._gain(self.log_gain, quality, batch)
        z = None if y is None else self.h_a(y)
        z_prior = self.z_prior.over(batch, height // STRIDE, width // STRIDE)
        z_hat = stream.code(z, z_prior)
        mean, index = self.h_s(z_hat - z_prior.mean).chunk(2, dim=1)
        y_hat = stream.code(y, GaussianPrior(mean / 16, _table_row(index), self.y_tables.tables))
        return y_hat * self._gain(self.log_gain_back, quality, batch) if self.quality_levels > 1 else y_hat

    @staticmethod
    def _gain(table: Tensor, quality: Tensor, batch: int) -> Tensor:
        gain = table.exp()[quality].repeat_interleave(batch // len(quality), 0)
        return gain[:, :, None, None]


def _table_row(index: Tensor) -> Tensor:
    """Row of the 64 Gaussian tables; beyond the ends, only gradients that lead back inside pass."""
    return 63 - lower_bound(63 - lower_bound(index + INDEX_AT_ZERO, 0.0), 0.0)
