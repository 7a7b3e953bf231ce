"""Writing mp4 files to be looked at, with x264 through PyAV."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from torchDVC.dataset.frame import Frame, VideoInfo, VideoWriter
from torchDVC.util.errors import DataError

_TAG_OF_MATRIX = {"bt709": 1, "bt601": 6}

CRF = 4
"""x264's quality: on common clips 49 dB of luma or more, near-lossless."""


@dataclass
class Mp4Writer(VideoWriter):
    """Writes an mp4 file with x264 at a constant quality ``crf``, tagged with the clip's matrix and range.

    H.264 stores 4:2:0 only in even sizes, so clips of odd width or height are stored 4:4:4.
    """

    remark: ClassVar[str] = f"; stored near-lossless, by x264 at CRF {CRF}: write .y4m for the decoder's very samples"
    crf: int = CRF

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
