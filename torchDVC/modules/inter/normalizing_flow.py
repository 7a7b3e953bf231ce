"""Conditional augmented normalising flows: coders of motion and of pictures, given a prediction of each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchDVC.config.registry import codec_module
from torchDVC.entropy.streams import Stream
from torchDVC.modules.block_transform import BLOCK, BlockTransform
from torchDVC.modules.frame_state import REFERENCE, FrameState
from torchDVC.modules.latent.slot import HYPERPRIOR, Form, Latent, build_latent
from torchDVC.modules.layers import fold, zeroed
from torchDVC.modules.motion.flow_codec import FLOW_SCALE, warped_by
from torchDVC.modules.transforms import FLOW, PICTURE_GAIN, RESIDUAL, Signal


class AugmentedFlow(nn.Module):
    """Two autoencoding steps that move a signal into a latent, given a condition (Ho et al. 2022, "CANF-VC").

    ::

        encoder                                      decoder
        x_0 = signal            y_0 = 0              x_2 = condition
        y_1 = y_0 + e_1(x_0)    x_1 = x_0 - d_1(y_1)    x_1 = x_2 + d_2(y_2)    y_1 = y_2 - e_2(x_1)
        y_2 = y_1 + e_2(x_1)    x_2 = x_1 - d_2(y_2)    x_0 = x_1 + d_1(y_1)

    Only y_2 is coded: x_2 is trained to be the condition, which the decoder takes in its place. Each ``e`` sees the
    condition. Before training the first step does nothing, and the second codes the difference to the condition in a
    `BlockTransform`.

    Args:
        signal: what is coded.
        width: channels of the networks.
        channels: of the latent at 1/16 of the size.
        latent: codes the latent.
    """

    def __init__(self, signal: Signal, width: int, channels: int, latent: Latent) -> None:
        super().__init__()
        self.first, self.second = (_Step(signal, width, channels, scale) for scale in (0.0, 1.0))
        self.latent = build_latent(latent, Form(channels, spreads=self.second.transform.spreads))

    def forward(
        self, x: Tensor | None, condition: Tensor, stream: Stream, state: FrameState
    ) -> tuple[Tensor, Tensor]:
        """Code a signal.

        Args:
            x: (B, components, H, W), or None where the stream reads; ``condition`` alike.

        Returns:
            What the decoder has of the signal, and what is left of it in the end (the condition where there is none).
        """
        y, left = None, condition
        if x is not None:
            y_1 = self.first.encode(x, condition)
            x_1 = x - self.first.decode(y_1)
            y = y_1 + self.second.encode(x_1, condition)
        y_hat = self.latent(y, stream, state)
        change = self.second.decode(y_hat)
        if x is not None:
            left = x_1 - change
        x_1_hat = condition + change
        return x_1_hat + self.first.decode(y_hat - self.second.encode(x_1_hat, condition)), left


class _Step(nn.Module):
    """``e`` and ``d`` of a step: a block transform (times ``scale``) of the difference, and a network beside it."""

    def __init__(self, signal: Signal, width: int, channels: int, scale: float) -> None:
        super().__init__()
        components = len(signal.weights)
        self.transform = BlockTransform(signal, channels, scale)
        quarter = components * 16
        self.encoder = nn.Sequential(
            nn.Conv2d(2 * quarter, width, 3, padding=1), nn.LeakyReLU(0.1),
            nn.Conv2d(width, width, 3, stride=2, padding=1), nn.LeakyReLU(0.1),
            zeroed(nn.Conv2d(width, channels, 3, stride=2, padding=1)),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, 4 * width, 1), nn.PixelShuffle(2), nn.LeakyReLU(0.1),
            nn.Conv2d(width, 4 * width, 1), nn.PixelShuffle(2), nn.LeakyReLU(0.1),
            nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.1),
            zeroed(nn.Conv2d(width, quarter, 3, padding=1)), nn.PixelShuffle(BLOCK // 4),
        )

    def encode(self, x: Tensor, condition: Tensor) -> Tensor:
        seen = F.pixel_unshuffle(torch.cat((x, condition), 1), BLOCK // 4)
        y: Tensor = self.transform(x - condition) + self.encoder(seen)
        return y.float()

    def decode(self, y: Tensor) -> Tensor:
        x: Tensor = self.transform.inverse(y) + self.decoder(y)
        return x.float()


@codec_module(
    reads="refs", encoder_reads="flow", writes="flow_hat:flow warped_refs:feature warped:picture", codes=True
)
class FlowCANF(nn.Module):
    """Codes optical flow given the flow that its reference kept, and warps by it; writes what `FlowCodec` does.

    Args:
        width: channels of the networks.
        channels: of the latent.
        latent: codes the latent.
    """

    def __init__(self, width: int = 48, channels: int = 64, latent: Latent = HYPERPRIOR) -> None:
        super().__init__()
        self.flow = AugmentedFlow(FLOW, width, channels, latent)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        each = state.per_reference()
        source = None if stream.reading else fold(state["flow"]) / FLOW_SCALE
        decoded, _ = self.flow(source, self._expected(state, stream), stream, each)
        each.keep(_key(stream), decoded)
        return warped_by(decoded * FLOW_SCALE, state)

    @staticmethod
    def _expected(state: FrameState, stream: Stream) -> Tensor:
        """(N·R, 2, H, W): the motion goes on as it was in each reference; none where that has none."""
        refs = state["refs"]
        kept = state.get(REFERENCE + _key(stream))
        return refs.new_zeros(len(refs) * refs.shape[1], 2, *refs.shape[3:]) if kept is None else fold(kept)


def _key(stream: Stream) -> str:
    return f"{stream.label}_flow"


@codec_module(reads="mc", encoder_reads="frame", writes="recon:picture rest:picture", codes=True)
class InterCANF(nn.Module):
    """Codes a frame given its prediction; ``rest`` is what the flow leaves of it, to be trained towards ``mc``.

    Args:
        width: channels of the networks.
        channels: of the latent.
        latent: codes the latent.
    """

    def __init__(self, width: int = 64, channels: int = 128, latent: Latent = HYPERPRIOR) -> None:
        super().__init__()
        self.flow = AugmentedFlow(RESIDUAL, width, channels, latent)

    def forward(self, state: FrameState, stream: Stream) -> dict[str, Tensor]:
        source = None if stream.reading else PICTURE_GAIN * (state["frame"] - 0.5)
        recon, rest = self.flow(source, PICTURE_GAIN * (state["mc"] - 0.5), stream, state)
        return {"recon": recon / PICTURE_GAIN + 0.5, "rest": rest / PICTURE_GAIN + 0.5}
