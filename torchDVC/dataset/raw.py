"""Uncompressed video: ``.yuv`` (no header: names and flags tell what it holds) and ``.y4m`` (YUV4MPEG2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from torchDVC.dataset.frame import Frame, IndexedReader, ReadOptions, VideoInfo, VideoWriter
from torchDVC.dataset.layouts import Layout, find_layout, layout_of
from torchDVC.dataset.names import name_says
from torchDVC.dataset.planes import stored_type, to_420
from torchDVC.util.errors import DataError
from torchDVC.util.files import STANDARD

_Y4M_MAGIC = b"YUV4MPEG2"
_Y4M_SITING = re.compile("jpeg|mpeg2|paldv")
MAX_LINE = 4096
"""Bytes of a line of y4m."""
_MAX_SIDE = 65536


class RawReader(IndexedReader):
    """Frames of one layout, at known places of a file."""

    def __init__(self, path: Path, layout: Layout, offsets: Sequence[int], info: VideoInfo) -> None:
        super().__init__(info)
        self.path, self._layout, self._offsets = path, layout, offsets
        self._frame_bytes = layout.frame_bytes(info.width, info.height)

    def frame(self, index: int) -> Frame:
        """Frame ``index``, read by its place in the file."""
        data = np.fromfile(self.path, np.uint8, self._frame_bytes, offset=self._offsets[index])
        if len(data) < self._frame_bytes:
            raise DataError(f"{self.path}: frame {index} is cut short; the file was changed while it was read")
        return stored_frame(data, self._layout, self.info)


def stored_frame(data: np.ndarray, layout: Layout, info: VideoInfo) -> Frame:
    """The frame whose samples are so many bytes (flat uint8) of a layout."""
    planes = to_420(layout.planes(data, info.width, info.height), layout.bits)
    return Frame(yuv=planes, matrix=info.matrix, value_range=info.range, bits=layout.bits)


def yuv_reader(path: Path, options: ReadOptions) -> RawReader:
    """A ``.yuv`` file: its size, rate, samples and matrix are given, or told by its name (`name_says`).

    What neither says is 8-bit 4:2:0 in BT.709 limited.
    """
    named = name_says(path.stem)
    size = options.size or named.size
    if size is None:
        raise DataError(f"{path}: picture size unknown; give the size (--size), or name it like Beauty_1920x1080.yuv")
    if named.matrix == "bt2020" and options.matrix is None:
        raise DataError(f"{path}: named as of colour matrix bt2020, which is not known; give matrix bt709 or bt601")
    layout = layout_of(options.pix_fmt) if options.pix_fmt else named.layout or Layout()
    frame_bytes, length = layout.frame_bytes(*size), path.stat().st_size
    total, rest = divmod(length, frame_bytes)
    if rest or not total:
        raise DataError(
            f"{path}: {length} bytes are not whole {size[0]}x{size[1]} {layout} frames of {frame_bytes} bytes "
            f"({total} frames and {rest} bytes); give what its name does not say (--size, --pix_fmt), or make the file "
            "again if it was cut short"
        )
    info = options.info(path, size, total, fps=named.fps, matrix=named.matrix or "bt709", stored=layout)
    return RawReader(path, layout, range(0, length, frame_bytes), info)


def y4m_reader(path: Path, options: ReadOptions) -> RawReader:
    """A ``.y4m`` file; the places of its frames are found when it is opened, which also finds a file cut short."""
    with open(path, "rb") as file:
        header, first_frame = Y4mHeader.read(file, path), file.tell()
    offsets = _y4m_frames(path, first_frame, header.frame_bytes, options.frames)
    return RawReader(path, header.layout, offsets, header.info(path, options, len(offsets)))


@dataclass(frozen=True)
class Y4mHeader:
    """What a y4m stream says of its frames."""

    layout: Layout
    size: tuple[int, int]
    fps: Fraction | None
    aspect: Fraction | None
    range: str

    @classmethod
    def read(cls, file: BinaryIO, path: Path) -> Y4mHeader:
        """The header at the beginning of a file. Raises `DataError` where it is none, or of an unknown layout."""
        parameters = _y4m_parameters(file.readline(MAX_LINE), path)
        return cls(*_y4m_header(path, parameters), "full" if parameters.get("XCOLORRANGE") == "FULL" else "limited")

    @property
    def frame_bytes(self) -> int:
        """Of a frame, without its own line."""
        return self.layout.frame_bytes(*self.size)

    def info(self, path: Path, options: ReadOptions, frames: int) -> VideoInfo:
        """What is known of a clip of so many frames."""
        return options.info(
            path, self.size, frames, fps=self.fps, value_range=self.range, stored=self.layout, aspect=self.aspect
        )


class RawWriter(VideoWriter):
    """Writes ``.y4m`` (with its header) or ``.yuv`` (frames only), by the name of the file."""

    @property
    def _headed(self) -> bool:
        return self.path == STANDARD or self.path.suffix.lower() == ".y4m"

    def _file_at(self, path: Path) -> BinaryIO:
        return open(path, "wb")

    def _open(self, path: Path) -> None:
        self._file = self._file_at(path)
        if self._headed:
            info = self.info
            aspect = f"A{info.aspect.numerator}:{info.aspect.denominator}" if info.aspect else "A0:0"
            layout = "C420jpeg" if info.bits == 8 else f"C420p{info.bits} XYSCSS=420P{info.bits}"
            self._file.write(
                f"YUV4MPEG2 W{info.width} H{info.height} F{info.fps.numerator}:{info.fps.denominator} Ip {aspect} "
                f"{layout} XCOLORRANGE={info.range.upper()}\n".encode()
            )

    def _write(self, frame: Frame) -> None:
        if self._headed:
            self._file.write(b"FRAME\n")
        for plane in frame.planes(self.info.bits):
            self._file.write(np.ascontiguousarray(plane, stored_type(self.info.bits)).data)

    def _finish(self) -> None:
        self._file.close()

    def _release(self) -> None:
        self._file.close()


def is_frame_line(line: bytes) -> bool:
    """Whether a line of y4m begins a frame."""
    return line.startswith(b"FRAME") and line.endswith(b"\n")


def cut_short(name: Path | str, index: int) -> DataError:
    """What is said of a y4m stream that ends within a frame, or goes on with none."""
    return DataError(f"{name}: frame {index} is damaged or cut short; make the file again")


def _y4m_parameters(line: bytes, path: Path) -> dict[str, str]:
    """Parameters in the first line of y4m by their letter ("X…" ones by ``XNAME``)."""
    if not line.startswith(_Y4M_MAGIC + b" ") or not line.endswith(b"\n"):
        raise DataError(f"{path}: not a y4m file (expected 'YUV4MPEG2 W… H… F…'); convert it with ffmpeg")
    parameters: dict[str, str] = {}
    for word in line.decode("ascii", "replace").split()[1:]:
        key, _, value = word.partition("=") if word.startswith("X") else (word[0], "", word[1:])
        parameters[key] = value
    return parameters


def _y4m_frames(path: Path, position: int, frame_bytes: int, limit: int | None) -> list[int]:
    """Where each frame begins."""
    offsets: list[int] = []
    end = path.stat().st_size
    with open(path, "rb") as file:
        while position < end and len(offsets) != limit:
            file.seek(position)
            line = file.readline(MAX_LINE)
            position += len(line) + frame_bytes
            if not is_frame_line(line) or position > end:
                raise cut_short(path, len(offsets))
            offsets.append(position - frame_bytes)
    if not offsets:
        raise DataError(f"{path}: holds no frames; make the file again")
    return offsets


def _y4m_header(
    path: Path, parameters: dict[str, str]
) -> tuple[Layout, tuple[int, int], Fraction | None, Fraction | None]:
    """Layout, (width, height), frames per second and pixel aspect of y4m ``parameters``; `DataError` if unreadable."""
    tag = parameters.get("C", "420jpeg")
    layout = find_layout(_Y4M_SITING.sub("", tag))
    if layout is None:
        raise DataError(
            f"{path}: y4m layout '{tag}'; only mono, 420, 422, 440 and 444, of 8 to 16 bits, are read; convert it with "
            "ffmpeg -pix_fmt yuv420p"
        )
    try:
        width, height = int(parameters["W"]), int(parameters["H"])
        fps, aspect = (_ratio(parameters.get(key, "0:0")) for key in ("F", "A"))
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: y4m header lacks a whole number ({error}) for W, H, F or A; make it again") from error
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE) or (fps or 1) <= 0:
        raise DataError(f"{path}: y4m header says {width}x{height} at {fps} frames/s; make the file again")
    return layout, (width, height), fps, aspect


def _ratio(text: str) -> Fraction | None:
    """``30000:1001``; None for ``0:0``, which says nothing."""
    numerator, _, denominator = text.partition(":")
    return Fraction(int(numerator), int(denominator)) if int(denominator) and int(numerator) else None
