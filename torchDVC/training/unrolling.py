"""How a clip's frames are gone through: in parts between which gradients are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torchDVC.coding_structure import CodedFrame
from torchDVC.config import Stage


@dataclass(frozen=True)
class Section:
    """Frames that are coded before a backward pass.

    Attributes:
        frames: in coding order.
        share: of the clip's loss.
        needed: indexes of the references of all frames that come later.
    """

    frames: list[CodedFrame]
    share: float
    needed: frozenset[int]


def sections(frames: Sequence[CodedFrame], stage: Stage) -> list[Section]:
    """A clip in sections of ``truncate`` frames that count, of one for ``update = frame``, or as a whole."""
    length = 1 if stage.update == "frame" else stage.truncate or len(frames)
    parts: list[list[CodedFrame]] = [[]]
    for frame in frames:
        if _count(parts[-1], stage) == length and stage.counts(frame.type):
            parts.append([])
        parts[-1].append(frame)
    total = _count(frames, stage)
    found = []
    for number, part in enumerate(parts, start=1):
        later = (index for rest in parts[number:] for frame in rest for index in frame.references)
        share = 1.0 if stage.update == "frame" else _count(part, stage) / total
        found.append(Section(part, share, frozenset(later)))
    return found


def _count(frames: Sequence[CodedFrame], stage: Stage) -> int:
    return sum(stage.counts(frame.type) for frame in frames)


def weighted_means(found: Sequence[tuple[float, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """The mean of each value over the weighted ones that have it."""
    means = {}
    for name in dict.fromkeys(name for _, values in found for name in values):
        weights, values = zip(*((weight, v[name].detach()) for weight, v in found if name in v), strict=True)
        means[name] = (torch.stack(values) * torch.tensor(weights, device=values[0].device)).sum() / sum(weights)
    return means
