"""Training clips in tar shards of the webdataset layout, for data sets too large to keep decoded.

A sample is the members of a tar that share a name up to its first dot: ``00001_0001.im1.png``, ``00001_0001.im2.png``
and so on are one clip. Shards are read in place: opening a data set lists the members of its tars, and a clip's frames
are then read and decoded where they lie, in whatever order the training loader asks for, so that batches, resuming and
worker processes are those of any other data set. Shards may be spread over disks and network file systems.
"""

from __future__ import annotations

import glob
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from torchDVC.dataset.colour import Plane
from torchDVC.dataset.pictures import decode_picture, is_picture, natural_key, picture_size
from torchDVC.dataset.sources import places_of
from torchDVC.util.errors import DataError

_HEADER_BYTES = 1 << 16  # enough of a picture to tell its size


@dataclass(frozen=True)
class Member:
    """A picture in a tar: its name there and where its bytes are."""

    name: str
    offset: int
    length: int


@dataclass(frozen=True)
class ShardClip:
    """A clip of pictures in a tar; its frames are decoded whenever they are asked for."""

    shard: Path
    name: str
    members: tuple[Member, ...]
    shape: tuple[int, int, int, int]

    @property
    def content(self) -> str:
        """The names and sizes of its pictures, which are the same for a copy elsewhere."""
        return repr([(member.name, member.length) for member in self.members])

    def frame(self, index: int) -> Plane:
        """Frame ``index``, (3, H, W) uint8."""
        member = self.members[index]
        rgb = decode_picture(_read(self.shard, member, member.length), f"{self.shard}:{member.name}")
        if rgb.shape != self.shape[1:]:
            raise DataError(f"{self.shard}:{member.name}: has another size than the clip's first picture; make it one")
        return rgb


def is_shards(data: str) -> bool:
    """Whether ``data`` names tar shards: a ``*.tar`` file, or a pattern with ``*``, ``?`` or ``{000..123}``."""
    return data.endswith(".tar")


def shard_clips(data: str) -> list[ShardClip]:
    """All clips of the shards that the pattern ``data`` names, in the order of the shards' names."""
    from webdataset.shardlists import expand_urls

    paths = [path for pattern in expand_urls(data) for path in _files(pattern)]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such shard; shards are read from a file system, download remote ones first")
    return [clip for path in paths for clip in _clips(path)]


def _files(pattern: str) -> list[Path]:
    """The files of a pattern, by a path or by one below $DATASET; the pattern itself where there are none."""
    found = (sorted(glob.glob(str(place))) for place in places_of(pattern))
    return [Path(path) for path in next(filter(None, found), [pattern])]


def _clips(shard: Path) -> list[ShardClip]:
    """The clips of one tar, by its list of members."""
    from webdataset.tariterators import base_plus_ext

    samples: dict[str, list[Member]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for entry in tar:
                base, _ = base_plus_ext(entry.name)
                if entry.isfile() and base and is_picture(Path(entry.name)):
                    samples.setdefault(base, []).append(Member(entry.name, entry.offset_data, entry.size))
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{shard}: damaged or not an uncompressed tar ({error}); make it again") from error
    if not samples:
        raise DataError(f"{shard}: holds no clips (pictures named like clip.im1.png, clip.im2.png, …)")
    return [_clip(shard, base, members) for base, members in samples.items()]


def _clip(shard: Path, base: str, members: list[Member]) -> ShardClip:
    members = sorted(members, key=lambda member: natural_key(Path(member.name)))
    first = members[0]
    header = _read(shard, first, min(first.length, _HEADER_BYTES))
    width, height = picture_size(header, f"{shard}:{first.name}")
    return ShardClip(shard, f"{shard}:{base}", tuple(members), (len(members), 3, height, width))


def _read(shard: Path, member: Member, length: int) -> io.BytesIO:
    with open(shard, "rb") as file:
        file.seek(member.offset)
        data = file.read(length)
    if len(data) < length:
        raise DataError(f"{shard}:{member.name}: cut short; make the shard again")
    return io.BytesIO(data)
