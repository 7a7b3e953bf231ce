"""The mean-scale hyperprior, and the hyper-latent that other latent codecs share with it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from torchDVC.config.registry import latent_codec
from torchDVC.entropy.integer import IntegerSynthesis
from torchDVC.entropy.lower_bound import lower_bound
from torchDVC.entropy.priors import FactorizedPrior, GaussianPrior, GaussianTables
from torchDVC.entropy.streams import Stream
from torchDVC.entropy.tables import BETWEEN_SCALES, Tables
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.slot import Form
from torchDVC.modules.layers import conv

HYPER_STRIDE = 4
"""From the latent to the hyper-latent."""
INDEX_AT_ZERO = 28
"""Row of the Gaussian tables where a parameter network gives 0."""
HYPER_INIT_SCALE = 3.0
"""Half-width of the initial densities of the hyper-latent, which starts with a standard deviation of about 1."""


class HyperLatent(nn.Module):
    """Side information of a latent: ``y`` is analysed to ``z``, which is coded, and turned into exact integers.

    ::

        y ── h_a ── z ─[code, learned density]─ z_hat ── h_s (exact integers) ── (B, outputs, h, w), in sixteenths

    Args:
        form: of ``y``.
        width: channels of ``z`` and of the hidden layers.
        outputs: channels of the integers.
        features: the integers are rectified, for further networks.
    """

    def __init__(self, form: Form, width: int, outputs: int, features: bool = False) -> None:
        super().__init__()
        self.form = form
        first = conv(form.channels, width, 3, stride=1, border="replicate")
        further = [conv(width, width, border="replicate") for _ in range(2)]
        for layer in (first, *further):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        first.weight = nn.Parameter(first.weight / torch.tensor(form.known_spreads)[:, None, None])
        self.h_a = nn.Sequential(first, nn.ReLU(), further[0], nn.ReLU(), further[1])
        self.h_s = IntegerSynthesis(width, width, width, outputs, features=features)
        self.z_prior = FactorizedPrior(width, init_scale=HYPER_INIT_SCALE)

    def forward(self, y: Tensor | None, stream: Stream, state: FrameState) -> Tensor:
        z = None if y is None else self.h_a(y)
        batch, _, height, width = self.form.shape(state)
        prior = self.z_prior.over(batch, height // HYPER_STRIDE, width // HYPER_STRIDE)
        integers: Tensor = self.h_s(stream.code(z, prior) - prior.mean)
        return integers


@latent_codec()
class Hyperprior(nn.Module):
    """A Gaussian for each element, whose mean and scale follow from a coded hyper-latent.

    Minnen et al. 2018, "Joint autoregressive and hierarchical priors", without the context model; the hyper-synthesis
    runs in exact integers (`torchDVC.entropy.integer`).

    Args:
        width: channels of the hyper-latent and of the hidden layers.
    """

    def __init__(self, form: Form, width: int = 96) -> None:
        super().__init__()
        self.hyper = HyperLatent(form, width, 2 * form.channels)
        self.hyper.h_s.start_at(untrained(form))
        self.y_tables = GaussianTables()

    def forward(self, y: Tensor | None, stream: Stream, state: FrameState) -> Tensor:
        return stream.code(y, gaussian(self.hyper(y, stream, state), self.y_tables.tables))


def untrained(form: Form) -> list[int]:
    """What a parameter network gives before training: means of 0, and the indexes of the scales to expect."""
    rows = np.searchsorted(BETWEEN_SCALES, form.known_spreads, side="right")
    return [0] * form.channels + [int(row) - INDEX_AT_ZERO for row in rows]


def gaussian(parameters: Tensor, tables: Tables, at: Tensor | None = None) -> GaussianPrior:
    """The prior of (B, 2C, h, w) integers: means in sixteenths, then indexes of scales."""
    mean, index = parameters.chunk(2, dim=1)
    return GaussianPrior(mean / 16, table_row(index), tables, at=at)


def table_row(index: Tensor) -> Tensor:
    """Row of the 64 Gaussian tables; beyond the ends, only gradients that lead back inside pass."""
    return 63 - lower_bound(63 - lower_bound(index + INDEX_AT_ZERO, 0.0), 0.0)
