"""Reconstructions to show beside a tested codec's: of other codecs, on the same clip, at the nearest rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torchDVC.dataset.colour import Plane
from torchDVC.dataset.frame import VideoInfo
from torchDVC.dataset.pictures import read_picture
from torchDVC.results.per_frame import nearest_points
from torchDVC.results.rows import PLACE, RDRow, point_path, read_rows

MOST = 3
"""At most so many codecs are shown beside one."""
SAME_CLIP = ("dataset", "sequence", "width", "height")


class Reconstruction(Protocol):
    """What is left of a rate point on the disk."""

    def read(self, frames: Iterable[int]) -> dict[int, Plane]:
        """Those of the frames that are there, uint8 RGB (3, H, W), by display index."""


@dataclass(frozen=True)
class Pictures:
    """The pictures that the tester wrote to a folder."""

    folder: Path

    def read(self, frames: Iterable[int], kind: str = "recon") -> dict[int, Plane]:
        """See `Reconstruction`; ``kind`` may also be ``source``."""
        files = {frame: self.folder / f"{frame:05}_{kind}.png" for frame in frames}
        return {frame: read_picture(file) for frame, file in files.items() if file.exists()}


@dataclass(frozen=True)
class Coded:
    """The file that an anchor wrote, which is decoded as far as needed."""

    path: Path
    row: RDRow

    def read(self, frames: Iterable[int]) -> dict[int, Plane]:
        from torchDVC.anchors.encoders import ENCODERS

        row, wanted = self.row, set(frames)
        info = VideoInfo(row.width, row.height, row.frames, matrix=row.matrix, range=row.range, source=str(self.path))
        decoded = ENCODERS[row.codec.split()[0]].read(self.path, info)
        last = max(wanted, default=-1)
        shown = zip(range(last + 1), decoded, strict=False)  # ends before a frame too many is decoded
        return {index: frame.rgb for index, (frame, _, _) in shown if index in wanted}


def picture_folder(table: Path, row: RDRow) -> Path:
    """Where the tester puts the pictures of a row of ``table``."""
    return table.parent / "images" / point_path(**{name: getattr(row, name) for name in PLACE})


def reconstructions(tables: Iterable[Path]) -> dict[int, Reconstruction]:
    """What there is, by number of the row, where the rows of all tables count as one."""
    rows = [(table, row) for table in tables for row in read_rows(table)]
    found = {number: _reconstruction(table, row) for number, (table, row) in enumerate(rows)}
    return {number: one for number, one in found.items() if one}


def beside(rows: Sequence[RDRow], lead: int, known: Mapping[int, Reconstruction], anchor: str) -> list[int]:
    """Of each other codec the row nearest in rate to row ``lead``, of those ``known``; the anchor's first."""
    own = rows[lead]
    if not own.rate:
        return []
    others = [number for number in known if rows[number].codec != own.codec and clip_of(rows[number]) == clip_of(own)]
    nearest = nearest_points([rows[number] for number in others], own.rate)
    chosen = [next(number for number in others if rows[number] is row) for row in nearest]
    return sorted(chosen, key=lambda number: rows[number].codec != anchor)[:MOST]


def clip_of(row: RDRow) -> tuple:
    """What the rows of one clip have in common."""
    return tuple(getattr(row, name) for name in SAME_CLIP)


def _reconstruction(table: Path, row: RDRow) -> Reconstruction | None:
    folder = picture_folder(table, row)
    if row.process and folder.is_dir():
        return Pictures(folder)
    streams = table.parent / "streams" / row.codec.replace(" ", "_")
    files = sorted(streams.glob(f"*_{row.run_id}.*")) if row.run_id else []
    return Coded(files[0], row) if files else None
