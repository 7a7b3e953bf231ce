"""Decoded frames of training clips on disk, as uint8 memory maps: each clip is decoded once, then read like memory.

One file per clip: the frames (T, 3, H, W) uint8, then a JSON trailer (which clip, its stamp, shape, a CRC-32 per
frame), the trailer's length and a closing mark. A file without the mark or of the wrong length is damaged, one whose
stamp is not the clip's is stale; both are built again. A frame's checksum is verified when a process first reads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from torchDVC.dataset.colour import Plane
from torchDVC.util.errors import DataError, describe_os_error
from torchDVC.util.files import atomic_path, remove_leftovers
from torchDVC.util.interrupts import Interrupts
from torchDVC.util.progress import Progress

_VERSION = 2
"""Raised whenever clips come to be read in another way, so that what was decoded before is decoded again."""
_END = struct.Struct("<Q8s")
_MARK = b"lcpclip\n"
_MAX_TRAILER = 1 << 28
_OPEN_MAPS = 256
_THREADS = min(8, os.cpu_count() or 1)


class ClipSource(Protocol):
    """A clip that can be decoded.

    ``key`` names it for ever, ``stamp`` changes whenever its content does, and ``content`` is the same for a copy
    elsewhere.
    """

    @property
    def key(self) -> str: ...

    @property
    def stamp(self) -> str: ...

    @property
    def content(self) -> str: ...

    def decode(self) -> Iterator[Plane]:
        """Its frames, RGB (3, H, W) uint8, all of one size; `DataError` where it is damaged."""
        ...


@dataclass(frozen=True)
class Entry:
    """A clip in the cache: shape (T, 3, H, W) and a checksum per frame."""

    path: Path
    shape: tuple[int, int, int, int]
    checksums: tuple[int, ...]


@dataclass(frozen=True)
class CachedClip:
    """A clip whose frames come out of the cache."""

    source: ClipSource
    shape: tuple[int, int, int, int]
    cache: FrameCache

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.source.key

    def frame(self, index: int) -> Plane:
        """Frame ``index``, a read-only view (3, H, W) uint8 of the file."""
        return self.cache.frame(self.source, index)


class FrameCache:
    """The cache in one folder. Processes may share it; each keeps a bounded number of files mapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: OrderedDict[str, tuple[Entry, np.memmap, set[int]]] = OrderedDict()

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "_open": OrderedDict()}

    def clips(self, sources: Sequence[ClipSource]) -> list[CachedClip]:
        """All ``sources`` as clips, those decoded that are not in the cache yet; an interrupt ends it."""
        for place in (self.folder, *self.folder.glob("??")):
            remove_leftovers(place)
        with Interrupts() as interrupts:
            found = {source.key: self._find(source) for source in interrupts.watch(sources)}
            missing = {source.key: source for source in sources if found[source.key] is None}
            built = self._build_all(missing, interrupts) if missing else {}
            entries = ((source, found[source.key] or built[source.key]) for source in interrupts.watch(sources))
            return [CachedClip(source, entry.shape, self) for source, entry in entries]

    def frame(self, source: ClipSource, index: int) -> Plane:
        """Frame ``index`` of a clip; one that is damaged on the disk is decoded again, with its whole clip."""
        entry, frames, verified = self._mapped(source)
        if index not in verified:
            if zlib.crc32(frames[index].data) != entry.checksums[index]:
                self._build(source, Interrupts())
                self._open.pop(source.key)
                return self.frame(source, index)
            verified.add(index)
        return frames[index]

    def path(self, source: ClipSource) -> Path:
        """The file of a clip: its name as far as a file's name can have it, and a digest of its key."""
        digest = hashlib.sha256(os.fsencode(source.key)).hexdigest()
        name = re.sub(r"[^\w.-]+", "_", Path(source.key).name)[:40]
        return self.folder / digest[:2] / f"{name}-{digest[:16]}.frames"

    def _mapped(self, source: ClipSource) -> tuple[Entry, np.memmap, set[int]]:
        if source.key not in self._open:
            entry = self._find(source) or self._build(source, Interrupts())
            if len(self._open) >= _OPEN_MAPS:
                self._open.popitem(last=False)
            self._open[source.key] = entry, np.memmap(entry.path, np.uint8, "r", shape=entry.shape), set()
        self._open.move_to_end(source.key)
        return self._open[source.key]

    def _find(self, source: ClipSource) -> Entry | None:
        """The clip's entry, or None where it is missing, stale or damaged."""
        path = self.path(source)
        if not path.is_file():
            return None
        trailer = _read_trailer(path)
        if trailer is None or [trailer[key] for key in ("version", "key", "stamp")] != _identity(source):
            return None
        entry = Entry(path, tuple(trailer["shape"]), tuple(trailer["checksums"]))
        frames_end = path.stat().st_size - trailer["length"]
        return entry if int(np.prod(entry.shape)) == frames_end else None

    def _build_all(self, sources: Mapping[str, ClipSource], interrupts: Interrupts) -> dict[str, Entry]:
        """Decode several clips at once; where one fails, the others are given up."""
        built: dict[str, Entry] = {}
        with Progress(len(sources), "decoding", unit="clip") as bar, ThreadPoolExecutor(_THREADS) as pool:
            running = {pool.submit(self._build, source, interrupts): key for key, source in sources.items()}
            try:
                for future in as_completed(running):
                    built[running[future]] = future.result()
                    bar.update()
            except BaseException:
                interrupts.requested = True
                pool.shutdown(cancel_futures=True)
                raise
        return built

    def _build(self, source: ClipSource, interrupts: Interrupts) -> Entry:
        """Decode a clip into its file."""
        path = self.path(source)
        try:
            return self._write(source, path, interrupts)
        except OSError as error:
            raise DataError(
                f"{describe_os_error(error)} (while caching the decoded frames of {source.key}); "
                "make room, or set TORCHDVC_CACHE to a folder with more"
            ) from error

    def _write(self, source: ClipSource, path: Path, interrupts: Interrupts) -> Entry:
        checksums: list[int] = []
        shape: tuple[int, ...] = ()
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            for frame in interrupts.watch(source.decode()):
                if shape and shape != frame.shape:
                    raise DataError(
                        f"{source.key}: frame {len(checksums)} has another size than the first; make it one"
                    )
                shape = frame.shape
                data = np.ascontiguousarray(frame)
                file.write(data.data)
                checksums.append(zlib.crc32(data.data))
            entry = Entry(path, (len(checksums), shape[0], shape[1], shape[2]), tuple(checksums))
            file.write(_trailer(source, entry))
        return entry


def _identity(source: ClipSource) -> list[object]:
    return [_VERSION, source.key, source.stamp]


def _trailer(source: ClipSource, entry: Entry) -> bytes:
    version, key, stamp = _identity(source)
    fields = {"version": version, "key": key, "stamp": stamp, "shape": entry.shape, "checksums": entry.checksums}
    text = json.dumps(fields).encode()
    return text + _END.pack(len(text), _MARK)


def _read_trailer(path: Path) -> dict | None:
    """The trailer's fields and its whole ``length`` in bytes; None where the file is damaged."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - _END.size))
        end = file.read()
        if len(end) < _END.size:
            return None
        length, mark = _END.unpack(end)
        if mark != _MARK or length > min(size - _END.size, _MAX_TRAILER):
            return None
        file.seek(size - _END.size - length)
        try:
            return json.loads(file.read(length)) | {"length": length + _END.size}
        except ValueError:
            return None
