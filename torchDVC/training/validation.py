"""Validation: a stage's own loss, with the bits of the quantised tables, on test clips."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor

from torchDVC.coding_structure import training_frames
from torchDVC.dataset.testing import TestSequence, test_sequences
from torchDVC.models.codec import Codec
from torchDVC.models.sequence import to_tensor
from torchDVC.modules.entropy.streams import EstimatingStream
from torchDVC.training.averages import Averages
from torchDVC.util.command_line import TrainOptions
from torchDVC.util.configuration import Stage
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
        self.sequences = test_sequences(options.test_datasets or (DEFAULT_SET,), options.test_seqs or None)

    def run(self, codec: Codec, loss: Callable[..., dict[str, Tensor]], *, sanity: bool = False) -> dict[str, float]:
        """Mean loss, rate and distortions, named ``val_…``; with ``sanity`` on the first sequence only."""
        averages = Averages()
        sequences = self.sequences[:1] if sanity else self.sequences
        training = {module for module in codec.modules() if module.training}
        codec.eval()
        with torch.no_grad(), Progress(len(sequences), "validation", unit="sequence") as bar:
            for sequence in sequences:
                averages.add(self._of(codec, sequence, loss))
                bar.update()
        for module in training:
            module.training = True
        values = averages.take()
        values.pop("aux", None)
        return {f"val_{name}": value for name, value in values.items()}

    def _of(self, codec: Codec, sequence: TestSequence, loss: Callable[..., dict[str, Tensor]]) -> dict[str, Tensor]:
        frames = training_frames(self.stage.pairs, self.stage.frames, random.Random(self.seed))
        needed = range(1 + max(f.index for f in frames))
        pictures = sequence.open().read(list(needed))
        clip = torch.stack([to_tensor(picture.rgb, self.device) for picture in pictures], 1)
        quality = torch.full((1,), codec.levels // 2, dtype=torch.int64, device=self.device)
        return loss(clip, frames, quality, codec.lmdas[quality], EstimatingStream)
