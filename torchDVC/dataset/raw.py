"""Uncompressed video: ``.yuv`` (planar 4:2:0 without a header) and ``.y4m`` (YUV4MPEG2, 4:2:0 or mono).

Samples of 10 bits, in ``.y4m`` only when reading, are two bytes each, the lower one first.
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from torchDVC.dataset.colour import Plane
from torchDVC.dataset.frame import (
    DEFAULT_FPS,
    Frame,
    IndexedReader,
    ReadOptions,
    VideoWriter,
    frame_bytes,
    split_planes,
    stored_type,
)
from torchDVC.util.errors import DataError

_NAMED_SIZES = {"sqcif": (128, 96), "qcif": (176, 144), "cif": (352, 288), "4cif": (704, 576)}
_Y4M_LAYOUTS = ("420", "420jpeg", "420mpeg2", "420paldv", "mono", "420p10")
_Y4M_TAGS = {8: "C420jpeg", 10: "C420p10 XYSCSS=420P10"}
_Y4M_MAGIC = b"YUV4MPEG2"
_MAX_HEADER = 4096
_MAX_SIDE = 65536
_NO_COLOUR = 128


def name_size(name: str) -> tuple[int, int] | None:
    """(width, height) told by a file name such as ``Beauty_1920x1080_120fps_420_8bit_YUV.yuv``, ``foreman_cif.yuv``."""
    sizes = re.findall(r"(?<!\d)(\d{1,5})[xX](\d{1,5})(?!\d)", name)
    if sizes:
        return int(sizes[-1][0]), int(sizes[-1][1])
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word in _NAMED_SIZES]
    return _NAMED_SIZES[words[-1]] if words else None


def name_fps(name: str) -> Fraction | None:
    """Frames per second told by a file name: ``120fps`` anywhere, or a number after the size (``_832x480_60``)."""
    match = re.search(r"(\d+(?:\.\d+)?)fps", name, re.IGNORECASE) or re.search(
        r"\d[xX]\d+_(\d+(?:\.\d+)?)(?=[_.]|$)", name
    )
    return Fraction(match[1]) if match and Fraction(match[1]) > 0 else None


class YuvReader(IndexedReader):
    """A ``.yuv`` file of planar 8-bit 4:2:0 frames; its size is given or told by its name."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        size = options.size or name_size(path.name)
        if size is None:
            raise DataError(f"{path}: picture size unknown; give the size, or name the file like Beauty_1920x1080.yuv")
        if re.search(r"10 ?bit|p10|10le|422|444", path.name, re.IGNORECASE):
            raise DataError(f"{path}: named as not 8-bit 4:2:0; convert it with ffmpeg -pix_fmt yuv420p")
        self._frame_bytes, length = frame_bytes(*size), path.stat().st_size
        total, rest = divmod(length, self._frame_bytes)
        if rest or not total:
            raise DataError(
                f"{path}: {length} bytes are not whole {size[0]}x{size[1]} 4:2:0 frames of {self._frame_bytes} bytes "
                f"({total} frames and {rest} bytes); give the right size, or make the file again if it was cut short"
            )
        self.path = path
        super().__init__(options.info(path, size, total, fps=name_fps(path.name)))

    def frame(self, index: int) -> Frame:
        """Frame ``index``, read by its place in the file."""
        data = _read(self.path, index * self._frame_bytes, self._frame_bytes, index)
        planes = split_planes(data, self.info.width, self.info.height)
        return Frame(yuv=planes, matrix=self.info.matrix, value_range=self.info.range)


class Y4mReader(IndexedReader):
    """A ``.y4m`` file; the places of its frames are found when it is opened, which also finds a file cut short."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        parameters, first_frame = _y4m_parameters(path)
        size, fps, layout = _y4m_layout(path, parameters)
        self._mono, bits = layout == "mono", 10 if layout == "420p10" else 8
        self._frame_bytes = size[0] * size[1] if self._mono else frame_bytes(*size, bits)
        self._offsets = self._find_frames(first_frame, options.frames)
        value_range = "full" if parameters.get("XCOLORRANGE") == "FULL" else "limited"
        super().__init__(options.info(path, size, len(self._offsets), fps=fps, value_range=value_range, bits=bits))

    def _find_frames(self, position: int, limit: int | None) -> list[int]:
        offsets: list[int] = []
        end = self.path.stat().st_size
        with open(self.path, "rb") as file:
            while position < end and len(offsets) != limit:
                file.seek(position)
                header = file.readline(_MAX_HEADER)
                position += len(header) + self._frame_bytes
                if not header.startswith(b"FRAME") or not header.endswith(b"\n") or position > end:
                    raise DataError(f"{self.path}: frame {len(offsets)} is damaged or cut short; make the file again")
                offsets.append(position - self._frame_bytes)
        if not offsets:
            raise DataError(f"{self.path}: holds no frames; make the file again")
        return offsets

    def frame(self, index: int) -> Frame:
        """Frame ``index``, read by its place in the file."""
        width, height = self.info.width, self.info.height
        data = _read(self.path, self._offsets[index], self._frame_bytes, index)
        if self._mono:
            data = np.concatenate([data, np.full(frame_bytes(width, height) - len(data), _NO_COLOUR, np.uint8)])
        planes = split_planes(data.view(stored_type(self.info.bits)), width, height)
        return Frame(yuv=planes, matrix=self.info.matrix, value_range=self.info.range, bits=self.info.bits)


class RawWriter(VideoWriter):
    """Writes ``.y4m`` (with its header) or ``.yuv`` (frames only), by the name of the file."""

    def _open(self, path: Path) -> None:
        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115 - closed by close or __exit__
        if self.path.suffix.lower() == ".y4m":
            info = self.info
            self._file.write(
                f"YUV4MPEG2 W{info.width} H{info.height} F{info.fps.numerator}:{info.fps.denominator} Ip A1:1 "
                f"{_Y4M_TAGS[info.bits]} XCOLORRANGE={info.range.upper()}\n".encode()
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


def _read(path: Path, offset: int, count: int, index: int) -> Plane:
    """``count`` bytes from ``offset`` as flat uint8; fewer raise `DataError` naming frame ``index``."""
    data = np.fromfile(path, np.uint8, count, offset=offset)
    if len(data) < count:
        raise DataError(f"{path}: frame {index} is cut short; the file was changed while it was read")
    return data


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


def _y4m_layout(path: Path, parameters: dict[str, str]) -> tuple[tuple[int, int], Fraction, str]:
    """((width, height), frames per second, layout) of y4m ``parameters``; `DataError` where not readable."""
    layout = parameters.get("C", "420jpeg")
    if layout not in _Y4M_LAYOUTS:
        raise DataError(
            f"{path}: y4m layout '{layout}'; only {', '.join(_Y4M_LAYOUTS)} are read; convert it with "
            "ffmpeg -pix_fmt yuv420p"
        )
    try:
        width, height = int(parameters["W"]), int(parameters["H"])
        numerator, _, denominator = parameters.get("F", "0:0").partition(":")
        fps = Fraction(int(numerator), int(denominator)) if int(denominator) and int(numerator) else DEFAULT_FPS
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: y4m header lacks a whole number ({error}) for W, H or F; make it again") from error
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE) or fps <= 0:
        raise DataError(f"{path}: y4m header says {width}x{height} at {fps} frames/s; make the file again")
    return (width, height), fps, layout
