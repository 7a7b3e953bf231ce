"""Clips encoded by one of FFmpeg's encoders, in one thread."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from torchDVC.dataset.frame import Frame, Planes, VideoInfo

if TYPE_CHECKING:
    import av


@dataclass(frozen=True)
class EncodedClip:
    """What an encoder wrote: bytes of each frame by display index, seconds it took, and its version if it says one."""

    sizes: Mapping[int, int]
    seconds: float
    version: str


def encode_clip(
    file: str | IO[bytes], form: str, library: str, frames: Iterable[Frame], info: VideoInfo, *,
    options: Mapping[str, str], filter_: str = "",
) -> EncodedClip:
    """Encode frames in YUV 4:2:0; pictures of odd width or height are continued by one column or row.

    Args:
        file: a path, or a file open for writing.
        form: the form of the file, as FFmpeg calls it.
        library: the encoder, as FFmpeg calls it.
        options: of the encoder.
        filter_: a bitstream filter for its packets.

    Raises `av.error.FFmpegError` where the encoder does not take the clip or its options.
    """
    import av

    with av.open(file, "w", format=form) as container:
        stream: Any = container.add_stream(library, rate=info.fps, options=dict(options))
        stream.width, stream.height = info.width + info.width % 2, info.height + info.height % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        writer = _PacketWriter(container, stream, filter_)
        seconds = 0.0
        for index, frame in enumerate(frames):
            picture = _picture(frame.yuv, index)
            start = time.perf_counter()
            writer.write(stream.encode(picture))
            seconds += time.perf_counter() - start
        start = time.perf_counter()
        writer.write(stream.encode(None))
        writer.finish()
        seconds += time.perf_counter() - start
    return EncodedClip(writer.sizes, seconds, writer.version)


class _PacketWriter:
    """Puts packets into the file, through the filter where there is one, and notes size and encoder version."""

    def __init__(self, container: av.container.OutputContainer, stream: Any, filter_: str) -> None:
        from av.bitstream import BitStreamFilterContext

        self.sizes: dict[int, int] = {}
        self.version = ""
        self._container, self._stream = container, stream
        self._filter = BitStreamFilterContext(filter_, in_stream=stream) if filter_ else None

    def write(self, packets: Sequence[av.Packet]) -> None:
        for packet in packets:
            self.version = self.version or _version(bytes(packet))
            self._mux(self._filter.filter(packet) if self._filter else [packet])

    def finish(self) -> None:
        if self._filter:
            self._mux(self._filter.filter(None))

    def _mux(self, packets: Sequence[av.Packet]) -> None:
        for packet in packets:
            self.sizes[int(packet.pts or 0)] = packet.size
            packet.stream = self._stream
            self._container.mux(packet)


def _picture(yuv: Planes, index: int) -> av.VideoFrame:
    import av

    y, u, v = yuv
    y = np.pad(y, ((0, y.shape[0] % 2), (0, y.shape[1] % 2)), mode="edge")
    packed = np.concatenate([plane.reshape(-1) for plane in (y, u, v)]).reshape(-1, y.shape[1])
    picture = av.VideoFrame.from_ndarray(packed, format="yuv420p")
    picture.pts = index
    return picture


def _version(packet: bytes) -> str:
    """The version that x264 and x265 write into the first packet; empty where there is none."""
    match = re.search(rb"x264 - (core \d+)|x265 (\(build \d+\) - [\w.+-]+)", packet)
    if not match:
        return ""
    return f"x264 {match[1].decode()}" if match[1] else f"x265 {match[2].decode()}"
