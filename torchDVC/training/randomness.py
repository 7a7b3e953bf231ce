"""What is random in a training step: a function of seed, step and process, whatever came before."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy
import torch
from lightning_fabric import seed_everything
from torch import Tensor

from torchDVC.coding_structure import CodedFrame, training_frames
from torchDVC.config import Stage
from torchDVC.entropy.streams import TrainingStream
from torchDVC.training.position import Position


def draw(
    stage: Stage, position: Position, seed: int, *, clips: int, levels: int, rank: int = 0, processes: int = 1
) -> tuple[list[CodedFrame], list[int], list[bool]]:
    """Draw for a step what is random before its forward pass, and seed the generators that its noise comes from.

    Args:
        stage, position, seed: of the run.
        clips: clips in the batch of this process.
        levels: quality levels of the codec.
        rank, processes: which process this is, of how many.

    Returns:
        The frames to code, the same in all processes; the quality level of each clip, and whether it begins with grey
        (``gray_intra``): those that the clips of all processes would get as the batch of one.
    """
    step = f"{seed} {position.epoch} {position.step}"
    rng = random.Random(step)
    frames = training_frames(stage.pairs, stage.frames, rng, stage.references)
    of_all = [rng.randrange(levels) for _ in range(processes * clips)]
    grey = [rng.random() < stage.gray_intra for _ in of_all]
    seed_everything(random.Random(f"{step} {rank}").getrandbits(32), verbose=False)
    own = slice(rank * clips, (rank + 1) * clips)
    return frames, of_all[own], grey[own]


class SharedNoise:
    """The part of a process, or of a part of a batch, in the noise that one process would draw for all of them.

    Args:
        seed: of the noise, the same for all parts.
        part, parts: which part of the whole batch this is, of how many of equal size.
    """

    def __init__(self, seed: int, part: int, parts: int) -> None:
        self._seed, self._part, self._parts = seed, part, parts
        self._generator: torch.Generator | None = None

    def __call__(self, like: Tensor) -> Tensor:
        if self._generator is None:
            self._generator = torch.Generator(like.device).manual_seed(self._seed)
        shape = (self._parts * len(like), *like.shape[1:])
        whole = torch.rand(shape, generator=self._generator, device=like.device, dtype=like.dtype)
        return whole[self._part * len(like) : (self._part + 1) * len(like)] - 0.5


class StepNoise:
    """Streams whose noise is that of one process with the whole batch, so that neither the number of processes nor
    gradients accumulated over parts of a batch change what is learnt.

    Args:
        seed, position: of the run.
        part, parts: which part of the whole batch the streams are of, of how many, over all processes.
    """

    def __init__(self, seed: int, position: Position, part: int, parts: int) -> None:
        self._seeds = random.Random(f"{seed} {position.epoch} {position.step} noise")
        self._part, self._parts = part, parts

    def stream(self, batch: int) -> TrainingStream:
        """The stream of the next frame."""
        seed = self._seeds.getrandbits(32)
        return TrainingStream(batch, new_noise=partial(SharedNoise, seed, self._part, self._parts))


def rng_state() -> dict[str, Any]:
    """The state of the random generators of Python, numpy, PyTorch and the current CUDA device, for a checkpoint."""
    kind, keys, position, has_gauss, gauss = numpy.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(kind), [int(key) for key in keys], int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Put the generators back where `rng_state` found them (CUDA's only where both machines have it)."""
    random.setstate(state["python"])
    numpy.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
