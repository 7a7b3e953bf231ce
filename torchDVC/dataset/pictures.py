"""Pictures on disk: single files, folders of numbered pictures, and writing them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from torchDVC.dataset.colour import Plane
from torchDVC.dataset.frame import Frame, IndexedReader, ReadOptions, VideoReader, VideoWriter
from torchDVC.dataset.names import name_says
from torchDVC.util.errors import DataError
from torchDVC.util.files import atomic_folder

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp")
_NUMBERED = re.compile(r"\d{5,}\.png")
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I", "I;16", "I;16B"}
_ANIMATED_FORMATS = ("PNG", "WEBP")
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, UnidentifiedImageError, Image.DecompressionBombError)


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sorts ``im2.png`` before ``im10.png``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name) if part]


def picture_files(folder: Path) -> list[Path]:
    """The pictures in ``folder`` (not below it), by number."""
    return sorted((p for p in folder.iterdir() if is_picture(p)), key=natural_key)


def is_picture(path: Path) -> bool:
    """Whether the name is one of a visible picture file."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def read_picture(path: Path) -> Plane:
    """RGB (3, H, W) uint8 of a picture file; grey becomes RGB, 16 bits are rounded to 8, transparency is dropped."""
    return decode_picture(path, str(path))


def decode_picture(source: Path | BinaryIO, name: str) -> Plane:
    """`read_picture` of a file that is open, or not; messages call it ``name``."""
    with _opened(source, name) as picture:
        if picture.mode not in _MODES:
            raise DataError(f"{name}: picture of mode {picture.mode}; 8 and 16 bits a channel are read; convert it")
        _check_still(picture, name)
        deep = picture.mode.startswith("I") or "16B" in str(getattr(picture, "tile", ""))
        picture.load()  # finds damage, which FFmpeg passes over
        return _deep_rgb(source, name) if deep else _rgb(picture)


def _rgb(picture: Image.Image) -> Plane:
    """A copy, as Pillow's memory cannot be written to."""
    return np.array(np.asarray(picture.convert("RGB")).transpose(2, 0, 1), order="C")


def _check_still(picture: Image.Image, name: str) -> None:
    if (count := _frames_of(picture)) > 1:
        raise DataError(f"{name}: an animation of {count} frames; name it by itself to read it as a clip")


def _frames_of(picture: Image.Image) -> int:
    """How many frames an animation has; 1 for any other picture."""
    return getattr(picture, "n_frames", 1) if picture.format in _ANIMATED_FORMATS else 1


def _deep_rgb(source: Path | BinaryIO, name: str) -> Plane:
    """RGB of a picture of 16 bits a channel, read by FFmpeg: Pillow cuts colour to 8 bits and does not convert grey."""
    import av

    from torchDVC.dataset.pixel_formats import deep_rgb_of

    try:
        with av.open(source if isinstance(source, Path) else _rewound(source), "r") as container:
            return deep_rgb_of(next(container.decode(video=0)))
    except (av.error.FFmpegError, StopIteration) as error:
        raise DataError(f"{name}: damaged or not a picture ({error}); replace the file") from error


def _rewound(source: BinaryIO) -> BinaryIO:
    source.seek(0)
    return source


def stills(path: Path) -> list[Path]:
    """The pictures of a folder one by one where they are of several sizes; else the clip at ``path`` itself."""
    if not path.is_dir():
        return [path]
    files = picture_files(path)
    several = len({picture_size(file, str(file)) for file in files}) > 1
    return files if several else [path]


def picture_size(source: Path | BinaryIO, name: str) -> tuple[int, int]:
    """(width, height), from the header only; messages call the file ``name``."""
    with _opened(source, name) as picture:
        _check_still(picture, name)
        return picture.size


@contextlib.contextmanager
def _opened(source: Path | BinaryIO, name: str) -> Iterator[Image.Image]:
    try:
        with Image.open(source) as picture:
            yield picture
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such picture") from error
    except _DAMAGE as error:
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{name}: damaged or not a picture ({reason}); replace the file") from error


def write_png(path: Path, rgb: Plane) -> None:
    """Write RGB (3, H, W) uint8 as png, compressed for speed; not atomic by itself."""
    Image.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0))).save(path, format="png", compress_level=1)


class PictureReader(IndexedReader):
    """Pictures of one size as the frames of a clip: those of a folder by number, or a single picture.

    The name of the folder may tell its frame rate, as in ``BQMall_832x480_60``.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.paths = picture_files(path) if path.is_dir() else [path]
        if not self.paths:
            raise DataError(f"{path}: holds no pictures; put png files there, or name a folder or file that has a clip")
        size = picture_size(self.paths[0], str(self.paths[0]))
        super().__init__(options.info(path, size, len(self.paths), fps=name_says(path.name).fps))
        for file in self.paths[1 : self.info.frames] if options.count else ():
            self._check_size(file, picture_size(file, str(file)))

    def frame(self, index: int) -> Frame:
        """Picture ``index``; one of another size than the first raises `DataError`."""
        rgb = read_picture(self.paths[index])
        self._check_size(self.paths[index], (rgb.shape[2], rgb.shape[1]))
        return Frame(rgb=rgb, matrix=self.info.matrix, value_range=self.info.range)

    def _check_size(self, file: Path, size: tuple[int, int]) -> None:
        if size != (self.info.width, self.info.height):
            raise DataError(
                f"{file}: {size[0]}x{size[1]} in a folder of {self.info.width}x{self.info.height} pictures; keep one "
                "size per folder, or code each picture by itself (--intra_period 1 in tests, frames = 1 in training)"
            )


class AnimationReader(VideoReader):
    """The frames of an animated picture (webp, png), one after another."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        with _opened(path, str(path)) as picture:
            count, size = _frames_of(picture), picture.size
            picture.load()
            milliseconds = picture.info.get("duration")
        fps = Fraction(1000) / Fraction(milliseconds).limit_denominator(1000) if milliseconds else None
        super().__init__(options.info(path, size, count, fps=fps))

    def __iter__(self) -> Iterator[Frame]:
        with _opened(self.path, str(self.path)) as picture:
            for index in range(self.info.frames or 0):
                picture.seek(index)
                yield Frame(rgb=_rgb(picture), matrix=self.info.matrix, value_range=self.info.range)


def picture_reader(path: Path, options: ReadOptions) -> VideoReader:
    """A folder of pictures, a picture or an animation."""
    if not path.is_dir():
        with _opened(path, str(path)) as picture:
            if _frames_of(picture) > 1:
                return AnimationReader(path, options)
    return PictureReader(path, options)


class PictureWriter(VideoWriter):
    """Writes a folder of ``00001.png``, ``00002.png``, …; a folder of such pictures is replaced as a whole."""

    def _destination(self) -> AbstractContextManager[Path]:
        if self.path.exists() and not all(_NUMBERED.fullmatch(file.name) for file in self.path.iterdir()):
            raise DataError(f"{self.path}: holds other files than numbered png pictures; write to another folder")
        return atomic_folder(self.path)

    def _open(self, path: Path) -> None:
        self._folder = path

    def _write(self, frame: Frame) -> None:
        write_png(self._folder / f"{self.written + 1:05d}.png", frame.rgb)

    def _finish(self) -> None:
        """Each picture is complete by itself."""

    def _release(self) -> None:
        """Nothing is open between pictures."""
