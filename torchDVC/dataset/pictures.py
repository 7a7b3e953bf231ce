"""Pictures on disk: single files, folders of numbered pictures, and writing them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from torchDVC.dataset.colour import Plane
from torchDVC.dataset.frame import Frame, IndexedReader, ReadOptions, VideoWriter
from torchDVC.util.errors import DataError
from torchDVC.util.files import atomic_folder

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp")
_NUMBERED = re.compile(r"\d{5,}\.png")
_EIGHT_BIT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}
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
    """RGB (3, H, W) uint8 of a picture file; grey becomes RGB and transparency is dropped."""
    return decode_picture(path, str(path))


def decode_picture(source: Path | BinaryIO, name: str) -> Plane:
    """`read_picture` of a file that is open, or not; messages call it ``name``."""
    with _opened(source, name) as picture:
        if picture.mode not in _EIGHT_BIT_MODES:
            raise DataError(f"{name}: picture of mode {picture.mode}; only 8 bits a channel are read; convert it")
        rgb = np.asarray(picture.convert("RGB"))
    return np.array(rgb.transpose(2, 0, 1), order="C")  # a copy, as Pillow's memory cannot be written to


def picture_size(source: Path | BinaryIO, name: str) -> tuple[int, int]:
    """(width, height), from the header only; messages call the file ``name``."""
    with _opened(source, name) as picture:
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
    """Pictures of one size as the frames of a clip: those of a folder by number, or a single picture."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.paths = picture_files(path) if path.is_dir() else [path]
        if not self.paths:
            raise DataError(f"{path}: holds no pictures; put png files there, or name a folder or file that has a clip")
        super().__init__(options.info(path, picture_size(self.paths[0], str(self.paths[0])), len(self.paths)))

    def frame(self, index: int) -> Frame:
        """Picture ``index``; one of another size than the first raises `DataError`."""
        rgb = read_picture(self.paths[index])
        if rgb.shape[1:] != (self.info.height, self.info.width):
            raise DataError(
                f"{self.paths[index]}: {rgb.shape[2]}x{rgb.shape[1]} in a folder of "
                f"{self.info.width}x{self.info.height} pictures; keep one size per folder"
            )
        return Frame(rgb=rgb, matrix=self.info.matrix, value_range=self.info.range)


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
