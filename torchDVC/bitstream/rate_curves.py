"""What is known of a clip before it is coded at a rate: how bits grow with the level, and where much changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.models.codec import CodedPicture
from torchDVC.models.model_file import Model
from torchDVC.models.sequence import Quality, code_sequence

PROBES = 4
"""Levels, evenly spaced, at which two frames are tried."""
PROBED_FRAMES = 2
LEAST_SHARE, MOST_SHARE, CUT_SHARE = 1 / 128, 0.25, 1.5
"""Of an I frame's bits, that another frame is thought to take."""
AROUND = 8
"""Bytes that a frame takes in a file beside what its symbols do, about."""
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

    def through(self, frame_type: str, levels: Sequence[int], bits: Sequence[float]) -> Callable[[float], float]:
        """Bits at any level, that are known at some, rising: between those in even steps, beyond them by the curve."""
        logs = np.log2(np.maximum(bits, 1))

        def at(level: float) -> float:
            nearest = min(max(level, levels[0]), levels[-1])
            beyond = self(frame_type, level) - self(frame_type, nearest)
            return float(2 ** (np.interp(level, levels, logs) + beyond))

        return at


class Forecast:
    """What frames are thought to take, by quality level: as passes have shown it, or else by how much changes in them.

    Args:
        curves: how bits grow with the level.
        factors: how many times its curve's bits each frame, by display index, is thought to take; 1 of others. None
            takes more than `CUT_SHARE` of an I frame's bits.
        passes: the bits of each frame, by display index, at each level that all of them were coded with.
    """

    def __init__(
        self, curves: RateCurves, factors: Mapping[int, float], passes: Mapping[int, Mapping[int, float]]
    ) -> None:
        self.curves, self.factors, self.passes = curves, factors, dict(sorted(passes.items()))

    def of(self, frames: Sequence[CodedFrame]) -> Callable[[float], float]:
        """The bits that frames of one type take together, at any level."""
        kind = frames[0].type
        if self.passes:
            totals = [sum(own[frame.index] for frame in frames) for own in self.passes.values()]
            return self.curves.through(kind, list(self.passes), totals)
        factors = np.array([self.factors.get(frame.index, 1.0) for frame in frames])

        def by_change(level: float) -> float:
            most = CUT_SHARE * 2 ** self.curves("I", level)
            return float(np.minimum(factors * 2 ** self.curves(kind, level), most).sum())

        return by_change


def measure(model: Model, structure: CodingStructure, size: tuple[int, int], sources: Iterable[Tensor]) -> RateCurves:
    """The curves of the first frames.

    Args:
        model: with several quality levels.
        structure: of the clip.
        size: height and width of its pictures.
        sources: some of its pictures (1, C, h, w) of the codec's format.
    """
    pictures = list(islice(sources, PROBED_FRAMES))
    levels = sorted({round(i * (model.codec.levels - 1) / (PROBES - 1)) for i in range(PROBES)})
    bits: dict[str, list[float]] = defaultdict(list)
    for level in levels:
        for picture in estimated(model, structure, size, pictures, level):
            bits[picture.frame.type].append(size_of(picture))
    return RateCurves(levels, bits)


def size_of(picture: CodedPicture) -> float:
    """The bits that a picture takes in a file, about."""
    return picture.bits + 8 * AROUND


def changes(sources: Iterable[Tensor]) -> dict[int, float]:
    """How much each picture differs from the one before; by display index, from the second on.

    That is the mean difference of their 8x8 blocks' means, as a share of what these differ by from their own mean, from
    `LEAST_SHARE` to `MOST_SHARE`, and `CUT_SHARE` at a cut: a frame takes about this share of an I frame's bits. All of
    it is the same with any number of threads.
    """
    shares: list[float] = []
    before: np.ndarray | None = None
    for source in sources:
        small = F.avg_pool2d(source.double(), 8, ceil_mode=True).cpu().numpy()
        if before is not None:
            spread = float(np.abs(small - small.mean((2, 3), keepdims=True)).mean())
            share = float(np.abs(small - before).mean()) / max(spread, 1e-9)
            shares.append(CUT_SHARE if share > CUT else min(max(share, LEAST_SHARE), MOST_SHARE))
        before = small
    return dict(enumerate(shares, 1))


def busiest(shares: Mapping[int, float]) -> int:
    """The frame, by display index, that tells best what others take: with the greatest of `changes`, but for cuts.

    Frames in which nothing moves tell nothing of others. Of several the middle one; the second frame where all are cuts
    or nothing is known.
    """
    most = max((share for share in shares.values() if share < CUT_SHARE), default=0.0)
    found = [index for index, share in shares.items() if share == most]
    return found[len(found) // 2] if found else 1


def estimated(
    model: Model, structure: CodingStructure, size: tuple[int, int], sources: Iterable[Tensor], quality: Quality
) -> Iterator[CodedPicture]:
    """Code pictures without writing them."""
    return code_sequence(
        model.codec, model.modes, structure, size, lambda frame: EstimatingStream(rdoq=model.modes.rdoq),
        sources=sources, quality=quality,
    )
