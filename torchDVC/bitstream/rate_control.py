"""Meeting a rate: which quality level each frame is coded with, so that a file comes out at so many bits.

One pass looks at the first two frames at a few levels (`measure`), which tells how bits grow with the level, and then
follows what frames really take. With two passes the first one, all of one level, tells how many bits each frame takes.
Either way all frames to come share one level, in real numbers, that is predicted to use up what is left of the bits;
rounding it frame by frame, with what was spent known, makes its fraction come out over time.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from torch import Tensor

from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.dataset.frame import VideoInfo
from torchDVC.entropy.symbol_streams import EstimatingStream
from torchDVC.models.codec import CodedPicture
from torchDVC.models.model_file import Model
from torchDVC.models.sequence import Quality, code_sequence
from torchDVC.util.progress import Progress

PROBES = 4
"""Levels, evenly spaced, at which the first frames are tried."""
PROBED_FRAMES = 2
WINDOW = 96
"""Frames within which what was spent too much or too little is made up for, and the most that are planned ahead."""
MEMORY = {"I": 1, "P": 32, "B": 32}
"""How many of the latest frames of a kind tell what the next ones take: whole periods of a quality cascade."""
RISE, FALL = 1 / 128, 1 / 8
"""Shares of all levels that the level rises and falls by at most, from frame to frame: leaps would be seen, and where
nothing moves for a while, nothing is known of what moves next."""
STEPS = 24
"""Halvings in the search for the level."""

Kind = tuple[str, int]
"""Type and temporal layer of a frame: those of one kind take about the same bits at one level."""


class RateCurves:
    """Logarithms (base 2) of the bits of a frame by quality level, for each frame type.

    All types grow at least as the first one does: a frame in which nothing moved takes the same few bits at any level,
    and tells nothing of those to come.

    Args:
        levels: the levels that were tried, rising.
        bits: of each frame type, I first, the bits at each of them. A type that is not there takes those of the last.
    """

    def __init__(self, levels: Sequence[int], bits: Mapping[str, Sequence[float]]) -> None:
        self._levels = levels
        logs = {kind: np.maximum.accumulate(np.log2(np.maximum(own, 1))) for kind, own in bits.items()}
        least = np.diff(next(iter(logs.values())))
        self._logs = {
            kind: own[0] + np.concatenate(([0.0], np.maximum(np.diff(own), least).cumsum()))
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
        for picture in _estimated(model, structure, size, pictures, level):
            bits[picture.frame.type].append(_bits(picture))
    return RateCurves(levels, bits)


class RateControl:
    """Chooses levels while a clip is coded: ask `level` before a frame, tell `spend` after it.

    Frames for which it was never asked have the level that was `planned` at first.

    Args:
        curves: how bits grow with the level.
        levels: how many levels the model has.
        bits: what a frame is to take on average, the container's bytes included.
        structure: coding structure.
        frames: how many frames the clip has; None: not known.
        first_pass: how many times its curve's bits each frame, by display index, is known to take.

    Attributes:
        spent: bits so far.
        done: frames so far.
    """

    def __init__(self, curves: RateCurves, levels: int, bits: float, structure: CodingStructure, frames: int | None,
                 first_pass: Mapping[int, float] | None = None) -> None:
        self._curves, self._highest, self._bits = curves, levels - 1, bits
        self._structure, self._frames = structure, frames
        self._order = structure.order(frames or max(WINDOW, structure.intra_period))
        self._first_pass = first_pass or {}
        self._factors: dict[int, float] = {}
        self._latest: dict[Kind, deque[tuple[float, float]]] = {}
        self._position: float | None = None
        self.spent = 0.0
        self.done = 0
        self._level = self.planned

    @property
    def planned(self) -> int:
        """The level that the next frames are expected to share."""
        return round(self._solve())

    def level(self, frame: CodedFrame) -> int:
        """The quality level of the next frame in coding order."""
        position = self._solve()
        if self._position is not None:
            rise, fall = (max(least, share * self._highest) for least, share in ((0.5, RISE), (1.0, FALL)))
            position = min(max(position, self._position - fall), self._position + rise)
        self._position = position
        self._level = round(position)
        return self._level

    def spend(self, frame: CodedFrame, bits: float) -> None:
        """What that frame took."""
        self.spent += bits
        self.done += 1
        expected = 2 ** self._curves(frame.type, self._level)
        self._factors[frame.index] = max(bits, 1.0) / expected
        latest = self._latest.setdefault((frame.type, frame.layer), deque(maxlen=MEMORY[frame.type]))
        latest.append((bits, expected * self._first_pass.get(frame.index, 1.0)))

    def again(self) -> RateControl:
        """The control of the next pass, which knows what each frame took in this one."""
        return RateControl(self._curves, self._highest + 1, self._bits, self._structure, self._frames, self._factors)

    def _ahead(self) -> Sequence[CodedFrame]:
        """The frames that are planned, in coding order, the next one first."""
        if self._frames:
            return self._order[self.done : self.done + WINDOW]
        start = self.done % len(self._order)
        return [*self._order[start:], *self._order][:WINDOW]

    def _solve(self) -> float:
        """The level at which the frames ahead are predicted to use up what is left for them, in real numbers."""
        ahead = self._ahead()
        budget = self._bits * (self.done + len(ahead)) - self.spent
        weights: dict[str, float] = defaultdict(float)
        trends = {kind: _ratio(latest) for kind, latest in self._latest.items()}
        for frame in ahead:
            weights[frame.type] += trends.get((frame.type, frame.layer), 1.0) * self._first_pass.get(frame.index, 1.0)
        low, high = 0.0, float(self._highest)
        for _ in range(STEPS):
            middle = (low + high) / 2
            predicted = sum(weight * 2 ** self._curves(kind, middle) for kind, weight in weights.items())
            low, high = (low, middle) if predicted > budget else (middle, high)
        return low


def _ratio(latest: Iterable[tuple[float, float]]) -> float:
    """What frames took of what was expected of all of them, so that the smallest count least."""
    took, expected = map(sum, zip(*latest, strict=True))
    return max(took, 1.0) / expected


def controlled(
    model: Model, structure: CodingStructure, info: VideoInfo, sources: Callable[[], Iterable[Tensor]], bits: float,
    passes: int, title: str,
) -> RateControl:
    """The control of a clip's last pass, with all passes before it done.

    Args:
        model: with several quality levels.
        structure, info: of the clip.
        sources: gives its pictures (1, C, h, w) from the first on, of the codec's format.
        bits: what a frame is to take on average.
        passes: 1 or 2.
        title: of the progress that the first of two passes shows.
    """
    size = info.height, info.width
    control = RateControl(measure(model, structure, size, sources()), model.codec.levels, bits, structure, info.frames)
    for _ in range(passes - 1):
        with Progress(info.frames, f"{title}, first pass", unit="frame") as bar:
            for picture in _estimated(model, structure, size, sources(), control.planned):
                control.spend(picture.frame, _bits(picture))
                bar.update()
        control = control.again()
    return control


def _estimated(
    model: Model, structure: CodingStructure, size: tuple[int, int], sources: Iterable[Tensor], quality: Quality
) -> Iterator[CodedPicture]:
    """Code pictures without writing them."""
    return code_sequence(
        model.codec, model.modes, structure, size, lambda frame: EstimatingStream(rdoq=model.modes.rdoq),
        sources=sources, quality=quality,
    )


def _bits(picture: CodedPicture) -> float:
    return sum(float(bits.sum()) for bits in picture.stream.rates().values())
