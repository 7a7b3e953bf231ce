"""A latent coded without side information."""

from __future__ import annotations

from torch import Tensor, nn

from torchDVC.config.registry import latent_codec
from torchDVC.entropy.priors import FactorizedPrior
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.slot import Form


@latent_codec()
class Factorized(nn.Module):
    """A learned density of each channel alone (Ballé et al. 2017, "End-to-end optimized image compression")."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form
        self.density = FactorizedPrior(form.channels)

    def forward(self, y: Tensor | None, stream: Stream, state: FrameState) -> Tensor:
        batch, _, height, width = self.form.shape(state)
        return stream.code(y, self.density.over(batch, height, width, part="latent"))
