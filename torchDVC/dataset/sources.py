"""What a training data set consists of: its clips, before they are decoded."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from torchDVC.dataset.cache import ClipSource
from torchDVC.dataset.colour import Plane
from torchDVC.dataset.frame import NOTHING_SAID, ReadOptions
from torchDVC.dataset.pictures import picture_files, stills
from torchDVC.dataset.procedural import VERSION, Scene
from torchDVC.dataset.video import clips_in, open_with
from torchDVC.util.errors import DataError, nearest

T = TypeVar("T")

VIMEO_LIST = "sep_trainlist.txt"
VIMEO_FOLDERS = ("vimeo_septuplet", "vimeo90k")
VIMEO_PICTURES = "img"
"""In place of ``sequences`` and the list: a folder with one of pictures for each septuplet, two levels down."""
NAMES = ("default", "procedural", "vimeo90k")

PROCEDURAL_CLIPS = 128
SEPTUPLET = 7
RGB_BITS = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileClip:
    """A clip in a file or a folder of pictures, which must be ``frames`` long where that is given.

    ``size`` and ``pix_fmt`` say of a ``.yuv`` what its name does not.
    """

    path: Path
    frames: int | None = None
    size: tuple[int, int] | None = None
    pix_fmt: str | None = None

    @property
    def key(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def stamp(self) -> str:
        """A digest of the names, sizes and times of its files, and of what is said of them."""
        states = [(file.name, (state := file.stat()).st_size, state.st_mtime_ns) for file in self._files()]
        said = (self.size, self.pix_fmt)
        return hashlib.sha256(repr((states, said) if any(said) else states).encode()).hexdigest()

    @property
    def content(self) -> str:
        """Its name and the names and sizes of its files, which are the same for a copy elsewhere."""
        return repr((self.path.name, [(file.name, file.stat().st_size) for file in self._files()]))

    def _files(self) -> list[Path]:
        return picture_files(self.path) if self.path.is_dir() else [self.path]

    def decode(self) -> Iterator[Plane]:
        """Its frames."""
        reader = open_with(self.path, ReadOptions(size=self.size, pix_fmt=self.pix_fmt, count=False))
        if self.frames not in (None, reader.info.frames):
            raise DataError(f"{self.path}: has {reader.info.frames} frames instead of {self.frames}; unpack it again")
        if reader.info.bits > RGB_BITS:
            _warn_of_rounding(reader.info.bits)
        return (frame.rgb for frame in reader)


@cache
def _warn_of_rounding(bits: int) -> None:
    """Said once."""
    _log.warning("samples of %d bits in training clips are rounded to %d", bits, RGB_BITS)


@dataclass(frozen=True)
class ProceduralClip:
    """Clip ``index`` of the procedural clips, at ``size`` = (width, height)."""

    index: int
    frames: int
    size: tuple[int, int]

    @property
    def key(self) -> str:
        """What it is, in words."""
        return f"procedural_{self.index}_{self.size[0]}x{self.size[1]}_{self.frames}"

    @property
    def stamp(self) -> str:
        """The version of the clips' definition."""
        return str(VERSION)

    @property
    def content(self) -> str:
        """Which clip of which version it is."""
        return f"{self.key} {self.stamp}"

    def decode(self) -> Iterator[Plane]:
        """Its frames."""
        return map(Scene(self.index, self.size).render, range(self.frames))


def clip_sources(data: str, *, frames: int, patch_size: int, given: ReadOptions = NOTHING_SAID) -> list[ClipSource]:
    """The clips of one data set that is not made of shards: see `torchDVC.dataset.training.training_set` for the names.

    ``frames`` and ``patch_size`` are what will be cut from them; procedural clips are made large enough for that.
    Single frames are also cut from folders of pictures of several sizes, each picture a clip. ``given`` says of
    ``.yuv`` files what their names do not.
    """
    data = resolved(data)
    if data == "procedural":
        side = -(-patch_size * 9 // 8 // 32) * 32
        return [ProceduralClip(i, max(SEPTUPLET, frames), (side, side)) for i in range(PROCEDURAL_CLIPS)]
    folder = _vimeo_folder() if data == "vimeo90k" else find_data(data, NAMES)
    if folder is None:
        raise DataError(
            "vimeo90k: not found; set DATASET to the folder that holds vimeo_septuplet/ (with sequences/ and "
            f"{VIMEO_LIST}), or train on 'procedural'"
        )
    if _is_vimeo(folder):
        return _vimeo_clips(folder)
    paths = clips_in(folder)
    if frames == 1:
        paths = [path for clip in paths for path in stills(clip)]
    return [FileClip(path.resolve(), size=given.size, pix_fmt=given.pix_fmt) for path in paths]


def resolved(data: str) -> str:
    """The data set that ``data`` names, which depends on $DATASET for ``default``."""
    if data != "default":
        return data
    return "vimeo90k" if _vimeo_folder() else "procedural"


def data_root() -> Path | None:
    """The folder that $DATASET names, if it names one."""
    root = os.environ.get("DATASET")
    return Path(root).expanduser() if root else None


def places_of(name: str) -> list[Path]:
    """Where ``name`` may be: a path, and a path below $DATASET."""
    root = data_root()
    return [Path(name).expanduser(), *([root / name] if root else [])]


def found_data(name: str) -> Path | None:
    """The file or folder ``name``, where there is one."""
    return next((place for place in places_of(name) if place.exists()), None)


def find_data(name: str, known: tuple[str, ...]) -> Path:
    """The file or folder ``name``. `DataError`, with the nearest of the ``known`` names, where there is none."""
    root, found = data_root(), found_data(name)
    if found is not None:
        return found
    where = f"below $DATASET ({root})" if root else "(DATASET is not set)"
    raise DataError(f"{name}: no such file or folder, nor {where}{nearest(name, known)}")


def cut_list(clips: list[T], cut: str | None) -> list[T]:
    """The part of the list that ``cut`` names: "500" the first 500 clips, "500:1000" the next 500."""
    if not cut:
        return clips
    match = re.fullmatch(r"\s*(?:(\d*)\s*:)?\s*(\d*)\s*", cut)
    if not match:
        raise DataError(f"cut '{cut}': expected a number of clips, or a range of them like '0:500'")
    start, stop = (int(bound) if bound else None for bound in match.groups())
    if not clips[start:stop]:
        raise DataError(f"cut '{cut}': leaves nothing of {len(clips)} clips")
    return clips[start:stop]


def _vimeo_folder() -> Path | None:
    root = data_root()
    folders = [root / name for name in (*VIMEO_FOLDERS, ".")] if root else []
    return next(filter(_is_vimeo, folders), None)


def _is_vimeo(folder: Path) -> bool:
    pictures = folder / VIMEO_PICTURES
    return (folder / VIMEO_LIST).is_file() or (folder.name in VIMEO_FOLDERS and any(pictures.glob("*/*/")))


def _vimeo_clips(folder: Path) -> list[ClipSource]:
    """The septuplets that Vimeo-90k's training list names, in its order; without it, all below `VIMEO_PICTURES`."""
    listing = folder / VIMEO_LIST
    if not listing.is_file():
        return [FileClip(path.resolve(), SEPTUPLET) for path in sorted((folder / VIMEO_PICTURES).glob("*/*/"))]
    try:
        names = listing.read_text(encoding="utf-8-sig").split()
    except UnicodeDecodeError as error:
        raise DataError(f"{listing}: damaged, byte {error.start} is not UTF-8; download it again") from error
    if not names:
        raise DataError(f"{listing}: names no septuplets; download it again")
    root = (folder / "sequences").resolve()
    for name in names:
        if not (root / name).is_dir():
            raise DataError(f"{root / name}: named in {listing} but not there; unpack the data set again")
    return [FileClip(root / name, SEPTUPLET) for name in names]
