"""Coding a whole sequence, of any length in constant memory: one loop encodes and decodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.config import Modes
from torchDVC.entropy.streams import Stream
from torchDVC.models.codec import Codec, CodedPicture, Reference, mode_of
from torchDVC.util.errors import BitstreamError

Item = TypeVar("Item")


class DecodedPictureBuffer:
    """Pictures (and whatever modules keep of them) that frames still to come may refer to.

    Frames come in the order of `torchDVC.coding_structure`: B frames from left to right within each level, so nothing
    before a frame's first reference is referred to again, and nothing before the last I or P frame.
    """

    def __init__(self) -> None:
        self._entries: dict[int, Reference] = {}
        self._anchor = -1

    def add(self, frame: CodedFrame, reference: Reference) -> None:
        """Keep what later frames may need of a frame, and forget what none needs any more."""
        oldest = min(frame.references, default=self._anchor)
        self._entries = {index: kept for index, kept in self._entries.items() if index >= oldest}
        self._entries[frame.index] = reference
        if frame.type != "B":
            self._anchor = frame.index

    def of(self, frame: CodedFrame) -> list[Reference]:
        """The references of a frame, in its order. Raises `BitstreamError` where one was never decoded."""
        for index in frame.references:
            if index not in self._entries:
                raise BitstreamError(f"frame {frame.index} refers to frame {index}, which was lost")
        return [self._entries[index] for index in frame.references]


@dataclass(frozen=True)
class FrameTask:
    """One frame to code.

    Attributes:
        frame: its index and references.
        stream: where its symbols go to or come from.
        source: (1, 3, H, W), RGB in [0, 1]; None where the stream reads.
        quality: quality level.
    """

    frame: CodedFrame
    stream: Stream
    source: Tensor | None = None
    quality: int = 0


def code_frames(
    codec: Codec, modes: Modes, size: tuple[int, int], tasks: Iterable[FrameTask],
    lost: Callable[[BitstreamError], None] | None = None,
) -> Iterator[CodedPicture]:
    """Encode or decode frames one after another.

    Args:
        codec: in eval mode, on its device.
        modes: the mode string of each frame type.
        size: height and width of the pictures.
        tasks: the frames in coding order.
        lost: told why a frame cannot be decoded, instead of an error; such frames are left out.

    Yields:
        Every frame once, when it is coded.
    """
    buffer = DecodedPictureBuffer()
    for task in tasks:
        try:
            state = _code(codec, modes, size, task, buffer.of(task.frame))
        except BitstreamError as error:
            if lost is None:
                raise
            lost(error)
            continue
        buffer.add(task.frame, codec.reference_of(state))
        yield CodedPicture(task.frame, task.source, state, task.stream)


@torch.no_grad()
def _code(
    codec: Codec, modes: Modes, size: tuple[int, int], task: FrameTask, references: list[Reference]
) -> dict[str, Tensor]:
    mode = mode_of(modes, task.frame.type)
    if not mode:
        raise BitstreamError(f"frame {task.frame.index}: the model codes no {task.frame.type} frames")
    if task.quality >= codec.levels:
        raise BitstreamError(f"frame {task.frame.index}: quality {task.quality}; the model has {codec.levels} levels")
    level = torch.full((1,), task.quality, dtype=torch.int64, device=codec.lmdas.device)
    return codec.code_frame(mode, size, task.stream, references, frame=task.source, quality=level)


def code_sequence(
    codec: Codec, modes: Modes, structure: CodingStructure, size: tuple[int, int],
    new_stream: Callable[[CodedFrame], Stream], *, sources: Iterable[Tensor], quality: int = 0,
) -> Iterator[CodedPicture]:
    """Encode a sequence, frame by frame in coding order; the length need not be known.

    Args:
        codec, modes, size: see `code_frames`.
        structure: frame types, references and order.
        new_stream: gives the stream that a frame is coded with.
        sources: (1, 3, H, W) pictures in display order, RGB in [0, 1].
        quality: quality level.
    """
    ahead = _LookAhead(iter(sources))
    tasks = (
        FrameTask(frame, new_stream(frame), ahead.take(frame.index), quality) for frame in _order(structure, ahead)
    )
    return code_frames(codec, modes, size, tasks)


def _order(structure: CodingStructure, ahead: _LookAhead) -> Iterator[CodedFrame]:
    """The frames of all sources in coding order, with one GOP of look-ahead."""
    start = -1
    while (last := ahead.last(start + structure.gop_size)) > start:
        gop = structure.gop(start, last)
        yield from gop
        start = gop[0].index


class _LookAhead:
    """The sources of one GOP at a time."""

    def __init__(self, sources: Iterator[Tensor]) -> None:
        self._sources = sources
        self._waiting: dict[int, Tensor] = {}
        self._read = 0

    def last(self, wanted: int) -> int:
        """Read as far as frame ``wanted``; the index of the last frame read so far."""
        for picture in islice(self._sources, max(0, wanted + 1 - self._read)):
            self._waiting[self._read] = picture
            self._read += 1
        return self._read - 1

    def take(self, index: int) -> Tensor:
        """Hand out a picture, once."""
        return self._waiting.pop(index)


def in_display_order(items: Iterable[tuple[CodedFrame, Item]]) -> Iterator[tuple[int, Item]]:
    """Reorder what belongs to coded frames by display index, as early as possible.

    Indexes that never come are passed over as soon as that is certain: with an I or P frame, all up to the one before.
    """
    waiting: dict[int, Item] = {}
    due, certain, anchor = 0, -1, -1
    for frame, item in items:
        waiting[frame.index] = item
        if frame.type != "B":
            certain, anchor = anchor, frame.index
        while waiting and (first := min(waiting)) <= max(due, certain):
            yield first, waiting.pop(first)
            due = first + 1
    yield from sorted(waiting.items())


def to_tensor(rgb: np.ndarray, device: torch.device) -> Tensor:
    """uint8 (3, H, W) to (1, 3, H, W) in [0, 1] on a device."""
    return torch.from_numpy(np.ascontiguousarray(rgb)).to(device)[None].float() / 255


def to_rgb(picture: Tensor) -> np.ndarray:
    """(1, 3, H, W) in [0, 1] to uint8 (3, H, W), rounded half up."""
    return (picture[0].float().clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
