"""Latents of frames that are not coded."""

from __future__ import annotations

from torch import Tensor, nn

from torchDVC.config.registry import latent_codec
from torchDVC.entropy.streams import Stream
from torchDVC.modules.frame_state import FrameState
from torchDVC.modules.latent.slot import HYPERPRIOR, Form, Latent, build_latent


@latent_codec()
class Skip(nn.Module):
    """Where ``skip`` of the state says that a frame is left to its prediction, a latent of zeros that costs nothing.

    Args:
        latent: the latent codec of other frames.
    """

    def __init__(self, form: Form, latent: Latent = HYPERPRIOR) -> None:
        super().__init__()
        self.form, self.latent = form, build_latent(latent, form)

    def forward(self, y: Tensor | None, stream: Stream, state: FrameState) -> Tensor:
        skip = state.get("skip")
        if skip is not None and bool((skip > 0).all()):
            return skip.new_zeros(self.form.shape(state))
        decoded: Tensor = self.latent(y, stream, state)
        return decoded
