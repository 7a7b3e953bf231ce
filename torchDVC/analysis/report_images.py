"""The pictures of a report page: chosen, and made small enough to stand inside it."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchDVC.analysis.results import RDRow, read_rows
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
    """One frame of one rate point, with a file for each kind of picture."""

    codec: str
    dataset: str
    sequence: str
    rate: str
    frame: int
    files: dict[str, Path]


def find_pictures(tables: Iterable[Path]) -> list[Shown]:
    """All frames with a source and a reconstruction under ``images/<sequence>/<lmda or quality>`` beside each table."""
    found = []
    for table in tables:
        for row in _first_of_sequences(read_rows(table)):
            for folder in sorted((table.parent / "images" / row.sequence).glob("*/"), key=_by_number):
                found += list(_frames(row, folder))
    return found


def choose(pictures: Sequence[Shown], most: int) -> list[Shown]:
    """At most ``most`` of them: of every sequence and rate point as many, spread over its frames."""
    points: dict[tuple[str, str, str], list[Shown]] = {}
    for picture in pictures:
        points.setdefault((picture.codec, picture.sequence, picture.rate), []).append(picture)
    each = max(1, most // max(1, len(points)))
    chosen = [shown for own in points.values() for shown in _spread(own, each)]
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


def _first_of_sequences(rows: Iterable[RDRow]) -> Iterator[RDRow]:
    seen = set()
    for row in rows:
        if row.sequence not in seen:
            seen.add(row.sequence)
            yield row


def _by_number(folder: Path) -> tuple[float, str]:
    try:
        return float(folder.name), folder.name
    except ValueError:
        return math.inf, folder.name


def _frames(row: RDRow, folder: Path) -> Iterator[Shown]:
    for source in sorted(folder.glob("*_source.png")):
        number = source.name.removesuffix("_source.png")
        files = {kind: folder / f"{number}_{kind}.png" for kind in KINDS}
        files = {kind: file for kind, file in files.items() if file.exists()}
        if number.isdecimal() and "recon" in files:
            yield Shown(row.codec, row.dataset, row.sequence, folder.name, int(number), files)


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
    names = {"codec": shown.codec, "dataset": shown.dataset, "sequence": shown.sequence}
    return {**names, "rate": shown.rate, "frame": shown.frame, "pictures": pictures}
