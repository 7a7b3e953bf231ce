"""Which frames are intra, which refer to which, and in what order they are coded: data, not control flow.

Low delay (``gop_size`` 1), ``intra_period`` 4, eight frames::

    I0 -> P1 -> P2 -> P3    I4 -> P5 -> P6 -> P7

Hierarchical B (``gop_size`` 4, ``intra_period`` 8), nine frames; a level is coded after the one above it::

    I0 ------------- P4 ------------- I8
           B2                 B6
        B1    B3           B5    B7

Where ``gop_size`` equals ``intra_period`` there are only I and B frames, but for a tail. A tail that a whole GOP does
not fit into is coded with smaller GOPs, each the largest power of two that still fits and with a P frame at its end, so
that any number of frames works::

    I0 ------------- I4 ----- P6 - P7
           B2             B5
        B1    B3

With ``references`` 3 a P frame refers to the last three I and P frames, back to the I frame before it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STEPS = {"step1": (1,), "step2": (2,), "step3": (3,), "step123": (1, 2, 3), "step136": (1, 3, 6)}
"""Named training pairs: the distances in frames between a picture and its reference, one drawn for each batch."""
OR = "or"
"""Between named steps: one of them is drawn for each batch, as in ``step1orstep2``."""
LAYERS = "layer:"
"""Begins the text of values by temporal layer."""
MAX_REFERENCES = 16
"""Of a P frame."""


@dataclass(frozen=True)
class CodedFrame:
    """One frame in coding order.

    Attributes:
        index: display index.
        references: display indexes of the references, the most important first: none of an I frame.
        type: ``"I"``, ``"P"`` or ``"B"``; left out, it is B where one of several references is shown later.
        layer: temporal layer, 0 of I and P frames; left out, that of a B frame is 1.
    """

    index: int
    references: tuple[int, ...] = ()
    type: str = ""
    layer: int = -1

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", self.type or self._usual_type)
        object.__setattr__(self, "layer", int(self.type == "B") if self.layer < 0 else self.layer)

    @property
    def _usual_type(self) -> str:
        if not self.references:
            return "I"
        return "B" if len(self.references) > 1 and max(self.references) > self.index else "P"

    def __str__(self) -> str:
        later = [r for r in self.references if r > self.index] if min(self.references, default=0) < self.index else []
        before = [r for r in self.references if r not in later]
        mark = f"{self.type}:" if self.type != self._usual_type else ""
        arrow = f"{_listed(before)}>" if before else ""
        return mark + arrow + str(self.index) + (f"<{_listed(later)}" if later else "")


def _listed(indexes: Sequence[int]) -> str:
    return ",".join(map(str, indexes))


@dataclass(frozen=True)
class FrameInfo(CodedFrame):
    """What every module is told of the frame that it codes, the same in training and in coding.

    Attributes:
        since_intra: how many frames it lies after the last I frame in display order; 0 of an I frame.
    """

    since_intra: int = 0

    @property
    def frame(self) -> CodedFrame:
        """The frame alone."""
        return CodedFrame(self.index, self.references, self.type, self.layer)

    @classmethod
    def of(cls, frame: CodedFrame, references: Sequence[FrameInfo] = ()) -> FrameInfo:
        """A frame that is about to be coded from these references."""
        since = 0
        if frame.type != "I" and references:
            earlier = [r for r in references if r.index < frame.index] or references
            nearest = min(earlier, key=lambda r: abs(frame.index - r.index))
            since = nearest.since_intra + abs(frame.index - nearest.index)
        return cls(frame.index, frame.references, frame.type, frame.layer, since)


@dataclass(frozen=True)
class ByFrame:
    """A value for each frame: by its distance to the last I frame, counted round, or by its temporal layer.

    Args:
        values: one or more; deeper layers than there are values have the last.
        layers: by temporal layer.
    """

    values: tuple[float, ...]
    layers: bool = False

    def __call__(self, info: FrameInfo) -> float:
        if self.layers:
            return self.values[min(info.layer, len(self.values) - 1)]
        return self.values[info.since_intra % len(self.values)]

    def __str__(self) -> str:
        return f"{LAYERS} " * self.layers + " ".join(f"{value:g}" for value in self.values)


@dataclass(frozen=True)
class CodingStructure:
    """Frame types, references and coding order of a sequence of any length.

    Args:
        intra_period: distance between I frames in frames; 0 makes only the first frame intra.
        gop_size: 1 for low-delay P, a power of two for hierarchical B.
        references: how many I and P frames a P frame refers to, the nearest first, where there are so many.

    Raises:
        ValueError: for a negative ``intra_period``, a ``gop_size`` that is not a power of two, and ``references`` that
            are not 1 to `MAX_REFERENCES`.
    """

    intra_period: int
    gop_size: int = 1
    references: int = 1

    def __post_init__(self) -> None:
        if self.intra_period < 0:
            raise ValueError(f"intra period {self.intra_period}; expected 0 (first frame only) or more")
        if self.gop_size < 1 or self.gop_size & (self.gop_size - 1):
            raise ValueError(f"GOP size {self.gop_size}; expected a power of two (1 is low-delay P)")
        if not 1 <= self.references <= MAX_REFERENCES:
            raise ValueError(f"{self.references} references; expected 1 to {MAX_REFERENCES}")

    def gop(self, start: int, last: int) -> list[CodedFrame]:
        """The GOP that follows frame ``start``, in coding order, where ``last`` is the last frame known to exist.

        An encoder that does not know the length of its input needs no more than ``gop_size`` frames of look-ahead.
        Frame ``start`` and the I and P frames before it are all that the GOP refers to. ``gop(-1, …)`` is the first I
        frame alone.
        """
        if start < 0:
            return [CodedFrame(0)]
        end = self._end(start, last)
        intra = self.intra_period and end % self.intra_period == 0
        return [CodedFrame(end, () if intra else self._anchors(start)), *_dyadic(start, end)]

    def _end(self, start: int, last: int) -> int:
        """Where the GOP ends that follows frame ``start``."""
        room = last - start
        if self.intra_period:
            room = min(room, self.intra_period - start % self.intra_period)
        return start + min(self.gop_size, 1 << (room.bit_length() - 1))

    def _anchors(self, start: int) -> tuple[int, ...]:
        """The last I and P frames as far as ``start``, from there back to the I frame, at most ``references``."""
        intra = start - start % self.intra_period if self.intra_period else 0
        whole = (start - intra) // self.gop_size
        anchors = [intra + max(0, whole - self.references + 1) * self.gop_size]
        while anchors[-1] < start:
            anchors.append(self._end(anchors[-1], start))
        return tuple(anchors[::-1][: self.references])

    def gops(self, frames: int) -> Iterator[list[CodedFrame]]:
        """The GOPs of a sequence of ``frames`` frames, one after the other."""
        start = -1
        while start < frames - 1:
            gop = self.gop(start, frames - 1)
            yield gop
            start = gop[0].index

    def types(self, frames: int | None = None) -> set[str]:
        """The frame types that a sequence of ``frames`` frames has; None: a long one, whatever its tail may have."""
        if frames is None:
            frames = (self.intra_period or self.gop_size) + 1
        return {frame.type for frame in self.order(frames)}

    def order(self, frames: int) -> list[CodedFrame]:
        """All frames of a sequence of ``frames`` frames in coding order."""
        return [frame for gop in self.gops(frames) for frame in gop]


def _dyadic(left: int, right: int, layer: int = 1) -> Iterator[CodedFrame]:
    """The B frames strictly between two coded frames, the middle one first."""
    if right - left < 2:
        return
    middle = (left + right) // 2
    yield CodedFrame(middle, (left, right), "B", layer)
    yield from _dyadic(left, middle, layer + 1)
    yield from _dyadic(middle, right, layer + 1)


_PAIR = re.compile(r"(?:([PB]):)?(?:(\d+(?:,\d+)*)>)?(\d+)(?:<(\d+(?:,\d+)*))?")
PAIRS = "pairs such as 0>1 (P), 0>2<4 (B), 1,0>2 (P of two references) and 4 (I)"


def parse_pairs(text: str) -> tuple[CodedFrame, ...]:
    """Read a list of what to code, as frames print.

    ``0>1`` and ``1,0>2`` are P frames, ``0>2<4`` is a B frame, ``4`` an I frame; ``B:0,1>2`` and ``P:0>2<4`` name a
    type that is not the usual one. A B frame is of the layer after the deepest of its references.

    Raises:
        ValueError: names the item that is not of such a form.
    """
    frames: list[CodedFrame] = []
    for item in text.split():
        match = _PAIR.fullmatch(item)
        if not match or (match[1] and not match[2]) or (match[4] and not match[2]):
            raise ValueError(f"'{item}'; expected {', '.join(STEPS)}, or {PAIRS}")
        references = tuple(int(r) for group in (match[2], match[4]) if group for r in group.split(","))
        frame = CodedFrame(int(match[3]), references, match[1] or "")
        if frame.type == "B":
            layer = 1 + max((f.layer for f in frames if f.index in references), default=0)
            frame = CodedFrame(frame.index, references, "B", layer)
        frames.append(frame)
    return tuple(frames)


def steps_of(pairs: str) -> tuple[int, ...]:
    """The distances that one of a named step, or of several joined by ``or``, may have; none for a list of pairs."""
    names = [name.strip() for name in pairs.split(OR)]
    return tuple(dict.fromkeys(step for name in names for step in STEPS[name])) if set(names) <= STEPS.keys() else ()


def training_frames(pairs: str, frames: int, rng: random.Random, references: int = 1) -> list[CodedFrame]:
    """What to code of a training clip of ``frames`` frames.

    A named step ``s`` codes the chain 0, 0>s, s>2s, … as far as the clip goes (``step123`` and ``step136`` draw ``s``
    from those that fit), each P frame from up to ``references`` frames before it; a list codes just what it says. Frame
    0 is always coded first, as an I frame.
    """
    steps = steps_of(pairs)
    if not steps:
        listed = parse_pairs(pairs)
        return [CodedFrame(0), *(frame for frame in listed if frame != CodedFrame(0))]
    step = rng.choice([s for s in steps if s < frames] or [1])
    chain = range(0, frames, step)
    return [CodedFrame(0), *(CodedFrame(t, tuple(chain[i::-1][:references])) for i, t in enumerate(chain[1:]))]


def frames_needed(pairs: str, types: str = "IPB") -> int:
    """The least number of frames a training clip must have for those frames of ``pairs`` that are of some types."""
    if steps := steps_of(pairs):
        return min(steps) + 1 if "P" in types else 1
    coded = [frame for frame in parse_pairs(pairs) if frame.type in types]
    return max((max(frame.index, *frame.references, 0) for frame in coded), default=0) + 1
