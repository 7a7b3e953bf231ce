"""Uncompressed video: ``.yuv`` (no header: names and flags tell what it holds) and ``.y4m`` (YUV4MPEG2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from torchDVC.dataset.frame import Frame, IndexedReader, ReadOptions, VideoInfo, VideoWriter
from torchDVC.dataset.layouts import Layout, find_layout, layout_of
from torchDVC.dataset.names import name_says
from torchDVC.dataset.planes import stored_type, to_420
from torchDVC.util.errors import DataError

_Y4M_MAGIC = b"YUV4MPEG2"
_Y4M_SITING = re.compile("jpeg|mpeg2|paldv")
_MAX_HEADER = 4096
_MAX_SIDE = 65536


class RawReader(IndexedReader):
    """Frames of one layout, at known places of a file."""

    def __init__(self, path: Path, layout: Layout, offsets: Sequence[int], info: VideoInfo) -> None:
        super().__init__(info)
        self.path, self._layout, self._offsets = path, layout, offsets
        self._frame_bytes = layout.frame_bytes(info.width, info.height)

    def frame(self, index: int) -> Frame:
        """Frame ``index``, read by its place in the file."""
        info, bits = self.info, self._layout.bits
        data = np.fromfile(self.path, np.uint8, self._frame_bytes, offset=self._offsets[index])
        if len(data) < self._frame_bytes:
            raise DataError(f"{self.path}: frame {index} is cut short; the file was changed while it was read")
        planes = to_420(self._layout.planes(data, info.width, info.height), bits)
        return Frame(yuv=planes, matrix=info.matrix, value_range=info.range, bits=bits)


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
    parameters, first_frame = _y4m_parameters(path)
    layout, size, fps, aspect = _y4m_header(path, parameters)
    offsets = _y4m_frames(path, first_frame, layout.frame_bytes(*size), options.frames)
    value_range = "full" if parameters.get("XCOLORRANGE") == "FULL" else "limited"
    count = len(offsets)
    info = options.info(path, size, count, fps=fps, value_range=value_range, stored=layout, aspect=aspect)
    return RawReader(path, layout, offsets, info)


class RawWriter(VideoWriter):
    """Writes ``.y4m`` (with its header) or ``.yuv`` (frames only), by the name of the file."""

    def _open(self, path: Path) -> None:
        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115 - closed by close or __exit__
        if self.path.suffix.lower() == ".y4m":
            info = self.info
            aspect = f"A{info.aspect.numerator}:{info.aspect.denominator}" if info.aspect else "A0:0"
            layout = "C420jpeg" if info.bits == 8 else f"C420p{info.bits} XYSCSS=420P{info.bits}"
            self._file.write(
                f"YUV4MPEG2 W{info.width} H{info.height} F{info.fps.numerator}:{info.fps.denominator} Ip {aspect} "
                f"{layout} XCOLORRANGE={info.range.upper()}\n".encode()
            )

    def _write(self, frame: Frame) -> None:
        if self.path.suffix.lower() == ".y4m":
            self._file.write(b"FRAME\n")
        for plane in frame.planes(self.info.bits):
            self._file.write(np.ascontiguousarray(plane, stored_type(self.info.bits)).data)

    def _finish(self) -> None:
        self._file.close()

    def _release(self) -> None:
        self._file.close()


def _y4m_parameters(path: Path) -> tuple[dict[str, str], int]:
    """Parameters of a ``.y4m`` file by their letter ("X…" ones by ``XNAME``), and where its first frame starts."""
    with open(path, "rb") as file:
        line = file.readline(_MAX_HEADER)
    if not line.startswith(_Y4M_MAGIC + b" ") or not line.endswith(b"\n"):
        raise DataError(f"{path}: not a y4m file (expected 'YUV4MPEG2 W… H… F…'); convert it with ffmpeg")
    parameters: dict[str, str] = {}
    for word in line.decode("ascii", "replace").split()[1:]:
        key, _, value = word.partition("=") if word.startswith("X") else (word[0], "", word[1:])
        parameters[key] = value
    return parameters, len(line)


def _y4m_frames(path: Path, position: int, frame_bytes: int, limit: int | None) -> list[int]:
    """Where each frame begins."""
    offsets: list[int] = []
    end = path.stat().st_size
    with open(path, "rb") as file:
        while position < end and len(offsets) != limit:
            file.seek(position)
            header = file.readline(_MAX_HEADER)
            position += len(header) + frame_bytes
            if not header.startswith(b"FRAME") or not header.endswith(b"\n") or position > end:
                raise DataError(f"{path}: frame {len(offsets)} is damaged or cut short; make the file again")
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
