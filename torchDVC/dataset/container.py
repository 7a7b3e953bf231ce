"""Compressed video files through PyAV: mp4, mkv, webm, avi and whatever else FFmpeg reads; x264 for writing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange

from torchDVC.dataset.colour import Plane
from torchDVC.dataset.frame import Frame, ReadOptions, VideoInfo, VideoReader, VideoWriter
from torchDVC.util.errors import DataError

# Values of the H.273 matrix_coefficients tag; anything else but "unspecified" (and RGB) is refused.
_MATRIX_OF_TAG = {1: "bt709", 2: "bt709", 4: "bt601", 5: "bt601", 6: "bt601"}
_TAG_OF_MATRIX = {"bt709": 1, "bt601": 6}
_RGB_TAG = 0

CRF = 4
"""x264's quality for clips that are written to be looked at: on common clips 49 dB of luma or more, near-lossless."""


class MediaReader(VideoReader):
    """A video file. Its packets are counted when it is opened, which also finds a file cut short.

    8-bit 4:2:0 is passed on as it is stored; other layouts and depths are brought to it in the same matrix and range,
    and files that store RGB give RGB. Colour comes from the file's tags unless given; untagged is BT.709 limited.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        with _reading(path, "cannot be read as video"), _open(path) as container:
            if not container.streams.video:
                raise DataError(f"{path}: holds no video; give a file with a video stream")
            stream = container.streams.video[0]
            context = stream.codec_context
            if context is None or context.format is None:  # asked for more, PyAV would crash
                raise DataError(f"{path}: of unknown codec or pixel format, or cut short; make the file again")
            full = context.format.name.startswith("yuvj") or context.color_range == ColorRange.JPEG
            info = options.info(
                path,
                (context.width, context.height),
                self._count(container, stream, options.frames),
                fps=stream.average_rate,
                matrix=options.matrix or self._tagged_matrix(context.colorspace),
                value_range="full" if full else "limited",
            )
        super().__init__(info)

    def __iter__(self) -> Iterator[Frame]:
        assert self.info.frames is not None
        count = 0
        with _reading(self.path, "is damaged or cut short"), _open(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for decoded in container.decode(stream):
                yield self._frame(decoded, count)
                count += 1
                if count == self.info.frames:
                    return
        raise DataError(f"{self.path}: only {count} of {self.info.frames} frames can be decoded; make the file again")

    def _count(self, container: av.container.InputContainer, stream: av.VideoStream, limit: int | None) -> int:
        count = stored = 0
        for packet in container.demux(stream):
            stored += packet.size > 0
            count += packet.size > 0 and not packet.is_discard
            if count == limit:
                return count
        if stored < stream.frames or not count:
            expected = stream.frames or "any"
            raise DataError(f"{self.path}: cut short, {stored} of {expected} frames are there; make the file again")
        return count

    def _tagged_matrix(self, tag: int) -> str:
        if tag == _RGB_TAG:
            return "bt709"
        if tag not in _MATRIX_OF_TAG:
            raise DataError(f"{self.path}: colour matrix with tag {tag} is not known; give matrix bt709 or bt601")
        return _MATRIX_OF_TAG[tag]

    def _frame(self, decoded: VideoFrame, index: int) -> Frame:
        if decoded.is_corrupt:
            raise DataError(f"{self.path}: frame {index} is damaged; make the file again")
        if (decoded.width, decoded.height) != (self.info.width, self.info.height):
            raise DataError(
                f"{self.path}: frame {index} is {decoded.width}x{decoded.height}, the clip "
                f"{self.info.width}x{self.info.height}; scale the file to one size"
            )
        if decoded.format.is_rgb:
            rgb = decoded.to_ndarray(format="rgb24").transpose(2, 0, 1)
            return Frame(rgb=np.ascontiguousarray(rgb), matrix=self.info.matrix, value_range=self.info.range)
        if decoded.format.name not in ("yuv420p", "yuvj420p"):
            stored = ColorRange.JPEG if self.info.range == "full" else ColorRange.MPEG
            decoded = decoded.reformat(format="yuv420p", src_color_range=stored, dst_color_range=stored)
        y, u, v = (_plane(plane) for plane in decoded.planes)
        return Frame(yuv=(y, u, v), matrix=self.info.matrix, value_range=self.info.range)


@dataclass
class Mp4Writer(VideoWriter):
    """Writes an mp4 file with x264 at a constant quality ``crf``, tagged with the clip's matrix and range.

    H.264 stores 4:2:0 only in even sizes, so clips of odd width or height are stored 4:4:4.
    """

    crf: int = CRF
    remark: ClassVar[str] = f"; stored near-lossless, by x264 at CRF {CRF}: write .y4m for the decoder's very samples"

    def _open(self, path: Path) -> None:
        info = self.info
        options = {"crf": str(self.crf), "preset": "medium"}
        with _writing(self.path, info):
            self._container = av.open(str(path), "w")
            self._stream = self._container.add_stream("libx264", rate=info.fps, options=options)
        self._stream.width, self._stream.height = info.width, info.height
        self._stream.pix_fmt = "yuv444p" if info.width % 2 or info.height % 2 else "yuv420p"
        context = self._stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _TAG_OF_MATRIX[info.matrix]
        context.color_range = ColorRange.JPEG if info.range == "full" else ColorRange.MPEG

    def _write(self, frame: Frame) -> None:
        picture = VideoFrame(self.info.width, self.info.height, str(self._stream.pix_fmt))
        for target, plane in zip(picture.planes, frame.yuv, strict=True):
            if plane.shape != (target.height, target.width):
                plane = plane.repeat(2, axis=0).repeat(2, axis=1)
            rows = np.zeros((target.height, target.line_size), np.uint8)
            rows[:, : target.width] = plane[: target.height, : target.width]
            target.update(rows.tobytes())
        with _writing(self.path, self.info):
            picture.pts, picture.time_base = self.written, 1 / self.info.fps
            self._container.mux(self._stream.encode(picture))

    def _finish(self) -> None:
        with _writing(self.path, self.info):
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def _release(self) -> None:
        with contextlib.suppress(av.error.FFmpegError):
            self._container.close()


def _open(path: Path) -> av.container.InputContainer:
    """The file for reading; titles and the like that are no UTF-8 are passed over."""
    return av.open(str(path), metadata_errors="ignore")


@contextlib.contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Report FFmpeg's errors as one line that says ``what`` is wrong with the file."""
    try:
        yield
    except av.error.FFmpegError as error:
        reason = str(error.strerror or error).lower()
        raise DataError(f"{path}: {what} ({reason}); make the file again or convert it with ffmpeg") from error


@contextlib.contextmanager
def _writing(path: Path, info: VideoInfo) -> Iterator[None]:
    """Report FFmpeg's errors as one line, and those of the operating system (a full disk) as its own."""
    try:
        yield
    except (av.error.FFmpegError, OverflowError) as error:  # PyAV's fractions are of 32 bits
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        clip = f"{info.width}x{info.height} at {info.fps} frames/s"
        reason = str(getattr(error, "strerror", error)).lower()
        raise DataError(f"{path}: x264 cannot write {clip} ({reason}); write a .y4m instead") from error


def _plane(plane: VideoPlane) -> Plane:
    """The pixels of a decoded plane, without the padding of its rows, in memory of their own."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width].copy()
