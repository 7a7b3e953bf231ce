"""The serial context model: each element sees those before it in raster order. Slow, and the measure of the others."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from torchDVC.config.registry import latent_codec
from torchDVC.entropy.integer import ACTIVATION_MAX, IntegerConv2d, IntegerStack
from torchDVC.entropy.priors import GaussianPrior, GaussianTables
from torchDVC.entropy.streams import Stream, TrainingStream, round_through
from torchDVC.entropy.symbol_streams import SYMBOL_MAX
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.hyperprior import HyperLatent, table_row, untrained
from torchDVC.modules.latent.passes import seen
from torchDVC.modules.latent.slot import Form

KERNEL = 5
REACH = KERNEL // 2


@latent_codec()
class Raster(nn.Module):
    """A masked convolution over what is decoded, beside the hyper-latent (Minnen et al. 2018, "Joint autoregressive…").

    Means are whole, so a decoded element is the rounded one whatever its mean: training and encoding see all of them at
    once. Decoding goes in wavefronts: elements of one of them do not see each other.

    Args:
        width: channels of the hyper-latent and of the hidden layers.
    """

    def __init__(self, form: Form, width: int = 96) -> None:
        super().__init__()
        self.form = form
        self.hyper = HyperLatent(form, width, width, features=True)
        mask = (torch.arange(KERNEL**2) < KERNEL**2 // 2).view(KERNEL, KERNEL)
        self.context = IntegerConv2d(form.channels, width, KERNEL, mask=mask)
        self.network = IntegerStack(2 * width, 2 * width, 2 * form.channels)
        self.network.start_at(untrained(form))
        self.y_tables = GaussianTables()

    def forward(self, y: Tensor | None, stream: Stream, state: FrameState) -> Tensor:
        shape = self.form.shape(state)
        hyper = self.hyper(y, stream, state)
        if y is not None:
            y = round_through(y.float().nan_to_num(0.0).clamp(-SYMBOL_MAX // 2, SYMBOL_MAX // 2))
            prior = self._prior(hyper, y)
            if isinstance(stream, TrainingStream):
                return stream.code(y, prior)
        decoded = hyper.new_zeros(shape)
        for at in _wavefronts(shape, hyper.device):
            if y is None:
                prior = self._prior(hyper, decoded)
            step = GaussianPrior(prior.mean, prior.index, prior.tables, at=at)
            decoded = decoded + stream.code(y, step)
        return decoded

    def _prior(self, hyper: Tensor, known: Tensor) -> GaussianPrior:
        context = self.context(seen(known)).clamp(0, ACTIVATION_MAX)
        mean, index = self.network(torch.cat((hyper, context), 1)).chunk(2, 1)
        return GaussianPrior(round_through(mean / 16), table_row(index), self.y_tables.tables)


def _wavefronts(shape: tuple[int, int, int, int], device: torch.device) -> Iterator[Tensor]:
    """Flat indexes of elements of which none sees another, each after all that it sees."""
    _, channels, height, width = shape
    step = torch.arange(width, device=device) + (REACH + 1) * torch.arange(height, device=device)[:, None]
    step = step.expand(channels, height, width).flatten()
    for number in range(int(step.max()) + 1):
        at = (step == number).nonzero().flatten()
        if len(at):
            yield at
