"""Validation: a stage's own loss, with the bits of the quantised tables, on test clips."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor

from torchDVC.coding_structure import CodedFrame, training_frames
from torchDVC.config import Stage
from torchDVC.config.command_line import TrainOptions
from torchDVC.dataset.colour import Plane
from torchDVC.dataset.frame import ReadOptions
from torchDVC.dataset.testing import TestSequence, test_sequences
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.models.codec import Codec, evaluating
from torchDVC.models.sequence import code_clip
from torchDVC.training.averages import Averages
from torchDVC.util.progress import Progress

DEFAULT_SET = "procedural"


class Validation:
    """What a stage is validated on: the first frames of each sequence of the named test sets.

    Args:
        options: ``--test_datasets`` and ``--test_seqs``; without them the embedded procedural clips.
        stage: modes, references and loss.
        device: where the codec is.
    """

    def __init__(self, options: TrainOptions, stage: Stage, device: torch.device) -> None:
        self.stage, self.device, self.seed = stage, device, options.seed
        self.rnn = stage.rnn if stage.val_rnn is None else stage.val_rnn
        self.sequences = validation_sequences(options)

    def run(self, codec: Codec, loss: Callable[..., dict[str, Tensor]], *, sanity: bool = False) -> dict[str, float]:
        """Mean loss, rate and distortions, named ``val_…``; with ``sanity`` on the first sequence only."""
        averages = Averages()
        sequences = self.sequences[:1] if sanity else self.sequences
        with evaluating(codec), torch.no_grad(), Progress(len(sequences), "validation", unit="sequence") as bar:
            for sequence in sequences:
                averages.add(self._of(codec, sequence, loss))
                bar.update()
        values = averages.take()
        values.pop("aux", None)
        return {f"val_{name}": value for name, value in values.items()}

    def picture(self, codec: Codec) -> Plane:
        """What the stage makes of the last frame that it codes of the first sequence, (3, H, W) uint8 RGB.

        That is the reconstruction, or the picture that a module wrote last where the stage makes none.
        """
        clip = self._clip(codec, self.sequences[0])
        quality = torch.full((1,), codec.levels // 2, dtype=torch.int64, device=self.device)
        frames = _frames(self.stage, self.seed)
        with evaluating(codec), torch.no_grad():
            *_, last = code_clip(codec, clip, frames, self.stage, rnn=self.rnn, quality=quality,
                                 new_stream=EstimatingStream)
        shown = [x for x in last.state.values() if x.shape == clip[:, 0].shape]
        picture = last.state.get("recon", shown[-1] if shown else clip[:, last.frame.index])
        return codec.format.to_frame(picture, codec.format.pixels(*picture.shape[-2:])).rgb

    def _clip(self, codec: Codec, sequence: TestSequence) -> Tensor:
        count = frames_read(self.stage, self.seed)
        pictures = sequence.open(frames=count).read(range(count))
        return torch.stack([codec.format.to_tensor(picture, self.device) for picture in pictures], 1)

    def _of(self, codec: Codec, sequence: TestSequence, loss: Callable[..., dict[str, Tensor]]) -> dict[str, Tensor]:
        frames = _frames(self.stage, self.seed)
        clip = self._clip(codec, sequence)
        quality = torch.full((1,), codec.levels // 2, dtype=torch.int64, device=self.device)
        return loss(clip, frames, quality, codec.lmdas[quality], EstimatingStream, rnn=self.rnn)


def validation_sequences(options: TrainOptions) -> list[TestSequence]:
    """The clips that every stage is validated on."""
    given = ReadOptions(**options.said)
    return test_sequences(options.test_datasets or (DEFAULT_SET,), options.test_seqs or None, given)


def frames_read(stage: Stage, seed: int) -> int:
    """How many frames of each of them a stage reads."""
    return 1 + max(index for frame in _frames(stage, seed) for index in (frame.index, *frame.references))


def _frames(stage: Stage, seed: int) -> list[CodedFrame]:
    return training_frames(stage.pairs, stage.frames, random.Random(seed), stage.references)
