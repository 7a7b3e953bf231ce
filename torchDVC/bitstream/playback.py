"""Decoded pictures in display order, what takes the place of lost ones, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator

from torchDVC.bitstream.header import Header
from torchDVC.dataset.video import Frame, VideoWriter
from torchDVC.util.errors import BitstreamError

MOST_FILLED = 10_000
"""At most so many lost frames of a stream are replaced, or a few bytes that lie could fill a disk."""


class Playback:
    """Writes pictures in display order, from frame ``start`` on.

    A lost one is replaced by the one before it, at the beginning by the first.

    Attributes:
        due: display index of the frame that comes next.
        lost: ranges of display indexes that did not come.
        filled: how many of them were replaced.
        damage: the first error that `note` was told of. Errors themselves hold on to the tensors of their frames.
    """

    def __init__(self, writer: VideoWriter, header: Header, start: int = 0) -> None:
        self.due, self.filled = start, 0
        self.lost: list[range] = []
        self.damage = ""
        self._writer, self._header = writer, header
        self._before: Frame | None = None

    def note(self, error: BitstreamError) -> None:
        """Be told of damage."""
        self.damage = self.damage or str(error)

    def show(self, index: int, frame: Frame) -> None:
        """Write a picture."""
        self._fill(index, self._before or frame)
        self._writer.write(frame)
        self._before, self.due = frame, index + 1

    def end(self) -> None:
        """Replace what the header names and did not come."""
        if self._before is not None and self._header.frames is not None:
            self._fill(self._header.frames, self._before)

    def _fill(self, end: int, frame: Frame) -> None:
        gap = range(self.due, end)
        if gap:
            self.lost.append(gap)
        for _ in gap[: MOST_FILLED - self.filled]:
            self._writer.write(frame)
            self.filled += 1

    def remarks(self) -> Iterator[str]:
        """What a viewer must know, a line each; nothing of a whole, finished stream."""
        name, lost = self._writer.info.source, sum(map(len, self.lost))
        if self.damage:
            yield self.damage
        if self._header.frames is None:
            yield f"{name}: unfinished, as its encoder was interrupted; no frame from {self.due} on is shown"
        if self.damage or lost:
            yield f"{name}: lost frames: {', '.join(map(_shown, self.lost)) or 'none'}"
        if self.filled < lost:
            yield f"{name}: only {self.filled} of {lost} lost frames are replaced; later ones come too early"


def _shown(gap: range) -> str:
    """``3-7``, or ``12``."""
    return str(gap[0]) if len(gap) == 1 else f"{gap[0]}-{gap[-1]}"
