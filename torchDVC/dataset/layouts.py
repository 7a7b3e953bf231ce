"""How the samples of a raw frame lie in a file: FFmpeg's names of pixel formats, and the arrays that bytes become."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchDVC.dataset.planes import Codes
from torchDVC.util.errors import DataError, nearest

_STEPS = {"400": (0, 0), "420": (2, 2), "422": (2, 1), "440": (1, 2), "444": (1, 1)}
"""Luma samples for one of chroma, across and down; 0 for no chroma."""
_PACKED = {"yuyv": (0, 1, 3), "uyvy": (1, 0, 2)}
"""Where Y, U and V begin in four bytes of two pixels."""


@dataclass(frozen=True)
class Layout:
    """Planes of Y, U and V one after another unless ``order`` says otherwise.

    Attributes:
        chroma: "400" (grey), "420", "422", "440" or "444".
        bits: of a sample; more than 8 take two bytes.
        order: "planar"; "swapped" (V before U); "pairs" and "swapped pairs" (U and V in turn, as one plane); "yuyv" and
            "uyvy" (two pixels in four bytes).
        high: samples stand in the upper bits of their bytes.
        big_endian: the upper byte comes first.
    """

    chroma: str = "420"
    bits: int = 8
    order: str = "planar"
    high: bool = False
    big_endian: bool = False

    def __str__(self) -> str:
        return f"{self.bits}-bit {'grey' if self.chroma == '400' else ':'.join(self.chroma)}"

    def frame_bytes(self, width: int, height: int) -> int:
        """Size of a frame in bytes."""
        chroma_width, chroma_height = self._chroma_size(width, height)
        luma_width = width + width % 2 if self.order in _PACKED else width
        return (luma_width * height + 2 * chroma_width * chroma_height) * (1 if self.bits == 8 else 2)

    def planes(self, data: NDArray[np.uint8], width: int, height: int) -> list[Codes]:
        """Y (height, width), U and V (where there are such) of a frame's bytes."""
        codes: Codes = data if self.bits == 8 else data.view(">u2" if self.big_endian else "<u2")
        if self.high:
            codes = codes >> (16 - self.bits)
        if self.order in _PACKED:
            return self._unpacked(codes, width, height)
        luma, chroma = codes[: width * height].reshape(height, width), codes[width * height :]
        if self.chroma == "400":
            return [luma]
        across, down = self._chroma_size(width, height)
        if "pairs" in self.order:
            pairs = chroma.reshape(down, across, 2)
            u, v = pairs[..., 0], pairs[..., 1]
        else:
            u, v = chroma.reshape(2, down, across)
        return [luma, v, u] if self.order.startswith("swapped") else [luma, u, v]

    def _chroma_size(self, width: int, height: int) -> tuple[int, int]:
        across, down = _STEPS[self.chroma]
        return (-(-width // across), -(-height // down)) if across else (0, 0)

    def _unpacked(self, codes: Codes, width: int, height: int) -> list[Codes]:
        y, u, v = _PACKED[self.order]
        rows = codes.reshape(height, -1)
        return [rows[:, y::2][:, :width], rows[:, u::4], rows[:, v::4]]


_DEPTH = r"(8|9|10|12|14|16)?(le|be)?"
_PLANAR = re.compile(rf"(?:yuvj?|p|i)?(420|422|440|444)p?{_DEPTH}")
_GREY = re.compile(rf"(?:gray|grey|mono|(?:yuv|p)400p?|400p){_DEPTH}")
_HIGH = re.compile(r"p([024])(10|12|16)(le|be)?")
_OTHERS = {
    "yv12": Layout(order="swapped"),
    "iyuv": Layout(),
    "nv12": Layout(order="pairs"),
    "nv21": Layout(order="swapped pairs"),
    "nv16": Layout("422", order="pairs"),
    "nv24": Layout("444", order="pairs"),
    **{name: Layout("422", order="yuyv") for name in ("yuyv422", "yuyv", "yuy2")},
    **{name: Layout("422", order="uyvy") for name in ("uyvy422", "uyvy")},
}
KNOWN = ("yuv420p", "yuv420p10le", "yuv422p", "yuv444p", "gray", "gray10le", "p010le", *_OTHERS)
"""Some names, for messages."""


def find_layout(name: str) -> Layout | None:
    """The layout that FFmpeg, or people, call ``name``, such as ``yuv420p10le``, ``420p10``, ``P010`` or ``nv12``."""
    name = name.lower()
    if match := _PLANAR.fullmatch(name):
        return Layout(match[1], int(match[2] or 8), big_endian=match[3] == "be")
    if match := _GREY.fullmatch(name):
        return Layout("400", int(match[1] or 8), big_endian=match[2] == "be")
    if match := _HIGH.fullmatch(name):
        chroma = {"0": "420", "2": "422", "4": "444"}[match[1]]
        return Layout(chroma, int(match[2]), "pairs", high=True, big_endian=match[3] == "be")
    return _OTHERS.get(name)


def layout_of(name: str) -> Layout:
    """`find_layout`; raises `DataError` for a name that is not known."""
    layout = find_layout(name)
    if layout is None:
        raise DataError(f"unknown pixel format '{name}'{nearest(name, KNOWN)}")
    return layout
