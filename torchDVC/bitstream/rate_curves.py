"""What is known of a clip before it is coded at a rate: how bits grow with the level, and where much changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from torchDVC.coding_structure import CodingStructure
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.models.codec import CodedPicture
from torchDVC.models.model_file import Model
from torchDVC.models.sequence import Quality, code_sequence

PROBES = 4
"""Levels, evenly spaced, at which the first frames are tried."""
PROBED_FRAMES = 2
LEAST_SHARE, MOST_SHARE, CUT_SHARE = 1 / 128, 0.25, 1.5
"""Of an I frame's bits, that another frame is thought to take: first frames in which nothing moves tell nothing of
those to come."""
CUT = 1.2
"""Pictures that differ by so much of what each differs from its mean are of two scenes: by 1.4, if they were random."""


class RateCurves:
    """Logarithms (base 2) of the bits of a frame by quality level, for each frame type.

    All types grow at least as the first one does, and take at least `LEAST_SHARE` of it: a frame in which nothing moved
    takes the same few bits at any level, and tells nothing of those to come.

    Args:
        levels: the levels that were tried, rising.
        bits: of each frame type, I first, the bits at each of them. A type that is not there takes those of the last.
    """

    def __init__(self, levels: Sequence[int], bits: Mapping[str, Sequence[float]]) -> None:
        self._levels = levels
        logs = {kind: np.maximum.accumulate(np.log2(np.maximum(own, 1))) for kind, own in bits.items()}
        first = next(iter(logs.values()))
        self._logs = {
            kind: max(own[0], first[0] + np.log2(LEAST_SHARE))
            + np.concatenate(([0.0], np.maximum(np.diff(own), np.diff(first)).cumsum()))
            for kind, own in logs.items()
        }
        self._other = list(self._logs.values())[-1]

    def __call__(self, frame_type: str, level: float) -> float:
        """At any level, also between those that were tried."""
        return float(np.interp(level, self._levels, self._logs.get(frame_type, self._other)))


def measure(model: Model, structure: CodingStructure, size: tuple[int, int], sources: Iterable[Tensor]) -> RateCurves:
    """The curves of a clip's first frames.

    Args:
        model: with several quality levels.
        structure: of the clip.
        size: height and width of its pictures.
        sources: its pictures (1, C, h, w) of the codec's format.
    """
    pictures = list(islice(sources, PROBED_FRAMES))
    levels = sorted({round(i * (model.codec.levels - 1) / (PROBES - 1)) for i in range(PROBES)})
    bits: dict[str, list[float]] = defaultdict(list)
    for level in levels:
        for picture in estimated(model, structure, size, pictures, level):
            bits[picture.frame.type].append(picture.bits)
    return RateCurves(levels, bits)


def changes(sources: Iterable[Tensor]) -> dict[int, float]:
    """How much each picture differs from the one before, times how much the second does; by display index.

    That is the mean difference of their 8x8 blocks' means, as a share of what these differ by from their own mean, from
    `LEAST_SHARE` to `MOST_SHARE`, and `CUT_SHARE` at a cut: a frame takes about this share of an I frame's bits.
    """
    shares: list[float] = []
    before: Tensor | None = None
    for source in sources:
        small = F.avg_pool2d(source.double(), 8, ceil_mode=True)
        if before is not None:
            spread = float((small - small.mean((2, 3), keepdim=True)).abs().mean())
            share = float((small - before).abs().mean()) / max(spread, 1e-9)
            shares.append(CUT_SHARE if share > CUT else min(max(share, LEAST_SHARE), MOST_SHARE))
        before = small
    return {index: share / shares[0] for index, share in enumerate(shares, 1)}


def estimated(
    model: Model, structure: CodingStructure, size: tuple[int, int], sources: Iterable[Tensor], quality: Quality
) -> Iterator[CodedPicture]:
    """Code pictures without writing them."""
    return code_sequence(
        model.codec, model.modes, structure, size, lambda frame: EstimatingStream(rdoq=model.modes.rdoq),
        sources=sources, quality=quality,
    )
