"""Compressed video files through PyAV: mp4, mkv, webm, avi and whatever else FFmpeg reads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from torchDVC.dataset.completeness import BrokenError, missing_bytes
from torchDVC.dataset.frame import MAX_FPS, Frame, ReadOptions, VideoReader
from torchDVC.dataset.pixel_formats import is_rgb, layout_of_picture, rgb_of, yuv_of
from torchDVC.util.errors import DataError

# Values of the H.273 matrix_coefficients tag; anything else but "unspecified" (and RGB) is refused.
_MATRIX_OF_TAG = {0: "bt709", 1: "bt709", 2: "bt709", 4: "bt601", 5: "bt601", 6: "bt601"}
_NO_CLIP = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image

COUNTED_PIXELS = 2**34
"""A clip of more pixels (8000 frames of 1080p) is not decoded to its end just to count its frames."""


class MediaReader(VideoReader):
    """The first video stream of a file that is marked as the default, else the first; a cover picture is none.

    What FFmpeg decodes without an error is intact, whatever the headers count. The clip is decoded once when it is
    opened, which counts its frames and finds damage; a very long one is of unknown length (`COUNTED_PIXELS`). Where
    frames are not to be counted, what opening decoded is the beginning of the first reading.
    A recording may begin within a GOP: what cannot be decoded before its first key picture is left out.

    Any format is brought to 4:2:0 in its own depth, matrix and range, or where it stores RGB or a palette to 8-bit RGB
    (`torchDVC.dataset.pixel_formats`). Colour comes from the file's tags unless given; untagged is BT.709 limited.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path, self._limit = path, options.frames
        with _reading(path, "cannot be read as video"):
            container = _open(path)  # closed with the last that decodes from it
            stream = _clip_stream(path, container)
            _check_complete(path, container, stream)
            pictures = _decoded(path, container, stream)
            first = next(pictures, None)
            if first is None:
                raise DataError(f"{path}: holds no picture that can be decoded; make the file again")
            tags: Any = {
                "matrix": options.matrix or _tagged_matrix(path, stream.codec_context.colorspace),
                "value_range": "full" if _is_full(first, stream.codec_context.color_range) else "limited",
                "stored": layout_of_picture(first),
            }
            count = _count(first, pictures, options.frames) if options.count else None
            size = first.width, first.height
            info = options.info(path, size, count, fps=_rate(stream), aspect=stream.sample_aspect_ratio, **tags)
            info = replace(info, stored=info.stored + _tag_of_turning(first))
        self._begun = None if options.count else chain((first,), pictures)
        super().__init__(info)

    def __iter__(self) -> Iterator[Frame]:
        limit = self._limit if self.info.frames is None else self.info.frames
        pictures, self._begun = self._begun or self._from_the_start(), None
        count = 0
        for picture in islice(pictures, limit):
            yield self._frame(picture)
            count += 1
        if count < (self.info.frames or 0):
            raise DataError(f"{self.path}: has {count} frames, and had {self.info.frames} before; it was changed")

    def _from_the_start(self) -> Iterator[VideoFrame]:
        with _reading(self.path, "cannot be read as video"), _open(self.path) as container:
            yield from _decoded(self.path, container, _clip_stream(self.path, container))

    def _frame(self, picture: VideoFrame) -> Frame:
        matrix, value_range = self.info.matrix, self.info.range
        if is_rgb(picture):
            return Frame(rgb=rgb_of(picture), matrix=matrix, value_range=value_range)
        planes, bits = yuv_of(picture, value_range)
        return Frame(yuv=planes, matrix=matrix, value_range=value_range, bits=bits)


def _tag_of_turning(picture: VideoFrame) -> str:
    """What players do with the pictures of a phone held upright; here they stay as they are stored."""
    degrees = getattr(picture, "rotation", 0) % 360  # earlier PyAV does not say
    return f", not turned by the {degrees} degrees of its tag" if degrees else ""


def _clip_stream(path: Path, container: InputContainer) -> av.VideoStream:
    """The stream of a file that is its clip."""
    streams = [stream for stream in container.streams.video if not stream.disposition & _NO_CLIP]
    if not streams:
        cover = ", but a cover picture" if container.streams.video else ""
        raise DataError(f"{path}: holds no video{cover}; give a file with a video stream")
    chosen = next((stream for stream in streams if stream.disposition & Disposition.default), streams[0])
    context = chosen.codec_context
    if context is None or context.format is None:  # asked for more, PyAV would crash
        raise DataError(f"{path}: of unknown codec or pixel format, or cut short; make the file again")
    return chosen


def _check_complete(path: Path, container: InputContainer, stream: av.VideoStream) -> None:
    """Raises `DataError` where a file's own structure is broken, or says that more follows."""
    try:
        missing = missing_bytes(path)
    except BrokenError as error:
        raise DataError(f"{path}: damaged at byte {error.at}; make the file again") from None
    if missing:
        stored = sum(packet.size > 0 and not packet.is_corrupt for packet in container.demux(stream))
        of_all = f"{stored} of {stream.frames} frames" if stream.frames else f"{stored} frames"
        raise DataError(f"{path}: cut short, {of_all} are there and {missing} bytes missing; make the file again")


def _decoded(path: Path, container: InputContainer, stream: av.VideoStream) -> Iterator[VideoFrame]:
    """All pictures of a stream in display order. Raises `DataError` where the decoder reports damage.

    Slices may be decoded by several threads, but not frames: FFmpeg would pass over errors in the last of them.
    """
    stream.thread_type = "SLICE"
    size: tuple[int, int] | None = None
    with _reading(path, "is damaged or cut short"):
        for index, picture in enumerate(_pictures(path, container, stream)):
            size = size or (picture.width, picture.height)
            if picture.is_corrupt:
                raise DataError(f"{path}: frame {index} is damaged; make the file again")
            if (picture.width, picture.height) != size:
                found, first = f"{picture.width}x{picture.height}", f"{size[0]}x{size[1]}"
                raise DataError(f"{path}: frame {index} is {found}, the clip {first}; scale the file to one size")
            yield picture


def _pictures(path: Path, container: InputContainer, stream: av.VideoStream) -> Iterator[VideoFrame]:
    """What comes out of the decoder; what goes wrong before the first key picture is passed over."""
    begun = False
    for packet in container.demux(stream):
        if not packet.size:  # ends the stream, or fills a slot of an avi without a picture
            continue
        begun = begun or packet.is_keyframe
        if begun and packet.is_corrupt:
            raise DataError(f"{path}: cut short or damaged at byte {packet.pos}; make the file again")
        with contextlib.nullcontext() if begun else contextlib.suppress(av.error.InvalidDataError):
            yield from stream.decode(packet)
    yield from stream.decode(None)


def _count(first: VideoFrame, others: Iterator[VideoFrame], limit: int | None) -> int | None:
    """How many pictures there are, at most ``limit``; None where that would take long to find out."""
    most = COUNTED_PIXELS // (first.width * first.height)
    count = 1 + sum(1 for _ in islice(others, min(limit or most, most) - 1))
    return None if count == most != limit and next(others, None) else count


def _rate(stream: av.VideoStream) -> Fraction | None:
    """Frames a second: FFmpeg's guess from all that is known, which headers alone often tell wrongly."""
    return next((rate for rate in (stream.guessed_rate, stream.average_rate) if rate and rate <= MAX_FPS), None)


def _is_full(picture: VideoFrame, tag: int) -> bool:
    return picture.format.name.startswith("yuvj") or tag == ColorRange.JPEG


def _tagged_matrix(path: Path, tag: int) -> str:
    if tag not in _MATRIX_OF_TAG:
        raise DataError(f"{path}: colour matrix with tag {tag} is not known; give matrix bt709 or bt601")
    return _MATRIX_OF_TAG[tag]


def _open(path: Path) -> InputContainer:
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
