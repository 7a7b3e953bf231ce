"""Files that anchor codecs write: clips into files with PyAV or libbpg, and frames out of them again.

A file holds as little as its format allows: raw Annex B for H.264 and HEVC without the encoder's own SEI messages, OBUs
for AV1, IVF for VP9 (12 bytes a frame and 32 for the file), BPG pictures one after another (4 bytes each for a length).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from torchDVC.anchors.av1 import shown_frames
from torchDVC.dataset.frame import Frame, Planes, VideoInfo, split_planes
from torchDVC.util.errors import LCPError
from torchDVC.util.files import atomic_path

if TYPE_CHECKING:
    import av

    from torchDVC.anchors.encoders import Encoder, Options

LENGTH_BYTES = 4


@dataclass(frozen=True)
class Encoded:
    """What an encoder wrote: bytes of each frame by display index, seconds it took, the settings in words.

    ``types`` holds I, P or B by display index where a decoder cannot tell them.
    """

    sizes: dict[int, int]
    seconds: float
    settings: str
    types: Mapping[int, str] = field(default_factory=dict)


Decoded = tuple[Frame, str, float]
"""A frame in its original size, I, P or B, and the seconds that decoding it took."""


def write_av(encoder: Encoder, options: Options, frames: Iterable[Frame], info: VideoInfo, path: Path) -> Encoded:
    """Encode a clip with one of FFmpeg's encoders to the file ``path``, which appears when it is complete.

    Pictures of odd width or height are continued by one column or row, since 4:2:0 formats store even sizes only;
    `read_av` takes them off again.

    Raises:
        LCPError: the encoder does not take the clip or its options.
    """
    import av

    os.environ.setdefault("SVT_LOG", "0")  # else the library writes its settings to the terminal
    try:
        with atomic_path(path) as temporary:
            return _encode(encoder, options, frames, info, temporary)
    except av.error.FFmpegError as error:
        what = f"{encoder.library} refuses {info.source} ({info.width}x{info.height})"
        raise LCPError(f"{what} with {_words(options)}: {error.strerror or error}") from error


def write_av1(encoder: Encoder, options: Options, frames: Iterable[Frame], info: VideoInfo, path: Path) -> Encoded:
    """`write_av` for AV1, with the types and bytes of the frames that are shown, whichever packet holds them."""
    encoded = write_av(encoder, options, frames, info, path)
    shown = list(shown_frames(path.read_bytes()))
    sizes = {index: size for index, (_, size) in enumerate(shown)}
    return replace(encoded, sizes=sizes, types={index: kind for index, (kind, _) in enumerate(shown)})


def read_av(path: Path, info: VideoInfo) -> Iterator[Decoded]:
    """The frames of a file in display order."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        pictures = container.decode(stream)
        while True:
            start = time.perf_counter()
            picture = next(pictures, None)
            if picture is None:
                return
            packed: Any = picture.to_ndarray(format="yuv420p")
            y, u, v = split_planes(packed.reshape(-1), picture.width, picture.height)
            seconds = time.perf_counter() - start
            yuv = (y[: info.height, : info.width], u, v)
            kind = av.video.frame.PictureType(picture.pict_type).name
            yield Frame(yuv=yuv, matrix=info.matrix, value_range=info.range), kind, seconds


def write_bpg(encoder: Encoder, options: Options, frames: Iterable[Frame], info: VideoInfo, path: Path) -> Encoded:
    """Encode every frame as a BPG picture; all of them go to one file, each after its length."""
    from torchDVC.dataset.bpg import encode_bpg

    sizes: dict[int, int] = {}
    seconds = 0.0
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        for index, frame in enumerate(frames):
            picture = frame.rgb
            start = time.perf_counter()
            data = encode_bpg(picture, int(options["qp"]))
            seconds += time.perf_counter() - start
            file.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)
            sizes[index] = LENGTH_BYTES + len(data)
    return Encoded(sizes, seconds, f"{encoder.version()}; {_words(options)}")


def read_bpg(path: Path, info: VideoInfo) -> Iterator[Decoded]:
    """The pictures of a file."""
    from torchDVC.dataset.bpg import decode_bpg

    with open(path, "rb") as file:
        while length := file.read(LENGTH_BYTES):
            data = file.read(int.from_bytes(length, "big"))
            start = time.perf_counter()
            picture = decode_bpg(data)
            yield Frame(rgb=picture, matrix=info.matrix, value_range=info.range), "I", time.perf_counter() - start


def _encode(encoder: Encoder, options: Options, frames: Iterable[Frame], info: VideoInfo, path: Path) -> Encoded:
    import av

    with av.open(str(path), "w", format=encoder.form) as container:
        stream: Any = container.add_stream(encoder.library, rate=info.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = (
            info.width + info.width % 2,
            info.height + info.height % 2,
            "yuv420p",
        )
        stream.codec_context.thread_count = 1
        writer = _PacketWriter(container, stream, encoder.filter)
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
    return Encoded(writer.sizes, seconds, f"{writer.version or encoder.version()}; {_words(options)}; 1 thread")


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


def _words(options: Options) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())
