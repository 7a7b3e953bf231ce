"""Coding a whole sequence, of any length in constant memory: the same loop encodes and decodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from torchDVC.coding_structure import CodedFrame, CodingStructure
from torchDVC.models.codec import Codec, CodedPicture, Reference, mode_of
from torchDVC.modules.entropy.streams import Stream
from torchDVC.util.configuration import Modes


class DecodedPictureBuffer:
    """Pictures (and whatever modules keep of them) that frames still to come may refer to.

    After a GOP only its last frame can be referred to, so the buffer holds at most one GOP.
    """

    def __init__(self) -> None:
        self._entries: dict[int, Reference] = {}

    def add(self, index: int, reference: Reference) -> None:
        """Keep what later frames may need of frame ``index``."""
        self._entries[index] = reference

    def of(self, frame: CodedFrame) -> list[Reference]:
        """The references of a frame, in its order."""
        return [self._entries[index] for index in frame.references]

    def keep_only(self, index: int) -> None:
        """Forget all frames but one."""
        self._entries = {index: self._entries[index]}


def code_sequence(
    codec: Codec, modes: Modes, structure: CodingStructure, size: tuple[int, int],
    new_stream: Callable[[CodedFrame], Stream], *,
    sources: Iterable[Tensor] | None = None, frames: int | None = None, quality: int = 0,
) -> Iterator[CodedPicture]:
    """Encode or decode a sequence, frame by frame in coding order.

    Args:
        codec: in eval mode, on its device.
        modes: the mode string of each frame type.
        structure: frame types, references and order.
        size: height and width of the pictures.
        new_stream: gives the stream that a frame is coded with.
        sources: (1, 3, H, W) pictures in display order, RGB in [0, 1]; None where the streams read.
        frames: how many frames there are; needed where there are no sources, else it bounds them.
        quality: quality level.

    Yields:
        Every frame once, when it is coded.
    """
    ahead = None if sources is None else _LookAhead(islice(iter(sources), frames))
    buffer, start = DecodedPictureBuffer(), -1
    level = torch.full((1,), quality, dtype=torch.int64, device=codec.lmdas.device)
    while (last := _last_known(ahead, frames, start + structure.gop_size)) > start:
        gop = structure.gop(start, last)
        for frame in gop:
            source = None if ahead is None else ahead.take(frame.index)
            stream = new_stream(frame)
            with torch.no_grad():
                mode = mode_of(modes, frame.type)
                state = codec.code_frame(mode, size, stream, buffer.of(frame), frame=source, quality=level)
            buffer.add(frame.index, codec.reference_of(state))
            yield CodedPicture(frame, source, state, stream)
        start = gop[0].index
        buffer.keep_only(start)


def _last_known(ahead: _LookAhead | None, frames: int | None, wanted: int) -> int:
    """The last frame known to exist, as far as ``wanted``."""
    if ahead is not None:
        return ahead.last(wanted)
    assert frames is not None
    return min(wanted, frames - 1)


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


def in_display_order(pictures: Iterable[CodedPicture]) -> Iterator[CodedPicture]:
    """Reorder coded pictures by display index, as early as possible."""
    waiting: dict[int, CodedPicture] = {}
    due = 0
    for picture in pictures:
        waiting[picture.frame.index] = picture
        while due in waiting:
            yield waiting.pop(due)
            due += 1


def to_tensor(rgb: np.ndarray, device: torch.device) -> Tensor:
    """uint8 (3, H, W) to (1, 3, H, W) in [0, 1] on a device."""
    return torch.from_numpy(np.ascontiguousarray(rgb)).to(device)[None].float() / 255


def to_rgb(picture: Tensor) -> np.ndarray:
    """(1, 3, H, W) in [0, 1] to uint8 (3, H, W), rounded half up."""
    return (picture[0].float().clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
