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
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

STEPS = {"step1": (1,), "step2": (2,), "step3": (3,), "step123": (1, 2, 3), "step136": (1, 3, 6)}
"""Named training pairs: the distances in frames between a picture and its reference, one drawn for each batch."""


@dataclass(frozen=True)
class CodedFrame:
    """One frame in coding order: its display index and those of its references (none: I, one: P, two: B)."""

    index: int
    references: tuple[int, ...] = ()

    @property
    def type(self) -> str:
        """``"I"``, ``"P"`` or ``"B"``."""
        return "IPB"[len(self.references)]

    def __str__(self) -> str:
        arrow = "<".join(map(str, (self.index, *self.references[1:])))
        return f"{self.references[0]}>{arrow}" if self.references else str(self.index)


@dataclass(frozen=True)
class CodingStructure:
    """Frame types, references and coding order of a sequence of any length.

    Args:
        intra_period: distance between I frames in frames; 0 makes only the first frame intra.
        gop_size: 1 for low-delay P, a power of two for hierarchical B.

    Raises:
        ValueError: for a negative ``intra_period`` or a ``gop_size`` that is not a power of two.
    """

    intra_period: int
    gop_size: int = 1

    def __post_init__(self) -> None:
        if self.intra_period < 0:
            raise ValueError(f"intra period {self.intra_period}; expected 0 (first frame only) or more")
        if self.gop_size < 1 or self.gop_size & (self.gop_size - 1):
            raise ValueError(f"GOP size {self.gop_size}; expected a power of two (1 is low-delay P)")

    def gop(self, start: int, last: int) -> list[CodedFrame]:
        """The GOP that follows frame ``start``, in coding order, where ``last`` is the last frame known to exist.

        An encoder that does not know the length of its input needs no more than ``gop_size`` frames of look-ahead.
        Frame ``start`` is the only earlier frame that the GOP refers to. ``gop(-1, …)`` is the first I frame alone.
        """
        if start < 0:
            return [CodedFrame(0)]
        room = last - start
        if self.intra_period:
            room = min(room, self.intra_period - start % self.intra_period)
        end = start + min(self.gop_size, 1 << (room.bit_length() - 1))
        intra = self.intra_period and end % self.intra_period == 0
        return [CodedFrame(end, () if intra else (start,)), *_dyadic(start, end)]

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


def _dyadic(left: int, right: int) -> Iterator[CodedFrame]:
    """The B frames strictly between two coded frames, the middle one first."""
    if right - left < 2:
        return
    middle = (left + right) // 2
    yield CodedFrame(middle, (left, right))
    yield from _dyadic(left, middle)
    yield from _dyadic(middle, right)


_PAIR = re.compile(r"(\d+)>(\d+)(?:<(\d+))?")


def parse_pairs(text: str) -> tuple[CodedFrame, ...]:
    """Read a list of training pairs: ``"0>1 1>2"`` (P frames), ``"0>2 0>1<2"`` (a P, then a B frame).

    Raises:
        ValueError: names the item that is not of the form ``ref>t`` or ``left>t<right``.
    """
    frames = []
    for item in text.split():
        match = _PAIR.fullmatch(item)
        if not match:
            raise ValueError(f"'{item}'; expected {', '.join(STEPS)}, or pairs like 0>1 (P) and 0>1<2 (B)")
        left, index, right = match.groups()
        frames.append(CodedFrame(int(index), (int(left), int(right)) if right else (int(left),)))
    return tuple(frames)


def training_frames(pairs: str, frames: int, rng: random.Random) -> list[CodedFrame]:
    """What to code of a training clip of ``frames`` frames.

    A named step ``s`` codes the chain 0, 0>s, s>2s, … as far as the clip goes (``step123`` and ``step136`` draw ``s``
    from those that fit); a list codes just what it says. The first reference is always frame 0, coded first.
    """
    if pairs not in STEPS:
        return [CodedFrame(0), *parse_pairs(pairs)]
    step = rng.choice([s for s in STEPS[pairs] if s < frames] or [1])
    return [CodedFrame(0), *(CodedFrame(t, (t - step,)) for t in range(step, frames, step))]


def frames_needed(pairs: str) -> int:
    """The least number of frames a training clip must have for ``pairs``."""
    if pairs in STEPS:
        return STEPS[pairs][0] + 1
    return max((max(f.index, *f.references) for f in parse_pairs(pairs)), default=0) + 1
