"""What every reader yields and every writer takes: frames, and what is known of the clip they belong to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from torchDVC.dataset.colour import Plane, check_colour, chroma_size, rgb_to_yuv420, yuv420_to_rgb
from torchDVC.dataset.layouts import Layout, layout_of
from torchDVC.dataset.planes import CodePlanes, in_depth
from torchDVC.util.errors import DataError
from torchDVC.util.files import atomic_path

Planes = tuple[Plane, Plane, Plane]

DEFAULT_FPS = Fraction(30)
MAX_FPS = 480
"""A rate beyond this is a clock's, not a clip's."""


@dataclass(frozen=True)
class VideoInfo:
    """Size in pixels, number of frames (None: not known beforehand), frames per second and colour of a clip.

    ``matrix`` ("bt709" or "bt601") and ``range`` ("limited" or "full") say how its YUV relates to RGB; ``source`` is
    the path or the description of where it comes from, for messages and results. ``bits`` is the depth of its samples,
    8 to 16, and ``stored`` what they are, in words; ``aspect`` the width of a pixel over its height, None where that is
    not said.
    """

    width: int
    height: int
    frames: int | None = None
    fps: Fraction = DEFAULT_FPS
    matrix: str = "bt709"
    range: str = "limited"
    source: str = ""
    bits: int = 8
    stored: str = ""
    aspect: Fraction | None = None

    def __str__(self) -> str:
        """As in ``1920x1080, 600 frames at 120 frames/s, 8-bit 4:2:0, bt709 limited``."""
        length = "of unknown length" if self.frames is None else f"{self.frames} frames"
        parts = [f"{self.width}x{self.height}", f"{length} at {float(self.fps):.5g} frames/s", self.stored]
        return ", ".join([*filter(None, parts), f"{self.matrix} {self.range}"])

    def read_in(self, bits: int) -> str:
        """What a codec of so many bits is given of the clip."""
        return f"{self}; rounded to {bits} bits" if self.bits > bits else str(self)

    def __post_init__(self) -> None:
        check_colour(self.matrix, self.range)
        if self.width < 1 or self.height < 1:
            raise DataError(f"{self.source}: {self.width}x{self.height} is not a picture size")


class Frame:
    """One picture, as 8-bit RGB and as YUV 4:2:0; what it was not made from is computed when first asked for.

    Attributes:
        bits: the depth of the samples it was made from; those of more than 8 bits are uint16.
    """

    def __init__(
        self,
        *,
        rgb: Plane | None = None,
        yuv: CodePlanes | None = None,
        matrix: str = "bt709",
        value_range: str = "limited",
        bits: int = 8,
    ) -> None:
        if (rgb is None) == (yuv is None):
            raise ValueError("a frame is made from either rgb or yuv")
        self.matrix, self.range, self.bits = matrix, value_range, bits
        self._rgb = rgb
        self._planes: dict[int, CodePlanes] = {} if yuv is None else {bits: yuv}

    @property
    def rgb(self) -> Plane:
        """(3, H, W) uint8."""
        if self._rgb is None:
            self._rgb = yuv420_to_rgb(*self.yuv, self.matrix, self.range)
        return self._rgb

    @property
    def yuv(self) -> Planes:
        """Y (H, W), U and V (ceil(H/2), ceil(W/2)), uint8."""
        return self.planes(8)

    def planes(self, bits: int) -> CodePlanes:
        """Y, U and V in samples of so many bits: uint8, above 8 bits uint16; see `torchDVC.dataset.planes`."""
        if not self._planes:
            assert self._rgb is not None
            self._planes[8] = rgb_to_yuv420(self._rgb, self.matrix, self.range)
        if bits not in self._planes:
            self._planes[bits] = in_depth(self._planes[self.bits], self.bits, bits, self.range)
        return self._planes[bits]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        plane = self._rgb[0] if self._rgb is not None else self._planes[self.bits][0]
        return plane.shape[1], plane.shape[0]


@dataclass(frozen=True)
class ReadOptions:
    """What a user says of a clip, before what its tags, name or header say: see `torchDVC.dataset.video.open_video`.

    ``pix_fmt`` is how a ``.yuv`` stores samples, as FFmpeg calls it. ``usual_fps`` is the rate of clips that tell none.
    ``count`` False leaves the number of frames unknown where it takes decoding the clip to find out.
    """

    size: tuple[int, int] | None = None
    frames: int | None = None
    matrix: str | None = None
    value_range: str | None = None
    fps: Fraction | None = None
    pix_fmt: str | None = None
    usual_fps: Fraction = DEFAULT_FPS
    count: bool = True

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 1:
            raise DataError(f"{self.frames} frames asked for; a clip has at least 1")
        if self.pix_fmt is not None:
            layout_of(self.pix_fmt)

    def info(
        self,
        path: Path,
        size: tuple[int, int],
        frames: int | None,
        *,
        fps: Fraction | None = None,
        matrix: str = "bt709",
        value_range: str = "limited",
        aspect: Fraction | None = None,
        stored: Layout | None = None,
    ) -> VideoInfo:
        """What is known of the clip at ``path`` with ``frames`` frames; the rest is what the clip itself says."""
        return VideoInfo(
            width=size[0],
            height=size[1],
            frames=frames if frames is None or self.frames is None else min(frames, self.frames),
            fps=self.fps or fps or self.usual_fps,
            matrix=self.matrix or matrix,
            range=self.value_range or value_range,
            source=str(path),
            bits=stored.bits if stored else 8,
            stored=str(stored or "8-bit RGB"),
            aspect=aspect or None,
        )


NOTHING_SAID = ReadOptions()


class VideoReader(ABC):
    """The frames of a clip in display order, as often as wanted; holds one frame at a time."""

    def __init__(self, info: VideoInfo) -> None:
        self.info = info

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """All frames from the first; damaged content raises `DataError` naming the file and the frame."""

    def read(self, indexes: Sequence[int]) -> list[Frame]:
        """The frames with these indexes, in the order asked; here by reading from the start of the clip."""
        wanted = set(indexes)
        self._check_indexes(indexes)
        found: dict[int, Frame] = {}
        for index, frame in enumerate(self):
            if index in wanted:
                found[index] = frame
            if len(found) == len(wanted):
                break
        missing = wanted - found.keys()
        if missing:
            raise DataError(f"{self.info.source}: has no frame {min(missing)}")
        return [found[index] for index in indexes]

    def _check_indexes(self, indexes: Sequence[int]) -> None:
        for index in indexes:
            if index < 0 or (self.info.frames is not None and index >= self.info.frames):
                raise DataError(f"{self.info.source}: has no frame {index}; it has {self.info.frames} frames")


class IndexedReader(VideoReader):
    """A reader whose frames can each be read at the same small cost."""

    @abstractmethod
    def frame(self, index: int) -> Frame:
        """Frame ``index`` of ``info.frames``."""

    def __iter__(self) -> Iterator[Frame]:
        assert self.info.frames is not None
        return map(self.frame, range(self.info.frames))

    def read(self, indexes: Sequence[int]) -> list[Frame]:
        """The frames with these indexes, in the order asked."""
        self._check_indexes(indexes)
        return [self.frame(index) for index in indexes]


@dataclass
class VideoWriter(ABC):
    """Writes frames to one file that appears under its name only when `close` is reached without an error.

    Use it in a ``with`` statement: leaving it by an error removes what was written.
    """

    path: Path
    info: VideoInfo
    written: int = field(default=0, init=False)
    remark: ClassVar[str] = ""
    """What a user should know of how such a file keeps pictures, to stand behind other words."""

    def __post_init__(self) -> None:
        self._atomic = self._destination()
        temporary = self._atomic.__enter__()
        try:
            self._open(temporary)
        except BaseException as error:
            self._atomic.__exit__(type(error), error, error.__traceback__)
            raise

    def _destination(self) -> AbstractContextManager[Path]:
        """What yields a temporary path and moves it to ``path`` when left without an error."""
        return atomic_path(self.path)

    @abstractmethod
    def _open(self, path: Path) -> None:
        """Start writing to ``path``."""

    @abstractmethod
    def _write(self, frame: Frame) -> None:
        """Append one frame of the right size."""

    @abstractmethod
    def _finish(self) -> None:
        """Flush and close the file."""

    @abstractmethod
    def _release(self) -> None:
        """Close the file after an error, whatever its state."""

    def write(self, frame: Frame) -> None:
        """Append ``frame``, which must have the size the writer was opened with."""
        if frame.size != (self.info.width, self.info.height):
            expected = f"{self.info.width}x{self.info.height}"
            raise DataError(f"{self.path}: frame of {frame.size[0]}x{frame.size[1]} in a clip of {expected}")
        self._write(frame)
        self.written += 1

    def close(self) -> None:
        """Finish the file and give it its name; a clip without frames is not written."""
        try:
            if not self.written:
                raise DataError(f"{self.path}: no frames to write")
            self._finish()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        self._atomic.__exit__(None, None, None)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        with suppress(OSError):  # what could not be written, is not now either
            self._release()
        self._atomic.__exit__(kind, error, traceback)


def split_planes(data: Plane, width: int, height: int) -> Planes:
    """The planes of one frame stored as Y, U, V one after another in the flat ``data``."""
    chroma_width, chroma_height = chroma_size(width, height)
    luma, chroma = width * height, chroma_width * chroma_height
    return (
        data[:luma].reshape(height, width),
        data[luma : luma + chroma].reshape(chroma_height, chroma_width),
        data[luma + chroma : luma + 2 * chroma].reshape(chroma_height, chroma_width),
    )
