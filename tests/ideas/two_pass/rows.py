"""A two-pass entropy model of one's own: even rows first, then odd rows, whose means are those of their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchDVC.config.registry import latent_codec
from torchDVC.entropy.integer import IntegerStack
from torchDVC.entropy.priors import GaussianTables
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.hyperprior import HyperLatent, gaussian, untrained
from torchDVC.modules.latent.passes import seen
from torchDVC.modules.latent.slot import Form


@latent_codec()
class Rows(nn.Module):
    """Even rows with the hyper-latent alone, odd rows also with the even ones.

    Args:
        width: channels of the hyper-latent and of the hidden layers.
    """

    def __init__(self, form: Form, width: int = 32) -> None:
        super().__init__()
        self.form = form
        self.hyper = HyperLatent(form, width, width, features=True)
        self.even = IntegerStack(width, width, 2 * form.channels)
        self.odd = IntegerStack(width + form.channels, width, 2 * form.channels, kernel_size=3)
        self.even.start_at(untrained(form))
        self.odd.start_at(untrained(form))
        self.tables = GaussianTables()

    def forward(self, y: Tensor | None, stream: Stream, state: FrameState) -> Tensor:
        hyper = self.hyper(y, stream, state)
        even, odd = self._rows(hyper)
        first = stream.code(y, gaussian(self.even(hyper), self.tables.tables, even))
        both = torch.cat((hyper, seen(first)), 1)
        return first + stream.code(y, gaussian(self.odd(both), self.tables.tables, odd))

    def _rows(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Flat indexes of the elements of even and of odd rows."""
        odd = (torch.arange(like.shape[2], device=like.device) % 2).bool()
        odd = odd[:, None].expand(self.form.channels, like.shape[2], like.shape[3]).flatten()
        return (~odd).nonzero().flatten(), odd.nonzero().flatten()
