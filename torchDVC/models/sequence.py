"""The loop that codes frames, of clips in training and of sequences of any length, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from torchDVC.coding_structure import CodedFrame, CodingStructure, FrameInfo
from torchDVC.config import Modes
from torchDVC.entropy.streams import Stream, TrainingStream
from torchDVC.models.buffer import ClipBuffer, DecodedPictureBuffer
from torchDVC.models.codec import Codec, CodedPicture
from torchDVC.util.beside import merged
from torchDVC.util.errors import BitstreamError

Item = TypeVar("Item")
Quality = int | Callable[[CodedFrame], int]
"""One quality level, or what chooses that of each frame, called when the frame before it was coded and handed out."""
Revise = Callable[[CodedPicture], int | None]
"""Told of a coded frame before anything else is: another quality level to code it with in its place, or None."""
MEMORY = 512 << 20
"""Bytes that the pictures of intra periods that are coded at once may take."""


@dataclass(frozen=True)
class FrameTask:
    """One frame to code.

    Attributes:
        frame: its index, type and references.
        stream: where its symbols go to or come from.
        source: pictures (N, C, h, w) of the codec's format; None where the stream reads.
        quality: quality level, or (N,) of each picture; an encoder adds the ``quality_offsets`` of its modes.
        again: told of the coded frame, gives the task that is done in its place, or None.
    """

    frame: CodedFrame
    stream: Stream
    source: Tensor | None = None
    quality: int | Tensor = 0
    again: Callable[[CodedPicture], FrameTask | None] | None = None


def code_frames(
    codec: Codec, modes: Modes, size: tuple[int, int], tasks: Iterable[FrameTask],
    lost: Callable[[BitstreamError], None] | None = None,
) -> Iterator[CodedPicture]:
    """Encode or decode frames one after another, without gradients.

    Args:
        codec: in eval mode, on its device.
        modes: the mode string of each frame type.
        size: height and width of the pictures.
        tasks: the frames in coding order.
        lost: told why a frame cannot be decoded, instead of an error; such frames are left out.

    Yields:
        Every frame once, when it is coded.
    """
    pictures = _loop(codec, modes, size, tasks, DecodedPictureBuffer(modes.references), lost)
    while True:
        with torch.no_grad():
            picture = next(pictures, None)
        if picture is None:
            return
        yield picture


def _loop(
    codec: Codec, modes: Modes, size: tuple[int, int], tasks: Iterable[FrameTask], buffer: DecodedPictureBuffer,
    lost: Callable[[BitstreamError], None] | None = None, recompute: bool = False,
) -> Iterator[CodedPicture]:
    """The one loop of training, estimating, encoding and decoding."""
    code = _recomputed if recompute else _code
    for task in tasks:
        try:
            picture = code(codec, modes, size, task, buffer)
            while task.again and (other := task.again(picture)):
                picture = code(codec, modes, size, other, buffer)
        except BitstreamError as error:
            if lost is None:
                raise
            lost(error)
            continue
        buffer.add(picture.reference)
        yield picture


def _code(
    codec: Codec, modes: Modes, size: tuple[int, int], task: FrameTask, buffer: DecodedPictureBuffer
) -> CodedPicture:
    references = buffer.of(task.frame)
    if not modes.of(task.frame.type):
        raise BitstreamError(f"frame {task.frame.index}: the model codes no {task.frame.type} frames")
    level = task.quality
    if not isinstance(level, Tensor):
        if level >= codec.levels:
            raise BitstreamError(f"frame {task.frame.index}: quality {level}; the model has {codec.levels} levels")
        level = torch.full((task.stream.batch,), level, dtype=torch.int64, device=codec.lmdas.device)
    if not task.stream.reading:
        info = FrameInfo.of(task.frame, [reference.info for reference in references])
        level = (level + int(modes.quality_offsets(info))).clamp(0, codec.levels - 1)
    return codec.code_frame(task.frame, modes, size, task.stream, references, source=task.source, quality=level)


def _recomputed(
    codec: Codec, modes: Modes, size: tuple[int, int], task: FrameTask, buffer: DecodedPictureBuffer
) -> CodedPicture:
    """As `_code`, but what gradients need of the frame is computed again, with the same noise, when they need it."""

    assert isinstance(task.stream, TrainingStream)
    new_stream = task.stream.fresh

    def code() -> CodedPicture:  # each time with a stream of its own, which goes with what is computed
        return _code(codec, modes, size, replace(task, stream=new_stream()), buffer)

    picture: CodedPicture = checkpoint(code, use_reentrant=False)
    return picture


def code_clip(
    codec: Codec, clip: Tensor, frames: Sequence[CodedFrame], modes: Modes, *, rnn: int = 0,
    quality: Tensor | int = 0, new_stream: Callable[[int], Stream] = TrainingStream,
    buffer: ClipBuffer | None = None, recompute: bool = False,
) -> Iterator[CodedPicture]:
    """Code some frames of training clips.

    Args:
        clip: pictures (N, T, C, h, w) of the codec's format.
        frames: what to code, in coding order; those of a type whose mode is empty are left out.
        modes: the mode string of each frame type.
        rnn: references are source frames (0), reconstructions (1), or reconstructions with gradients (2).
        quality: (N,) quality levels.
        new_stream: gives the stream of a frame, for a batch of N.
        buffer: what frames coded before have left; else one for ``rnn``.
        recompute: keep no activations of a frame, but compute them again for its gradients.

    Yields:
        The coded frames, in coding order.
    """
    tasks = (
        FrameTask(frame, new_stream(clip.shape[0]), clip[:, frame.index], quality)
        for frame in frames
        if modes.of(frame.type)
    )
    size = codec.format.pixels(clip.shape[-2], clip.shape[-1])
    return _loop(codec, modes, size, tasks, buffer or ClipBuffer(clip, rnn), recompute=recompute)


def code_sequence(
    codec: Codec, modes: Modes, structure: CodingStructure, size: tuple[int, int],
    new_stream: Callable[[CodedFrame], Stream], *, sources: Iterable[Tensor], quality: Quality = 0,
    revise: Revise | None = None, at_once: int = 1,
) -> Iterator[CodedPicture]:
    """Encode a sequence, frame by frame in coding order; the length need not be known.

    Args:
        codec, modes, size: see `code_frames`.
        structure: frame types, references and order.
        new_stream: gives the stream that a frame is coded with.
        sources: pictures (1, C, h, w) of the codec's format, in display order.
        quality: quality level, or what chooses each frame's.
        revise: says which frames are coded once more.
        at_once: intra periods that are coded at once, see `periods_at_once`; their frames come as they are coded.
    """
    ahead = _LookAhead(iter(sources))
    level = quality if callable(quality) else lambda frame: quality

    def task(frame: CodedFrame, source: Tensor, level: int) -> FrameTask:
        def again(picture: CodedPicture) -> FrameTask | None:
            other = revise(picture) if revise else None
            return None if other is None else task(frame, source, other)

        return FrameTask(frame, new_stream(frame), source, level, again)

    tasks = (task(frame, ahead.take(frame.index), level(frame)) for frame in _order(structure, ahead))
    if at_once == 1:
        return code_frames(codec, modes, size, tasks)
    return merged((code_frames(codec, modes, size, period) for period in _intra_periods(tasks)), at_once)


def periods_at_once(codec: Codec, structure: CodingStructure, size: tuple[int, int]) -> int:
    """How many intra periods of pictures of a size an encoder should code at once.

    One, but where all modules compute on one core and no frame refers to another intra period's: as many as there are
    threads, as far as their pictures take no more than `MEMORY`.
    """
    alone = all(getattr(codec.get_submodule(spec.name), "one_core", False) for spec in codec.config.modules)
    if not alone or structure.gop_size > 1 or not structure.intra_period:
        return 1
    taken = structure.intra_period * 3 * 4 * size[0] * size[1]
    return max(1, min(torch.get_num_threads(), MEMORY // taken))


def _intra_periods(tasks: Iterable[FrameTask]) -> Iterator[list[FrameTask]]:
    period: list[FrameTask] = []
    for task in tasks:
        if task.frame.type == "I" and period:
            yield period
            period = []
        period.append(task)
    if period:
        yield period


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
