"""A latent coded without side information."""

from __future__ import annotations

from torch import Tensor, nn

from torchDVC.entropy.priors import FactorizedPrior
from torchDVC.entropy.streams import Stream

STRIDE = 16
"""From pictures to latents."""


class FactorizedLatent(nn.Module):
    """Codes a latent with a learned density of each channel alone (Ballé et al. 2017); called as `Hyperprior`.

    Args:
        channels: C of the latent.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.density = FactorizedPrior(channels)

    def forward(self, y: Tensor | None, stream: Stream, size: tuple[int, int, int], quality: Tensor) -> Tensor:
        """See `torchDVC.modules.latent.hyperprior.Hyperprior.forward`; there is one quality level."""
        batch, height, width = size
        return stream.code(y, self.density.over(batch, height // STRIDE, width // STRIDE, part="latent"))
