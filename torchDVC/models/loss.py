"""The training loss of a stage: rate and distortion terms that its loss expressions name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from torchDVC.coding_structure import CodedFrame
from torchDVC.config import LossExpression, Stage
from torchDVC.config.losses import pictures_of
from torchDVC.dataset.picture_format import Distortion
from torchDVC.entropy.streams import Stream, TrainingStream
from torchDVC.models.buffer import ClipBuffer
from torchDVC.models.codec import Codec, CodedPicture
from torchDVC.models.sequence import code_clip


class StageLoss(nn.Module):
    """Codes training clips as a stage says and gives the loss ``R + lmda * D``.

    It counts the frames in whose mode a trained module runs; a term that a frame's modules do not give is zero there.

    Args:
        codec: the codec.
        stage: modes, references and loss expressions.
        distortion: one of `torchDVC.models.distortions`.
        intra_ratio: what the Lagrangian is multiplied by on I frames.
    """

    def __init__(self, codec: Codec, stage: Stage, distortion: Distortion, intra_ratio: float = 1.0) -> None:
        super().__init__()
        self.codec, self.stage, self.distortion, self.intra_ratio = codec, stage, distortion, intra_ratio

    def forward(
        self, clip: Tensor, frames: Sequence[CodedFrame], quality: Tensor, lmda: Tensor,
        new_stream: Callable[[int], Stream] = TrainingStream, buffer: ClipBuffer | None = None, rnn: int | None = None,
    ) -> dict[str, Tensor]:
        """Scalars of a batch.

        Args:
            clip: pictures (N, T, C, h, w) of the codec's format; frames, quality, new_stream, buffer: see `code_clip`.
            lmda: (N,) Lagrangians of these levels.
            rnn: in place of the stage's.

        Returns:
            ``loss`` (with gradients); ``rate`` in bpp and ``distortion``, means over the counted frames of the
            expressions R and D; every single term by its name; ``aux``, the quantile loss.
        """
        stage = self.stage
        coded = code_clip(
            self.codec, clip, frames, stage, rnn=stage.rnn if rnn is None else rnn, quality=quality,
            new_stream=new_stream, buffer=buffer,
            recompute=stage.checkpointing and torch.is_grad_enabled(),
        )
        losses, terms = [], []
        for picture in coded:
            if not stage.counts(picture.frame.type):
                continue
            of_picture = self._terms(picture)
            terms.append(of_picture)
            weight = lmda * self._weight(picture, quality)
            rate = _evaluate(stage.rate_terms, of_picture, lmda)
            distortion = _evaluate(stage.distortion_terms, of_picture, lmda)
            losses.append((rate + weight * distortion).mean())
        return {"loss": torch.stack(losses).mean(), "aux": self.codec.aux_loss(), **_means(terms)}

    def _weight(self, picture: CodedPicture, quality: Tensor) -> Tensor | float:
        """What the Lagrangian of a picture is multiplied by; a frame of another level has that level's Lagrangian."""
        weight: Tensor | float = self.stage.frame_weights(picture.info)
        if picture.info.type == "I":
            weight = weight * self.intra_ratio
        if any(self.stage.quality_offsets.values):
            weight = weight * self.codec.lmdas[picture.quality] / self.codec.lmdas[quality]
        return weight

    def _terms(self, picture: CodedPicture) -> dict[str, Tensor]:
        """Every rate (bpp) and every needed distortion of a coded frame, each (N,)."""
        assert picture.source is not None
        form = self.codec.format
        pixels = math.prod(form.pixels(picture.source.shape[-2], picture.source.shape[-1]))
        rates = {f"{label}_rate": bits / pixels for label, bits in picture.stream.rates().items()}
        terms = {**rates, "rate": torch.stack([*rates.values(), torch.zeros_like(picture.source[:, 0, 0, 0])]).sum(0)}
        for _, name in self.stage.loss_d:
            first, second = pictures_of(name)
            pictures = {"": picture.source, **picture.state}
            if first in pictures and second in pictures:
                weights = self.stage.yuv_weights
                terms[name] = form.distortion(self.distortion, pictures[first], pictures[second], weights)
        return terms


def _evaluate(expression: LossExpression, terms: dict[str, Tensor], like: Tensor) -> Tensor:
    """The weighted sum of terms, (N,); those that are missing are zero."""
    total = torch.zeros_like(like)
    for weight, name in expression:
        if name in terms:
            total = total + weight * terms[name]
    return total


def _means(terms: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each term over the frames that have it, detached."""
    names = dict.fromkeys(name for of_picture in terms for name in of_picture)
    return {
        name: torch.stack([t[name].detach().mean() for t in terms if name in t]).mean() for name in names
    }
