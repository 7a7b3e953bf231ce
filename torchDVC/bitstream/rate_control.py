"""Meeting a rate: which quality level each frame is coded with, so that a file comes out at so many bits.

One pass sees how much each picture differs from the one before (`changes`), codes the one where that is most, after the
one before it, at a few levels (`measure`), which tells how bits grow with the level, and then follows what frames
really take. With two passes the first one, all of one level, tells how many bits each frame takes; it is done again
where that level was far off, and bits are known at several levels then. Either way all frames to come share one level,
in real numbers, that is predicted to use up what is left of the bits; rounding it frame by frame, with what was spent
known, makes its fraction come out over time. A frame that took so many bits that those left could not have its level is
coded once more, before it is written, at a level that they can have.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from torch import Tensor

from torchDVC.bitstream.rate_curves import Forecast, RateCurves, busiest, changes, estimated, measure, size_of
from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.dataset.frame import VideoInfo
from torchDVC.models.model_file import Model
from torchDVC.util.progress import Progress

WINDOW = 96
"""Frames within which what was spent too much or too little is made up for, and the most that are planned ahead."""
MEMORY = {"I": 1, "P": 32, "B": 32}
"""How many of the latest frames of a kind tell what the next ones take: whole periods of a quality cascade."""
DOUBT = (1 / 8, 1 / 16)
"""What was expected counts for this share of the frames that a memory lacks, without a first pass and with one; each
with the bits of those to come: a few frames that take next to nothing do not say that all do."""
SLACK = (0.01, 0.005)
"""Shares of the bits within which a plan holds as it is, without a first pass and with one: rather a steady level."""
RISE, FALL = 1 / 64, 1 / 8
"""Shares of all levels that the level rises and falls by at most, from frame to frame, where half of the frames left
can do what is needed: leaps would be seen."""
TOO_FAR, REPEATS = 2, 3
"""A frame is coded once more, this often at most, where its bits ask for a level that is so far from the one it had."""
FIRST_PASSES = 3
"""The first of two passes is done again, this often at most, where its level turns out to be too far from what it asks
for: bits are best known at the level that frames are to have."""
STEPS = 14
"""Halvings in the search for the level."""

Kind = tuple[str, int]
"""Type and temporal layer of a frame: those of one kind take about the same bits at one level."""
Observed = tuple[float, float]
"""Bits that a frame took, and what was expected of it."""


class RateControl:
    """Chooses levels while a clip is coded: ask `level` before a frame, `revise` after it, and tell `spend` in the end.

    Frames for which it was never asked have the level that was `planned` at first.

    Args:
        curves: how bits grow with the level.
        levels: how many levels the model has.
        bits: what a frame is to take on average, the container's bytes included.
        structure: coding structure.
        frames: how many frames the clip has; None: not known.
        factors, passes: what is thought of each frame, and known of it from other passes; see `Forecast`.

    Attributes:
        spent: bits so far.
        done: frames so far.
    """

    def __init__(
        self, curves: RateCurves, levels: int, bits: float, structure: CodingStructure, frames: int | None,
        factors: Mapping[int, float] | None = None, passes: Mapping[int, Mapping[int, float]] | None = None,
    ) -> None:
        self._highest, self._bits, self._structure, self._frames = levels - 1, bits, structure, frames
        self._forecast = Forecast(curves, factors or {}, passes or {})
        self._order = structure.order(frames or max(WINDOW, structure.intra_period))
        self._slack = SLACK[bool(passes)] * bits * min(frames or WINDOW, WINDOW)
        self._doubt = DOUBT[bool(passes)]
        self._found: dict[int, float] = {}
        self._latest: dict[Kind, deque[Observed]] = {}
        self._position: float | None = None
        self._tried: dict[int, float] = {}
        self.spent = 0.0
        self.done = 0
        self._level = self._highest // 2
        self._level = self.planned

    @property
    def planned(self) -> int:
        """The level that the next frames are expected to share."""
        return round(self._solve())

    def level(self, frame: CodedFrame) -> int:
        """The quality level of the next frame in coding order."""
        self._position = self._solve() if self._position is None else self._next(self._position)
        self._level = round(self._position)
        self._tried = {}
        return self._level

    def revise(self, frame: CodedFrame, bits: float) -> int | None:
        """Another level for that frame, where those left cannot have the level that it has; else None."""
        if self._level in self._tried:
            return None  # of those tried it is the best
        self._tried[self._level] = bits
        if bits <= self._slack and len(self._tried) == 1:
            return None
        low, high = (self._solve(slack, frame) for slack in (-self._slack, self._slack))
        wanted = min(max(self._level, low), high) if len(self._tried) > 1 else min(self._level, high)
        if abs(wanted - self._level) < TOO_FAR:
            return None
        before, self._position, self._level = self._level, wanted, round(wanted)
        if len(self._tried) > REPEATS or self._level in self._tried:
            meant = self._retried(frame)(wanted)
            self._level = min(self._tried, key=lambda own: abs(self._tried[own] - meant))
        return None if self._level == before else self._level

    def spend(self, frame: CodedFrame, bits: float) -> None:
        """What that frame took."""
        self.spent += bits
        self.done += 1
        self._found[frame.index] = bits
        latest = self._latest.setdefault((frame.type, frame.layer), deque(maxlen=MEMORY[frame.type]))
        latest.append(self._observed(frame, bits))

    def next_pass(self) -> RateControl:
        """The control of the next pass, which knows what each frame took in this one, all of one level."""
        known, frames = self._forecast, self._frames or self.done
        given = known.curves, self._highest + 1, self._bits, self._structure, frames, known.factors
        return RateControl(*given, {**known.passes, self._level: self._found})

    def _next(self, position: float) -> float:
        """From the last frame's level to the next one's, no further than the plan needs."""
        wanted = max(position, self._solve(-self._slack))
        if self._predicting()(position) > self._slack:  # else a lower level would save nothing
            wanted = min(wanted, self._solve(self._slack))
        urgent = 2 * abs(wanted - position) / len(self._ahead())
        rise, fall = (max(least, share * self._highest, urgent) for least, share in ((0.5, RISE), (1.0, FALL)))
        return min(max(wanted, position - fall), position + rise)

    def _ahead(self) -> Sequence[CodedFrame]:
        """The frames that are planned, in coding order, the next one first."""
        if self._frames:
            return self._order[self.done : self.done + WINDOW]
        start = self.done % len(self._order)
        return [*self._order[start:], *self._order][:WINDOW]

    def _solve(self, slack: float = 0.0, coded: CodedFrame | None = None) -> float:
        """The level at which the frames ahead are predicted to use up what is left for them, in real numbers.

        Args:
            slack: bits that they may take beyond that.
            coded: the first of them, where it was tried already.
        """
        budget = self._bits * (self.done + len(self._ahead())) - self.spent + slack
        predicted = self._predicting(coded)
        low, high = 0.0, float(self._highest)
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if predicted(middle) > budget else (middle, high)
        return low

    def _predicting(self, coded: CodedFrame | None = None) -> Callable[[float], float]:
        """The bits of the frames ahead, by level: what is forecast, times what the latest of a kind took of that."""
        kinds: dict[Kind, list[CodedFrame]] = defaultdict(list)
        for frame in self._ahead():
            if frame != coded:
                kinds[frame.type, frame.layer].append(frame)
        latest = {kind: list(own) for kind, own in self._latest.items()}
        parts = []
        if coded:
            latest.setdefault((coded.type, coded.layer), []).append(self._observed(coded, self._tried[self._level]))
            parts.append((1.0, self._retried(coded)))
        for kind, own in kinds.items():
            bits = self._forecast.of(own)
            seen = latest.get(kind, [])
            doubt = self._doubt * max(0, MEMORY[kind[0]] - len(seen)) * bits(self._level) / len(own)
            parts.append((_ratio(seen, doubt), bits))
        return lambda level: sum(ratio * bits(level) for ratio, bits in parts)

    def _retried(self, frame: CodedFrame) -> Callable[[float], float]:
        """The bits of a frame, by level, that was tried at some."""
        tried = sorted(self._tried)
        return self._forecast.curves.through(frame.type, tried, [self._tried[level] for level in tried])

    def _observed(self, frame: CodedFrame, bits: float) -> Observed:
        """What a frame took at the present level, and what was expected of it."""
        return bits, self._forecast.of([frame])(self._level)


def _ratio(latest: Iterable[Observed], doubt: float) -> float:
    """What frames took of what was expected of all of them, so that the smallest count least."""
    took, expected = map(sum, zip((doubt, doubt), *latest, strict=True))
    return float(took / expected)


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
    shares = changes(sources()) if info.frames else {}
    first = busiest(shares)
    curves = measure(model, structure, size, islice(sources(), first - 1, None))
    coded = structure.order(info.frames or 0)
    factors = {f.index: shares[f.index] / shares[first] for f in coded if f.type != "I" and f.index in shares}
    control = RateControl(curves, model.codec.levels, bits, structure, info.frames, factors)
    for _ in range(FIRST_PASSES if passes > 1 else 0):
        held = control.planned
        with Progress(info.frames, f"{title}, first pass", unit="frame") as bar:
            for picture in estimated(model, structure, size, sources(), held):
                control.spend(picture.frame, size_of(picture))
                bar.update()
        control = control.next_pass()
        if abs(control.planned - held) <= TOO_FAR:
            break
    return control
