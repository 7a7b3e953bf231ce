"""FFmpeg's pixel formats as 8-bit RGB or as 4:2:0: a decoded picture's samples as they are, none converted by FFmpeg.

FFmpeg's converter takes every grey format for full range, and turns RGB of more than 8 bits and palettes to YUV by
matrices of its own. It is only asked for what moves samples and changes none: packed formats to planar ones. The
exception are YUV formats with a quarter of the chroma or less, which it interpolates.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import av
import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange

from torchDVC.dataset.colour import Plane
from torchDVC.dataset.layouts import Layout
from torchDVC.dataset.planes import CodePlanes, Codes, stored_type, to_420, to_rgb8

_CHROMA = {(64, 64): "444", (32, 64): "422", (32, 32): "420", (64, 32): "440"}  # chroma size at 64x64 luma
_EASY = "yuv420p"
_ONE_THREAD: dict[str, Any] = {"threads": 1} if int(av.__version__.partition(".")[0]) >= 17 else {}
"""Earlier PyAV knows no other. On several, FFmpeg 8 spoils rows of grey with transparency now and then, and what it
interpolates depends on how many there are."""


def is_rgb(picture: VideoFrame) -> bool:
    """Whether a picture stores RGB, a palette of it, or black and white."""
    layout = picture.format
    return layout.is_rgb or layout.has_palette or layout.is_bit_stream


def layout_of_picture(picture: VideoFrame) -> Layout | None:
    """Depth and chroma of the samples of a picture; None for RGB."""
    if is_rgb(picture):
        return None
    layout = VideoFormat(_planar(picture.format.name), 64, 64)
    chroma = "400" if _is_grey(layout) else _CHROMA[layout.chroma_width(64), layout.chroma_height(64)]
    return Layout(chroma, layout.components[0].bits)


def rgb_of(picture: VideoFrame) -> Plane:
    """RGB (3, H, W) uint8 of a picture that stores RGB."""
    deep = max(component.bits for component in picture.format.components) > 8
    if not deep:
        packed = _converted(picture, "rgb24").to_ndarray()
        return np.ascontiguousarray(packed.transpose(2, 0, 1))
    if picture.format.name.startswith("gbrp"):
        bits = picture.format.components[0].bits
        green, blue, red = (_codes(plane, bits, picture.format.is_big_endian) for plane in picture.planes[:3])
        return to_rgb8(np.stack([red, green, blue]), bits)
    packed = _converted(picture, "rgb48le").to_ndarray().transpose(2, 0, 1)
    return to_rgb8(packed.astype(np.uint16, copy=False), 16)


def deep_rgb_of(picture: VideoFrame) -> Plane:
    """RGB (3, H, W) uint8 of a still picture of 16 bits a channel: RGB, or grey in full range."""
    if is_rgb(picture):
        return rgb_of(picture)
    (grey, *_), bits = yuv_of(picture, "full")
    return np.repeat(to_rgb8(grey, bits)[None], 3, axis=0)


def yuv_of(picture: VideoFrame, value_range: str) -> tuple[CodePlanes, int]:
    """Planes of 4:2:0, and their depth, of a picture that stores YUV or grey in that range."""
    planar = _planar(picture.format.name)
    if planar != picture.format.name:
        stored = ColorRange.JPEG if value_range == "full" else ColorRange.MPEG
        picture = _converted(picture, planar, src_color_range=stored, dst_color_range=stored)
    layout = picture.format
    bits = layout.components[0].bits
    planes = [_codes(plane, bits, layout.is_big_endian) for plane in picture.planes[: 1 if _is_grey(layout) else 3]]
    return to_420(planes, bits), bits


def _converted(picture: VideoFrame, name: str, **ranges: ColorRange) -> VideoFrame:
    """A picture in another of FFmpeg's formats: the same samples on any number of processors."""
    return picture.reformat(format=name, **ranges, **_ONE_THREAD)


@cache
def _planar(name: str) -> str:
    """The planar format that holds the samples of a format."""
    layout = VideoFormat(name, 64, 64)
    bits = layout.components[0].bits
    deep = "" if bits == 8 else f"{bits}le"
    if _is_grey(layout):
        return name if len(layout.components) == 1 else f"gray{deep}"
    chroma = _CHROMA.get((layout.chroma_width(64), layout.chroma_height(64)))
    if chroma is None:
        return _EASY
    in_planes = [component.plane for component in layout.components][:3] == [0, 1, 2]
    return name if in_planes else f"yuv{chroma}p{deep}"


def _is_grey(layout: VideoFormat) -> bool:
    """Whether a format has luma only, perhaps with transparency."""
    return sum(not component.is_alpha for component in layout.components) == 1


def _codes(plane: VideoPlane, bits: int, big_endian: bool) -> Codes:
    """The codes of a plane, without the padding of its rows, in memory of their own."""
    kind: np.dtype[Any] = np.dtype(np.uint8 if bits == 8 else ">u2" if big_endian else "<u2")
    rows: Codes = np.frombuffer(memoryview(plane), kind).reshape(plane.height, plane.line_size // kind.itemsize)
    return rows[:, : plane.width].astype(stored_type(bits))
