"""The pictures of a report page: chosen, and made small enough to stand inside it."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchDVC.results.conditions import group
from torchDVC.results.rows import POINT, RDRow, point_path, read_rows
from torchDVC.util.errors import DataError

KINDS = ("source", "recon", "mc", "warped", "flow", "bits", "error")
EXACT_KINDS = ("source", "recon")
MAP_QUALITY = 80
QUALITIES = (None, 95, 85, 70)
"""WebP qualities of source and reconstruction, tried in this order; None is lossless."""
SAMPLE = 3
SAMPLE_MARGIN = 1.5
"""A quality is not tried on all frames where `SAMPLE` of them are more than this too large."""


@dataclass(frozen=True)
class Shown:
    """One frame of one rate point, with a file for each kind of picture; ``point`` is the number of its row."""

    point: int
    frame: int
    files: dict[str, Path]


def find_pictures(tables: Iterable[Path]) -> list[Shown]:
    """All frames with a source and a reconstruction below ``images`` beside each table, whose rows count as one."""
    rows = [(table, row) for table in tables for row in read_rows(table)]
    return [shown for point, (table, row) in enumerate(rows) for shown in _frames(point, _folder(table, row))]


def choose(pictures: Sequence[Shown], most: int) -> list[Shown]:
    """At most ``most`` of them: of every rate point as many, spread over its frames."""
    points = group(pictures, lambda shown: shown.point).values()
    each = max(1, most // max(1, len(points)))
    chosen = [shown for own in points for shown in _spread(own, each)]
    step = max(1, math.ceil(len(chosen) / most))
    return chosen[::step]


def embed(pictures: Sequence[Shown], budget: int) -> tuple[list[dict[str, Any]], str]:
    """The pictures as data addresses, and in words how they were stored.

    Source and reconstruction are lossless where ``budget`` bytes allow it, else in the best quality that fits; if even
    the lowest does not, fewer frames are shown.
    """
    while pictures:
        for quality in QUALITIES:
            sample = pictures[:: math.ceil(len(pictures) / SAMPLE)]
            if _size(_coded(sample, quality)) * len(pictures) > budget * len(sample) * SAMPLE_MARGIN:
                continue
            coded = _coded(pictures, quality)
            if _size(coded) <= budget:
                words = "lossless WebP" if quality is None else f"WebP of quality {quality}, no longer exact"
                return [_record(shown, files) for shown, files in zip(pictures, coded, strict=True)], words
        pictures = pictures[::2] if len(pictures) > 1 else []
    return [], ""


def _coded(pictures: Sequence[Shown], quality: int | None) -> list[dict[str, bytes]]:
    return [{kind: _webp(file, kind, quality) for kind, file in shown.files.items()} for shown in pictures]


def _size(coded: Sequence[dict[str, bytes]]) -> int:
    return sum(len(data) for files in coded for data in files.values())


def _spread(own: Sequence[Shown], most: int) -> list[Shown]:
    count = min(most, len(own))
    return [own[len(own) * (2 * i + 1) // (2 * count)] for i in range(count)]


def _folder(table: Path, row: RDRow) -> Path:
    return table.parent / "images" / point_path(**{name: getattr(row, name) for name in POINT})


def _frames(point: int, folder: Path) -> Iterator[Shown]:
    for source in sorted(folder.glob("*_source.png")):
        number = source.name.removesuffix("_source.png")
        files = {kind: folder / f"{number}_{kind}.png" for kind in KINDS}
        files = {kind: file for kind, file in files.items() if file.exists()}
        if number.isdecimal() and "recon" in files:
            yield Shown(point, int(number), files)


def _webp(file: Path, kind: str, quality: int | None) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    try:
        with Image.open(file) as picture:
            if kind not in EXACT_KINDS:
                picture.convert("RGB").save(data, "WEBP", quality=MAP_QUALITY)
            elif quality is None:
                picture.convert("RGB").save(data, "WEBP", lossless=True, quality=60)
            else:
                picture.convert("RGB").save(data, "WEBP", quality=quality)
    except (OSError, SyntaxError) as error:
        raise DataError(f"{file}: not a readable picture ({error}); test again to write it anew") from None
    return data.getvalue()


def _record(shown: Shown, files: dict[str, bytes]) -> dict[str, Any]:
    pictures = {kind: "data:image/webp;base64," + base64.b64encode(data).decode() for kind, data in files.items()}
    return {"point": shown.point, "frame": shown.frame, "pictures": pictures}
